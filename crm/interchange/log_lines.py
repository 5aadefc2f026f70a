"""Owns how an event of the log becomes a line for other programs: OCSF API Activity, and CSV for spreadsheets. Pure."""

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

__all__ = ["COLUMNS", "OCSF_VERSION", "api_activity_of", "csv_line", "csv_row_of"]

OCSF_VERSION: Final = "1.6.0"
_CLASS: Final = 6003
_ACTIVITIES: Final[Mapping[str, int]] = {
    "create": 1, "import": 1, "read": 2, "query": 2, "export": 2, "disclose": 2, "audit.read": 2, "audit.export": 2,
    "update": 3, "merge": 3, "unmerge": 3, "hold": 3, "release": 3, "delete": 4, "erase": 4, "prune": 4,
}  # fmt: skip
"""`activity_id` of an act: create, read, update, delete; 99 (other) for the rest."""
_NAMES: Final = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
_OTHER: Final = 99
_STATUS: Final = {"ok": (1, "Success"), "partial": (99, "Partial"), "denied": (2, "Failure"), "error": (2, "Failure")}
_LIFTED: Final = frozenset({"v", "id", "t", "act", "out", "op", "req", "pat", "who", "src", "why"})
"""Members of a leaf that OCSF has attributes for; the others go into `unmapped` as they are."""

COLUMNS: Final = (
    "number", "id", "recorded", "act", "outcome", "reason", "actor", "issuer", "roles", "organisation", "client",
    "purpose", "patient", "audit_subject", "operation", "request", "fields", "masked", "changed", "count", "version",
    "flags", "rules",
)  # fmt: skip

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def api_activity_of(content: Mapping[str, Any], seq: int, *, origin: str) -> dict[str, Any]:
    """The event as OCSF 1.6 API Activity (class 6003). The patient is named by the random subject only."""
    who = content.get("who", {})
    activity = _ACTIVITIES.get(content["act"], _OTHER)
    status_id, status = _STATUS[content["out"]]
    user = {"uid": who["sub"], "name": who["sub"], "type_id": 1} if "sub" in who else {"name": "unknown", "type_id": 0}
    if "org" in who:
        user["org"] = {"name": who["org"]}
    if who.get("roles"):
        user["groups"] = [{"name": role} for role in who["roles"]]
    actor: dict[str, Any] = {"user": user}
    if session := {name: who[key] for name, key in (("uid", "jti"), ("issuer", "iss")) if key in who}:
        actor["session"] = session
    line: dict[str, Any] = {
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "category_uid": _CLASS // 1000,
        "category_name": "Application Activity",
        "activity_id": activity,
        "activity_name": _NAMES.get(activity, content["act"]),
        "type_uid": _CLASS * 100 + activity,
        "severity_id": 1,
        "time": int(datetime.fromisoformat(content["t"]).timestamp() * 1000),
        "status_id": status_id,
        "status": status,
        "metadata": _metadata(content, seq, origin),
        "actor": actor,
        "api": {"operation": content.get("op") or content["act"], "service": {"name": "heed"}},
        "src_endpoint": {"name": who.get("client", "unknown")},
        "unmapped": {name: value for name, value in content.items() if name not in _LIFTED},
    }
    if "why" in content:
        line["status_detail"] = content["why"]
    if "req" in content:
        line["api"]["request"] = {"uid": content["req"]}
    if "pat" in content:
        line["resources"] = [{"type": "Patient", "uid": content["pat"]}]
    return line


def _metadata(content: Mapping[str, Any], seq: int, origin: str) -> dict[str, Any]:
    return {
        "version": OCSF_VERSION,
        "product": {"name": "Heed", "vendor_name": "Heed"},
        "uid": content["id"],
        "event_code": content["act"],
        "original_time": content["t"],
        "log_name": origin,
        "log_provider": content["src"]["node"],
        "sequence": seq,
    }


def csv_row_of(content: Mapping[str, Any], seq: int, patient_id: str | None) -> list[str]:
    """The cells of an event, in the order of `COLUMNS`; lists are separated by spaces, and absent cells empty."""
    who = content.get("who", {})
    cells = (
        seq, content["id"], content["t"], content["act"], content["out"], content.get("why"), who.get("sub"),
        who.get("iss"), who.get("roles"), who.get("org"), who.get("client"), content.get("pou"), patient_id,
        content.get("pat"), content.get("op"), content.get("req"), content.get("fld"), content.get("msk"),
        content.get("chg"), content.get("cnt"), next((each["ver"] for each in content.get("obj", ())), None),
        content.get("flg"), content.get("pol", {}).get("d"),
    )  # fmt: skip
    return ["" if cell is None else " ".join(cell) if isinstance(cell, list) else str(cell) for cell in cells]


def csv_line(cells: list[str]) -> bytes:
    """One line of CSV (RFC 4180). What a spreadsheet would take for a formula gets an apostrophe before it (OWASP)."""
    written = io.StringIO()
    csv.writer(written).writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return written.getvalue().encode()

"""What the `keys` commands say of keys: lines for people. Reads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from commands.keys import Done
from crm.audit.event import rfc3339
from crm.services.key_life.data_keys import Resealed
from crm.services.key_life.ends import Ending, Verdict
from crm.services.key_life.roots import Rerooted
from crm.services.key_life.status import KeyStatus, Status

__all__ = ["endings", "endings_json", "rotated", "status_lines", "warning"]

_DAY = 86_400 * 1_000_000
_KEYS = {"key": "<", "state": "<", "age": ">", "rows": ">", "provider": "<", "due": "<"}
_ROOTS = {"root key": "<", "since": "<", "older": ">", "due": "<"}

COPY = (
    "copy the key store and the root keys now: a copy of the key store from before the last rotation does not open any "
    "more; older copies of the records are read with the newest copy of the key store"
)


def rotated(done: Done) -> list[str]:
    """One line for each rotation."""
    lines = []
    for one in done.each:
        if isinstance(one, Rerooted):
            lines.append(f"root {one.use}: {one.moved} keys are now under {one.key_ref}{_resumed(one.resumed)}")
        elif isinstance(one, Resealed):
            lines.append(
                f"data keys: {one.moved} replaced, of {one.patients} patients{_rate(one.patients, one.seconds)}"
                f"{_left(one.left_out)}"
            )
        else:
            lines.append(
                f"{one.use} {one.no}: {one.moved} rows moved{_rate(one.moved, one.seconds)}"
                f"{_resumed(one.resumed)}{_left(one.left_out)}"
            )
    if any(isinstance(one, Rerooted) for one in done.each):
        lines.append("a key ring has to be copied to the other machines before a process starts there again")
    return lines or ["nothing is due"]


def _rate(count: int, seconds: float) -> str:
    return f" in {seconds:.1f} s ({count / seconds:.0f} per second)" if count and seconds else ""


def _resumed(resumed: bool) -> str:
    return "; an unfinished rotation was finished, and no other one begun" if resumed else ""


def _left(left_out: int) -> str:
    return f"; {left_out} could not be opened and stay as they were" if left_out else ""


def warning(ready: Sequence[Ending], *, hurry: bool) -> list[str]:
    """What will happen, before somebody agrees to it."""
    lines = [f"to be destroyed for good: {_name(one)}" for one in ready]
    if hurry:
        lines.append("copies of the records from before the rotation become unreadable with it, however new they are")
    return [*lines, f"afterwards {COPY}"]


def endings(ended: Sequence[Ending], kept: Sequence[Ending]) -> list[str]:
    """What was destroyed, and why the others were not."""
    lines = [f"destroyed: {_name(one)}" for one in ended]
    lines += [f"kept: {_name(one)}: {_why(one)}" for one in kept]
    return [*lines, COPY] if ended else lines or ["there is no old key"]


def endings_json(ended: Sequence[Ending], kept: Sequence[Ending]) -> dict[str, Any]:
    """The same as plain values."""
    return {"destroyed": [asdict(one) for one in ended], "kept": [asdict(one) for one in kept]}


def _name(one: Ending) -> str:
    return f"root key {one.key_ref} of {one.use}" if one.no is None else f"{one.use} {one.no}"


def _why(one: Ending) -> str:
    match one.verdict:
        case Verdict.NEEDED:
            return f"{one.references} rows are under it; run `keys rotate` to the end first"
        case Verdict.UNFINISHED:
            return "its rotation is not finished; run `keys rotate` again"
        case Verdict.YOUNG:
            return f"copies that need it are kept until {_date(one.due)}; --now does not wait for that"
        case Verdict.READY:
            return "ready"


def status_lines(status: Status) -> list[str]:
    """Keys, root keys, data keys and replicas, each in a paragraph."""
    keys = []
    for key in status.keys:
        age = (status.now - (key.activated_at or key.created_at)) // _DAY
        keys.append(
            (f"{key.use} {key.no}", key.state, f"{age} d", str(key.references), key.provider, _next(key, status))
        )
    roots = []
    for root in status.roots:
        due = _date(root.due) + (" (overdue)" if root.due is not None and root.due <= status.now else "")
        roots.append((f"{root.use} {root.key_ref}", _date(root.since), str(root.older), due))
    lines = [*_table(_KEYS, keys), "", *_table(_ROOTS, roots)]
    lines += ["", "data keys: " + ", ".join(f"{name} {count}" for name, count in status.data_keys.items())]
    lines += [f"this process holds: {', '.join(status.holds) or 'nothing'}", ""]
    for one in status.replicas:
        silent = max(0, status.now - one.seen_at) // 1_000_000
        alive = f"seen {silent} s ago" if one.live else f"silent for {silent} s, counts as gone"
        lacks = f"; lacks {', '.join(one.lacks)}" if one.lacks else ""
        without = f"; was not given {', '.join(one.missing)}" if one.missing else ""
        lines.append(f"replica {one.node}: {alive}{lacks}{without}")
    return lines


def _table(head: Mapping[str, str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as what is in them, two spaces apart; `head` is the titles and where each is aligned."""
    columns = zip(head.items(), *rows, strict=True)
    padded = []
    for (title, side), *cells in columns:
        width = max(map(len, (title, *cells)))
        padded.append([f"{cell:{side}{width}}" for cell in (title, *cells)])
    return ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]


def _next(key: KeyStatus, status: Status) -> str:
    if key.state == "pending":
        return "not written under yet: run `keys rotate` to go on"
    if key.state == "destroyed":
        return f"destroyed {_date(key.destroyed_at)}" if key.destroyed_at else "run `keys destroy` to go on"
    if key.state == "retiring" and key.due is None:
        return "not finished: run `keys rotate` to go on"
    if key.due is None:
        return "-"
    verb = "rotate" if key.state == "active" else "destroy"
    return f"{verb} {'from' if key.state == 'retiring' else 'by'} {_date(key.due)}" + (
        " (overdue)" if key.state == "active" and key.due <= status.now else ""
    )


def _date(time: int | None) -> str:
    return rfc3339(time)[:10] if time is not None else "-"

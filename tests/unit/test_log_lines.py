"""Events of the log as FHIR AuditEvents, OCSF lines and CSV: each act, each outcome, each member, and no formula."""

import csv
import io
import json
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from crm.audit.event import FLAGS, Act, Event, Outcome, Who, leaf
from crm.interchange.audit_event import audit_event_of
from crm.interchange.log_lines import COLUMNS, api_activity_of, csv_line, csv_row_of

ID = "0199c0de-0000-7000-8000-000000000001"
TIME = "2026-11-21T18:55:03.123456Z"
ORIGIN = "heed.test/north/1"
SUBJECT = "6f" * 16
PATIENT = "0198f0c2-7a00-7000-8000-000000000001"
WHO = Who(
    iss="https://idp.example", sub="u-0042", roles=("clinician", "front_desk"), org="north", client="crm-web", jti="t-7"
)
BALP = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"


def logged(**facts: Any) -> tuple[dict[str, Any], bytes]:
    """An event as it stands in a log: what it says, and its octets."""
    event = Event(**{"act": Act.READ, "op": "PatientProfile", "req": "r-1", "who": WHO, "pou": "TREAT", **facts})
    octets = leaf(event, id=ID, t=TIME, node="ra-1/boot", n=7)
    return json.loads(octets), octets


def fhir(patient_id: str | None = PATIENT, **facts: Any) -> dict[str, Any]:
    """The AuditEvent of such an event, which the pinned models accept."""
    content, octets = logged(**facts)
    resource = audit_event_of(content, 41, octets, origin=ORIGIN, patient_id=patient_id)
    AuditEvent.model_validate(resource)
    return resource


def codes(entries: list[dict[str, Any]]) -> list[str]:
    """The codes of the types of agents or entities."""
    return [
        entry["type"]["coding"][0]["code"] if "coding" in entry["type"] else entry["type"]["code"] for entry in entries
    ]


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_act_and_outcome_validates(act: Act, outcome: Outcome) -> None:
    """As an AuditEvent, with and without a patient or a caller; the act itself is always among the subtypes."""
    for more in ({}, {"pat": SUBJECT, "obj": 3}, {"who": Who(), "pou": None}, {"flg": tuple(FLAGS), "cnt": 3}):
        resource = fhir(act=act, out=outcome, why="REASON", **more)
        assert {"system": "urn:heed:audit:act", "code": str(act)} in resource["subtype"]
        assert (resource["outcome"], resource["outcomeDesc"]) == (
            {"ok": "0", "partial": "4", "denied": "8", "error": "12"}[outcome], "REASON",
        )  # fmt: skip


def test_a_read_of_a_patient() -> None:
    """The shape of BALP PatientRead: client, server, user and organisation; patient, record and request."""
    resource = fhir(pat=SUBJECT, obj=3, fld=("preferredName", "pronouns"), msk=("birthDate",), rul=("read/TREAT",))
    assert (resource["type"]["code"], resource["subtype"][0]["code"], resource["action"]) == ("rest", "read", "R")
    assert (resource["id"], resource["recorded"]) == (ID, TIME)
    client, server, user, organisation = resource["agent"]
    assert codes(resource["agent"]) == ["110152", "110153", "IRCP", "PROV"]
    assert [agent["requestor"] for agent in resource["agent"]] == [False, False, True, False]
    assert client["who"]["identifier"]["value"] == "crm-web"
    assert server["who"]["identifier"]["value"] == "ra-1/boot"
    assert user["who"]["identifier"] == {"system": "https://idp.example", "value": "u-0042"}
    assert user["policy"] == ["urn:ietf:params:oauth:jti:t-7"]
    assert [role["coding"][0]["code"] for role in user["role"]] == ["clinician", "front_desk"]
    assert user["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
    assert organisation["who"]["identifier"]["value"] == "north"
    assert all("address" not in agent.get("network", {}) for agent in resource["agent"])
    patient, record, request, fields, decision = resource["entity"]
    assert codes(resource["entity"]) == ["1", "2", "XrequestId", "fields", "decision"]
    assert (patient["what"]["reference"], patient["role"]["code"]) == (f"Patient/{PATIENT}", "1")
    assert patient["what"]["identifier"]["value"] == SUBJECT
    assert (record["what"]["reference"], record["role"]["code"]) == (f"Patient/{PATIENT}/_history/3", "4")
    assert (request["type"]["system"], request["what"]["identifier"]["value"]) == (BALP, "r-1")
    assert [(each["type"], each["valueString"]) for each in fields["detail"]] == [
        ("field", "preferredName"), ("field", "pronouns"), ("masked", "birthDate"), ("operation", "PatientProfile"),
    ]  # fmt: skip
    assert [(each["type"], each["valueString"]) for each in decision["detail"]] == [("rule", "read/TREAT")]


def test_a_search() -> None:
    """The shape of BALP Query: the client is the source, and the search itself is an entity."""
    resource = fhir(act=Act.QUERY, cnt=2, qid=ID)
    assert (resource["subtype"][0]["code"], resource["action"]) == ("search-type", "E")
    assert codes(resource["agent"])[:2] == ["110153", "110152"]
    [search] = [entity for entity in resource["entity"] if entity.get("role", {}).get("code") == "24"]
    assert (search["description"], search["query"]) == ("PatientProfile", "UGF0aWVudFByb2ZpbGU=")


def test_somebody_who_was_erased() -> None:
    """Only the random subject is left, and nothing refers to a patient."""
    resource = fhir(None, pat=SUBJECT, obj=3)
    assert resource["entity"][0]["what"] == {
        "type": "Patient",
        "identifier": {"system": "urn:heed:audit:subject", "value": SUBJECT},
    }
    assert "Patient/" not in json.dumps(resource)


@pytest.mark.parametrize("act", Act)
def test_ocsf(act: Act) -> None:
    """What class 6003 requires is there for every act, and the patient by the random subject only."""
    content, _ = logged(act=act, out=Outcome.DENIED, why="FORBIDDEN", pat=SUBJECT, flg=("vip",))
    line = api_activity_of(content, 41, origin=ORIGIN)
    for required in (
        "activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata", "actor", "api",
        "src_endpoint",
    ):  # fmt: skip
        assert required in line
    assert (line["class_uid"], line["category_uid"], line["type_uid"]) == (6003, 6, 600_300 + line["activity_id"])
    assert line["activity_id"] in {1, 2, 3, 4, 99}
    assert line["time"] == 1_795_287_303_123
    assert {"version", "product", "sequence", "uid"} <= line["metadata"].keys()
    assert line["api"]["operation"] == "PatientProfile"
    assert line["actor"]["user"]["uid"] == "u-0042"
    assert (line["status_id"], line["status_detail"]) == (2, "FORBIDDEN")
    assert line["resources"] == [{"type": "Patient", "uid": SUBJECT}]
    assert line["unmapped"]["flg"] == ["vip"]


def test_ocsf_without_a_caller() -> None:
    """An attempt without a valid token still has the actor and the source that the schema asks for."""
    content, _ = logged(act=Act.LOGIN, who=Who(), op="")
    line = api_activity_of(content, 0, origin=ORIGIN)
    assert line["actor"]["user"] == {"name": "unknown", "type_id": 0}
    assert (line["src_endpoint"]["name"], line["api"]["operation"]) == ("unknown", "login")


def test_csv() -> None:
    """Every column has its cell, in order, and a spreadsheet reads them back."""
    content, _ = logged(pat=SUBJECT, obj=3, fld=("preferredName", "pronouns"), cnt=0, flg=("vip",), rul=("a/B",))
    row = csv_row_of(content, 41, PATIENT)
    [read] = csv.DictReader(io.StringIO((csv_line(list(COLUMNS)) + csv_line(row)).decode()))
    assert list(read) == list(COLUMNS)
    assert (read["number"], read["actor"], read["roles"]) == ("41", "u-0042", "clinician front_desk")
    assert (read["patient"], read["audit_subject"], read["fields"]) == (PATIENT, SUBJECT, "preferredName pronouns")
    assert (read["version"], read["count"], read["reason"], read["flags"]) == ("3", "0", "", "vip")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    """What callers chose and a spreadsheet would run is text to it; quotation marks and separators are quoted."""
    evil = f'{start}HYPERLINK("http://x",A1)'
    [[cell, other]] = csv.reader(io.StringIO(csv_line([evil, "plain"]).decode(), newline=""))
    assert (cell, other) == (f"'{evil}", "plain")
    content, _ = logged(who=Who(sub="=1+1", client="@SUM", roles=("clinician",)))
    line = csv_line(csv_row_of(content, 1, None)).decode()
    assert "'=1+1" in line
    assert "'@SUM" in line
    assert ",=1" not in line

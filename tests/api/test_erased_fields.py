"""An error in place of a value: the field fails with its path and its code, and nothing else of the answer does.

The services are fakes that give any field for erased; what makes a field erased is tested with the store.
"""

from typing import Any

import pytest

from crm.catalogue import FIELDS
from crm.errors import Erased
from crm.services.changes import canonical
from tests.asking import EVERYTHING, paths_of, question, whole
from tests.people import WHOLE
from tests.speaking import ANN, FakeServices, speaking

STORED = [
    row.name for row in FIELDS if row.paths and row.name not in {"cultural_need_handling", "cultural_need_detail"}
]
FIELD_OF = {row.name: row.paths[0] for row in FIELDS if row.paths}
VALUES = canonical({name: value for name, value in WHOLE.items() if name != "cultural_needs"})
"""Values in every stored field, with the ids that the service gives them."""
PERSON = {**VALUES, **ANN, "addresses": [{"id": "a1", "city": "Leeds"}], "access_needs": [{"id": "x", "kind": "OTHER"}]}


async def answer(query: str, person: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of what a privacy officer gets of this one person."""
    async with speaking(services=FakeServices(known={"ann": person})) as it:
        status, body = await it.ask(query, "privacy_officer", {"id": "ann"}, **headers)
        return status, body


async def test_without_an_erased_field_there_is_no_error() -> None:
    """The check itself: the person answers every field."""
    status, body = await answer(question(EVERYTHING), PERSON)
    assert (status, "errors" in body) == (200, False)


@pytest.mark.parametrize("name", STORED)
async def test_each_field_alone(name: str) -> None:
    """ERASED at the path of the field, null there, and every other field as it was."""
    _, before = await answer(question(EVERYTHING), PERSON)
    status, body = await answer(question(EVERYTHING), {**PERSON, name: Erased()})
    field = FIELD_OF[name]
    [error] = body["errors"]
    assert status == 200
    assert (error["message"], error["path"]) == ("This was erased.", ["patient", field])
    assert error["extensions"] == {"code": "ERASED"}
    assert body["data"]["patient"] == {**before["data"]["patient"], field: None}


async def test_both_media_types_answer_200() -> None:
    """The operation was executed: a field that failed does not make it a bad request."""
    for kind in ("application/json", "application/graphql-response+json"):
        status, body = await answer(question("id religion"), {**PERSON, "religion": Erased()}, accept=kind)
        assert (status, body["data"]) == (200, {"patient": {"id": "ann", "religion": None}})


NEEDS = question(whole("culturalNeeds"))
HANDLING, DETAIL = "cultural_need_handling", "cultural_need_detail"


@pytest.mark.parametrize(
    ("gone", "fields", "need"),
    [
        ([DETAIL], ["kind", "detail"], {"id": "n1", "kind": None, "handling": "Offer a chaperone.", "detail": None}),
        ([HANDLING], ["handling"], {"id": "n1", "kind": "MODESTY", "handling": None, "detail": None}),
    ],
)
async def test_a_part_of_a_cultural_need(gone: list[str], fields: list[str], need: dict[str, Any]) -> None:
    """What to do and why are of two classes: one may be erased, and only its fields of each need fail."""
    status, body = await answer(NEEDS, {**PERSON, **{name: Erased() for name in gone}})
    assert (status, body["data"]["patient"]["culturalNeeds"]) == (200, [need])
    assert sorted(error["path"][-1] for error in body["errors"]) == sorted(fields)
    assert all(error["path"][:3] == ["patient", "culturalNeeds", 0] for error in body["errors"])
    assert {error["extensions"]["code"] for error in body["errors"]} == {"ERASED"}


@pytest.mark.parametrize(
    "parts",
    [
        {HANDLING: Erased(), DETAIL: Erased()},
        {HANDLING: Erased(), DETAIL: None},
        {HANDLING: None, DETAIL: Erased()},
        {HANDLING: [], DETAIL: Erased()},
    ],
)
async def test_nothing_tells_whether_there_were_needs(parts: dict[str, Any]) -> None:
    """Then the list itself is erased: an empty one would be a statement."""
    _, body = await answer(NEEDS, {**PERSON, **parts})
    [error] = body["errors"]
    assert (error["path"], error["extensions"]) == (["patient", "culturalNeeds"], {"code": "ERASED"})
    assert body["data"] == {"patient": {"culturalNeeds": None}}


async def test_a_batch() -> None:
    """Every patient on their own, beside a refusal; and none goes without its error, however many there are."""
    known = {f"p{number}": {**PERSON, "id": f"p{number}", "contact_points": Erased()} for number in range(250)}
    query = """query Many($ids: [ID!]!) { patients(ids: $ids) {
        ... on Patient { id contactPoints { value verified } } ... on Refusal { id code } } }"""
    async with speaking(services=FakeServices(known=known)) as it:
        status, body = await it.ask(query, "privacy_officer", {"ids": [*known, "absent"]})
    assert status == 200
    assert body["data"]["patients"][-1] == {"id": "absent", "code": "NOT_FOUND"}
    assert body["data"]["patients"][:-1] == [{"id": each, "contactPoints": None} for each in known]
    paths = [error["path"] for error in body["errors"] if error["extensions"] == {"code": "ERASED"}]
    assert paths == [["patients", number, "contactPoints"] for number in range(250)]


async def test_other_failures_stay_counted() -> None:
    """The control: a failure that is no erasure is told a hundred times at most."""
    known = {f"p{number}": {**PERSON, "religion": RuntimeError()} for number in range(150)}
    query = "query Many($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { religion } } }"
    async with speaking(services=FakeServices(known=known)) as it:
        _, body = await it.ask(query, "privacy_officer", {"ids": list(known)})
    assert len(body["errors"]) == 100


async def test_a_whole_patient_who_was_erased() -> None:
    """The service raises: null and ERASED for this root, and the other roots stand."""
    query = "query Two($id: ID!) { patient(id: $id) { displayName } viewer { org } }"

    class Gone(FakeServices):
        async def read(self, *_: Any) -> dict[str, Any]:
            raise Erased

    async with speaking(services=Gone()) as it:
        status, body = await it.ask(query, "privacy_officer", {"id": "ann"})
    assert status == 200
    assert body["data"] == {"patient": None, "viewer": {"org": "north-clinic"}}
    assert [(error["path"], error["extensions"]) for error in body["errors"]] == [(["patient"], {"code": "ERASED"})]


def test_every_field_is_asked() -> None:
    """The check itself: the names above are the fields of the schema, but for the one that is put together."""
    assert {path for name in STORED for path in paths_of(FIELD_OF[name])} >= {"religion", "displayName", "provenance"}

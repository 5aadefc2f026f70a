"""Attacks on the server's attention: each is refused before it is validated, and the next caller is answered."""

import re

import pytest
from graphql.validation.rules import overlapping_fields_can_be_merged

from schema import documents
from schema.errors import Refused
from schema.limits import check, parse_within
from schema.sdl import build_schema
from schema.settings import Settings
from tests.speaking import code, speaking

FAN_OUT = " ".join(
    [
        "{ ...f0 }",
        *(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(20)),
        "fragment f20 on Query { __typename }",
    ]
)
OVERLAPPING = '{ patient(id: "a") { ' + "id " * 150 + "} " + ' patient(id: "b") { id } ' * 100 + "}"

ATTACKS = {
    "fragment fan-out": FAN_OUT,
    "fragment cycle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "10,000 repeated fields": "{ viewer { " + "org " * 10_000 + "} }",
    "1,000 repeated fields with an argument": "{ " + '__type(name: "Q") { name } ' * 1_000 + "}",
    "overlapping fields": OVERLAPPING,
    "aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(500)) + " }",
    "nesting": "{ a " * 5_000 + "}" * 5_000,
    "nested lists in a literal": "{ patient(id: " + "[" * 5_000 + "]" * 5_000 + ") { id } }",
    "directives": "{ __typename " + "@skip(if: false) " * 500 + "}",
    "unknown directives": "{ __typename " + "@aa " * 2_000 + "}",
    "a huge string": '{ patient(id: "' + "x" * 90_000 + '") { id } }',
    "a huge name": "{ " + "x" * 90_000 + " }",
    "a huge comment": "#" + "x" * 90_000 + "\n{ __typename }",
    "many comments": "#\n" * 20_000 + "{ __typename }",
    "many operations": " ".join(f"query Q{n} {{ __typename }}" for n in range(500)),
    "many variables": "query (" + " ".join(f"$v{n}: Int" for n in range(2_000)) + ") { __typename }",
    "introspection in circles": "{ __schema { " + "types { fields { type { " * 8 + "name" + " } } }" * 8 + " } }",
}
REFUSED = {"QUERY_TOO_COSTLY", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_counting_alone_refuses_them(attack: str) -> None:
    """No attack gets as far as validation, which is where it would hurt."""
    limits = Settings().limits
    with pytest.raises(Refused) as refusal:
        check(parse_within(ATTACKS[attack], limits), limits)
    assert refusal.value.code in REFUSED


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("settings", [Settings(), Settings(development=True)], ids=["production", "development"])
async def test_the_server_goes_on(attack: str, settings: Settings) -> None:
    """The attacker gets a typed refusal without data, and the next caller an answer."""
    async with speaking(settings) as speaker:
        status, answer = await speaker.ask(ATTACKS[attack])
        assert (status, code(answer) in REFUSED, "data" in answer) == (200, True, False)
        assert (await speaker.ask("{ viewer { org } }"))[0] == 200


async def test_what_validation_may_spend_is_a_fiftieth_of_the_default() -> None:
    """Fields that all conflict with each other run into graphql-core's own budget, lowered here."""
    assert overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET == 10_000
    query = "{ " + " ".join(f"accessEvents(first: {n % 100}) {{ edges {{ cursor }} }}" for n in range(120)) + " }"
    async with speaking(Settings(development=True)) as speaker:
        _, answer = await speaker.ask(query)
        assert code(answer) in REFUSED
        assert len(answer["errors"]) <= documents.MAX_REPORTED + 1
        assert (await speaker.ask("{ viewer { org } }"))[0] == 200


async def test_introspection_cannot_multiply_its_answer() -> None:
    """Lists do not nest in introspection beyond what tools need."""
    query = "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"
    async with speaking(Settings(development=True)) as speaker:
        _, answer = await speaker.ask(query)
    assert code(answer) in REFUSED


async def test_errors_do_not_amplify() -> None:
    """A small request cannot be answered with a large list of errors."""
    for query in ("{ " + " ".join(f"x{n}" for n in range(300)) + " }", "{ " + "x" * 40_000 + " }"):
        async with speaking(Settings(development=True)) as speaker:
            response = await speaker.post({"query": query})
        assert len(response.json()["errors"]) <= documents.MAX_REPORTED + 1
        assert len(response.content) < 8_000


async def test_enumeration_in_one_request_is_refused() -> None:
    """Many look-ups in one request cost what they touch, by alias, by id and by both."""
    ids = ", ".join(f'"{n}"' for n in range(60))
    by_alias = "{ " + " ".join(f'a{n}: patient(id: "{n}") {{ id }}' for n in range(16)) + " }"
    batches = " ".join(f"a{n}: patients(ids: $ids) {{ __typename }}" for n in range(3))
    by_both = f"query ($ids: [ID!]!) {{ {batches} }}"
    async with speaking() as speaker:
        assert code((await speaker.ask(by_alias))[1]) == "QUERY_TOO_COSTLY"
        _, answer = await speaker.ask(by_both, variables={"ids": [str(n) for n in range(400)]})
        assert code(answer) == "QUERY_TOO_COSTLY"
        assert speaker.services.calls == []
        assert "data" in (await speaker.ask(f"{{ patients(ids: [{ids}]) {{ __typename }} }}"))[1]


async def test_the_cache_of_documents_is_bounded() -> None:
    """Unique texts push each other out; neither their number nor their size grows beyond the setting."""
    engine = documents.Documents(build_schema(), Settings().limits, count=3, size=12_000, refused=2)
    for number in range(50):
        engine.get(f"query Q{number} {{ __typename }}")
        assert len(engine) <= 3
    assert len(engine) == 3
    engine.get("{ __typename } #" + "x" * 2_000)
    assert len(engine) == 2
    kept = engine.get("query Again { __typename }")
    assert engine.get("query Again { __typename }") is kept


async def test_messages_of_refusals_are_fixed_sentences() -> None:
    """None of the attacks is quoted back."""
    async with speaking(Settings(development=True)) as speaker:
        for query in ATTACKS.values():
            _, answer = await speaker.ask(query)
            assert all(re.fullmatch(r"[A-Z][A-Za-z ,']{10,90}\.", error["message"]) for error in answer["errors"])

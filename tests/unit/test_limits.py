"""Limits on documents: every count follows fragments, and stops early."""

import pytest
from graphql import get_introspection_query

from schema.errors import Code, Refused
from schema.limits import check, parse_within
from schema.settings import Limits

LIMITS = Limits()


def refused(text: str, limits: Limits = LIMITS) -> Code | None:
    """The code a document is refused with, or None when it passes."""
    try:
        check(parse_within(text, limits), limits)
    except Refused as refusal:
        return refusal.code
    return None


def deep(levels: int) -> str:
    """A query nested that deep."""
    return "{a" * levels + "}" * levels


def fan_out(fragments: int, spreads: int) -> str:
    """Fragments that each spread the next one several times."""
    chain = [f"fragment f{n} on Query {{ {f'...f{n + 1} ' * spreads} }}" for n in range(fragments)]
    return " ".join(["{ ...f0 }", *chain, f"fragment f{fragments} on Query {{ a }}"])


@pytest.mark.parametrize(
    "text",
    [
        "{ a }",
        deep(10),
        "query A { a } query B { b }",
        "{ ...F ...F } fragment F on Query { a { b } }",
        get_introspection_query(),
    ],
)
def test_honest_documents_pass(text: str) -> None:
    """What clients and their tools really send stays within the limits."""
    assert refused(text) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(deep(11), id="depth"),
        pytest.param("{" + "a " * 401 + "}", id="fields"),
        pytest.param("{" + " ".join(f"x{n}: a" for n in range(16)) + "}", id="aliases"),
        pytest.param("{ a " + "@skip(if: false) " * 21 + "}", id="directives on a field"),
        pytest.param("query " + "@x " * 21 + "{ a }", id="directives on an operation"),
        pytest.param("query ($a: Int " + "@x " * 21 + ") { a }", id="directives on a variable"),
        pytest.param(" ".join(f"query Q{n} {{ a }}" for n in range(11)), id="operations"),
        pytest.param("{ a(x: [" + "1 " * 1000 + "]) }", id="tokens"),
        pytest.param("#\n" * 251 + "{ a }", id="comments"),
        pytest.param('{ a(x: "' + "y" * 50_000 + '") }', id="length"),
        pytest.param("{ a " * 250 + "}" * 250, id="nesting of the text"),
        pytest.param("{ a } fragment F on Query { " + "a " * 401 + "}", id="a fragment nobody spreads"),
        pytest.param("{ ...F ...F ...F } fragment F on Query { " + "a " * 150 + "}", id="spreads count each time"),
        pytest.param(
            "{ a { ...F } } fragment F on A { b { ...G } } "
            "fragment G on B { c { d { e { f { g { h { i { j { k } } } } } } } } }",
            id="depth through fragments",
        ),
        pytest.param("query A { " + "a " * 250 + "} query B { " + "a " * 250 + "}", id="operations together"),
        pytest.param("{ __schema { " + "a { " * 21 + "b " + "} " * 21 + "} }", id="depth of introspection"),
    ],
)
def test_floods_are_too_costly(text: str) -> None:
    """Each flood is refused for what it is."""
    assert refused(text) is Code.QUERY_TOO_COSTLY


def test_fan_out_is_counted_without_being_walked() -> None:
    """Twenty fragments of two spreads are a million fields; sixty are more than could ever be walked."""
    assert refused(fan_out(20, 2)) is Code.QUERY_TOO_COSTLY
    assert refused(fan_out(60, 2)) is Code.QUERY_TOO_COSTLY


def test_long_chains_of_fragments_need_no_stack() -> None:
    """A chain of fragments as long as the tokens allow is counted without recursion."""
    chain = [f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(2000)]
    text = " ".join(["{ ...f0 }", *chain, "fragment f2000 on Query { a }"])
    roomy = Limits(tokens=100_000, source=1_000_000)
    assert refused(text, roomy) is None


@pytest.mark.parametrize(
    "text",
    [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { a { ...A } }",
        "{ a } fragment A on Query { ...B } fragment B on Query { ...A }",
    ],
)
def test_cycles_are_refused(text: str) -> None:
    """A fragment that reaches itself never gets as far as validation."""
    assert refused(text) is Code.GRAPHQL_VALIDATION_FAILED


def test_type_definitions_are_refused() -> None:
    """Only what can be executed is looked at."""
    assert refused("type A { b: Int }") is Code.GRAPHQL_VALIDATION_FAILED


def test_a_syntax_error_tells_its_place_and_nothing_else() -> None:
    """The parser's message, which quotes the document, is not repeated."""
    with pytest.raises(Refused) as refusal:
        parse_within('{ patient(id: "secret" "secret") { id } }', LIMITS)
    assert refusal.value.code is Code.GRAPHQL_PARSE_FAILED
    assert refusal.value.locations == ((1, 24),)
    assert "secret" not in str(refusal.value.text)


@pytest.mark.parametrize(
    "text",
    ['{ a(x: "\\u0000") }', '{ a(x: [{ y: "\\u0000" }]) }', 'query ($v: String = "\\u{0}") { a(x: $v) }'],
)
def test_nul_in_a_literal_is_refused(text: str) -> None:
    """One of the two databases could not store it, so neither is asked to."""
    assert refused(text) is Code.VALIDATION_FAILED


def test_each_limit_can_be_set() -> None:
    """The numbers are arguments; nothing else decides."""
    assert refused(deep(11), Limits(depth=11)) is None
    assert refused("{ a b }", Limits(fields=1)) is Code.QUERY_TOO_COSTLY

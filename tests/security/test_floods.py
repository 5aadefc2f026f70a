"""Floods: what anybody can send without a token, or many times with one, costs little and starves nobody."""

import pytest

from schema import media
from tests.speaking import code, speaking

JSON = "application/json"
READ = '{ patient(id: "ann") { id displayName } }'


@pytest.fixture
def parsed() -> int:
    """How many Accept headers were parsed so far."""
    return media._ranges.cache_info().misses


@pytest.mark.parametrize(
    "accept",
    [
        ",".join(["*/*"] * 33),
        ",".join(["*/*"] * 1_000),
        f"{JSON}; x={'y' * 1_000}",
        ", " * 16_000 + JSON,
        'a/b; a="' + ";" * 16_000 + '"',
    ],
    ids=["33 entries", "1,000 entries", "1,000 characters", "nothing between commas", "semicolons"],
)
async def test_an_endless_accept_header_is_not_parsed(accept: str, parsed: int) -> None:
    """It accepts nothing: 406 before a token is looked at, and without looking into the header."""
    async with speaking() as speaker:
        response = await speaker.post({"query": READ}, role=None, accept=accept)
    assert (response.status_code, code(response.json())) == (406, "VALIDATION_FAILED")
    assert media._ranges.cache_info().misses == parsed
    assert speaker.services.refusals == []


async def test_each_accept_header_is_parsed_once() -> None:
    """However often it comes, for however many media types; 32 entries are allowed."""
    accept = ",".join([*(f"x/y{n}" for n in range(31)), JSON])
    before = media._ranges.cache_info().misses
    for _ in range(3):
        assert media.accepted(accept) == JSON
        assert media.accepted(accept, (media.HTML,)) is None
    assert media._ranges.cache_info().misses == before + 1


async def test_an_endless_content_type_is_not_parsed() -> None:
    """It declares nothing that is read here."""
    before = media._is_json.cache_info().misses
    async with speaking() as speaker:
        response = await speaker.post({"query": READ}, content_type=f'{JSON}; a="' + ";" * 16_000 + '"')
    assert response.status_code == 415
    assert media._is_json.cache_info().misses == before

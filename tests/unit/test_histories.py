"""What a run says under each key, as one digest: survey and take agree, whatever repeats and whatever is refused."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.interchange.histories import Histories

VERSIONS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("1234"), st.booleans()), max_size=20)


@given(VERSIONS)
def test_the_last_version_taken_completes_the_whole(versions: list[tuple[str, str, bool]]) -> None:
    """After the last acceptable version of a key, what was said is what the survey announced."""
    verdict = {(key, content): accepted for key, content, accepted in versions}
    histories = Histories()
    for key, content, _ in versions:
        histories.survey(key, content.encode(), partial(verdict.__getitem__, (key, content)))
    last: dict[str, tuple[bytes, bytes]] = {}
    for key, content, _ in versions:
        said = histories.take(key, content.encode(), acceptable=verdict[key, content])
        if verdict[key, content]:
            last[key] = said, content.encode()
    for key, (said, final) in last.items():
        assert said == histories.whole(key, final)


@pytest.mark.parametrize(
    ("one", "other"), [(["1", "2"], ["2", "1"]), (["1", "2"], ["2"]), (["1", "2", "1"], ["1"]), (["1", "2"], ["1"])]
)
def test_order_and_number_count(one: list[str], other: list[str]) -> None:
    """Two histories that end alike are not the same history."""
    wholes = []
    for versions in (one, other):
        histories = Histories()
        for content in versions:
            histories.survey("k", content.encode(), lambda: True)
        wholes.append(histories.whole("k", b""))
    assert wholes[0] != wholes[1]

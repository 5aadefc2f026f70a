"""Files become records: every form FHIR travels in, and every way in which a file can be damaged."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.interchange.reader import Limits, Record, decode, read
from crm.interchange.rejects import Reason, Refused, Reject

ADA = {"resourceType": "Patient", "id": "ada"}
BEN = {"resourceType": "Patient", "id": "ben"}


def _read(folder: Path, content: bytes, limits: Limits = Limits()) -> list[Record]:  # noqa: B008 - frozen
    file = folder / "input"
    file.write_bytes(content)
    return list(read(file, limits))


def _line(resource: object) -> bytes:
    return json.dumps(resource).encode()


def _what(records: list[Record]) -> list[object]:
    return [record.content.reason if isinstance(record.content, Reject) else record.content["id"] for record in records]


def test_ndjson_keeps_line_numbers_and_skips_blank_lines(tmp_path: Path) -> None:
    """Blank lines are no records, and do not move the numbers of the others."""
    records = _read(tmp_path, b"\n  \n" + _line(ADA) + b"\r\n\n" + _line(BEN))
    assert [(record.line, record.entry) for record in records] == [(3, None), (5, None)]
    assert _what(records) == ["ada", "ben"]
    assert records[0].raw == _line(ADA)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_resource_is_one_record(tmp_path: Path, indent: int | None) -> None:
    """One resource in a file, on one line or printed over many."""
    assert _what(_read(tmp_path, json.dumps(ADA, indent=indent).encode())) == ["ada"]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("kind", ["collection", "searchset", "transaction", "batch"])
def test_a_bundle_gives_its_entries(tmp_path: Path, kind: str, indent: int | None) -> None:
    """Every type of Bundle; an entry without a resource is a reject, not a gap."""
    bundle = {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"resource": ADA}, {"request": {"method": "DELETE", "url": "Patient/x"}}, {"resource": BEN}],
    }
    records = _read(tmp_path, json.dumps(bundle, indent=indent).encode())
    assert _what(records) == ["ada", Reason.NO_RESOURCE, "ben"]
    assert [record.entry for record in records] == [0, 1, 2]
    assert json.loads(records[2].raw or b"") == BEN


def test_a_history_is_read_from_its_end(tmp_path: Path) -> None:
    """FHIR puts the newest version first; here the last word counts. The entry still says where it stood."""
    bundle = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": ADA}, {"resource": BEN}]}
    records = _read(tmp_path, _line(bundle))
    assert (_what(records), [record.entry for record in records]) == (["ben", "ada"], [1, 0])


def test_a_bundle_may_be_a_line_among_others(tmp_path: Path) -> None:
    """NDJSON of Bundles: the line and the entry say where a record stood."""
    records = _read(tmp_path, _line(ADA) + b"\n" + _line({"resourceType": "Bundle", "entry": [{"resource": BEN}]}))
    assert [(record.line, record.entry) for record in records] == [(1, None), (2, 0)]


def test_an_empty_bundle_and_an_empty_file_hold_nothing(tmp_path: Path) -> None:
    """No record is no error."""
    assert _read(tmp_path, b"") == []
    assert _read(tmp_path, b" \n\n") == []
    assert _read(tmp_path, _line({"resourceType": "Bundle", "type": "searchset"})) == []


@pytest.mark.parametrize("content", [_line(ADA) + b"\n" + _line(BEN), json.dumps(ADA, indent=1).encode()])
def test_gzip_is_seen_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    """A packed file reads like the plain one, whatever it is called."""
    assert _read(tmp_path, gzip.compress(content)) == _read(tmp_path, content)


def test_a_cut_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    """A truncated download: the readable records stay, and the end is a reject."""
    lines = b"".join(
        _line({"resourceType": "Patient", "id": f"p{number}-{number * 7919}"}) + b"\n" for number in range(4000)
    )
    records = _read(tmp_path, gzip.compress(lines)[:-2000])
    assert len(records) > 100
    assert _what(records)[-1] is Reason.BAD_GZIP
    assert all(isinstance(record.content, dict) for record in records[:-1])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", Reason.NOT_JSON),
        (b'{"a": NaN}', Reason.NOT_JSON),
        (b'{"a": 1} trailing', Reason.NOT_JSON),
        (b"\xff\xfe{}", Reason.NOT_UTF8),
        (b'{"id": "caf\xe9"}', Reason.NOT_UTF8),
        (b"[1, 2]", Reason.NOT_AN_OBJECT),
        (b'"Patient"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b'{"id": "a", "id": "b"}', Reason.DUPLICATE_KEY),
        (b'{"name": [{"use": "usual", "use": "old"}]}', Reason.DUPLICATE_KEY),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, Reason.TOO_DEEP),
        (b'{"a": ' + b"9" * 5000 + b"}", Reason.NOT_JSON),
        (b'{"resourceType": "Bundle", "entry": {}}', Reason.BAD_TYPE),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_line_is_one_reject_and_spares_the_others(
    tmp_path: Path, line: bytes, reason: Reason, first: bool
) -> None:
    """Whatever a line holds, it costs that line only, also where it is the first one."""
    lines = [line, _line(ADA)] if first else [_line(ADA), line]
    records = _read(tmp_path, b"\n".join(lines))
    assert _what(records) == ([reason, "ada"] if first else ["ada", reason])
    assert [record.line for record in records] == [1, 2]


def test_a_broken_document_is_one_reject(tmp_path: Path) -> None:
    """A printed resource that lacks its end is one bad record, not one for each line."""
    assert _what(_read(tmp_path, json.dumps(ADA, indent=2).encode()[:-2])) == [Reason.NOT_JSON]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """Some editors put one before the first line."""
    assert _what(_read(tmp_path, b"\xef\xbb\xbf" + _line(ADA) + b"\n" + _line(BEN))) == ["ada", "ben"]


def test_a_line_above_the_limit_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    """A record that would fill the memory is not read into it."""
    long = _line({"resourceType": "Patient", "id": "x" * 500})
    for content in (long + b"\n" + _line(BEN), _line(ADA) + b"\n" + long + b"\n" + _line(BEN)):
        records = _read(tmp_path, content, Limits(line=100))
        assert _what(records)[-2:] == [Reason.TOO_LARGE, "ben"]
        assert records[-2].raw is None


def test_a_bundle_on_one_line_may_be_as_large_as_a_document(tmp_path: Path) -> None:
    """Servers write a Bundle of thousands of records on a single line."""
    entries = [{"resource": {"resourceType": "Patient", "id": f"p{number}"}} for number in range(50)]
    bundle = _line({"resourceType": "Bundle", "entry": entries})
    assert len(_read(tmp_path, bundle, Limits(line=100))) == 50
    assert _what(_read(tmp_path, bundle, Limits(line=100, document=1000))) == [Reason.TOO_LARGE]
    printed = json.dumps({"resourceType": "Bundle", "entry": entries}, indent=1).encode()
    assert _what(_read(tmp_path, printed, Limits(line=100, document=1000))) == [Reason.TOO_LARGE]


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(raw: bytes) -> None:
    """Any bytes are a JSON value or a refusal."""
    try:
        decode(raw)
    except Refused as refused:
        assert refused.reject.path == ""


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_no_file_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], packed: bool) -> None:
    """Any file is records and rejects."""
    content = b"\n".join(lines)
    file = tmp_path_factory.mktemp("fuzz") / "input"
    file.write_bytes(gzip.compress(content)[: len(content)] if packed else content)
    for record in read(file):
        assert isinstance(record.content, dict | Reject)

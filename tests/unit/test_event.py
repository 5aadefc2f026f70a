"""The access event: what it takes, what it refuses, and what stands in its leaf."""

import hashlib
import json

import pytest

from crm.audit.entry import draft, index_of, number, restore
from crm.audit.event import FLAGS, MAX_LEAF, Act, Event, Outcome, Who, leaf, leaf_hash, rfc3339

ID = "0199c0de-0000-7000-8000-000000000001"
TIME = "2026-11-21T18:55:03.123456Z"
SUBJECT = "6f1c9a64d2b94a0c8f7be30412c5a9d1"
NURSE = Who(iss="https://idp.example", sub="u-0042", roles=("front_desk",), org="north", client="crm-web", jti="t-1")


def parsed(event: Event) -> dict[str, object]:
    """The leaf's members."""
    content: dict[str, object] = json.loads(leaf(event, id=ID, t=TIME, node="ra-1/boot", n=7))
    return content


def test_leaf_of_a_read() -> None:
    """A read names the caller, the purpose, the pseudonym, the fields and the version, with sorted keys and lists."""
    event = Event(
        Act.READ,
        op="PatientProfile",
        req="01JD7Q4Z5N9W2T0R8K3M6P1XYC",
        who=NURSE,
        pou="TREAT",
        pat=SUBJECT,
        fld=("preferredName", "contactPoints", "preferredName"),
        msk=("contactPoints",),
        obj=7,
        flg=("restricted",),
        pol="sha256:0a1b",
        rul=("front_desk.treat",),
    )
    assert leaf(event, id=ID, t=TIME, node="ra-1/boot", n=7) == (
        b'{"act":"read","fld":["contactPoints","preferredName"],"flg":["restricted"],'
        b'"id":"0199c0de-0000-7000-8000-000000000001","msk":["contactPoints"],"obj":[{"t":"Patient","ver":7}],'
        b'"op":"PatientProfile","out":"ok","pat":"6f1c9a64d2b94a0c8f7be30412c5a9d1",'
        b'"pol":{"d":["front_desk.treat"],"v":"sha256:0a1b"},"pou":["TREAT"],"req":"01JD7Q4Z5N9W2T0R8K3M6P1XYC",'
        b'"src":{"n":7,"node":"ra-1/boot"},"t":"2026-11-21T18:55:03.123456Z","v":1,'
        b'"who":{"client":"crm-web","iss":"https://idp.example","jti":"t-1","org":"north","roles":["front_desk"],'
        b'"sub":"u-0042"}}'
    )


def test_unset_members_are_left_out() -> None:
    """An attempt without a token has no `who`; nothing is null or empty."""
    assert parsed(Event(Act.LOGIN, Outcome.DENIED, why="EXPIRED")) == {
        "v": 1,
        "id": ID,
        "t": TIME,
        "act": "login",
        "out": "denied",
        "why": "EXPIRED",
        "src": {"node": "ra-1/boot", "n": 7},
    }


def test_zero_found_is_said() -> None:
    """A search without a hit says 0, unlike an event that counts nothing."""
    assert parsed(Event(Act.QUERY, cnt=0))["cnt"] == 0
    assert "cnt" not in parsed(Event(Act.QUERY))


@pytest.mark.parametrize(
    "wrong",
    [
        {"fld": ("Ada Lovelace",)},
        {"fld": ("contactPoints.0.value",)},
        {"msk": ("+441632960961",)},
        {"chg": ("name\u0000",)},
        {"pat": "MRN-1234567"},
        {"pat": SUBJECT.upper()},
        {"pou": "to see"},
        {"qid": "not-a-uuid"},
        {"ref": "the night of the storm"},
        {"ref": "0199C0DE-0000-7000-8000-000000000001"},
        {"sealed": "sha256:9f86"},
        {"sealed": "found her on the floor"},
        {"why": "no such patient: Ada"},
        {"pol": "latest version"},
        {"rul": ("rule with a value=1",)},
        {"flg": ("celebrity",)},
        {"obj": -1},
        {"cnt": 2**53},
        {"cnt": 1.0},
        {"cnt": True},
        {"fld": tuple(f"f{number}" for number in range(1001))},
        {"rul": tuple(f"r{number}" for number in range(17))},
    ],
)
def test_own_members_must_fit_their_pattern(wrong: dict[str, object]) -> None:
    """What Heed itself fills in is a code, a path or a pseudonym; anything else is refused without being quoted."""
    with pytest.raises(RuntimeError) as refused:
        Event(Act.READ, **wrong)  # type: ignore[arg-type]
    assert "Ada" not in str(refused.value)
    assert "MRN" not in str(refused.value)


def test_unknown_act_or_outcome() -> None:
    """Acts and outcomes are closed lists."""
    with pytest.raises(ValueError):
        Event("peek")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Event(Act.READ, "fine")  # type: ignore[arg-type]


def test_foreign_identifiers_become_digests() -> None:
    """What callers choose is kept when it looks like an identifier, else as its SHA-256: not refused, not readable."""
    strange = "Grace Hopper, born 1906"
    event = Event(Act.READ, op=strange, req="x" * 129, who=Who(iss="https://idp.example", sub=strange, jti="jürgen"))
    content = leaf(event, id=ID, t=TIME, node="n", n=1).decode()
    assert "Grace" not in content
    assert content.count("sha256:" + hashlib.sha256(strange.encode()).hexdigest()) == 2
    assert "jürgen" not in content
    assert content.isascii()


def test_lone_surrogate_in_a_subject() -> None:
    """Even a subject that is not valid Unicode is recorded, as a digest."""
    assert Who(sub="\ud800").sub.startswith("sha256:")


def test_too_many_fields_are_counted() -> None:
    """A leaf never exceeds its limit; `cut` says how many paths each list lost."""
    many = tuple(f"group{number}.field{number}" for number in range(900))
    event = Event(Act.EXPORT, fld=many, msk=many[:10], chg=many[:400])
    octets = leaf(event, id=ID, t=TIME, node="n", n=1)
    assert len(octets) <= MAX_LEAF
    content = json.loads(octets)
    assert content["cut"]["fld"] + len(content["fld"]) == 900
    assert content["cut"]["chg"] + len(content["chg"]) == 400
    assert len(content["msk"]) == 10
    assert content["fld"] == sorted(content["fld"])


def test_longest_possible_members_fit() -> None:
    """Every member at its longest still leaves room: what is not a list of paths is never cut."""
    event = Event(
        Act.AUDIT_EXPORT,
        Outcome.PARTIAL,
        op="o" * 128,
        req="r" * 128,
        who=Who(*("~" * 255,) * 2, tuple("a" * 94 + f"{n:02}" for n in range(16)), *("~" * 255,) * 3),
        pou="P" * 16,
        pat=SUBJECT,
        fld=tuple(".".join([f"f{n:063}"] * 6) for n in range(1000)),
        obj=2**53 - 1,
        cnt=2**53 - 1,
        qid=ID,
        flg=tuple(FLAGS),
        why="w" * 96,
        pol="s" * 16 + ":" + "v" * 96,
        rul=tuple("r" * 94 + f"{n:02}" for n in range(16)),
    )
    octets = leaf(event, id=ID, t=TIME, node="n" * 200, n=2**53 - 1)
    assert len(octets) <= MAX_LEAF
    assert "fld" in json.loads(octets)


def test_leaf_hash_is_of_rfc_6962() -> None:
    """The empty leaf of RFC 6962 section 2.1 hashes to a known value (also in transparency-dev/merkle)."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_time_has_a_fixed_width() -> None:
    """Microseconds are always written, so that text order is time order."""
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(1_795_287_303_123_456) == "2026-11-21T18:55:03.123456Z"


def test_index_is_derived_from_the_leaf() -> None:
    """The columns by which officers search are what a verifier computes from the octets."""
    event = Event(
        Act.EXPORT,
        Outcome.DENIED,
        who=NURSE,
        pou="HMARKT",
        pat=SUBJECT,
        flg=("break_glass", "vip"),
        req="r-1",
    )
    entry = number(draft(event, 1_795_287_303_123_456), "ra-1/boot", 3)
    assert entry.index == index_of(json.loads(entry.leaf))
    assert entry.leaf_hash == leaf_hash(entry.leaf)
    index = entry.index
    assert (index.ts, index.pat, index.actor, index.role) == (1_795_287_303_123_456, SUBJECT, "u-0042", "front_desk")
    assert (index.pou, index.act, index.out, index.flags) == ("HMARKT", "export", 8, 17)
    assert (index.disc, index.req) == (1, "r-1")


def test_flags_have_their_own_bits() -> None:
    """No two circumstances share a bit of the index."""
    assert len(set(FLAGS.values())) == len(FLAGS)
    assert all(bit.bit_count() == 1 for bit in FLAGS.values())


def test_draft_survives_the_outbox() -> None:
    """A staged event is the same after a trip through the outbox; the finder of an orphan says whose it was."""
    staged = draft(Event(Act.UPDATE, pat=SUBJECT, chg=("pronouns",)), 5, staged_by="ra-2/run")
    back = restore(staged.octets())
    assert back == staged
    assert json.loads(number(back, "ra-2/run", 4).leaf)["src"] == {"node": "ra-2/run", "n": 4}
    orphan = number(back, "ra-1/run", 9, orphan=True)
    assert json.loads(orphan.leaf)["src"] == {"node": "ra-1/run", "n": 9, "for": "ra-2/run"}
    assert orphan.id == staged.id
    assert staged.created_at == 5

"""The attack list: what was tried against keys and sealed records, and which tests try it.

A test belongs to an attack by its name: `test_e08_…` tries E-08. `python -m tests.attacks > docs/attacks.md` writes its
page anew; a test compares the two, and fails when an attack has no test.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["ATTACKS", "Attack", "Trial", "page", "trials"]

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"test_(e\d\d)_(\w+)")
_ENGINES = {"engine", "shared_engine"}


class Attack(NamedTuple):
    """One line of the list. `control` is the same attack where it succeeds; `stored` whether a database is involved."""

    id: str
    attempt: str
    passes: str
    control: str
    stored: bool = True


ATTACKS: tuple[Attack, ...] = (
    Attack("E-01", "A cell moved to another field of its row.", "Tampered.",
           "A cipher that leaves out the associated data opens it."),
    Attack("E-02", "A cell, a row, or a row with its key, moved to another patient, class or organisation.",
           "Tampered each time.", "As E-01; and everything back in its place is answered."),
    Attack("E-03", "A wrapped data key moved to another patient, class, number or epoch.", "Tampered each time.",
           "As E-01; and in its place it unwraps."),
    Attack("E-04", "Every single bit of a cell and of a wrapped key flipped; bits of stored rows flipped in SQL.",
           "All refused by one kind of error, without any plaintext.", "Untouched, they open."),
    Attack("E-05", "Every truncation, anything longer, nothing, and plain text in the column.",
           "Refused; never returned as a value.", "Untouched, they open."),
    Attack("E-06", "Names of organisation, entity, field or row shifted against each other.",
           "Different places have different bindings, for any names.",
           "Names joined without their lengths are the same.", stored=False),
    Attack("E-07", "Another format, algorithm, codec or key number in a header.",
           "Tampered: what is accepted is the reader's expectation, not the record's choice.", "As written, it opens."),
    Attack("E-08", "An older cell of the same place put back.",
           "The row seal refuses, at each read and in `keys verify`.", "The old cell alone opens."),
    Attack("E-09", "A clear column edited: restriction, status, provenance, version, classes.",
           "The row seal refuses, at each read and in `keys verify`.", "Set by the service, it is answered."),
    Attack("E-10", "A whole row put back with its seal and its version.",
           "`keys verify` finds it by the access log.", "The record as it should be gives no finding."),
    Attack("E-11", "The wrong wrap key; an unknown epoch; a destroyed one; a provider that is away.",
           "Tampered; UnknownKey after exactly one look at the key store; KeyDestroyed; ProviderUnavailable; "
           "none taken for another.", "With the right keys the record is read."),
    Attack("E-12", "Keys tried one after another; data keys or values remembered.",
           "One decryption for each cell, seal and data key, counted on real reads; what was changed, exchanged or "
           "shredded meanwhile is noticed at the very next read.", "The counts of untouched reads."),
    Attack("E-13", "Eight forked children and eight threads sealing with one inherited key.", "All nonces differ.",
           "From a stock that was drawn ahead, 160,000 nonces are 20,000.", stored=False),
    Attack("E-14", "A source of randomness under watch; a nonce from outside.",
           "Every message draws its own 12 octets where it is sealed; nothing takes a nonce.",
           "The cipher beneath does take one.", stored=False),
    Attack("E-15", "Known answers of another program; tables and columns renamed.",
           "Octet for octet; old data read as before.", "Another nonce gives other octets."),
    Attack("E-16", "A database of an older release; a reader that is not Heed.",
           "Every released format opens, is searched and changed; fifty lines of Python read every field.",
           "One octet of the format changed, and nothing opens."),
    Attack("E-17", "A dump and a dictionary, without the key: plain hashes, known keys, guessed keys.",
           "Nobody is found.", "An unkeyed SHA-256 gives everybody away at once."),
    Attack("E-18", "The same dictionary with the key.",
           "It works, as the documents say; once the index key is destroyed, not on old copies either.",
           "Before that, everybody is found."),
    Attack("E-19", "One value in two organisations or two indexes compared.", "Unrelated index values.",
           "In one place equal values are equal."),
    Attack("E-20", "Counting: the commonest index value is the commonest name.",
           "Below a thousandth of 20,000 people are named, by any index of the catalogue.",
           "Surname alone: 78 % of those with one of the ten commonest, and cutting to 12 bits is no cure.",
           stored=False),
    Attack("E-21", "Two values forced to share an index value; index rows moved to another patient.",
           "A search answers the true match only.", "Both are candidates."),
    Attack("E-22", "One name, number, address or identifier spelled in many ways.",
           "Equal and unequal exactly as tabled; normalising twice is normalising once.",
           "The table of what must differ."),
    Attack("E-23", "Unique texts in every field, searched for in every form, wherever octets remain.",
           "None in tables, files, write-ahead logs, journal, ledger, receipts, logs, errors, metrics; no root key "
           "outside the key ring.", "The search knows each form; answers to those who may read hold them."),
    Attack("E-24", "Failures of driver, cipher and provider in mid-work, with every local variable printed.",
           "No value from the store down; an incident for the client, a type and a place in the log.",
           "Encryption in the ORM's mapping leaks it, even with hidden parameters."),
    Attack("E-25", "`repr`, `%s`, f-strings, JSON, pickle of whatever holds a key; SQLAlchemy engines that echo.",
           "Nothing to see, or refused; parameters hidden.", "The wrapped octets are there.", stored=False),
    Attack("E-26", "Rotation of wrap and index keys while processes read, write and search.",
           "No failed request, no missed search.", "The requests are counted."),
    Attack("E-27", "Rotation killed at random points.", "It resumes; no data key is lost.",
           "The count under the old epoch falls to nothing only then."),
    Attack("E-28", "Two rotators at once; a replica that knows an old key set.",
           "Nothing wrapped twice; the replica looks once and succeeds.", "One rotator does the same."),
    Attack("E-29", "A key destroyed that something still needs.", "Refused.", "Once nothing needs it, it goes."),
    Attack("E-30", "Reading, searching, listing, exporting what was erased; looking for its octets in the file.",
           "ERASED; no index row; no octet of the wrapped key.", "Before the erasure all of it is there."),
    Attack("E-31", "A writer that opened the record before the erasure.", "Nothing comes back.",
           "Without the guard it would."),
    Attack("E-32", "A second process after the erasure.", "ERASED at its next read.", "Before, it answers."),
    Attack("E-33", "An old copy of the records with the newest key store.",
           "The service does not start until the erasures were done again.", "Then everybody else is answered."),
    Attack("E-34", "Old copies of records and key store, after the epochs were destroyed.",
           "Nothing opens, and the receipt said from when on.", "Before that, the old copies open."),
    Attack("E-35", "The ledger of erasures edited, cut, reordered.", "The chain does not hold.",
           "As written, it does."),
    Attack("E-36", "Wrong context, flipped bits, every other length, rotation, destruction: at each provider.",
           "Key ring, environment, Vault (OpenBao) and AWS KMS behave alike.", "The round trip.", stored=False),
    Attack("E-37", "A key ring that others may read or replace; a link, a pipe, half a file.",
           "Refused with what to do, or the old one stays in use.", "A proper ring loads.", stored=False),
    Attack("E-38", "Core dump, tracing, environment and words of a running server; pickled keys.",
           "None has a key. Not claimed: that keys are gone from the memory of a live process.",
           "Before hardening the process was dumpable.", stored=False),
    Attack("E-39", "Yes, no and unknown told apart by the length of the cell.", "Equal lengths within a block.",
           "Their plaintexts differ in length."),
    Attack("E-40", "A price that grows unnoticed.",
           "Twelve cells cost twelve decryptions, a seal and a data key; no root key is asked. Times are measured as "
           "ratios by `make bench`.", "The counts themselves."),
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One test of an attack: its file below `tests/`, what its name says, and whether it runs on both engines."""

    attack: str
    file: str
    name: str
    both: bool


@cache
def trials() -> tuple[Trial, ...]:
    """Every test whose name carries an attack, in the order of files and lines."""
    shared = _fixtures(*(ROOT / "tests").rglob("conftest.py"))
    return tuple(test for path in sorted((ROOT / "tests").rglob("test_*.py")) for test in _of(path, shared))


def _of(path: Path, shared: dict[str, set[str]]) -> Iterator[Trial]:
    known = {**shared, **_fixtures(path)}
    for function in _functions(path):
        if match := _NAME.fullmatch(function.name):
            attack, name = match.groups()
            both = bool(_ENGINES & _needed(_arguments(function), known))
            yield Trial(f"{attack[0].upper()}-{attack[1:]}", str(path.relative_to(ROOT)), name, both)


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {argument.arg for argument in function.args.args}


def _fixtures(*paths: Path) -> dict[str, set[str]]:
    """For each fixture of these files, what it asks for."""
    return {
        function.name: _arguments(function)
        for path in paths
        for function in _functions(path)
        if any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)
    }


def _needed(names: set[str], known: dict[str, set[str]]) -> set[str]:
    """These fixtures and all that they ask for in turn."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= known.get(name, set()) - found
    return found


def page() -> str:
    """The text of `docs/attacks.md`."""
    return "\n".join([_HEAD, *map(_line, ATTACKS), _MIDDLE, *map(_named, ATTACKS), ""])


def _line(attack: Attack) -> str:
    both = "both" if any(test.both for test in trials() if test.attack == attack.id) else "–"
    return f"| {attack.id} | {attack.attempt} | {attack.passes} | {attack.control} | {both} |"


def _named(attack: Attack) -> str:
    files: dict[str, list[str]] = {}
    for test in trials():
        if test.attack == attack.id:
            files.setdefault(test.file, []).append(f"`{test.name}`")
    told = "; ".join(f"[{Path(file).stem}](../{file}): {', '.join(names)}" for file, names in files.items())
    return f"* **{attack.id}** {told}"


_HEAD = """# The attack list

<!-- Generated from tests/attacks.py by `python -m tests.attacks > docs/attacks.md`; do not edit. -->

Forty attacks on keys and sealed records, each with what has to come of it, and each with a control: the same thing
where it succeeds, so that the refusal is known to come from the defence and not from a broken test. Most attackers here
may write to the database, as whoever stole a password or can inject a statement may, and have no keys. Attacks in which
a database takes part run on SQLite and on PostgreSQL, most of them through the whole service: planted in SQL, asked
through GraphQL. There they end in an incident or a typed refusal, are on record, and change nothing.

| id | the attack | passes when | control | engines |
|---|---|---|---|---|"""

_MIDDLE = """
A – stands where no database takes part.

## The tests

A test belongs to an attack by its name: `test_e08_…` tries E-08. Run those of one attack with
`make test ARGS="-k test_e08"`; a few long ones are drills, which `make drills` runs.
"""


if __name__ == "__main__":
    sys.stdout.write(page())

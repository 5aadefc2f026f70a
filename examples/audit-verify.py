"""Checks the evidence that an access log gave out, without the service that wrote it. One file, no network.

    python3 audit-verify.py bundle DIR --key KEY [--witness KEY ...] [--policy FILE] [--earlier CHECKPOINT ...]
    python3 audit-verify.py proof FILE.tlog-proof --key KEY [--leaf FILE] [--witness KEY ...] [--policy FILE]
    python3 audit-verify.py compare A B --key KEY

KEY is the log's verifier key (`name+id+base64`). Have it from somebody you trust, not from the bundle: whoever forges a
bundle can put a key of his own into it. A and B are bundles, or files with a checkpoint. Needs Python 3.11 and no more.

Exit status: 0 all well; 1 the evidence is wrong, and the first line says what and where; 2 it could not be looked at;
3 (compare) the two do not contradict each other, but what was given does not show that one continues the other.

The formats are public: RFC 6962 (the tree), RFC 8032 (Ed25519), and of c2sp.org: signed-note, tlog-checkpoint,
tlog-tiles, tlog-proof, tlog-cosignature, tlog-policy. An event is one line of JSON (RFC 8785).
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


class Wrong(Exception):
    """The evidence does not hold; says why. Further arguments are lines that prove it."""


class Unusable(Exception):
    """Something needed for the check is missing or malformed, which says nothing about the log."""


def say(line: str) -> None:
    """Prints one line. What is in a bundle may be a forger's: nothing of it steers a terminal or ends the line."""
    print(plain(line))


def plain(text: str) -> str:
    """The text with everything that cannot be printed written out, as `repr` does it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


# --- Ed25519 (RFC 8032, section 5.1), verification only --------------------------------------------------------------
PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT_OF_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)
Point = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T): x = X / Z, y = Y / Z, x * y = T / Z."""
NEUTRAL: Point = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    """The sum of two points."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % PRIME, (p[1] + p[0]) * (q[1] + q[0]) % PRIME
    c, d = 2 * p[3] * q[3] * CURVE % PRIME, 2 * p[2] * q[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def multiply(scalar: int, point: Point) -> Point:
    """The point, added to itself `scalar` times."""
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def equal(p: Point, q: Point) -> bool:
    """Whether two points are the same."""
    return (p[0] * q[2] - q[0] * p[2]) % PRIME == 0 and (p[1] * q[2] - q[1] * p[2]) % PRIME == 0


def decoded(octets: bytes) -> Point | None:
    """The point that 32 octets say (5.1.3), None for anything but its one canonical form."""
    number = int.from_bytes(octets, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if len(octets) != 32 or y >= PRIME:
        return None
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * ROOT_OF_MINUS_ONE % PRIME
    if (x * x - square) % PRIME or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = PRIME - x
    return x, y, 1, x * y % PRIME


BASE = decoded((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little")) or NEUTRAL
"""The point that every key is a multiple of; its y is 4/5."""


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is one of this message by this key (5.1.7). Keys of small order sign nothing here."""
    key, half, scalar = decoded(public), decoded(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or key is None or half is None or scalar >= ORDER or equal(multiply(8, key), NEUTRAL):
        return False
    digest = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return equal(multiply(scalar, BASE), add(half, multiply(digest, key)))


# --- keys, signed notes, checkpoints ---------------------------------------------------------------------------------
LOG, WITNESS = 1, 4
"""What a key is for: the first octet of the key in a verifier key."""
LAST_TIME = 253_402_300_799
"""The last second of the year 9999."""


def unbase64(text: str, what: str) -> bytes:
    """The octets of canonical base64: each text has one meaning, and each meaning one text."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not octets or base64.b64encode(octets).decode() != text:
        raise Wrong(f"{what} is not base64")
    return octets


@dataclass(frozen=True)
class Key:
    """A verifier key: a name, four octets by which a signature says whose it is, the kind and the public key."""

    text: str
    name: str
    id: bytes
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Raises Unusable for what is no verifier key of Ed25519. The id is computed again: it vouches for itself."""
        try:
            name, number, encoded = text.strip().split("+", 2)
            octets, key_id = unbase64(encoded, "a verifier key"), bytes.fromhex(number)
        except (ValueError, Wrong):
            raise Unusable(f"not a verifier key: {text.strip()[:200]}") from None
        known = hashlib.sha256(name.encode() + b"\n" + octets).digest()[:4]
        if not name or len(octets) != 33 or octets[0] not in (LOG, WITNESS) or key_id != known:
            raise Unusable(f"not a verifier key of Ed25519: {text.strip()[:200]}")
        return cls(text.strip(), name, key_id, octets[0], octets[1:])


@dataclass(frozen=True)
class Checkpoint:
    """What a log said of itself at one time, with the lines of those who signed it (name, key id, signature)."""

    note: str
    text: str
    origin: str
    size: int
    root: bytes
    lines: Sequence[tuple[str, bytes, bytes]]

    @classmethod
    def parse(cls, octets: bytes) -> "Checkpoint":
        """Raises Wrong for anything but three lines, an empty one, and at least one line of a signature."""
        try:
            note = octets.decode()
        except UnicodeDecodeError:
            raise Wrong("the checkpoint is not UTF-8") from None
        text, gap, rest = note.rpartition("\n\n")
        *lines, end = rest.split("\n")
        parts = text.split("\n")
        if (
            not gap
            or end
            or not lines
            or len(lines) > 100
            or len(parts) != 3
            or re.search(r"[\x00-\x09\x0b-\x1f]", note)
        ):
            raise Wrong("the checkpoint has another form than it should")
        origin, size, root = parts[0], parts[1], unbase64(parts[2], "the root in the checkpoint")
        if not origin or not re.fullmatch("0|[1-9][0-9]{0,18}", size, re.ASCII) or len(root) != 32:
            raise Wrong("the checkpoint has another form than it should")
        return cls(note, text + "\n", origin, int(size), root, [cls._line(line) for line in lines])

    @staticmethod
    def _line(line: str) -> tuple[str, bytes, bytes]:
        match = re.fullmatch("\N{EM DASH} ([^ +]+) ([^ ]+)", line)
        octets = unbase64(match[2], "a signature") if match else b""
        if match is None or len(octets) <= 4:
            raise Wrong("a signature in the checkpoint has another form than it should")
        return match[1], octets[:4], octets[4:]

    def signature_of(self, key: Key) -> bool:
        """Whether this log's key signed it. Raises Wrong for a signature that claims to be of the key and is not."""
        found = [each for name, key_id, each in self.lines if (name, key_id) == (key.name, key.id)]
        if not all(signed(key.public, self.text.encode(), each) for each in found):
            raise Wrong("the log's signature is not one of this checkpoint")
        return bool(found)

    def witnessed_at(self, key: Key) -> int | None:
        """When this witness cosigned it, in seconds since 1970; None if it did not. Raises Wrong for a forged line."""
        times = []
        for name, key_id, each in self.lines:
            if (name, key_id) == (key.name, key.id):
                time = int.from_bytes(each[:8], "big")
                message = f"cosignature/v1\ntime {time}\n{self.text}".encode()
                if len(each) != 72 or time > LAST_TIME or not signed(key.public, message, each[8:]):
                    raise Wrong(f"the cosignature of {key.name} is not one of this checkpoint")
                times.append(time)
        return max(times, default=None)


def opened(octets: bytes, keys: Iterable[Key], what: str = "the checkpoint") -> Checkpoint:
    """A checkpoint that one of the trusted keys signed; a log's key has the name of its log."""
    checkpoint = Checkpoint.parse(octets)
    if not any(key.name == checkpoint.origin and checkpoint.signature_of(key) for key in keys if key.kind == LOG):
        raise Wrong(f"{what} (of the log {checkpoint.origin}) is not signed by a key that is trusted here")
    return checkpoint


# --- policy: whose cosignatures are enough (c2sp.org/tlog-policy) ----------------------------------------------------
LONGEST_POLICY = 1_000
"""Lines. No operator names so many witnesses."""


@dataclass
class Policy:
    """Named witnesses, groups of them with how many are needed, and the name that must be reached."""

    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    quorum: str = "none"

    @classmethod
    def of(cls, keys: Sequence[Key]) -> "Policy":
        """Every one of these witnesses is needed."""
        names = [f"w{n}" for n in range(len(keys))]
        named = dict(zip(names, keys, strict=True))
        return cls(named, {"all": (len(keys), names)} if keys else {}, "all" if keys else "none")

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Raises Unusable for what is no policy, and for one in which a witness could count twice."""
        policy, quorum = cls(), 0
        lines = text.split("\n")
        if len(lines) > LONGEST_POLICY:
            raise Unusable(f"the policy has more than {LONGEST_POLICY} lines")
        for line in lines:
            words = line.strip(" \t").split()
            try:
                if not words or words[0].startswith("#"):
                    continue
                if words[0] == "log" and len(words) in (2, 3):
                    Key.parse(words[1])
                elif words[0] == "witness" and len(words) in (3, 4):
                    policy.witnesses[policy._new(words[1])] = policy._fresh(Key.parse(words[2]))
                elif words[0] == "group" and len(words) > 3 and policy._free(words[3:]):
                    needed = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
                    if not 1 <= needed <= len(words) - 3:
                        raise ValueError
                    policy.groups[policy._new(words[1])] = (needed, words[3:])
                elif words[0] == "quorum" and len(words) == 2 and (words[1] == "none" or policy._known(words[1])):
                    policy.quorum, quorum = words[1], quorum + 1
                else:
                    raise ValueError
            except ValueError:
                raise Unusable(
                    f"the policy has a line that means nothing, or counts a witness twice: {line[:200]}"
                ) from None
        if quorum != 1:
            raise Unusable("a policy has one line that begins with quorum")
        return policy

    def _known(self, name: str) -> bool:
        return name in self.witnesses or name in self.groups

    def _new(self, name: str) -> str:
        if name == "none" or self._known(name):
            raise ValueError
        return name

    def _fresh(self, key: Key) -> Key:
        """The key of a witness, which no other name has."""
        if key.kind != WITNESS or any(key.public == other.public for other in self.witnesses.values()):
            raise ValueError
        return key

    def _free(self, members: Sequence[str]) -> bool:
        """Whether these are known and each is in one group at most, and in that once: else one would count as two."""
        taken = {each for _, grouped in self.groups.values() for each in grouped}
        return len(set(members)) == len(members) and all(self._known(each) and each not in taken for each in members)

    def met(self, cosigned: set[str]) -> bool:
        """Whether the quorum is satisfied by these witnesses' names."""
        satisfied = {"none", *cosigned}
        for name, (needed, members) in self.groups.items():  # a group names only what stands above it
            if sum(member in satisfied for member in members) >= needed:
                satisfied.add(name)
        return self.quorum in satisfied

    def check(self, checkpoint: Checkpoint, source: str) -> None:
        """Prints who cosigned; `source` says who named these witnesses. Raises Wrong where that is not enough."""
        times = {name: checkpoint.witnessed_at(key) for name, key in self.witnesses.items()}
        for name, time in times.items():
            saw = "saw nothing" if time is None else f"saw it at {datetime.fromtimestamp(time, UTC):%FT%TZ}"
            say(f"witness {self.witnesses[name].name}, named by {source}, of {checkpoint.size} events: {saw}")
        if not self.met({name for name, time in times.items() if time is not None}):
            raise Wrong("the witnesses who cosigned the checkpoint are not those that the policy asks for")


# --- the tree (RFC 6962, section 2.1) --------------------------------------------------------------------------------
WIDTH = 256
EMPTY = hashlib.sha256().digest()
Hashes = list[bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of an entry."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two halves."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect(hashes: Hashes) -> bytes:
    """The root over 2^k hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
    return hashes[0]


def root_of(size: int, hashes: Callable[[int, int, int], Hashes]) -> bytes:
    """The root over the first `size` leaves; `hashes(level, start, count)` gives those of subtrees of 256^level."""
    subtrees, start = [], 0
    while start < size:
        bits = (size - start).bit_length() - 1
        level = bits // 8
        subtrees.append(perfect(hashes(level, start >> 8 * level, 1 << bits - 8 * level)))
        start += 1 << bits
    root = subtrees.pop() if subtrees else EMPTY
    while subtrees:
        root = node_hash(subtrees.pop(), root)
    return root


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash stands at `index` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or any(len(each) != 32 for each in (leaf, root, *path)):
        return False
    node, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(step, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


# --- events ----------------------------------------------------------------------------------------------------------
ALWAYS = ("act", "id", "out", "src", "t", "v")


def _no_float(text: str) -> float:
    raise ValueError(text)


def content_of(leaf: bytes) -> dict[str, object]:
    """The members of an event. Raises ValueError unless the octets are the one canonical form of an object."""
    content = json.loads(leaf, parse_float=_no_float, parse_constant=_no_float)
    if not isinstance(content, dict) or len(leaf) > 8192 or not leaf.isascii():
        raise ValueError("not an object of ASCII")
    if json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode() != leaf:
        raise ValueError("not in canonical form")
    if missing := [name for name in ALWAYS if name not in content]:
        raise ValueError(f"without {missing[0]}")
    return content


def event_of(number: int, leaf: bytes) -> tuple[dict[str, object], str, int]:
    """The members of an event, the run that recorded it, and its number in that. Raises Wrong for any other octets."""
    try:
        content = content_of(leaf)
        source = content["src"]
        node, n = (source["node"], source["n"]) if isinstance(source, dict) else (None, None)
        if not isinstance(node, str) or type(n) is not int:
            raise ValueError("without a place in a run")
    except (ValueError, KeyError, RecursionError) as error:
        raise Wrong(f"event {number}: not an event as the log writes them: {error}") from None
    return content, node, n


@dataclass
class Events:
    """What is known of the events that were read: each run of the service counts its own 1, 2, 3 ..."""

    runs: dict[str, int] = field(default_factory=dict)
    pruned: int = 0
    renewals: list[tuple[int, str, int]] = field(default_factory=list)
    """Where the log began anew after a restore: the event's number, the log that ended, and how many events it had."""

    def read(self, number: int, leaf: bytes, first: int) -> None:
        """Looks at one more event; `first` is the number of the oldest that is in the bundle. Raises Wrong."""
        content, node, n = event_of(number, leaf)
        before = self.runs.get(node)
        # Where the beginning was pruned, nobody can say how far a run had counted by then.
        follows = 1 <= n <= first + 1 if before is None else n == before + 1
        if not follows:
            raise Wrong(f"event {number}: {n} of the run {node} follows {before or 'nothing'}: events are missing")
        self.runs[node] = n
        if content["act"] == "prune" and content["out"] == "ok" and type(content.get("cnt")) is int:
            self.pruned = max(self.pruned, int(str(content["cnt"])))
        old = content.get("old")
        if content["act"] == "boot" and content.get("why") == "RENEWED" and isinstance(old, dict):
            self.renewals.append((number, str(old.get("origin")), old["size"] if type(old.get("size")) is int else 0))


# --- bundles (c2sp.org/tlog-tiles, with a few files beside it) -------------------------------------------------------
SUMS, LATEST, WITNESSED = "SHA256SUMS", "checkpoint", "witnessed"
LARGEST = WIDTH * (2 + 65_535)
"""Octets of the largest file that a bundle can have, one of events."""
UNSIGNED = ("README.txt", "audit-verify.py", "policy", "vkeys")
"""Files that no signature covers. Their sums show what befell them on the way, not what somebody did on purpose."""


def path_of(level: str, n: int, width: int) -> str:
    """Where a tile of so many hashes is found; `level` is a number, or `entries`."""
    digits = f"{n:0{(len(str(n)) + 2) // 3 * 3}}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return f"tile/{level}/{'/'.join(['x' + each for each in groups[:-1]] + groups[-1:])}" + (
        "" if width == WIDTH else f".p/{width}"
    )


class Bundle:
    """A folder with a checkpoint, the tiles under it and the events; `first` is the oldest event that is there."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.size = checkpoint.size
        self.names = set(names_in(folder))
        self.first = self._first()
        self._levels: list[Hashes] = []
        self._known: tuple[int, Hashes] = (-1, [])

    def _first(self) -> int:
        """By the files that are there: the size is whatever somebody signed, and may be any number."""
        first = self.size // WIDTH
        for name in self.names:
            parts = re.fullmatch(r"tile/entries/((?:x[0-9]{3}/)*[0-9]{3})", name, re.ASCII)
            if parts and len(parts[1]) < 40:
                first = min(first, int(re.sub("[x/]", "", parts[1])))
        return first * WIDTH

    def width(self, level: int, n: int) -> int:
        """How many hashes a tile has."""
        return max(0, min(WIDTH, (self.size >> 8 * level) - n * WIDTH))

    def tile(self, level: int, n: int) -> Hashes:
        """The hashes of one tile, as they are in its file. Raises Wrong where there are fewer or more."""
        width = self.width(level, n)
        span = WIDTH ** (level + 1)
        octets = read(self.folder / path_of(str(level), n, width), f"events from {n * span} on: their tile is missing")
        if len(octets) != 32 * width:
            raise Wrong(f"events from {n * span} on: their tile of level {level} has another length than it should")
        return [octets[at : at + 32] for at in range(0, len(octets), 32)]

    def leaves(self, n: int) -> Iterator[tuple[int, bytes]]:
        """Number and octets of the events of one file. Raises Wrong where it is cut, or holds more."""
        width, first, at = self.width(0, n), n * WIDTH, 0
        octets = read(self.folder / path_of("entries", n, width), f"event {first}: missing, with those after it")
        for number in range(first, first + width):
            end = at + 2 + int.from_bytes(octets[at : at + 2], "big")
            if end > len(octets) or at + 2 > len(octets):
                raise Wrong(f"event {number}: its file ends before it does")
            yield number, octets[at + 2 : end]
            at = end
        if at != len(octets):
            raise Wrong(f"event {first + width - 1}: its file goes on behind it")

    def check_events(self, events: Events) -> None:
        """Every event against its hash in the tiles, and every tile against the one above. Raises Wrong."""
        roots: Hashes = []
        for n in range((self.size + WIDTH - 1) // WIDTH):
            tile = self.tile(0, n)
            if n * WIDTH >= self.first:
                for number, leaf in self.leaves(n):
                    if leaf_hash(leaf) != tile[number % WIDTH]:
                        raise Wrong(f"event {number}: not the event that was logged there")
                    events.read(number, leaf, self.first)
            if len(tile) == WIDTH:
                roots.append(perfect(tile))
            show(n * WIDTH + len(tile), self.size)
        self._levels = [[], roots]
        while roots:
            level = len(self._levels) - 1
            for n in range((len(roots) + WIDTH - 1) // WIDTH):
                for at, known in enumerate(self.tile(level, n), n * WIDTH):
                    if known != roots[at]:
                        span = WIDTH**level
                        raise Wrong(f"event {at * span} or one of the {span - 1} behind it: not what was logged there")
            roots = [perfect(roots[at : at + WIDTH]) for at in range(0, len(roots) - WIDTH + 1, WIDTH)]
            self._levels.append(roots)

    def root(self, size: int) -> bytes:
        """The root over the first `size` events, from hashes that were checked."""
        return root_of(size, self._hashes)

    def _hashes(self, level: int, start: int, count: int) -> Hashes:
        if level:
            return self._levels[level][start : start + count]
        return self.tile(0, start // WIDTH)[start % WIDTH :][:count]

    def check_root(self) -> None:
        """The whole tree against the signed checkpoint. Raises Wrong, and says where to look."""
        if self.root(self.size) != self.checkpoint.root:
            since = self.size // WIDTH * WIDTH
            where = f"event {since} or one behind it" if since < self.size else "an event"
            raise Wrong(f"{where}: the tree of these events is not the one that the checkpoint signs")

    def check_earlier(self, earlier: Checkpoint, what: str, events: Events) -> None:
        """That the log of an earlier checkpoint is the beginning of this one. Raises Wrong.

        A log that began anew keeps what it had; what it lost is explained as far as the event that says so goes.
        """
        if earlier.origin != self.checkpoint.origin:
            known = [(number, lost) for number, origin, lost in events.renewals if origin == earlier.origin]
            if not known or earlier.origin.rpartition("/")[0] != self.checkpoint.origin.rpartition("/")[0]:
                raise Wrong(f"{what} is of another log: {earlier.origin}")
            [(number, lost), *_] = known
            if number < earlier.size <= lost:
                say(f"{what}: of {earlier.size} events {number} were kept when the log began anew: event {number}")
                return
        if earlier.size > self.size:
            raise Wrong(f"event {self.size}: missing: {what} has {earlier.size} events, and the bundle {self.size}")
        if self.root(earlier.size) != earlier.root:
            raise Wrong(f"an event before {earlier.size}: not what {what} was signed over")

    def check_files(self) -> None:
        """That nothing is there but what belongs there, and the unsigned files are as they were. Raises Wrong."""
        expected = {*UNSIGNED, SUMS, LATEST, WITNESSED}
        level = 0
        while count := (self.size >> 8 * level) + WIDTH - 1 >> 8:
            for n in range(count):
                expected.add(path_of(str(level), n, self.width(level, n)))
                if level == 0 and n * WIDTH >= self.first:
                    expected.add(path_of("entries", n, self.width(0, n)))
            level += 1
        if strangers := self.names - expected:
            raise Wrong(f"{min(strangers)}: does not belong into this bundle")
        sums = {name: hashlib.sha256(read(self.folder / name, f"{name}: missing")).hexdigest() for name in UNSIGNED}
        text = "".join(f"{sums[name]}  {name}\n" for name in UNSIGNED)
        if read(self.folder / SUMS, f"{SUMS}: missing") != text.encode():
            raise Wrong(f"{SUMS}: one of {', '.join(UNSIGNED)} is not as it was (no event is in them)")


def names_in(folder: Path) -> Iterator[str]:
    """The files in a bundle. Raises Wrong for what is neither a file nor a folder: a link leads out of the evidence."""
    for where, folders, files in os.walk(folder):
        for each in (*folders, *files):
            file = Path(where, each)
            name, mode = file.relative_to(folder).as_posix(), file.lstat().st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise Wrong(f"{name}: a link or device, which does not belong into a bundle")
            if stat.S_ISREG(mode):
                yield name


def read(file: Path, missing: str) -> bytes:
    """The octets of a file of the evidence. Raises Wrong where it is missing, or larger than any file of a bundle."""
    try:
        if file.stat().st_size > LARGEST:
            raise Wrong(f"{file.name}: larger than any file of a bundle")
        return file.read_bytes()
    except OSError:
        raise Wrong(missing) from None


def show(done: int, size: int) -> None:
    """How far it is, for somebody who watches a large bundle."""
    if sys.stderr.isatty() and (done == size or done % 65_536 == 0):
        print(f"\r{done} of {size} events", end="\n" if done == size else "", file=sys.stderr, flush=True)


# --- what is asked ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Trust:
    """What the caller believes: keys of logs, and whose cosignatures are enough (None: the caller does not say)."""

    keys: Sequence[Key]
    policy: Policy | None


def latest(folder: Path, trust: Trust) -> Checkpoint:
    """The checkpoint of a bundle, once it is known that nothing in it leads elsewhere. Raises Wrong."""
    for _ in names_in(folder):
        pass
    return opened(read(folder / LATEST, "the checkpoint is missing"), trust.keys, f"the checkpoint in {folder}")


def check_bundle(folder: Path, trust: Trust, earlier: Sequence[Path]) -> Bundle:
    """Everything in a bundle. Raises Wrong."""
    if not folder.is_dir():
        raise Unusable(f"{folder} is no folder")
    checkpoint = latest(folder, trust)
    bundle, events = Bundle(folder, checkpoint), Events()
    bundle.check_events(events)
    if bundle.first > events.pruned:
        raise Wrong(
            f"event {events.pruned}: missing, up to {bundle.first - 1}, and no event says that they were pruned"
        )
    bundle.check_root()
    for file in earlier:
        bundle.check_earlier(opened(usable(file), trust.keys, str(file)), str(file), events)
    seen = checkpoint
    if (folder / WITNESSED).exists():
        seen = opened(read(folder / WITNESSED, ""), trust.keys, f"the file {WITNESSED}")
        bundle.check_earlier(seen, f"the file {WITNESSED}", events)
    bundle.check_files()
    known = [Key.parse(line) for line in usable(folder / "vkeys").decode("utf-8", "replace").splitlines()]
    for each in {checkpoint.note: checkpoint, seen.note: seen}.values():
        if strangers := {(name, key_id) for name, key_id, _ in each.lines} - {(key.name, key.id) for key in known}:
            raise Wrong(f"a line of {min(strangers)[0]} in the checkpoint is of a key that the bundle does not name")
    say(f"log {checkpoint.origin}: {bundle.size} events, root {base64.b64encode(checkpoint.root).decode()}")
    if bundle.first:
        say(f"events 0 to {bundle.first - 1} were pruned, as the log says; the tree over them is still whole")
    claimed = Policy.parse(usable(folder / "policy").decode("utf-8", "surrogateescape"))
    claimed.check(seen, "the bundle")
    if trust.policy is not None:
        trust.policy.check(seen, "you")
    if seen.size < bundle.size or not claimed.witnesses:
        begin = seen.size if claimed.witnesses else 0
        say(f"events {begin} to {bundle.size - 1} rest on the word of the log's key alone: no witness has seen them")
    return bundle


def check_proof(file: Path, trust: Trust, leaf_file: Path | None) -> None:
    """One event and its proof. Raises Wrong."""
    head, gap, note = usable(file).partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    extra = unbase64(lines.pop(1)[6:], "the extra data") if len(lines) > 1 and lines[1].startswith("extra ") else None
    index = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[1], re.ASCII) if len(lines) > 1 else None
    if not gap or lines[0] != "c2sp.org/tlog-proof@v1" or index is None:
        raise Wrong("this is no proof of c2sp.org/tlog-proof@v1")
    leaf = usable(leaf_file) if leaf_file else extra
    if leaf is None:
        raise Unusable("the proof does not hold the event itself: state --leaf FILE")
    checkpoint = opened(note, trust.keys)
    number, path = int(index[1]), [unbase64(line, "a hash of the proof") for line in lines[2:]]
    if not includes(leaf_hash(leaf), number, checkpoint.size, path, checkpoint.root):
        raise Wrong(f"event {number}: this event does not stand there in the log")
    event_of(number, leaf)
    if trust.policy is not None:
        trust.policy.check(checkpoint, "you")
    say(f"event {number} of {checkpoint.size} in the log {checkpoint.origin}:")
    say(leaf.decode("ascii"))


def compare(paths: Sequence[Path], trust: Trust) -> bool:
    """Whether one of two continues the other; False where that cannot be seen. Raises Wrong with both notes."""
    notes = [latest(path, trust) if path.is_dir() else opened(usable(path), trust.keys, str(path)) for path in paths]
    if notes[0].origin != notes[1].origin:
        raise Unusable(f"these are two logs: {notes[0].origin} and {notes[1].origin}")
    (small, _), (large, folder) = sorted(zip(notes, paths, strict=True), key=lambda each: each[0].size)
    if small.size == large.size:
        agreed = small.root == large.root
    elif folder.is_dir():
        bundle = check_bundle(folder, trust, ())
        agreed = bundle.root(small.size) == small.root
    else:
        say(f"sizes {small.size} and {large.size}: give the bundle of the larger one to see whether it continues")
        return False
    if not agreed:
        proof = [line for each in notes for line in each.note.split("\n")]
        raise Wrong("the log signed two histories that contradict each other. Both notes prove it:", "", *proof)
    say(f"one history: {small.size} events, then {large.size}")
    return True


def usable(file: Path) -> bytes:
    """The octets of a file that the caller named. Raises Unusable where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unusable(f"cannot read {file}: {error.strerror}") from None


def trusted(given: argparse.Namespace) -> Trust:
    """The keys and the policy of the command line."""
    keys = [Key.parse(text) for text in given.key]
    if getattr(given, "trust_bundle_key", False):
        print("WARNING: the key is taken from the bundle: a forger would have put his own there", file=sys.stderr)
        found = [Key.parse(line) for line in usable(given.folder / "vkeys").decode("utf-8", "replace").splitlines()]
        keys += [key for key in found if key.kind == LOG]
    if not keys:
        raise Unusable("state the log's verifier key with --key")
    witnesses = [Key.parse(text) for text in getattr(given, "witness", ())]
    if any(key.kind != WITNESS for key in witnesses) or any(key.kind != LOG for key in keys):
        raise Unusable("--key takes the key of a log, --witness that of a witness")
    if len({key.public for key in witnesses}) < len(witnesses):
        raise Unusable("--witness names one key twice")
    policy = Policy.of(witnesses) if witnesses else None
    if getattr(given, "policy", None):
        if witnesses:
            raise Unusable("state --witness or --policy, not both")
        policy = Policy.parse(usable(given.policy).decode("utf-8", "surrogateescape"))
    return Trust(keys, policy)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Checks the evidence of an access log offline.")
    commands = parser.add_subparsers(dest="command", required=True)
    bundle = commands.add_parser("bundle", help="a whole bundle: every event, tile, signature")
    bundle.add_argument("folder", type=Path)
    bundle.add_argument("--earlier", type=Path, action="append", default=[], help="a checkpoint you kept from before")
    bundle.add_argument("--trust-bundle-key", action="store_true", help="believe the key in the bundle (do not)")
    proof = commands.add_parser("proof", help="one event and its proof")
    proof.add_argument("file", type=Path)
    proof.add_argument("--leaf", type=Path, help="the event, where the proof does not hold it")
    for each in (bundle, proof):
        each.add_argument("--witness", action="append", default=[], help="the key of a witness that must have cosigned")
        each.add_argument("--policy", type=Path, help="a tlog-policy that must be met")
    two = commands.add_parser("compare", help="two bundles or checkpoints: does one continue the other?")
    two.add_argument("paths", type=Path, nargs=2)
    for each in (bundle, proof, two):
        each.add_argument("--key", action="append", default=[], help="the log's verifier key, from somebody you trust")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs one check; returns the exit status."""
    given = arguments(words)
    try:
        trust = trusted(given)
        if given.command == "bundle":
            check_bundle(given.folder, trust, given.earlier)
        elif given.command == "proof":
            check_proof(given.file, trust, given.leaf)
        elif not compare(given.paths, trust):
            return 3
    except Wrong as wrong:
        say(f"WRONG: {wrong.args[0]}")
        for line in wrong.args[1:]:
            say(line)
        return 1
    except Unusable as unusable:
        print(plain(f"not checked: {unusable}"), file=sys.stderr)
        return 2
    print("ALL WELL")
    return 0


if __name__ == "__main__":
    sys.exit(main())

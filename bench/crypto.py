"""What sealing costs, in ratios to the bare cipher: the part `crypto` of `make bench`.

All cases run interleaved in random order in one loop and are timed in processor time of this thread, so that a busy
machine slows them alike; read the ratios, not the microseconds.
"""

import base64
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import uuid_utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crm.catalogue import BY_NAME, CLASSES, INDEXES, Field, KeyClass
from crm.crypto.box import pack, unpack
from crm.crypto.data_key import DataKey
from crm.crypto.environment import EnvironmentKeys
from crm.crypto.keyset import KeySet
from crm.crypto.provider import USES

ROUNDS, LOOPS = 41, 400
ORG, NO, VERSION = "org-1", 1, 7
SIZES = (13, 40, 10, 24, 36, 52, 5, 61, 30, 120, 90, 20)
"""Octets of the values of a profile with twelve cells."""

ONE_CLASS = [field.name for field in CLASSES[KeyClass.PREFERENCE]][: len(SIZES)]
FOUR_CLASSES = [
    "preferred_name", "names", "birth_date", "identifiers", "contact_points", "addresses",
    "languages", "interpreter_needed", "channel_preferences", "time_zone", "pronouns", "religion",
]  # fmt: skip
TERM = b"+442071838750"
PROVENANCE = b'{"CHANNEL":{"recorded_at":"2026-01-01T00:00:00Z","recorded_by":"u1","source":"front desk"}}'
RECORD = b'["active",false,"0f1e2d3c4b5a69788796a5b4c3d2e1f0",1,["contact","identity","preference","sensitive"]]'


@dataclass(frozen=True)
class Row:
    """One class of a profile as it is stored, and its values."""

    key_class: KeyClass
    values: dict[Field, bytes]
    wrapped: bytes
    box: bytes
    seal: bytes


class Profile:
    """One patient's profile of twelve cells, and what the service does with it."""

    def __init__(self, keys: KeySet, names: list[str]) -> None:
        self.keys = keys
        self.patient = str(uuid_utils.uuid7())
        plain = dict(zip((BY_NAME[name] for name in names), map(os.urandom, SIZES), strict=True))
        classes = [key_class for key_class in KeyClass if any(field.key_class is key_class for field in plain)]
        self.values = {
            key_class: {field: text for field, text in plain.items() if field.key_class is key_class}
            for key_class in classes
        }
        self.rows = self.write()

    def write(self) -> list[Row]:
        """New data keys, wrapped; every cell, the boxes, the row seals, and a value for each of five indexes."""
        rows = []
        for key_class, values in self.values.items():
            key, new = self.keys.new_data_key(ORG, self.patient, key_class, NO)
            cells = {field.number: key.seal(field, text) for field, text in values.items()}
            seal = key.seal_row(VERSION, cells, PROVENANCE, record=RECORD)
            rows.append(Row(key_class, values, new.wrapped, pack(cells), seal))
        for index in INDEXES[:5]:
            self.keys.index_value(ORG, index.name, index.bits, TERM)
        return rows

    def open(self, most: int = len(SIZES), *, verified: bool) -> None:
        """The first cells of each row, the data key unwrapped anew, the row seal checked or not."""
        for row in self.rows:
            key: DataKey = self.keys.data_key(ORG, self.patient, row.key_class, NO, row.wrapped)
            cells = unpack(row.box)
            if verified:
                key.verify_row(row.seal, VERSION, cells, PROVENANCE, record=RECORD)
            for field in list(row.values)[:most]:
                key.open(field, cells[field.number])

    def unwrap(self) -> None:
        """The data keys alone."""
        for row in self.rows:
            self.keys.data_key(ORG, self.patient, row.key_class, NO, row.wrapped)

    def rewrap(self) -> None:
        """The data keys under the newest wrap key."""
        for row in self.rows:
            self.keys.rewrap(ORG, self.patient, row.key_class, NO, row.wrapped)


def _floor() -> tuple[Callable[[], None], Callable[[], None]]:
    """The same twelve cells with the bare cipher and everything prepared: decrypted, and encrypted."""
    bare = AESGCM(os.urandom(32))
    prepared = []
    for name, size in zip(ONE_CLASS, SIZES, strict=True):
        nonce, covered = os.urandom(12), os.urandom(60)
        padded = os.urandom(size + -size % BY_NAME[name].block)
        prepared.append((nonce, padded, bare.encrypt(nonce, padded, covered), covered))

    def decrypt() -> None:
        for nonce, _, sealed, covered in prepared:
            bare.decrypt(nonce, sealed, covered)

    def encrypt() -> None:
        for nonce, padded, _, covered in prepared:
            bare.encrypt(nonce, padded, covered)

    return decrypt, encrypt


def cases() -> dict[str, Callable[[], object]]:
    """The cases by name; the first is the floor of all."""
    provider = EnvironmentKeys({use: base64.b64encode(os.urandom(32)).decode() for use in USES})
    keys = KeySet.load(provider, "bench", KeySet.bootstrap(provider, "bench"))
    one, four = Profile(keys, ONE_CLASS), Profile(keys, FOUR_CLASSES)
    decrypt, encrypt = _floor()
    return {
        "floor: 12 bare decryptions": decrypt,
        "12 bare encryptions": encrypt,
        "open 12 cells, 1 class": lambda: one.open(verified=False),
        "open 12 cells, 1 class, row seal verified": lambda: one.open(verified=True),
        "open 12 cells, 4 classes, row seals verified": lambda: four.open(verified=True),
        "open 2 of 12 cells, row seal verified": lambda: one.open(2, verified=True),
        "data key of 1 class alone": one.unwrap,
        "write 12 cells, 1 class, 5 indexes": one.write,
        "write 12 cells, 4 classes, 5 indexes": four.write,
        "rewrap one data key": one.rewrap,
        "one index value": lambda: keys.index_value(ORG, "phone", 16, TERM),
    }


def measure(todo: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Microseconds of processor time for one call, by case and round."""
    taken: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name in random.sample(list(todo), len(todo)):
            run = todo[name]
            start = time.thread_time_ns()
            for _ in range(LOOPS):
                run()
            taken[name].append((time.thread_time_ns() - start) / LOOPS / 1000)
    return taken


def show(rounds: int = ROUNDS) -> None:
    """Prints a line for each case: median microseconds, ratio to the floor of its round, calls per second."""
    taken = measure(cases(), rounds)
    floor = next(iter(taken.values()))
    print(f"\nsealing, one core, {rounds} interleaved rounds of {LOOPS}; ratios to the floor, with their quartiles:")
    for name, times in taken.items():
        median = statistics.median(times)
        ratios = [each / bare for each, bare in zip(times, floor, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        spread = f"{statistics.median(ratios):.2f} ({low:.2f}-{high:.2f})"
        print(f"{name:46}{median:8.1f} µs {spread:>20} x {1e6 / median:11,.0f}/s")


if __name__ == "__main__":
    show()

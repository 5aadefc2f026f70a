"""What sealing costs, in ratios to the bare cipher: run it as `python bench/crypto.py` from the project's root.

All cases run interleaved in random order in one loop and are timed in processor time of this thread, so that a busy
machine slows them alike; read the ratios, not the microseconds.
"""

import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uuid_utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crm.catalogue import CLASSES, KeyClass
from crm.crypto.box import pack, unpack
from crm.crypto.keyset import KeySet
from crm.crypto.provider import USES, Wrapped

ROUNDS, LOOPS, CELLS = 41, 400, 12
ORG, NO = "org-1", 1
SIZES = (13, 40, 10, 24, 36, 52, 5, 61, 30, 120, 90, 20)


class _InMemory:
    """A provider that wraps nothing, since root keys are no part of what is measured."""

    name = "memory"

    def uses(self) -> frozenset[str]:
        return frozenset(USES)

    def wrap(self, key: bytes, context: object) -> Wrapped:
        return Wrapped(self.name, "root", key)

    def unwrap(self, wrapped: Wrapped, context: object) -> bytes:
        return wrapped.blob


def cases() -> dict[str, Callable[[], object]]:
    """The cases by name; the first is the floor: as many bare decryptions with everything prepared."""
    provider = _InMemory()
    keys = KeySet.load(provider, "bench", KeySet.bootstrap(provider, "bench"))
    patient, key_class = str(uuid_utils.uuid7()), KeyClass.PREFERENCE
    fields = CLASSES[key_class][:CELLS]
    plaintexts = [os.urandom(size) for size in SIZES[: len(fields)]]
    data_key, new = keys.new_data_key(ORG, patient, key_class, NO)
    cells = {field.number: data_key.seal(field, text) for field, text in zip(fields, plaintexts, strict=True)}
    box, provenance = pack(cells), b'{"CHANNEL":{"by":"u1","source":"front desk"}}'
    row_seal = data_key.seal_row(7, cells, provenance)

    bare = AESGCM(os.urandom(32))
    prepared = []
    for field, text in zip(fields, plaintexts, strict=True):
        nonce, covered = os.urandom(12), os.urandom(60)
        prepared.append((nonce, bare.encrypt(nonce, text + bytes(-len(text) % field.block), covered), covered))

    def floor() -> None:
        for nonce, sealed, covered in prepared:
            bare.decrypt(nonce, sealed, covered)

    def open_all() -> None:
        key = keys.data_key(ORG, patient, key_class, NO, new.wrapped)
        found = unpack(box)
        for field in fields:
            key.open(field, found[field.number])

    def open_all_verified() -> None:
        key = keys.data_key(ORG, patient, key_class, NO, new.wrapped)
        found = unpack(box)
        key.verify_row(row_seal, 7, found, provenance)
        for field in fields:
            key.open(field, found[field.number])

    def open_two() -> None:
        key = keys.data_key(ORG, patient, key_class, NO, new.wrapped)
        found = unpack(box)
        for field in fields[:2]:
            key.open(field, found[field.number])

    def write() -> None:
        key, _ = keys.new_data_key(ORG, patient, key_class, NO)
        sealed = {field.number: key.seal(field, text) for field, text in zip(fields, plaintexts, strict=True)}
        key.seal_row(1, sealed, provenance)
        pack(sealed)
        for name, bits in (("identifier", 128), ("phone", 16), ("email", 16), ("full_name", 20), ("family", 128)):
            keys.index_value(ORG, name, bits, b"+442071838750")

    return {
        f"bare decryption of {len(fields)} cells": floor,
        "data key alone": lambda: keys.data_key(ORG, patient, key_class, NO, new.wrapped),
        f"data key, box, {len(fields)} cells": open_all,
        "  the same, row seal verified": open_all_verified,
        "data key, box, 2 cells": open_two,
        f"new data key, {len(fields)} cells, seal, box, 5 indexes": write,
    }


def measure(todo: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Microseconds of processor time for one call, by case and round."""
    taken: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(ROUNDS):
        for name in random.sample(list(todo), len(todo)):
            run = todo[name]
            start = time.thread_time_ns()
            for _ in range(LOOPS):
                run()
            taken[name].append((time.thread_time_ns() - start) / LOOPS / 1000)
    return taken


def main() -> None:
    """Prints a line for each case: median and best microseconds, ratio of medians to the floor, calls per second."""
    taken = measure(cases())
    floor = statistics.median(next(iter(taken.values())))
    print(f"{'case':48} {'median µs':>10} {'best µs':>9} {'x floor':>8} {'per second':>11}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:48} {median:10.1f} {min(times):9.1f} {median / floor:8.2f} {1e6 / median:11,.0f}")


if __name__ == "__main__":
    main()

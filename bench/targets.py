"""What was aimed at, and what the contest came to. Owns the aims; measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.generator import Burst
from bench.ratios import ratio

__all__ = ["lines"]

_MEDPLUM = (11.1, 19.3)
"""Milliseconds of processor time of node, PostgreSQL and redis for one of Medplum's GraphQL reads with its audit saved,
measured apart from this contest on a machine like it: the least disturbed pass, and the median."""


@dataclass(frozen=True, slots=True)
class Aim:
    """At least so many times what another one answers, in this read, by so many askers."""

    case: tuple[str, int]
    against: str
    times: float


AIMS = (
    Aim(("one", 16), "postgraphile", 2),
    Aim(("one", 64), "postgraphile", 2),
    Aim(("one", 16), "strawberry", 4),
    Aim(("one", 64), "strawberry", 4),
    Aim(("one", 16), "ariadne", 4),
    Aim(("one", 64), "ariadne", 4),
    Aim(("one", 16), "bare", 0.9),
    Aim(("one", 64), "bare", 0.9),
    Aim(("many", 16), "postgraphile", 1.5),
    Aim(("one", 16), "unguarded", 0.5),
    Aim(("one", 64), "unguarded", 0.5),
)

Rounds = Sequence[Mapping[str, Burst]]


def lines(results: Mapping[tuple[str, int], Rounds]) -> list[str]:
    """A line for each aim whose both sides were measured: requests a second, and work for the same processor time."""
    told = [f"{'Heed : it':<36}{'aim':>6}   {'requests a second':<24}for the same processor time of all processes"]
    for aim in AIMS:
        rounds = results.get(aim.case, ())
        if not rounds or not {"heed", aim.against} <= rounds[0].keys():
            continue
        pairs = [(each["heed"], each[aim.against]) for each in rounds]
        rate = ratio([ours.rate / theirs.rate for ours, theirs in pairs])
        work = ratio([theirs.spent / ours.spent for ours, theirs in pairs])
        read, askers = aim.case
        told.append(f"{f'{read}, {askers} at once: {aim.against}':<36}{aim.times:>6}   {rate:<24}{work}")
    if ours := [each["heed"].spent for each in results.get(("one", 16), ()) if "heed" in each]:
        shares = (f"{ratio([spent / 1e3 / read for spent in ours])} of {read} ms" for read in _MEDPLUM)
        told.append(f"{'one, 16 at once: CPU, Medplum':<36}{'1/15':>6}   {', '.join(shares)}")
    return told

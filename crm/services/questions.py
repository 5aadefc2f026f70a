"""What officers add up: who did how much, who did more than before, and what was disclosed. Each leaves one event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from auth.actor import Actor
from crm.audit.entry import OUTCOMES
from crm.audit.event import FLAGS, Act, rfc3339
from crm.errors import Erased, Invalid, NotFound
from crm.services.access_log import AccessLog
from crm.services.log_questions import DAY, SPAN, bounded, micros, understood
from crm.services.request import Request
from crm.store import log_rollup, log_summing, organisations
from crm.store.log_summing import Disclosed, Sum
from crm.store.subjects import patients_of, subjects_of
from crm.store.unit import Store

__all__ = ["Answered", "Dimension", "Questions"]

LOOK_BACK: Final = 2192 * DAY
"""Six years: the time for which a patient may ask to whom something was disclosed, 45 CFR 164.528(a)."""
HISTORY: Final = 90
"""Days by which an actor is judged."""
KNOWN: Final = 5
"""Of those, days with something on them, without which nobody is judged."""
SIGMAS: Final = 4.0
ANOMALIES: Final = 200
DISCLOSURES: Final = 1000

_OUTCOMES = {number: word for word, number in OUTCOMES.items()}
_FLAGS = {bit: word for word, bit in FLAGS.items()}


class Dimension(StrEnum):
    """By what events can be grouped (`crm.store.log_summing`)."""

    ACTOR = "actor"
    PATIENT = "patient"
    ACTION = "action"
    OUTCOME = "outcome"
    PURPOSE = "purpose"
    ROLE = "role"
    FLAG = "flag"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows, whether they are all there are, and the time they are about (RFC 3339; None for no bound)."""

    rows: Sequence[Mapping[str, Any]]
    complete: bool
    from_: str | None
    to: str | None


class Questions:
    """The use cases of officers that show sums and not events."""

    def __init__(self, store: Store, log: AccessLog) -> None:
        self._store = store
        self._log = log

    async def summary(
        self, actor: Actor, request: Request, question: Mapping[str, Any], dimensions: Sequence[str], first: int
    ) -> Answered:
        """Events that `question` finds (see `crm.services.log_questions`) by `dimensions`, the largest group first.

        Where it names no patient, request or session it is about at most a month, or a year of one actor: the last one
        where it does not say. Raises `Invalid`.
        """
        rule = await self._log.admit(actor, request)
        database = self._store.database
        fetch = partial(database.fetch, actor.org)
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            if not 1 <= first <= DISCLOSURES:
                raise Invalid("first", "out_of_range")
            asked = bounded(await understood(fetch, actor.org, question), unit.now)
            found: list[Sum] = []
            if not asked.nothing:
                found = await log_summing.summary(database, asked.org, asked.chosen, dimensions, first + 1)
            shown = found[:first]
            names = await patients_of(
                fetch, actor.org, {str(one.key["patient"]) for one in shown if "patient" in one.key}
            )
            unit.remark(cnt=len(shown), pat=asked.chosen.patient)
        chosen = asked.chosen
        rows = [_sum(one, names) for one in shown]
        return Answered(rows, len(found) <= first, _text(chosen.since), _text(chosen.until))

    async def count_days(self) -> None:
        """Counts what the logs of all organisations hold by now, so that nobody has to wait for it who asks."""
        for org in await organisations.every(self._store.database):
            await log_rollup.roll_up(self._store.database, org)

    async def anomalies(
        self, actor: Actor, request: Request, from_: str | None, to: str | None, least: int
    ) -> Answered:
        """Actors who on a day (UTC) touched far more patients than on their own days before; the last week by default.

        What is not counted yet is counted first; where that is too much at once, the answer is not `complete`. Raises
        `Invalid`.
        """
        rule = await self._log.admit(actor, request)
        database = self._store.database
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            until = _default(micros(to, "to"), unit.now + 1)
            since = _default(micros(from_, "from"), until - 7 * DAY)
            if not 0 <= until - since <= SPAN:
                raise Invalid("from", "span_too_long" if since < until else "after_the_end")
            if least < 1:
                raise Invalid("minimumPatients", "out_of_range")
            counted = await log_rollup.roll_up(database, actor.org)
            days = (since // DAY, (until - 1) // DAY)
            found = await log_rollup.excesses(
                database, actor.org, *days, history=HISTORY, sigmas=SIGMAS, least=least, known=KNOWN
            )
            unit.remark(cnt=len(found[:ANOMALIES]))
        rows = [
            {
                "day": rfc3339(each.day * DAY)[:10],
                "actor": each.actor or None,
                "events": each.events,
                "patients": each.patients,
                "refused": each.refused,
                "usual_patients": each.mean,
                "deviation": each.deviation,
                "threshold": each.mean + SIGMAS * each.deviation,
                "days_known": each.days,
            }
            for each in found[:ANOMALIES]
        ]
        return Answered(rows, counted and len(found) <= ANOMALIES, _text(since), _text(until))

    async def disclosures(
        self, actor: Actor, request: Request, patient_id: str, from_: str | None, to: str | None
    ) -> Answered:
        """To whom something of a patient was given out, by recipient and purpose (45 CFR 164.528(b)); six years back.

        Of each record that was merged into the patient's for itself.
        Several to one recipient for one purpose are summed up as 164.528(b)(3) lets them be: the first, how many, and
        the last. Raises `NotFound`, `Erased` and `Invalid`.
        """
        rule = await self._log.admit(actor, request, ids=[patient_id])
        database = self._store.database
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ, [patient_id]) as unit:
            until = _default(micros(to, "to"), unit.now + 1)
            since = _default(micros(from_, "from"), until - LOOK_BACK)
            record = (await unit.load([patient_id], ())).get(patient_id)
            if record is None or record.audit_subject is None:
                raise NotFound
            if record.status == "erased":
                raise Erased
            found: list[Disclosed] = []
            names = [record.id, *await unit.superseded(record)]
            for subject in (await subjects_of(partial(database.fetch, actor.org), actor.org, names)).values():
                found += await log_summing.disclosures(database, actor.org, subject, since, until, DISCLOSURES + 1)
            unit.remark(cnt=len(found[:DISCLOSURES]), pat=record.audit_subject)
        rows = [_disclosure(each) for each in found[:DISCLOSURES]]
        return Answered(rows, len(found) <= DISCLOSURES, _text(since), _text(until))


def _default(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _text(moment: int | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _sum(one: Sum, names: Mapping[str, str]) -> dict[str, Any]:
    """A group as it is answered; dimensions that were not asked for are None, as are those without a value."""
    key = one.key
    return {
        "actor": key.get("actor") or None,
        "patient_id": names.get(key.get("patient") or ""),
        "audit_subject": key.get("patient"),
        "action": key.get("action"),
        "outcome": _OUTCOMES[key["outcome"]] if "outcome" in key else None,
        "purpose_of_use": key.get("purpose"),
        "roles": [role for role in key["role"].split(",") if role] if "role" in key else None,
        "flag": _FLAGS[key["flag"]] if "flag" in key else None,
        "day": rfc3339(key["day"] * DAY)[:10] if "day" in key else None,
        "hour": key.get("hour"),
        "events": one.events,
        "refused": one.refused,
        "patients": one.patients,
        "first_at": rfc3339(one.first_at),
        "last_at": rfc3339(one.last_at),
    }


def _disclosure(each: Disclosed) -> dict[str, Any]:
    """What one recipient was given; the fields are those of the first time."""
    first, last = each.first.content, each.last.content
    who = first.get("who", {})
    return {
        "recipient": {
            "subject": who.get("sub"),
            "issuer": who.get("iss"),
            "roles": who.get("roles", []),
            "organisation": who.get("org"),
            "client_id": who.get("client"),
        },
        "purpose_of_use": next(iter(first.get("pou", ())), None),
        "action": first["act"],
        "fields": first.get("fld", []),
        "first_at": first["t"],
        "last_at": last["t"],
        "count": each.count,
        "first_event_id": first["id"],
        "last_event_id": last["id"],
    }

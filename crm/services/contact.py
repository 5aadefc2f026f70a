"""The contact decision as a use case: for one patient or many, as it is now, at another moment, or explained to staff.

Asks the policy first, then opens what a decision needs, and tells of it only what the decision shows
(`contact_answers`). The decision itself is `crm.domain.decision`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from uuid_utils import uuid7

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision import ContactDecision, Outcome, decide
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, Sender
from crm.domain.times import instant
from crm.errors import BatchTooLarge, BreakGlassRequired, Invalid
from crm.services.contact_answers import Answer, Audience, Judgement, explained_to, found, not_found, told, unseen
from crm.services.contact_senders import sender_of
from crm.services.held_keys import require
from crm.services.log_questions import micros
from crm.services.profiles import AT_A_STRETCH, MAX_BATCH, groups, visible
from crm.services.request import Request
from crm.store.record import Record, classes_of
from crm.store.unit import Store, Unit

__all__ = ["Contact", "Inquiry"]

NAMES: Final = frozenset({
    "active", "deceased", "deceased_at", "preferred_name", "names", "contact_points", "addresses", "related_persons",
    "confidential_communication", "languages", "accessible_formats", "access_needs", "channel_preferences",
    "contact_windows", "time_zone", "consents", "suspensions", "restrictions",
})  # fmt: skip
"""What a decision is made of, by catalogue name."""

PATHS: Final = frozenset(path for name in NAMES for path in BY_NAME[name].paths)
_CLASSES: Final = classes_of(NAMES)
MOST_SUPPOSED: Final = 20
"""Directives that one simulation may suppose."""
_FARTHEST: Final = 10 * 366 * 24 * 3600 * 1_000_000
"""Microseconds by which a simulated moment may lie before or after now."""
_NONE: Final[frozenset[str]] = frozenset()
_ENDS: Final = frozenset({"contact_points", "related_persons", "confidential_communication"})
_CHANNELS: Final[Mapping[str, tuple[Channel, ...]]] = {
    "PHONE": (Channel.SMS, Channel.VOICE, Channel.FAX, Channel.TEXTPHONE),
    "SMS": (Channel.SMS,),
    "EMAIL": (Channel.EMAIL,),
    "FAX": (Channel.FAX,),
    "OTHER": (Channel.TEXTPHONE, Channel.CHAT),
    "URL": (Channel.CHAT,),
}
"""By which channels a contact point of each system may be suppressed."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked about each patient.

    `sender` is the name of a registered one. `at` (RFC 3339) asks about another moment, and `what_if` adds consent
    directives that nobody gave, each with `decision` and a `scope`: both make it a simulation. `channels` narrows those
    of the sender. `asked` are the members of the answer that are wanted.
    """

    purpose: CommunicationPurpose
    sender: str | None = None
    at: str | None = None
    channels: Sequence[Channel] | None = None
    what_if: Sequence[Mapping[str, Any]] = ()
    asked: frozenset[str] = _NONE


@dataclass(frozen=True, slots=True)
class _Asking:
    """An inquiry of one caller, admitted: `at` in microseconds, None for now."""

    inquiry: Inquiry
    rule: str
    needs_grant: bool
    audience: Audience
    sender: Sender
    at: int | None

    @property
    def simulated(self) -> bool:
        return self.at is not None or bool(self.inquiry.what_if)

    def facts(self, version: str) -> tuple[str, ...]:
        """What the events say of the question: for what, for whom, and by which rules."""
        return f"purpose:{self.inquiry.purpose}", f"sender:{self.sender.id}", version


class Contact:
    """The use cases of the contact decision, under one set of rules."""

    def __init__(self, store: Store, rules: ContactRules | None = None) -> None:
        self._store = store
        self.rules = rules or named(ContactRules(""))

    async def decide(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> Answer:
        """The decision about one patient; its outcome is NOT_FOUND where the caller may know of none.

        Raises `Invalid` for the sender or the moment, `BreakGlassRequired`, `KeyUnavailable`, or what the policy
        refuses.
        """
        [answer] = await self.decide_many(actor, request, [patient_id], inquiry)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def decide_many(
        self, actor: Actor, request: Request, ids: Sequence[str], inquiry: Inquiry
    ) -> list[Answer | BreakGlassRequired]:
        """Decisions in the order of `ids`, at most 1,000 of them; one that is repeated is decided once.

        In place of a decision stands `BreakGlassRequired` where the caller needs a grant for that record. Raises what
        `decide` raises, and `BatchTooLarge`.
        """
        asking = await self._admit(actor, request, ids, inquiry)
        async with self._store.reading(
            request.context(actor, asking.rule, *asking.facts(self.rules.version)), Act.DECIDE, ids
        ) as unit:
            judged, refused, names = await self._judged(
                unit, await visible(unit, actor, list(dict.fromkeys(ids))), asking
            )
            absent = [each for each in dict.fromkeys(ids) if each not in judged and each not in refused]
            erased = [each for each, why in refused.items() if why is None]
            broken = [each for each, why in refused.items() if why is not None]
            for those, why in ((absent, "NOT_FOUND"), (erased, "ERASED"), (broken, "BREAK_GLASS_REQUIRED")):
                if those:
                    await unit.refuse(those, why)
        version, simulated = self.rules.version, asking.simulated
        answers: dict[str, Answer | BreakGlassRequired] = {
            each: told(judgement, names[each], asking.audience, version, simulated=simulated)
            for each, judgement in judged.items()
        }
        return [answers.get(each) or refused.get(each) or not_found(each, version, simulated=simulated) for each in ids]

    async def explain(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> Answer:
        """The decision about one patient as `decision`, and as `sentences`; `considered` is what was not chosen.

        For whoever may read consents. Raises what `decide` raises.
        """
        context = request.context(actor)
        async with self._store.recording(context, Act.DECIDE, [patient_id]):
            policy.decide_read(actor, groups(["consents"]), Action.DECIDE)
        asking = await self._admit(actor, request, [patient_id], inquiry)
        async with self._store.reading(
            request.context(actor, asking.rule, *asking.facts(self.rules.version)), Act.DECIDE, [patient_id]
        ) as unit:
            judged, refused, names = await self._judged(unit, await visible(unit, actor, [patient_id]), asking)
            if error := refused.get(patient_id):
                raise error
            judgement = judged.get(patient_id)
            if judgement is None:
                await unit.refuse([patient_id], "ERASED" if patient_id in refused else "NOT_FOUND")
        return explained_to(
            judgement,
            names.get(patient_id, patient_id),
            asking.audience,
            self.rules.version,
            simulated=asking.simulated,
            uses=self.rules.purposes[inquiry.purpose].uses,
        )

    async def _admit(self, actor: Actor, request: Request, ids: Sequence[str], inquiry: Inquiry) -> _Asking:
        """Everything that can be refused before a row is read; a refusal is recorded."""
        if len(ids) > MAX_BATCH:
            async with self._store.recording(request.context(actor), Act.DECIDE):
                raise BatchTooLarge(MAX_BATCH)
        async with self._store.recording(request.context(actor), Act.DECIDE, ids):
            grant = policy.decide_read(actor, {}, Action.DECIDE)
            require(self._store.keys, PATHS)
            if len(inquiry.what_if) > MOST_SUPPOSED:
                raise Invalid("whatIf", "too_many")
            at = micros(inquiry.at, "at")
            if at is not None and abs(at - self._store.clock()) > _FARTHEST:
                raise Invalid("at", "out_of_range")
            sender = sender_of(actor, self.rules, inquiry.sender)
            return _Asking(inquiry, grant.rule, grant.needs_grant, Audience.of(actor, grant), sender, at)

    async def _judged(
        self, unit: Unit, ids: Sequence[str], asking: _Asking
    ) -> tuple[dict[str, Judgement], dict[str, BreakGlassRequired | None], dict[str, str]]:
        """Judgements by id, and the ids that are refused: with an error, or None for one that was erased.

        And for each id that of the record by which it is answered, which another may have been merged into.
        """
        records = await unit.load(ids, NAMES) if ids else {}
        broken = await unit.grants(records.values()) if asking.needs_grant else {}
        judged: dict[str, Judgement] = {}
        refused: dict[str, BreakGlassRequired | None] = {}
        for number, each in enumerate(ids, start=1):
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            record = records.get(each)
            if record is None:
                continue
            if record.status == "erased":
                refused[each] = None
            elif asking.needs_grant and record.id not in broken:
                refused[each] = BreakGlassRequired()
            else:
                judged[each] = self._judge(unit, record, asking, broken.get(record.id), _NONE)
        for each, silent in (await _left_alone(unit, judged, records)).items():
            judged[each] = self._judge(unit, records[each], asking, broken.get(records[each].id), silent)
        return judged, refused, {each: record.id for each, record in records.items()}

    def _judge(
        self, unit: Unit, record: Record, asking: _Asking, broken: str | None, silent: frozenset[str]
    ) -> Judgement:
        """What one record comes to; `silent` are values of contact points from which somebody said stop."""

        def judged(values: Mapping[str, Any]) -> Judgement:
            decision = self._decided(values, record, asking, unit.now, silent)
            return found(
                decision,
                str(uuid7()),
                asking.audience,
                asking.inquiry.asked,
                simulated=asking.simulated,
                restricted=record.restricted,
            )

        return unit.judge(record, NAMES, judged, broken)

    def _decided(
        self, values: Mapping[str, Any], record: Record, asking: _Asking, now: int, silent: frozenset[str]
    ) -> ContactDecision:
        inquiry, audience = asking.inquiry, asking.audience

        def at(moment: int, known: Mapping[str, Any]) -> ContactDecision:
            return decide(
                known,
                inquiry.purpose,
                asking.sender,
                self.rules,
                moment,
                use=audience.use,
                reach=audience.reach,
                status=record.status,
                restricted=record.restricted,
                erased=not _CLASSES.isdisjoint(record.erased),
                channels=inquiry.channels,
                suppressed=silent,
            )

        if not asking.simulated:
            return at(now, values)
        moment = now if asking.at is None else asking.at
        real = at(now, values)
        if real.outcome is Outcome.DEFER and real.next_permitted_at is not None:
            real = at(real.next_permitted_at, values)  # what waiting would tell
        return unseen(at(moment, _supposing(values, inquiry.what_if, moment)), real)


def _supposing(values: Mapping[str, Any], what_if: Sequence[Mapping[str, Any]], moment: int) -> Mapping[str, Any]:
    """The values with directives that are newer than all that were given."""
    if not what_if:
        return values
    known, now = values.get("consents", []), instant(moment)
    supposed = [
        {"id": f"what-if-{number}", "seq": len(known) + number, "effective_from": now, **directive}
        for number, directive in enumerate(what_if, 1)
    ]
    return {**values, "consents": [*known, *supposed]}


async def _left_alone(
    unit: Unit, judged: Mapping[str, Judgement], records: Mapping[str, Record]
) -> dict[str, frozenset[str]]:
    """Of whom the chosen number or mailbox is to be left alone, with all of theirs that are; at most two statements."""
    chosen = {end for judgement in judged.values() for end in judgement.ends}
    silent = await unit.suppressed(chosen)
    again = [each for each, judgement in judged.items() if any(value in silent for _, value in judgement.ends)]
    if not again:
        return {}
    theirs = {each: _ends(unit.current(records[each], _ENDS)) for each in again}
    silent |= await unit.suppressed({end for ends in theirs.values() for end in ends})
    return {each: frozenset(value for _, value in ends) & silent for each, ends in theirs.items()}


def _ends(values: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every number and mailbox of a record, with each channel by which it might be used."""
    points = list(values.get("contact_points", ()))
    for person in values.get("related_persons", ()):
        points += person.get("contact_points", ())
    ends = {(channel.value, point["value"]) for point in points for channel in _CHANNELS.get(point["system"], ())}
    confided = values.get("confidential_communication") or {}
    return ends | ({(confided["channel"], confided["value"])} if confided.get("value") else set())

"""Messages of patients: taking one in, the queue of those that staff have to read, and what staff took one for.

A message changes what it changes at once and once, whoever brings it how often; there is no version to expect.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_NAME, BY_PATH, INDEXES
from crm.domain.codes import Channel, CommunicationPurpose, SuspensionKind, SuspensionVerdict
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, SharedNumbers
from crm.domain.keywords import Meaning
from crm.domain.replies import (
    NEEDED,
    End,
    Incoming,
    Origin,
    ends,
    limited_to,
    opted_in,
    origins_of,
    stopped,
    together,
)  # fmt: skip
from crm.domain.suspensions import with_one_more
from crm.domain.texts import new_id
from crm.domain.times import instant, micros
from crm.errors import Invalid
from crm.services.consents import appended_values
from crm.services.editing import Editor, system_of
from crm.services.held_keys import require_to_change
from crm.services.message_reading import Brought, Reply, brought, same
from crm.services.profiles import Page, Profile, Profiles, decode_cursor, encode_cursor, view
from crm.services.request import Request
from crm.store import messages
from crm.store.messages import Waiting
from crm.store.record import Record
from crm.store.retries import Effect, Kind
from crm.store.unit import Store, WritingUnit

__all__ = ["MOST_SHARING", "Messages"]

_BY_NUMBER: Final = tuple(index for index in INDEXES if index.name in {"phone", "reply"})
_BY_MAILBOX: Final = tuple(index for index in INDEXES if index.name in {"email", "reply"})
_PATHS: Final = tuple(path for name in (*NEEDED, "consents", "suspensions") for path in BY_NAME[name].paths)
_ACTING: Final = frozenset({Meaning.STOP, Meaning.START, Meaning.UNCLEAR})
_WORDS: Final = frozenset({"suspensions"})
_STOPPED: Final = "STOP"
_BY_ITS_ID: Final = Effect(Kind.MESSAGE)
"""A message that came again is known by its own id."""
MOST_SHARING: Final = 200
"""Records that one message reaches. A number on more of them is nobody's in particular, and is left alone as such."""


class _Match(NamedTuple):
    """A locked record, and whose in it the number or mailbox is that a message came from, once for each place."""

    record: Record
    origins: Sequence[Origin]


class Messages:
    """The use cases around messages that patients send. `region` is that of numbers without a country code."""

    def __init__(
        self,
        store: Store,
        profiles: Profiles,
        editor: Editor,
        rules: ContactRules | None = None,
        *,
        region: str | None = None,
    ) -> None:
        self._store = store
        self._profiles = profiles
        self._editor = editor
        self._rules = rules or named(ContactRules(""))
        self._region = region

    async def take(self, actor: Actor, request: Request, message: Mapping[str, Any]) -> Reply:
        """What a message came to; members as in `message_reading.brought`. The same for every number, known or not.

        Brought again under its id it is answered as before, and nothing is done. Raises `Invalid`, also for an id that
        came with another content (`other_content`; if that says stop, it is done nevertheless), `KeyUnavailable`, or
        what the policy refuses.
        """
        async with self._store.recording(request.context(actor), Act.UPDATE):
            rule = policy.decide(actor, Action.INBOUND)
            require_to_change(self._store.keys, _PATHS)
            it = brought(actor, message, self._rules, self._store.keys, self._region, self._store.clock())
        context, incoming = request.context(actor, rule), it.incoming
        async with self._store.writing(context, Act.UPDATE) as unit:
            known = await unit.take_in(incoming.gateway, incoming.message_id, it.said, incoming.received_at)
            if known is not None and same(it, known):
                unit.effect = _BY_ITS_ID
                return Reply.restored(known.answer)
            if known is not None and it.meaning is not Meaning.STOP:
                raise Invalid("input.messageId", "other_content")
            await self._follow(unit, actor, it)
            unit.effect = _BY_ITS_ID if known is None else None
        if known is not None:
            async with self._store.recording(context, Act.UPDATE):
                raise Invalid("input.messageId", "other_content")
        return it.reply

    async def _follow(self, unit: WritingUnit, actor: Actor, it: Brought) -> None:
        """Does what the message asks for, to everybody whose number or mailbox it came from."""
        incoming, meaning = it.incoming, it.meaning
        found, too_many = await self._whose(unit, incoming) if meaning in _ACTING else ([], False)
        if not found:
            unit.remark(why=meaning.value)
        shared = too_many or len(found) > 1
        if meaning is Meaning.STOP and shared and self._rules.shared_numbers is SharedNumbers.NONE_QUEUE:
            meaning = Meaning.UNCLEAR
        silenced = self._silenced(incoming.channel, incoming.value)
        # Behind the locks of the records, in which order all who suppress or release take them.
        if too_many and meaning is not Meaning.START:
            await unit.suppress(silenced, messages.SHARED)
        elif meaning is Meaning.STOP and not (found and limited_to(self._rules, incoming)):
            await unit.suppress(silenced, _STOPPED)
        for match in found:
            unit.hear(match.record, it.meaning.value)
            if meaning is Meaning.STOP:
                directives = stopped(self._rules, incoming, match.origins, actor.subject)
                values = await self._forbidding(unit, match.record, directives, silenced)
                if values:
                    unit.change(match.record, values, system_of(actor))
            else:
                kind = SuspensionKind.UNCLEAR if meaning is Meaning.UNCLEAR else SuspensionKind.OPT_IN_REQUEST
                await _let_wait(unit, actor, match, incoming, kind)

    async def _whose(self, unit: WritingUnit, incoming: Incoming) -> tuple[list[_Match], bool]:
        """The records that the message is of, locked, and whether there are more than it reaches.

        Candidates are compared before and after.
        """
        indexes = _BY_MAILBOX if incoming.channel is Channel.EMAIL else _BY_NUMBER

        def matches(values: Mapping[str, Any]) -> bool:
            return bool(origins_of(values, incoming.term, unit.today))

        ids: set[str] = set()
        for index in indexes:
            after = ""
            while len(ids) <= MOST_SHARING and (page := await unit.candidates(index, incoming.term, after)):
                after = page[-1]
                found = await unit.load(page, NEEDED)
                ids |= {each.id for each in found.values() if _counts(each) and unit.compare(each, NEEDED, matches)}
        reached = sorted(ids)[:MOST_SHARING]
        locked = await unit.load_for_change(reached) if reached else {}
        matched = []
        one_each = {record.id: record for record in locked.values()}  # some may have been merged since they were found
        for record in (one_each[each] for each in sorted(one_each)):
            origins = origins_of(unit.current(record, NEEDED), incoming.term, unit.today) if _counts(record) else []
            if origins:
                matched.append(_Match(record, origins))
        return matched, len(ids) > MOST_SHARING

    async def _forbidding(
        self,
        unit: WritingUnit,
        record: Record,
        directives: Sequence[Mapping[str, Any]],
        silenced: Sequence[tuple[str, str | bytes]],
    ) -> dict[str, Any]:
        """The values that append prohibitions; where the history is full, the number is left alone at least."""
        try:
            return appended_values(unit, record, directives)
        except Invalid:
            await unit.suppress(silenced, _STOPPED)
            return {}

    async def queue(self, actor: Actor, request: Request, first: int, after: str | None, asked: frozenset[str]) -> Page:
        """The messages that wait, the longest waiting first: `id`, `kind`, `received_at`, and the `patient` as asked.

        The words are in the patient's `suspensions`. Raises `Invalid` for a malformed cursor, `KeyUnavailable`, or what
        the policy refuses.
        """
        grant = await self._profiles.admit(actor, request, asked, action=Action.RESOLVE, act=Act.QUERY)
        async with self._store.recording(request.context(actor), Act.QUERY):
            position = decode_cursor(after) if after else ""
        fetch = partial(self._store.database.fetch, actor.org)
        async with self._store.reading(request.context(actor, grant.rule), Act.QUERY) as unit:
            found = await messages.page(fetch, actor.org, position, first + 1)
            ids = sorted({each.patient_id for each in found[:first]})
            records = await unit.load(ids, {BY_PATH[path].name for path in asked}) if ids else {}
            shown = {
                each.id: unit.open(each, view(grant, actor, restricted=each.restricted)) for each in records.values()
            }
            here = [each for each in found[:first] if each.patient_id in shown]
            unit.remark(cnt=len(here))
        nodes = [
            {
                "id": each.id,
                "kind": each.kind,
                "received_at": rfc3339(each.received_at),
                "patient": shown[each.patient_id],
            }
            for each in here
        ]
        return Page(nodes, [encode_cursor(each.id) for each in here], len(found) > first, after is not None)

    async def resolve(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        suspension_id: str,
        verdict: SuspensionVerdict,
        asked: frozenset[str],
    ) -> Profile:
        """The profile after staff have read a message.

        STOP does as the message would have, also where the number is on the record no more; OPTED_IN appends a
        permission for the number that wrote; the others just end the waiting. Raises `Invalid` for a message that the
        record does not have (`unknown_suspension`), that was read before (`already_resolved`), and for OPTED_IN whose
        number is gone (`unknown_contact_point`); and what `Editor` raises.
        """
        names = {"suspensions", "consents"} if verdict in _SAYING else {"suspensions"}
        admitted = await self._editor.admit(actor, request, patient_id, names, asked, Action.RESOLVE)
        async with self._store.writing(admitted.context, Act.UPDATE, [patient_id]) as unit:
            record = await self._editor.locked(unit, admitted, expected_version)
            stored = unit.current(record, {"suspensions", "consents", *NEEDED})
            one = _unread(stored.get("suspensions") or (), suspension_id)
            changes: dict[str, Any] = {}
            if verdict == SuspensionVerdict.STOP:
                changes = await self._stopping(unit, actor, record, stored, one)
            elif verdict == SuspensionVerdict.OPTED_IN:
                changes = await self._permitting(unit, actor, record, stored, one)
            said = {"verdict": verdict.value, "resolved_by": actor.subject, "resolved_at": instant(unit.now)}
            changes["suspensions"] = [{**each, **said} if each is one else each for each in stored["suspensions"]]
            unit.hear(record, verdict.value)
            unit.change(record, changes, system_of(actor))
            await unit.settle(suspension_id)
            return self._editor.answer(unit, record, admitted)

    async def _stopping(
        self, unit: WritingUnit, actor: Actor, record: Record, stored: Mapping[str, Any], one: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values by which a message of the record stops, as it would have; the number itself is left alone too."""
        message, here = _reread(unit, stored, one)
        silenced = self._silenced(message.channel, bytes.fromhex(one["origin"])) if "origin" in one else []
        if not (here and limited_to(self._rules, message)):
            await unit.suppress(silenced, _STOPPED)
        directives = stopped(self._rules, message, [end.origin for end in here], actor.subject)
        return await self._forbidding(unit, record, directives, silenced)

    async def _permitting(
        self, unit: WritingUnit, actor: Actor, record: Record, stored: Mapping[str, Any], one: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values by which a message of the record permits what it asked for, at the number that it came from."""
        message, here = _reread(unit, stored, one)
        if not here:
            raise Invalid("input.suspensionId", "unknown_contact_point")
        there = [(message.channel.value, here[0].point["value"])]
        silent = bool(await unit.suppressed(there))
        await unit.release(there, unit.now)
        origins, history = [end.origin for end in here], stored.get("consents") or ()
        directives = opted_in(self._rules, message, origins, history, actor.subject, unit.now, silent=silent)
        return appended_values(unit, record, directives)

    def _silenced(self, channel: Channel, value: str | bytes) -> list[tuple[str, str | bytes]]:
        """A number or mailbox under each channel that a revocation on `channel` ends."""
        return [(each.value, value) for each in together(channel, self._rules.revoke_scope)]


_SAYING: Final = {SuspensionVerdict.STOP, SuspensionVerdict.OPTED_IN}
"""The verdicts that say something of contact."""


def _reread(unit: WritingUnit, stored: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[Incoming, list[End]]:
    """A message that the record keeps, and the places that have its number or mailbox by now, the person's own first.

    Not whose the contact point is: its value may have changed since.
    """
    channel = Channel(one["channel"])
    purpose = one.get("purpose")
    message = Incoming(
        one["gateway"], one["message_id"], channel, micros(one["received_at"]), b"", "", one["text"],
        one.get("sender"), CommunicationPurpose(purpose) if purpose else None,
    )  # fmt: skip
    wrote = bytes.fromhex(one.get("origin", ""))
    here = [
        end
        for end in ends(stored, unit.today)
        if (end.point["system"] == "EMAIL") == (channel is Channel.EMAIL)
        and unit.number_digest(channel, end.point["value"]) == wrote
    ]
    return message, here


def _counts(record: Record) -> bool:
    return record.status == "active"


async def _let_wait(unit: WritingUnit, actor: Actor, match: _Match, incoming: Incoming, kind: SuspensionKind) -> None:
    """Keeps the words in the record, and puts the message into the queue of staff."""
    suspension = {
        "id": new_id(),
        "kind": kind,
        "message_id": incoming.message_id,
        "gateway": incoming.gateway,
        "channel": incoming.channel,
        "contact_point_id": match.origins[0].point_id,
        "origin": (unit.number_digest(incoming.channel, incoming.value) or b"").hex(),
        "purpose": incoming.purpose,
        "sender": incoming.sender,
        "text": incoming.text,
        "received_at": instant(incoming.received_at),
    }
    stored = unit.current(match.record, _WORDS).get("suspensions") or []
    kept = with_one_more(stored, suspension)
    if kept is not None:
        for pushed_out in {each["id"] for each in stored} - {each["id"] for each in kept}:
            await unit.settle(pushed_out)
        unit.change(match.record, {"suspensions": kept}, system_of(actor))
        waiting = Waiting(str(suspension["id"]), match.record.id, kind.value, incoming.received_at)
        await unit.let_wait([waiting])


def _unread(suspensions: Sequence[Mapping[str, Any]], suspension_id: str) -> Mapping[str, Any]:
    one = next((each for each in suspensions if each["id"] == suspension_id), None)
    if one is None:
        raise Invalid("input.suspensionId", "unknown_suspension")
    if "verdict" in one:
        raise Invalid("input.suspensionId", "already_resolved")
    return one

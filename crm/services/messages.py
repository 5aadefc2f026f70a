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
from crm.domain.codes import Channel, ConsentDecision, SuspensionKind, SuspensionVerdict
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, SharedNumbers
from crm.domain.keywords import Meaning
from crm.domain.replies import NEEDED, Incoming, Origin, opted_in, origin_of, point_of, stopped, together
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
from crm.store.unit import Store, WritingUnit

__all__ = ["Messages"]

_BY_NUMBER: Final = tuple(index for index in INDEXES if index.name in {"phone", "reply"})
_BY_MAILBOX: Final = tuple(index for index in INDEXES if index.name in {"email", "reply"})
_PATHS: Final = tuple(path for name in (*NEEDED, "consents", "suspensions") for path in BY_NAME[name].paths)
_ACTING: Final = frozenset({Meaning.STOP, Meaning.START, Meaning.UNCLEAR})
_WORDS: Final = frozenset({"suspensions"})
_STOPPED: Final = "STOP"


class _Match(NamedTuple):
    """A locked record, and whose in it the number or mailbox is that a message came from."""

    record: Record
    origin: Origin


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
        came with another content (`other_content`), `KeyUnavailable`, or what the policy refuses.
        """
        async with self._store.recording(request.context(actor), Act.UPDATE):
            rule = policy.decide(actor, Action.INBOUND)
            require_to_change(self._store.keys, _PATHS)
            it = brought(actor, message, self._rules, self._store.keys, self._region, self._store.clock())
        async with self._store.writing(request.context(actor, rule), Act.UPDATE) as unit:
            incoming = it.incoming
            known = await unit.take_in(incoming.gateway, incoming.message_id, it.said, incoming.received_at)
            if known is not None:
                if not same(it, known):
                    raise Invalid("input.messageId", "other_content")
                return Reply.restored(known.answer)
            await self._follow(unit, actor, it)
        return it.reply

    async def _follow(self, unit: WritingUnit, actor: Actor, it: Brought) -> None:
        """Does what the message asks for, to everybody whose number or mailbox it came from."""
        found = await self._whose(unit, it.incoming) if it.meaning in _ACTING else []
        if not found:
            unit.remark(why=it.meaning.value)
        meaning = it.meaning
        if meaning is Meaning.STOP and not found:
            await unit.suppress(self._silenced(it.incoming.channel, it.incoming.value), _STOPPED)
        if meaning is Meaning.STOP and len(found) > 1 and self._rules.shared_numbers is SharedNumbers.NONE_QUEUE:
            meaning = Meaning.UNCLEAR
        for match in found:
            unit.hear(match.record, it.meaning.value)
            if meaning is Meaning.STOP:
                await self._stop(unit, actor, match, it.incoming)
            else:
                kind = SuspensionKind.UNCLEAR if meaning is Meaning.UNCLEAR else SuspensionKind.OPT_IN_REQUEST
                await _let_wait(unit, actor, match, it.incoming, kind)

    async def _whose(self, unit: WritingUnit, incoming: Incoming) -> list[_Match]:
        """The records that the message is of, locked; candidates are compared before and after."""
        indexes = _BY_MAILBOX if incoming.channel is Channel.EMAIL else _BY_NUMBER

        def matches(values: Mapping[str, Any]) -> bool:
            return origin_of(values, incoming.term, unit.today) is not None

        ids: set[str] = set()
        for index in indexes:
            after = ""
            while page := await unit.candidates(index, incoming.term, after):
                after = page[-1]
                found = await unit.load(page, NEEDED)
                ids |= {each.id for each in found.values() if _counts(each) and unit.compare(each, NEEDED, matches)}
        locked = await unit.load_for_change(sorted(ids)) if ids else {}
        matched = []
        for record in (locked[each] for each in sorted(locked)):
            origin = origin_of(unit.current(record, NEEDED), incoming.term, unit.today) if _counts(record) else None
            if origin is not None:
                matched.append(_Match(record, origin))
        return matched

    async def _stop(self, unit: WritingUnit, actor: Actor, match: _Match, incoming: Incoming) -> None:
        directives = stopped(self._rules, incoming, match.origin, actor.subject)
        try:
            values = appended_values(unit, match.record, directives)
        except Invalid:  # the history is full; what somebody said counts nevertheless
            await unit.suppress(self._silenced(incoming.channel, incoming.value), _STOPPED)
            return
        if values:
            unit.change(match.record, values, system_of(actor))

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

        STOP appends prohibitions as the message would have, OPTED_IN a permission; the others just end the waiting.
        Raises `Invalid` for a message that the record does not have (`unknown_suspension`), that was read before
        (`already_resolved`) or whose contact point is gone (`unknown_contact_point`), and what `Editor` raises.
        """
        names = {"suspensions", "consents"} if verdict in _SAYING else {"suspensions"}
        admitted = await self._editor.admit(actor, request, patient_id, names, asked, Action.RESOLVE)
        async with self._store.writing(admitted.context, Act.UPDATE, [patient_id]) as unit:
            record = await self._editor.locked(unit, admitted, expected_version)
            stored = unit.current(record, {"suspensions", "consents", *NEEDED})
            one = _unread(stored.get("suspensions") or (), suspension_id)
            changes: dict[str, Any] = {}
            if verdict in _SAYING:
                directives = await self._said(unit, actor, stored, one, verdict)
                changes = appended_values(unit, record, directives)
            said = {"verdict": verdict.value, "resolved_by": actor.subject, "resolved_at": instant(unit.now)}
            changes["suspensions"] = [{**each, **said} if each is one else each for each in stored["suspensions"]]
            unit.hear(record, verdict.value)
            unit.change(record, changes, system_of(actor))
            await unit.settle(suspension_id)
            return self._editor.answer(unit, record, admitted)

    async def _said(
        self, unit: WritingUnit, actor: Actor, stored: Mapping[str, Any], one: Mapping[str, Any], verdict: str
    ) -> list[dict[str, Any]]:
        """The directives that a message of the record stands for after all."""
        found = point_of(stored, one.get("contact_point_id") or "", unit.today)
        if found is None:
            raise Invalid("input.suspensionId", "unknown_contact_point")
        origin, value = found
        channel = Channel(one["channel"])
        message = Incoming(
            one["gateway"], one["message_id"], channel, micros(one["received_at"]), b"", value, one["text"]
        )
        if verdict == SuspensionVerdict.STOP:
            return stopped(self._rules, message, origin, actor.subject)
        await unit.release(self._silenced(channel, value))
        return opted_in(self._rules, message, origin, stored.get("consents") or (), actor.subject, unit.now)

    def _silenced(self, channel: Channel, value: str) -> list[tuple[str, str]]:
        """A number or mailbox under each channel that a revocation on `channel` ends."""
        return [(each.value, value) for each in together(channel, self._rules.revoke_scope)]


_SAYING: Final = {
    SuspensionVerdict.STOP: ConsentDecision.DENY,
    SuspensionVerdict.OPTED_IN: ConsentDecision.PERMIT,
}
"""What a verdict says of contact."""


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
        "contact_point_id": match.origin.point_id,
        "text": incoming.text,
        "received_at": instant(incoming.received_at),
    }
    stored = unit.current(match.record, _WORDS).get("suspensions") or []
    kept = with_one_more(stored, suspension)
    if kept is not None:
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

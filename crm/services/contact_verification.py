"""Verifying contact points: a one-time code that is sent and confirmed, and the word of staff. A `Sender` sends.

A code is tried in a transaction of its own, which is committed whatever comes of it: so no refusal, conflict or failure
afterwards gives a try back.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act, rfc3339
from crm.domain import values
from crm.domain.codes import VerificationMethod, VerificationStatus
from crm.domain.contact_codes import ATTEMPTS, LASTING, channel_of, obstacle
from crm.errors import Invalid
from crm.services.editing import Admitted, Editor, system_of
from crm.services.profiles import Profile
from crm.services.request import Request
from crm.services.senders import Bounced, Message, Sender
from crm.store.record import Record
from crm.store.unit import Store, Unit

__all__ = ["ContactVerification"]

_DIGITS: Final = 6
_CODE = re.compile(rf"[0-9]{{{_DIGITS}}}", re.ASCII)
_POINT: Final = "input.contactPointId"
_READ: Final = frozenset({"contactPoints"})
_SUBJECT: Final = "Your code"
# It says nothing of who writes or why: others may read the mailbox or see the telephone's screen.
_TEXT: Final = "Your code is {code}. It serves for {minutes} minutes. If you did not ask for it, you need do nothing."


class ContactVerification:
    """The use cases of verification: for whoever may change contact points, and is not kept from this record's."""

    def __init__(self, store: Store, editor: Editor, sender: Sender) -> None:
        self._store = store
        self._editor = editor
        self._sender = sender

    async def start(self, actor: Actor, request: Request, patient_id: str, contact_point_id: str) -> dict[str, Any]:
        """Sends a new code to a contact point; codes that were sent to it before serve no more.

        Answers the point's id, the channel, until when the code serves, and how often it may be tried. Raises `Invalid`
        (`unknown_contact_point`, `no_sender` for a point that no sender reaches, `undeliverable`, or a rule of
        `contact_codes.obstacle`), `RateLimited`, `SenderUnavailable`, `NotFound`, `Erased`, `RestrictedRecord`,
        `KeyUnavailable`, or what the policy refuses.
        """
        admitted = await self._editor.admit(actor, request, patient_id, ["contact_points"], _READ)
        code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
        async with self._store.writing(admitted.context, Act.UPDATE, [patient_id]) as unit:
            record = await self._editor.present(unit, admitted)
            self._editor.require_seen(record, admitted)
            message = self._message(unit, record, contact_point_id, code, own=actor.patient_id == patient_id)
            effect = await unit.add_code(record, _point(unit, record, contact_point_id), code)
        # After the commit: nobody waits for a mail server with a record locked, and what may have left is counted.
        async with self._store.recording(admitted.context, Act.UPDATE, [patient_id]):
            try:
                await self._sender.send(message)
            except Bounced:
                raise Invalid(_POINT, "undeliverable") from None
            # Only now, whatever kept it from being sent: who asks again is never told of a code that nobody sent.
            await self._store.done(admitted.context, effect, unit.now)
        return {
            "contact_point_id": contact_point_id,
            "channel": message.channel.value,
            "expires_at": rfc3339(unit.now + LASTING),
            "attempts": ATTEMPTS,
        }

    async def confirm(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        code: str,
        asked: frozenset[str],
    ) -> Profile:
        """The profile with the contact point verified, if `code` is the one that was sent to the value it has now.

        Raises `Invalid`: `wrong_code`, or `no_code` where none was sent within ten minutes, or it was tried too often;
        and what `Editor.edit` raises. Each try of a code counts.
        """
        admitted = await self._editor.admit(actor, request, patient_id, ["contact_points"], asked)
        async with self._store.writing(admitted.context, Act.UPDATE, [patient_id]) as unit:
            record = await self._editor.locked(unit, admitted, expected_version)
            point = _point(unit, record, contact_point_id)
            if not _CODE.fullmatch(code):
                raise Invalid("input.code", "code")
            right = await unit.try_code(record, point, code)
        async with self._store.recording(admitted.context, Act.UPDATE, [patient_id]):
            if right is None:
                raise Invalid("input.code", "no_code")
            if not right:
                raise Invalid("input.code", "wrong_code")
        return await self._verified(
            admitted, expected_version, contact_point_id, VerificationStatus.VERIFIED, VerificationMethod.OTP
        )

    async def attest(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        verified: bool,
        asked: frozenset[str],
    ) -> Profile:
        """The profile with what a member of staff found out: that the point is the person's, or that it is not.

        Raises `Invalid`, and what `Editor.edit` raises.
        """
        admitted = await self._editor.admit(actor, request, patient_id, ["contact_points"], asked, Action.ATTEST)
        status = VerificationStatus.VERIFIED if verified else VerificationStatus.FAILED
        return await self._verified(admitted, expected_version, contact_point_id, status, VerificationMethod.STAFF)

    async def _verified(
        self,
        admitted: Admitted,
        expected_version: int | None,
        point_id: str,
        status: VerificationStatus,
        method: VerificationMethod,
    ) -> Profile:
        async with self._store.writing(admitted.context, Act.UPDATE, [admitted.patient_id]) as unit:
            record = await self._editor.locked(unit, admitted, expected_version)
            at, by = rfc3339(unit.now), admitted.context.who.sub
            said = {"status": status.value, "method": method.value, "at": at, "by": by}
            new = {**_point(unit, record, point_id), "verification": said}
            if method is VerificationMethod.OTP:
                new.pop("undeliverable", None)  # the code arrived
            points = [new if each["id"] == point_id else each for each in _points(unit, record)]
            kept = values.parse(values.ContactPoints, points, "input.contactPoints", lenient=True)
            unit.change(record, {"contact_points": kept}, system_of(admitted.actor), speaks=False)
            await unit.end_codes(record, point_id)
            return self._editor.answer(unit, record, admitted)

    def _message(self, unit: Unit, record: Record, point_id: str, code: str, *, own: bool) -> Message:
        """What is sent to the point. Raises `Invalid` where nothing can or may be."""
        point = _point(unit, record, point_id)
        confidential = unit.current(record, ["confidential_communication"]).get("confidential_communication")
        if rule := obstacle(point, confidential, unit.today, own=own):
            raise Invalid(_POINT, rule)
        channel = channel_of(point)
        if channel is None or channel not in self._sender.channels:
            raise Invalid(_POINT, "no_sender")
        text = _TEXT.format(code=code, minutes=LASTING // 60_000_000)
        return Message(channel, point_id, point["value"], _SUBJECT, text)


def _points(unit: Unit, record: Record) -> list[dict[str, Any]]:
    return unit.current(record, ["contact_points"]).get("contact_points") or []


def _point(unit: Unit, record: Record, point_id: str) -> Mapping[str, Any]:
    for point in _points(unit, record):
        if point["id"] == point_id:
            return point
    raise Invalid(_POINT, "unknown_contact_point")

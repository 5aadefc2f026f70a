"""Where somebody may be reached, and whether: the candidates of the plain contact decision, judged.

A part of `tests.reference_decision`, which says what all this is for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.confidential import SYSTEMS
from crm.domain.consents import mark_of
from crm.domain.decision.rules import ContactRules, PurposeRule, Sender
from crm.domain.decision.verdict import Objector, Reason
from crm.domain.times import holds_on, micros

Row = Mapping[str, Any]

LAST = 1 << 40
ENDLESS = {Channel.PORTAL, Channel.IN_PERSON}
UNPROVEN = {Channel.LETTER, Channel.PORTAL, Channel.IN_PERSON}


@dataclass(frozen=True)
class Question:
    """What was asked, so that it need not be handed on piece by piece."""

    values: Row
    purpose: CommunicationPurpose
    sender: Sender
    rules: ContactRules
    now: int
    able: list[Channel]
    suppressed: Collection[str]

    @property
    def rule(self) -> PurposeRule:
        return self.rules.purposes[self.purpose]

    @property
    def today(self) -> str:
        return day_of(self.now)

    @property
    def emergency(self) -> bool:
        return self.purpose is CommunicationPurpose.EMERGENCY

    @property
    def timed(self) -> bool:
        return self.rule.quiet_hours and not self.emergency


@dataclass(frozen=True)
class Party:
    """Who is to be reached: the patient, the patient at their confidential address, or a related person."""

    points: list[Row]
    addresses: list[Row]
    languages: list[Row]
    formats: list[str]
    needs: set[str]
    person: Row | None = None
    confidential: Row | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to reach somebody; `failed` says why it cannot be taken."""

    channel: Channel
    row: Row | None
    failed: Reason | None = None

    @property
    def id(self) -> str | None:
        return None if self.row is None else self.row["id"]


# --- where -----------------------------------------------------------------------------------------------------------


def ranked(question: Question, party: Party) -> list[Candidate]:
    """Every candidate, judged, the best first, as if none had failed."""
    if party.confidential:
        found = [_confidential(party.confidential)]
    else:
        found = []
        for channel in question.able:
            rows = [row for row in _rows(party, channel) if _carries(row, channel)]
            found += [Candidate(channel, row) for row in rows] or [Candidate(channel, None)]
    judged = [Candidate(one.channel, one.row, _fault(question, party, one)) for one in found]
    return sorted(judged, key=lambda one: _rank(question, one))


def _confidential(communication: Row) -> Candidate:
    channel = Channel(communication["channel"])
    row: dict[str, Any] = {"id": communication["id"]}
    if channel in SYSTEMS:
        row |= {"system": SYSTEMS[channel].value, "value": communication["value"]}
    if channel is Channel.LETTER:
        row |= {key: part for key, part in communication["address"].items() if key in {"period", "use"}}
    return Candidate(channel, row)


def _rows(party: Party, channel: Channel) -> list[Row]:
    return party.addresses if channel is Channel.LETTER else party.points


def _carries(row: Row, channel: Channel) -> bool:
    system, able = row.get("system"), row.get("capabilities") or []
    match channel:
        case Channel.SMS:
            return system == "SMS" or (system == "PHONE" and "SMS" in able)
        case Channel.VOICE:
            return system == "PHONE" and ("VOICE" in able or not able)
        case Channel.EMAIL:
            return system == "EMAIL"
        case Channel.FAX:
            return system == "FAX" or (system == "PHONE" and "FAX" in able)
        case Channel.TEXTPHONE:
            return system in {"PHONE", "OTHER"} and "TTY" in able
        case Channel.PUSH | Channel.CHAT:
            return system in {"OTHER", "URL"}
        case Channel.LETTER:
            return row.get("type") != "PHYSICAL"
    return False


def _fault(question: Question, party: Party, one: Candidate) -> Reason | None:
    """The first thing that speaks against a candidate: a restriction, consent, then its being of no use."""
    if any(one.channel in row["channels"] for row in restrictions(question)):
        return Reason.LEGAL_RESTRICTION
    return _refused(question, party, one) or _useless(question, party, one)


def _useless(question: Question, party: Party, one: Candidate) -> Reason | None:
    if one.channel in ENDLESS:
        return None
    if one.row is None:
        return Reason.NO_USABLE_CONTACT_POINT
    if not party.confidential and not _reaches_somebody(one.row):
        return Reason.NO_USABLE_CONTACT_POINT
    if not lasts_on(one.row, question.today) or one.row.get("use") == "OLD":
        return Reason.CONTACT_POINT_EXPIRED
    if one.channel is Channel.SMS and one.row.get("text_permitted") == "NO":
        return Reason.OPTED_OUT
    if one.row.get("undeliverable"):
        return Reason.CONTACT_POINT_UNDELIVERABLE
    if question.rule.verified and one.channel not in UNPROVEN and not party.confidential and not _verified(one.row):
        return Reason.CONTACT_POINT_UNVERIFIED
    if stopped(question, one) and not question.emergency:
        return Reason.OPTED_OUT
    return None


def _reaches_somebody(row: Row) -> bool:
    """Whether a number is a number, and a mailbox a mailbox."""
    value = row.get("value", "")
    if row.get("system") in {"PHONE", "SMS", "FAX"}:
        return value[:1] == "+" and value[1:] != "" and set(value[1:]) <= set("0123456789")
    return row.get("system") != "EMAIL" or "@" in value[1:-1]


def stopped(question: Question, one: Candidate) -> bool:
    """Whether somebody said stop from there, whose record that is or not."""
    return one.row is not None and one.row.get("value") in question.suppressed


def asked_for(question: Question) -> list[str]:
    """The channels that the person lists for the purpose."""
    return [
        name
        for row in question.values.get("channel_preferences") or []
        if row["purpose"] == question.purpose
        for name in row["channels"]
    ]


def channel_order(question: Question) -> list[Channel]:
    """The sender's channels, the most wanted first."""
    first = [channel for name in asked_for(question) for channel in question.able if channel == name]
    return first + [channel for channel in question.able if channel not in first]


def _rank(question: Question, one: Candidate) -> tuple[Any, ...]:
    place = channel_order(question).index(one.channel)
    row = one.row or {}
    use = row.get("use")
    if one.channel is Channel.LETTER:
        uses = ["TEMP", "HOME", "WORK", None, "BILLING", "OLD"]
        if question.purpose is CommunicationPurpose.BILLING:
            uses = ["BILLING", "TEMP", "HOME", "WORK", None, "OLD"]
        return (place, uses.index(use), one.id or "")
    by_telephone = one.channel in {Channel.SMS, Channel.VOICE}
    homely = {"MOBILE": 0, "HOME": 1}.get(use or "", 2) if by_telephone else 0
    return (place, row.get("rank", LAST), 0 if _verified(row) else 1, homely, one.id or "")


def considered(everybody: list[Candidate], chosen: Candidate | None) -> tuple[tuple[Channel, str | None, Reason], ...]:
    """What was looked at and not chosen, the best first."""
    return tuple((one.channel, one.id, one.failed or Reason.OK) for one in everybody if one is not chosen)


# --- whether ---------------------------------------------------------------------------------------------------------


def restrictions(question: Question) -> list[Row]:
    """Restrictions of contact that bind now."""
    return [
        row
        for row in question.values.get("restrictions") or []
        if row["kind"] == "CONTACT"
        and not row.get("lifted_at")
        and (not row.get("until") or micros(row["until"]) > question.now)
        and covers(row, question.purpose)
    ]


def directives(question: Question, party: Party, one: Candidate, decision: str) -> list[Row]:
    """Directives in force about this way of contact, the confidential communication among them."""
    return [
        row
        for row in said(question, party, decision)
        if _matches(question, row, one)
        and micros(row["effective_from"]) <= question.now
        and (not row.get("effective_to") or question.now < micros(row["effective_to"]))
    ]


def said(question: Question, party: Party, decision: str) -> list[Row]:
    """Every directive of that kind, and the confidential communication, which is a PERMIT of its own.

    Where a PERMIT is needed, neither the confidential communication is one, nor a message that named no purpose.
    """
    rows = [row for row in question.values.get("consents") or [] if row["decision"] == decision]
    if decision == "DENY":
        return rows
    everybody = [question.values, *(question.values.get("related_persons") or [])]
    ends = {point["id"]: point["value"] for one in everybody for point in one.get("contact_points") or []}
    rows = [row for row in rows if "mark" not in row or _still(row, ends.get(row["scope"]["contact_point_id"]))]
    if question.rule.opt_in:
        return [row for row in rows if "purpose" in row["scope"] or "message_id" not in row["capture"]]
    if party.confidential:
        scope = {"channel": party.confidential["channel"], "contact_point_id": party.confidential["id"]}
        set_at = party.confidential["set_at"]
        rows.append({"scope": scope, "effective_from": set_at, "capture": {"at": set_at}})
    return rows


def _still(permit: Row, value: str | None) -> bool:
    """Whether the contact point that was permitted has the number or mailbox that it had then."""
    return value is not None and permit["mark"] == mark_of(permit["id"], value)


def _matches(question: Question, directive: Row, one: Candidate) -> bool:
    about = {
        "channel": one.channel.value,
        "contact_point_id": one.id,
        "purpose": question.purpose.value,
        "sender": question.sender.id,
    }
    return all(about[member] == word for member, word in directive["scope"].items())


def _by_patient(directive: Row) -> bool:
    giver = directive.get("giver") or {"role": "PATIENT"}
    return giver["role"] == "PATIENT" and not giver.get("related_person_id")


def _beaten(deny: Row, permits: list[Row]) -> bool:
    return any(
        (_by_patient(permit) or not _by_patient(deny))
        and min(micros(permit["effective_from"]), micros(permit["capture"]["at"])) > micros(deny["effective_from"])
        and all(permit["scope"].get(member) == word for member, word in deny["scope"].items())
        for permit in permits
    )


def _unbeaten(question: Question, party: Party, one: Candidate) -> list[Row]:
    permits = directives(question, party, one, "PERMIT")
    denies = directives(question, party, one, "DENY")
    if party.confidential:
        denies = [deny for deny in denies if _by_patient(deny)]
    return [deny for deny in denies if not _beaten(deny, permits)]


def _binding(question: Question, party: Party, one: Candidate) -> list[Row]:
    denies = _unbeaten(question, party, one)
    return [deny for deny in denies if not question.emergency or deny["scope"].get("purpose") == "EMERGENCY"]


def objectors(
    question: Question, party: Party, everybody: list[Candidate]
) -> dict[tuple[Channel, str | None], Objector]:
    """Who said no to each way that was refused."""
    found = {}
    for one in everybody:
        if one.failed is Reason.OPTED_OUT:
            denies = _binding(question, party, one)
            if denies:
                mine = any(_by_patient(deny) for deny in denies)
                found[one.channel, one.id] = Objector.PATIENT if mine else Objector.OTHER
            else:
                texts = one.channel is Channel.SMS and (one.row or {}).get("text_permitted") == "NO"
                found[one.channel, one.id] = Objector.TEXTS if texts else Objector.STOP
    return found


def _refused(question: Question, party: Party, one: Candidate) -> Reason | None:
    if _binding(question, party, one):
        return Reason.OPTED_OUT
    if directives(question, party, one, "PERMIT") or not question.rule.opt_in:
        return None
    over = [
        row
        for row in said(question, party, "PERMIT")
        if _matches(question, row, one) and row.get("effective_to") and micros(row["effective_to"]) <= question.now
    ]
    return Reason.CONSENT_EXPIRED if over else Reason.CONSENT_UNKNOWN


def passed_over(question: Question, party: Party, one: Candidate) -> bool:
    """Whether only the emergency makes somebody contact the person here: a directive or a stop forbids it otherwise."""
    return stopped(question, one) or any(
        deny["scope"].get("purpose") != "EMERGENCY" for deny in _unbeaten(question, party, one)
    )


def unread(values: Row) -> bool:
    """Whether a message of the person, which may have meant to stop, still waits for staff."""
    return any(row["kind"] == "UNCLEAR" and not row.get("verdict") for row in values.get("suspensions") or [])


# --- small words -----------------------------------------------------------------------------------------------------


def covers(row: Row, purpose: CommunicationPurpose) -> bool:
    """Whether something that may name purposes is about this one."""
    return not row.get("purposes") or purpose in row["purposes"]


def lasts_on(row: Row, day: str) -> bool:
    """Whether the period of something, if it has one, includes the day (YYYY-MM-DD)."""
    period = row.get("period") or {}
    return holds_on(period.get("start"), period.get("end"), day)


def _verified(row: Row) -> bool:
    return (row.get("verification") or {}).get("status") == "VERIFIED"


def day_of(moment: int) -> str:
    """The day (YYYY-MM-DD), in UTC, of a moment."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).date().isoformat()

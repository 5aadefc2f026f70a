"""The contact decision once more, written from its description alone: plain, slow and obvious, to compare with.

Nothing is shared with the code under test but the words in which questions and answers are put. Where the two differ,
one of them is wrong, or the description is.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from crm.domain.addressing import display_name_of
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.rules import STANDARD, ContactRules, LegalClass, Sender
from crm.domain.decision.verdict import ContactDecision, Copy, Outcome, Reason
from crm.domain.languages import SIGN_LANGUAGES
from crm.domain.need_codes import AccessNeedKind
from crm.domain.times import micros
from tests.reference_hours import next_permitted, permitted_until, refusals
from tests.reference_ways import (
    ENDLESS,
    LAST,
    Candidate,
    Party,
    Question,
    Row,
    asked_for,
    channel_order,
    considered,
    covers,
    day_of,
    directives,
    lasts_on,
    objectors,
    passed_over,
    ranked,
    restrictions,
    said,
    unread,
)

__all__ = ["plainly"]

DAY = 24 * 60 * 60 * 1_000_000
NEEDED_CHANNELS = {
    "CONTACT_BY_EMAIL": Channel.EMAIL,
    "CONTACT_BY_LETTER": Channel.LETTER,
    "CONTACT_BY_SMS": Channel.SMS,
    "CONTACT_BY_TELEPHONE": Channel.VOICE,
    "CONTACT_BY_TEXT_RELAY": Channel.TEXTPHONE,
}
TALK = {Channel.VOICE, Channel.IN_PERSON}


def plainly(
    values: Row,
    purpose: CommunicationPurpose,
    sender: Sender,
    rules: ContactRules,
    now: int,
    *,
    use: str,
    reach: bool,
    status: str = "active",
    restricted: bool = False,
    erased: bool = False,
    channels: Collection[Channel] | None = None,
    suppressed: Collection[str] = frozenset(),
) -> ContactDecision:
    """What `crm.domain.decision.decide` must say to the same arguments, in every member."""
    able = [channel for channel in sender.channels if channels is None or channel in channels]
    question = Question(values, purpose, sender, rules, now, able, suppressed)

    def no(*reasons: Reason) -> ContactDecision:
        return ContactDecision(Outcome.DENY, reasons, expires_at=now + rules.lasting)

    # 1: the record.
    if erased:
        return no(Reason.RECORD_ERASED)
    if status == "merged":
        return no(Reason.MERGED)
    if values.get("deceased") is True or (values.get("deceased_at") and values.get("deceased") is not False):
        return no(Reason.DECEASED)
    if values.get("active") is False:
        return no(Reason.RECORD_INACTIVE)
    # 2 and 3: confidential communication, and restricted records, which must stay unknown before anything else is said.
    confidential = values.get("confidential_communication")
    selling = question.rule.legal_class is LegalClass.TELEMARKETING
    covered = confidential and not selling and covers(confidential, purpose)
    if restricted and not reach and not (covered and use in question.rule.uses):
        return no(Reason.RESTRICTED_RECORD)
    if confidential and selling:
        return no(Reason.CONFIDENTIAL_OVERRIDE_APPLIED)
    if not covered:
        confidential = None
    # 4: restrictions of all contact.
    if any(not row["channels"] for row in restrictions(question)):
        return no(Reason.LEGAL_RESTRICTION)
    # 6: channels.
    if not able:
        return no(Reason.CHANNEL_NOT_SUPPORTED_BY_CALLER)
    if confidential and confidential["channel"] not in able:
        return no(Reason.CHANNEL_NOT_SUPPORTED_BY_CALLER, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)
    return _among_candidates(question, _recipient(question, confidential), use)


def _among_candidates(question: Question, party: Party, use: str) -> ContactDecision:
    """7 to 12: who is left, and whether it is the time."""
    everybody = ranked(question, party)
    living = [candidate for candidate in everybody if candidate.failed is None]
    failed = [candidate for candidate in everybody if candidate.failed is not None]
    later = question.now + question.rules.lasting

    def stop(outcome: Outcome, reasons: Iterable[Reason], unmet: Collection[str] = ()) -> ContactDecision:
        told = {"relatedPersons" if party.person else "accessNeeds"} if unmet else set()
        return ContactDecision(
            outcome,
            tuple(reasons),
            expires_at=later,
            unmet=tuple(unmet),
            considered=considered(everybody, None),
            objectors=objectors(question, party, everybody),
            disclosed=frozenset(told),
        )

    # 9, first: the caller's purpose, and messages that nobody has read.
    if living and use not in question.rule.uses:
        return ContactDecision(Outcome.DENY, (Reason.PURPOSE_OF_USE_MISMATCH,), expires_at=later)
    if living and not question.emergency and unread(question.values):
        return ContactDecision(Outcome.MANUAL, (Reason.REVIEW_PENDING,), expires_at=later)
    # 10, and the rest of 9: needs, and nobody left.
    needed = _needed(party)
    served = [candidate for candidate in living if not needed or candidate.channel in needed]
    unmet = _unmet(party, nobody_serves=not served)
    why = [reason for reason in Reason if reason in {one.failed for one in failed}]
    if unmet and not party.confidential:
        against = {Reason.OPTED_OUT, Reason.LEGAL_RESTRICTION} & {one.failed for one in failed if one.channel in needed}
        conflict = against and not served
        first = Reason.ACCESS_NEED_CONFLICT if conflict else Reason.ACCESS_NEED_UNMET
        return stop(Outcome.MANUAL, [first, *why], unmet)
    if not living:
        on_purpose = {Reason.LEGAL_RESTRICTION, Reason.OPTED_OUT, Reason.CONSENT_EXPIRED, Reason.CONSENT_UNKNOWN}
        unreachable = [reason for reason in why if reason not in on_purpose]
        return stop(Outcome.MANUAL if party.person and unreachable else Outcome.DENY, why)
    # 11: the best.
    best = living[0] if party.confidential else served[0]
    order = channel_order(question)
    behind = {
        one.failed
        for one in failed
        if order.index(one.channel) < order.index(best.channel) and one.channel in asked_for(question)
    }
    # 12: the time.
    quiet = refusals(question.values, question.rules, question.rule, best.channel, question.now)
    if quiet and question.timed:
        following = next_permitted(question.values, question.rules, question.rule, best.channel, question.now)
        return ContactDecision(
            Outcome.DEFER,
            tuple(quiet),
            next_permitted_at=following,
            expires_at=later if following is None else following,
            considered=((best.channel, best.id, quiet[0]), *considered(everybody, best)),
            objectors=objectors(question, party, everybody),
            zone=question.values.get("time_zone"),
            disclosed=frozenset({"timeZone"} if question.values.get("time_zone") else set()),
        )
    if question.emergency and (quiet or passed_over(question, party, best)):
        behind.add(Reason.EMERGENCY_OVERRIDE)
    return replace(
        _yes(question, party, best, {reason for reason in behind if reason}, unmet, considered(everybody, best)),
        objectors=objectors(question, party, everybody),
    )


def _yes(
    question: Question,
    party: Party,
    best: Candidate,
    behind: set[Reason],
    unmet: list[str],
    considered: tuple[tuple[Channel, str | None, Reason], ...],
) -> ContactDecision:
    """13 to 15: what is said, to whom, and for how long it is true."""
    language, its_source, language_fallback = _language(question, party, best.channel)
    format_, missing = _format(question, party, best.channel)
    copies = [] if party.confidential else _copies(question, None if party.person else best)
    for reason, holds in (
        (Reason.CONFIDENTIAL_OVERRIDE_APPLIED, party.confidential),
        (Reason.STAND_IN_CONTACTED, party.person),
        (Reason.LANGUAGE_FALLBACK, language_fallback),
        (Reason.FORMAT_FALLBACK, missing),
        (Reason.ACCESS_NEED_UNMET, unmet or missing),
    ):
        if holds:
            behind.add(reason)
    row = None if best.channel in ENDLESS else best.row
    letter = best.channel is Channel.LETTER
    told = {
        "confidentialCommunication": party.confidential,
        "relatedPersons": party.person or copies,
        "displayName": not party.person,
        "languages": its_source == "languages" and not party.person,
        "accessibleFormats": (format_ != STANDARD or missing) and not party.person,
        "accessNeeds": unmet and not party.person,
        "addresses": row and letter and not party.person and not party.confidential,
        "contactPoints": row and not letter and not party.person and not party.confidential,
    }
    ends = [_until(question, party, best, timed=question.timed or question.emergency)]
    ends += [_until(question, _as_party(person), one, timed=question.timed) for person, one in copies]
    return ContactDecision(
        Outcome.ALLOW,
        (Reason.OK, *(reason for reason in Reason if reason in behind)),
        channel=best.channel,
        contact_point=None if letter else row,
        address=(party.confidential["address"] if party.confidential else row) if letter else None,
        confidential=party.confidential is not None,
        stand_in=party.person["id"] if party.person else None,
        copies=tuple(_copy(question, person, one) for person, one in copies),
        language=language,
        format=format_,
        salutation=party.person["name"] if party.person else display_name_of(question.values, question.today),
        expires_at=min(ends),
        unmet=(*unmet, *missing),
        considered=considered,
        disclosed=frozenset(path for path, holds in told.items() if holds),
    )


# --- who -------------------------------------------------------------------------------------------------------------


def _recipient(question: Question, confidential: Row | None) -> Party:
    values = question.values
    patient = Party(
        points=list(values.get("contact_points") or []),
        addresses=list(values.get("addresses") or []),
        languages=list(values.get("languages") or []),
        formats=list(values.get("accessible_formats") or []),
        needs={need["kind"] for need in values.get("access_needs") or []},
        confidential=confidential,
    )
    instead = _related(question, "INSTEAD")
    return patient if confidential or not instead else _as_party(instead[0])


def _related(question: Question, contact: str) -> list[Row]:
    """Related persons in force who are contacted in that way, in the order in which they are asked."""
    found = [
        person
        for person in question.values.get("related_persons") or []
        if person["contact"] == contact and covers(person, question.purpose) and lasts_on(person, question.today)
    ]
    return sorted(found, key=lambda person: (person.get("rank", LAST), person["id"]))


def _as_party(person: Row) -> Party:
    return Party(
        points=list(person["contact_points"]),
        addresses=[],
        languages=list(person["languages"]),
        formats=list(person["accessible_formats"]),
        needs={need["kind"] for need in person["access_needs"]},
        person=person,
    )


def _copies(question: Question, own: Candidate | None) -> list[tuple[Row, Candidate]]:
    """Who is told as well, and where, unless that is where the patient's own message goes anyway."""
    found = []
    for person in _related(question, "BESIDE"):
        party = _as_party(person)
        needed = _needed(party)
        fit = [
            one
            for one in ranked(question, party)
            if one.failed is None
            and one.row is not None
            and (not needed or one.channel in needed)
            and not (
                question.timed and refusals(question.values, question.rules, question.rule, one.channel, question.now)
            )
        ]
        if fit and not (own and _end(fit[0]) == _end(own)):
            found.append((person, fit[0]))
    return found


def _end(one: Candidate) -> tuple[Channel, str | None]:
    return one.channel, (one.row or {}).get("value")


def _copy(question: Question, person: Row, one: Candidate) -> Copy:
    assert one.row is not None
    party = _as_party(person)
    language, _, _ = _language(question, party, one.channel)
    return Copy(person["id"], one.channel, one.row, language, _format(question, party, one.channel)[0], person["name"])


# --- how -------------------------------------------------------------------------------------------------------------


def _needed(party: Party) -> set[Channel]:
    return {NEEDED_CHANNELS[kind] for kind in party.needs if kind in NEEDED_CHANNELS}


def _unmet(party: Party, *, nobody_serves: bool) -> list[str]:
    missed = {kind for kind in party.needs if kind in NEEDED_CHANNELS} if nobody_serves else set[str]()
    if "CONTACT_VIA_CARER" in party.needs and not party.person:
        missed.add("CONTACT_VIA_CARER")
    return [kind.value for kind in AccessNeedKind if kind in missed]


def _language(question: Question, party: Party, channel: Channel) -> tuple[str | None, str | None, bool]:
    """The language, whence it comes (None: from the sender), and whether it is one that nobody asked for."""
    ours = question.sender.languages
    if party.confidential and party.confidential.get("language"):
        tag = party.confidential["language"]
        if not ours or any(_serves(one, tag) for one in ours):
            return tag, "confidentialCommunication", False
    modes = {Channel.VOICE: {"SPOKEN"}, Channel.IN_PERSON: {"SPOKEN", "SIGNED"}}.get(channel, {"WRITTEN"})
    wanted = [
        row
        for row in party.languages
        if (not row["modes"] or modes & set(row["modes"]))
        and (channel is Channel.IN_PERSON or row["tag"].split("-")[0] not in SIGN_LANGUAGES)
    ]
    wanted.sort(key=lambda row: (0 if row.get("preferred") else 1, row.get("rank", LAST), row["tag"]))
    for row in wanted:
        if not ours or any(_serves(one, row["tag"]) for one in ours):
            return row["tag"], "languages", False
    return (ours[0] if ours else None), None, bool(party.languages)


def _serves(ours: str, theirs: str) -> bool:
    one, other = ours.lower().split("-"), theirs.lower().split("-")
    return one == other[: len(one)] or other == one[: len(other)]


def _format(question: Question, party: Party, channel: Channel) -> tuple[str, list[str]]:
    """The format, and those that were asked for in vain."""
    if channel in TALK or not party.formats:
        return STANDARD, []
    for one in party.formats:
        if question.sender.formats is None or one in question.sender.formats:
            return one, []
    return STANDARD, list(party.formats)


# --- until when ------------------------------------------------------------------------------------------------------


def _until(question: Question, party: Party, one: Candidate, *, timed: bool) -> int:
    """The first moment at which contact this way must be asked for again; `timed` where hours were looked at."""
    limit = question.now + question.rules.lasting
    asked = (question.values, question.rules, question.rule, one.channel, question.now)
    denies = [row["effective_from"] for row in said(question, party, "DENY")]
    permits = [row["effective_to"] for row in directives(question, party, one, "PERMIT") if row.get("effective_to")]
    ends = [limit, *(micros(moment) for moment in permits)]
    ends += [micros(moment) for moment in denies if micros(moment) > question.now]
    if timed and not refusals(*asked):
        ends.append(permitted_until(*asked, limit))
    for row in (one.row, party.person):
        midnight = micros(question.today) + DAY
        while row is not None and midnight < limit:
            if not lasts_on(row, day_of(midnight)):
                ends.append(midnight)
                break
            midnight += DAY
    return min(ends)

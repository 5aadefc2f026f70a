"""Contact decisions as a client asks for them: the queries, people to ask about, and senders that are registered."""

from typing import Any

from crm.domain.codes import Channel
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, Sender

__all__ = ["ANN", "CONFIDED", "EXPLAIN", "MANY", "ONE", "RULES", "WHOLE_DECISION", "directive"]

WHOLE_DECISION = """patientId outcome reasons channel contactPoint { id system value extension voicemailOk
  detailedMessageOk } address { id lines city } confidential recipient standIn copies { relatedPersonId channel
  contactPoint { id value } language format salutation } language format salutation nextPermittedAt policyVersion
  decisionId expiresAt unmetNeeds explanation simulated"""
_ASKED = "$purpose: CommunicationPurpose!, $sender: String, $at: DateTime, $channels: [Channel!]"
_GIVEN = "purpose: $purpose, sender: $sender, at: $at, channels: $channels"


def one(selection: str = WHOLE_DECISION) -> str:
    """A query about one patient, with a selection of the decision's members."""
    return f"query D($id: ID!, {_ASKED}) {{ contactDecision(patientId: $id, {_GIVEN}) {{ {selection} }} }}"


ONE = one()
MANY = f"query D($ids: [ID!]!, {_ASKED}) {{ contactDecisions(patientIds: $ids, {_GIVEN}) {{ {WHOLE_DECISION} }} }}"
EXPLAIN = f"""query E($id: ID!, {_ASKED}, $what: [SupposedConsent!]) {{
  explainContact(patientId: $id, {_GIVEN}, whatIf: $what) {{
    decision {{ {WHOLE_DECISION} }} sentences considered {{ channel contactPointId reason }} }} }}"""

ANN: dict[str, Any] = {
    "preferred_name": "Annelore",
    "names": [{"use": "OFFICIAL", "family": "Vandermeer", "given": ["Anna"]}],
    "contact_points": [
        {"id": "ann-mail", "system": "EMAIL", "value": "annelore@example.test", "rank": 1},
        {"id": "ann-work", "system": "EMAIL", "value": "vandermeer@example.test", "rank": 2},
        {"id": "ann-mobile", "system": "PHONE", "value": "+447700900777", "use": "MOBILE"},
    ],
    "channel_preferences": [{"purpose": "APPOINTMENT_REMINDER", "channels": ["EMAIL"]}],
    "languages": [{"tag": "nl", "preferred": True}, {"tag": "en"}],
    "accessible_formats": ["LARGE_PRINT"],
    "time_zone": "Europe/Amsterdam",
}
"""Somebody who is reached by e-mail, at any hour."""

CONFIDED: dict[str, Any] = {
    **ANN,
    "confidential_communication": {
        "id": "ann-secret",
        "channel": "EMAIL",
        "value": "hidden.harbour@example.test",
        "set_at": "2026-01-05T08:00:00Z",
    },
}
"""The same, who asked to be reached at a mailbox of their own and nowhere else."""

RULES = named(
    ContactRules(
        "",
        senders={
            sender.id: sender
            for sender in (
                Sender("letters", (Channel.LETTER,), formats=frozenset()),
                Sender("mails", (Channel.EMAIL,), ("en",), frozenset({"LARGE_PRINT"}), frozenset({"heed-development"})),
                Sender("theirs", (Channel.EMAIL,), clients=frozenset({"another-program"})),
                Sender("southern", (Channel.EMAIL,), org="south-clinic"),
            )
        },
    )
)


def directive(decision: str, seq: int = 1, **more: Any) -> dict[str, Any]:
    """A consent directive of the past; `more` overrides its members."""
    at = "2026-02-01T08:00:00Z"
    told = {"capture": {"at": at}, "effective_from": at, "received_at": at}
    return {"id": f"said-{seq}", "seq": seq, "decision": decision, "scope": {}, **told, **more}

"""What one decision is about, and what is known of it before any contact point is looked at. Decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.consent import Directives
from crm.domain.decision.rules import ContactRules, PurposeRule, Sender

__all__ = ["Question"]


class Question(NamedTuple):
    """One purpose, one sender and one patient at one moment.

    `values` are the patient's cells by their names in the catalogue. `channels` are those in question, the best first.
    `now` is microseconds since 1970, UTC; `moment` is the same as an `Instant`, and `today` its day. `barred` are
    channels that restrictions close, `suppressed` values of contact points from which somebody said stop.
    """

    values: Mapping[str, Any]
    purpose: CommunicationPurpose
    rule: PurposeRule
    sender: Sender
    channels: Sequence[Channel]
    rules: ContactRules
    now: int
    moment: str
    today: str
    barred: frozenset[str]
    directives: Directives
    suppressed: frozenset[str]

    @property
    def emergency(self) -> bool:
        """Whether it is about an emergency, which passes over what is not said of emergencies."""
        return self.purpose == CommunicationPurpose.EMERGENCY

    def silenced(self, point: Mapping[str, Any] | None) -> bool:
        """Whether somebody said stop from this number or mailbox."""
        return bool(self.suppressed) and point is not None and point.get("value") in self.suppressed

"""The contact decision: may this person be contacted, for this purpose, where, in which language and format, now."""

from crm.domain.decision.explanation import explained
from crm.domain.decision.ladder import decide
from crm.domain.decision.verdict import ContactDecision, Copy, Outcome, Reason

__all__ = ["ContactDecision", "Copy", "Outcome", "Reason", "decide", "explained"]

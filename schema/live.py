"""The subscription root: what is told as it happens. Each field asks one service, and translates; decides nothing.

How events become answers, and that each is admitted anew, is for `subscriptions`.
"""

import graphene

from schema.changes import ProfileSubscriptions
from schema.live_log import LogSubscriptions

__all__ = ["Subscription"]


class Subscription(ProfileSubscriptions, LogSubscriptions, graphene.ObjectType):
    """Everything that is told as it happens. Each event has an entry in the access log before it leaves."""

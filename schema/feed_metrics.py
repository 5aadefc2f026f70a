"""What operators may know of the change feed: how long changes wait before anybody can be told of them."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["FeedNumbers", "FeedState"]


class FeedState(Protocol):
    """The feed as this process saw it when it last looked (`crm.delivery.sequencer`)."""

    @property
    def waiting_since(self) -> int | None:
        """When the oldest change was made that had no number (microseconds since 1970)."""
        ...


class FeedNumbers(Collector):
    """The number of the feed, of all organisations together. No request pays for it."""

    def __init__(self, state: FeedState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        waiting = GaugeMetricFamily(
            "heed_feed_waiting_since_seconds",
            "When the oldest change was made that had no number at the last look; absent where none waited.",
        )
        if (since := self._state.waiting_since) is not None:
            waiting.add_metric([], since / 1e6)
        return [waiting]

"""What operators may count of webhooks: how far behind each endpoint is, what waits, what was given up, and attempts.

What is named is the id of an endpoint, never a patient.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crm.delivery.webhooks import EndpointState

__all__ = ["Hooks", "WebhookNumbers"]


class Hooks(Protocol):
    """Whoever sends webhooks in this process (`crm.delivery.webhooks`)."""

    @property
    def states(self) -> Mapping[tuple[str, str], EndpointState]:
        """Every endpoint, by organisation and id."""
        ...

    @property
    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Attempts of this process, by endpoint and how they ended."""
        ...


class WebhookNumbers(Collector):
    """The numbers of all endpoints, as of the last look at them. Times are seconds since 1970."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        labels = ["endpoint"]
        active = GaugeMetricFamily("heed_webhook_active", "Whether an endpoint is sent to.", labels=labels)
        behind = GaugeMetricFamily("heed_webhook_behind", "Changes that were not looked at yet.", labels=labels)
        waiting = GaugeMetricFamily("heed_webhook_waiting", "Messages that are tried again.", labels=labels)
        dead = GaugeMetricFamily("heed_webhook_dead", "Messages that were given up.", labels=labels)
        failing = GaugeMetricFamily(
            "heed_webhook_failing_since_timestamp_seconds",
            "Since when nothing was delivered; absent where it fares well.",
            labels=labels,
        )
        for each in list(self._hooks.states.values()):
            active.add_metric([each.id], int(each.active))
            behind.add_metric([each.id], each.behind)
            waiting.add_metric([each.id], each.waiting)
            dead.add_metric([each.id], each.dead)
            if each.failing_since is not None:
                failing.add_metric([each.id], each.failing_since / 1e6)
        attempts = CounterMetricFamily(
            "heed_webhook_attempts", "Attempts by this process.", labels=["endpoint", "outcome"]
        )
        for (endpoint, outcome), count in sorted(self._hooks.outcomes.items()):
            attempts.add_metric([endpoint, outcome], count)
        return [active, behind, waiting, dead, failing, attempts]

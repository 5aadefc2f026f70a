"""What operators may count: requests, seconds and load by status and error code, and how fresh each log's outside is.

Never a person's name, id or text: what is named are logs and witnesses.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from crm.services.publishing import LogState
from schema.context import Queue
from schema.feed_metrics import FeedNumbers, FeedState
from schema.webhook_metrics import Hooks, WebhookNumbers

__all__ = ["CONTENT_TYPE", "Logs", "Made", "Metrics", "Reviews"]

Logs = Callable[[], Iterable[LogState]]
"""What is known outside of each log now."""

Reviews = Callable[[], Queue]
"""How the queue of break-glass grants was when it was last counted."""

Made = Callable[[], Mapping[str, int]]
"""How many of each kind there were, such as responses that each executor made."""

_MADE = "Responses by the executor that made them."
_RETRIES = "Mutations that came again under their key, and were answered again or refused as being done."

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds up to which each bucket of the histogram reaches; one more holds the rest."""


class Metrics:
    """The numbers of one application, in a registry of its own; those of the logs are asked for when they are read."""

    def __init__(
        self,
        logs: Logs = lambda: (),
        reviews: Reviews | None = None,
        made: Made | None = None,
        hooks: Hooks | None = None,
        feed: FeedState | None = None,
        retries: Made | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Outside(logs))
        if made is not None:
            self._registry.register(_Counted("heed_graphql_responses", "executor", _MADE, made))
        if retries is not None:
            self._registry.register(_Counted("heed_retries", "outcome", _RETRIES, retries))
        if reviews is not None:
            self._registry.register(_Reviews(reviews))
        if hooks is not None:
            self._registry.register(WebhookNumbers(hooks))
        if feed is not None:
            self._registry.register(FeedNumbers(feed))
        self._requests = _Requests()
        self._registry.register(self._requests)
        self._streams = _Streams()
        self._registry.register(self._streams)

    def begun(self) -> float:
        """Counts one request as in flight; gives its beginning for `ended`."""
        self._requests.in_flight += 1
        return time.perf_counter()

    def ended(self, begun: float) -> None:
        """Counts the seconds of a request, which is in flight no more."""
        seconds = time.perf_counter() - begun
        self._requests.in_flight -= 1
        self._requests.seconds += seconds
        self._requests.buckets[bisect_left(_BOUNDS, seconds)] += 1

    def answered(self, status: int, code: str) -> None:
        """Counts an answer; `code` is the first error code in it, or `none`."""
        self._requests.answers[status, code] += 1

    @contextmanager
    def streaming(self, transport: str) -> Iterator[None]:
        """Counts a connection of `websocket` or `sse` as open."""
        self._streams.open[transport] += 1
        try:
            yield
        finally:
            self._streams.open[transport] -= 1

    def streamed(self, transport: str, code: str) -> None:
        """Counts an answer over such a connection; `code` as for `answered`."""
        self._streams.answers[transport, code] += 1

    def page(self) -> bytes:
        """The text exposition of all numbers."""
        return generate_latest(self._registry)


class _Requests(Collector):
    """The numbers of the requests: plain ones, since one thread counts them all and a lock costs more than counting."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.answers: Counter[tuple[int, str]] = Counter()
        self.seconds = 0.0
        self.buckets = [0] * (len(_BOUNDS) + 1)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        answers = CounterMetricFamily("heed_http_requests", "GraphQL requests answered.", labels=["status", "code"])
        for (status, code), count in sorted(self.answers.items()):
            answers.add_metric([str(status), code], count)
        names = (*(str(float(bound)) for bound in _BOUNDS), "+Inf")
        seconds = HistogramMetricFamily("heed_http_request_seconds", "Seconds from a request's headers to its answer.")
        seconds.add_metric([], list(zip(names, accumulate(self.buckets), strict=True)), self.seconds)
        in_flight = GaugeMetricFamily("heed_http_in_flight", "GraphQL requests being answered.")
        in_flight.add_metric([], self.in_flight)
        return [answers, seconds, in_flight]


class _Counted(Collector):
    """A number that somebody else counts, by one label."""

    def __init__(self, name: str, label: str, text: str, made: Made) -> None:
        self._name = name
        self._label = label
        self._text = text
        self._made = made

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for kind, count in sorted(self._made().items()):
            family.add_metric([kind], count)
        return [family]


class _Streams(Collector):
    """The numbers of the connections that last."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.answers: Counter[tuple[str, str]] = Counter()

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        still = GaugeMetricFamily("heed_streams_open", "Connections that last.", labels=["transport"])
        for transport, count in sorted(self.open.items()):
            still.add_metric([transport], count)
        text = "Answers over connections that last."
        answers = CounterMetricFamily("heed_stream_answers", text, labels=["transport", "code"])
        for (transport, code), count in sorted(self.answers.items()):
            answers.add_metric([transport, code], count)
        return [still, answers]


class _Outside(Collector):
    """The numbers of the logs. Times are seconds since 1970, so that an age is `time() - …` wherever it is asked."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        events = GaugeMetricFamily("heed_log_events", "Events under the newest checkpoint.", labels=["log"])
        published = GaugeMetricFamily(
            "heed_log_published_seconds", "When the newest checkpoint was published.", labels=["log"]
        )
        waiting = GaugeMetricFamily(
            "heed_log_unwitnessed_seconds",
            "When the oldest checkpoint was published that waits for a first witness; absent where none does.",
            labels=["log"],
        )
        seen_events = GaugeMetricFamily(
            "heed_witness_events", "Events of the newest checkpoint that a witness cosigned.", labels=["log", "witness"]
        )
        seen = GaugeMetricFamily("heed_witness_seconds", "When a witness cosigned last.", labels=["log", "witness"])
        failures = CounterMetricFamily(
            "heed_witness_failures", "Visits that ended without a cosignature.", labels=["log", "witness", "reason"]
        )
        forged = GaugeMetricFamily(
            "heed_log_forged_checkpoints", "Stored checkpoints that the log's key did not sign.", labels=["log"]
        )
        for log in list(self._logs()):
            forged.add_metric([log.origin], len(log.forged))
            events.add_metric([log.origin], log.size)
            published.add_metric([log.origin], log.published_at / 1e6)
            if log.waiting_since is not None:
                waiting.add_metric([log.origin], log.waiting_since / 1e6)
            for name, (size, at) in log.seen.items():
                seen_events.add_metric([log.origin, name], size)
                seen.add_metric([log.origin, name], at / 1e6)
            for (name, reason), count in log.failures.items():
                failures.add_metric([log.origin, name, reason], count)
        return [events, published, waiting, seen_events, seen, failures, forged]


class _Reviews(Collector):
    """The queue of the privacy officers, of all organisations together. No request pays for its numbers."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        queue = self._reviews()
        grants = GaugeMetricFamily("heed_break_glass_unreviewed", "Break-glass grants that wait for a review.")
        grants.add_metric([], queue.grants)
        oldest = GaugeMetricFamily(
            "heed_break_glass_oldest_seconds", "When the oldest of them was requested; absent where none waits."
        )
        if queue.oldest is not None:
            oldest.add_metric([], queue.oldest / 1e6)
        return [grants, oldest]

"""What operators may count: requests, seconds and load, by status and error code. Never a name, id or text."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "heed_http_requests", "GraphQL requests answered.", ["status", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "heed_http_request_seconds",
            "Seconds from a request's headers to its answer.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self._registry,
        )
        self._in_flight = Gauge("heed_http_in_flight", "GraphQL requests being answered.", registry=self._registry)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Counts one request as in flight, and its seconds when it is done."""
        started = time.perf_counter()
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()
            self._seconds.observe(time.perf_counter() - started)

    def answered(self, status: int, code: str) -> None:
        """Counts an answer; `code` is the first error code in it, or `none`."""
        self._requests.labels(str(status), code).inc()

    def page(self) -> bytes:
        """The text exposition of all numbers."""
        return generate_latest(self._registry)

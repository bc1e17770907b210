"""The figures that GET /metrics reports to Prometheus."""

from __future__ import annotations

import os

import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector

from headcount.inference.result import CountResult

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # environment variable: where several processes add up their figures


class Metrics:
    """Counters and gauges of one application.

    Each application has its own registry. The processes of --workers add up through files in MULTIPROCESS_FOLDER.
    """

    def __init__(self) -> None:
        self.registry = registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "headcount_requests", "requests answered", ["method", "path", "status"], registry=registry
        )
        self.latency = prometheus_client.Histogram(
            "headcount_request_seconds", "seconds from request to response", ["path"], registry=registry
        )
        self.waiting = prometheus_client.Gauge(
            "headcount_waiting", "images accepted but not yet counted", registry=registry, multiprocess_mode="livesum"
        )
        self.images = prometheus_client.Counter("headcount_images", "images and frames counted", registry=registry)
        self.people = prometheus_client.Counter("headcount_people", "people counted in them", registry=registry)
        self.errors = prometheus_client.Counter(
            "headcount_errors", "responses with a status of 400 or higher", registry=registry
        )

    def record_result(self, result: CountResult) -> None:
        """Add one counted image."""
        self.images.inc()
        self.people.inc(max(result.count, 0.0))

    def record_response(self, method: str, path: str, status: int, seconds: float) -> None:
        """Add one response. Clients cannot create new series: `path` is the route's template, and any method but
        METHODS counts as "other"."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, path, status).inc()
        self.latency.labels(path).observe(seconds)
        if status >= 400:
            self.errors.inc()

    def text(self, waiting: int) -> bytes:
        """All figures in Prometheus' text format; `waiting`: images in this process's queue now."""
        self.waiting.set(waiting)
        registry = self.registry
        if MULTIPROCESS_FOLDER in os.environ:
            registry = prometheus_client.CollectorRegistry()
            MultiProcessCollector(registry)
        return prometheus_client.generate_latest(registry)

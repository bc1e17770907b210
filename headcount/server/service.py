"""What the routes of the HTTP API share: the settings, the models, the line of pictures, the video jobs, the meter.

What is unusual: a picture is dropped from the line when its deadline passes or its client goes, whichever is first.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from headcount.datasets.annotation_project import Project
from headcount.inference.counter import Counter, load
from headcount.inference.pretrained import WEIGHTS, find_model
from headcount.inference.result import CountResult
from headcount.io.images import image_size
from headcount.regions.region import Region
from headcount.server.batching import Pool
from headcount.server.uploads import fence
from headcount.server.video_jobs import Jobs, Runner

METRICS = "PROMETHEUS_MULTIPROC_DIR"  # environment: where the processes of --workers add up their figures
KEY = "HEADCOUNT_API_KEY"  # environment: the key that clients must give; no option, which other users could list
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class ServeSettings:
    """What a server may do. model, engine, precision: as in counter.load. state: the folder of video jobs. project: a
    folder of photos to annotate. hosts: names that a request may call this server by; empty: any. waiting: pictures
    accepted and not done, 0 by what the engine counts together. body, video: bytes. megapixels: of a picture, and of a
    video's frame. seconds: of a video. deadline: seconds in which a picture is counted. keep: hours that the rows of a
    video are kept after it is counted."""

    model: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    state: str = ""
    project: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    waiting: int = 0
    body: int = 50_000_000
    video: int = 2_000_000_000
    megapixels: float = 100.0
    seconds: float = 3600.0
    deadline: float = 30.0
    keep: float = 24.0


def state_folder() -> Path:
    """Where a program keeps what must outlive it: XDG_STATE_HOME/headcount, else ~/.local/state/headcount."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "headcount"


class Refused(Exception):
    """An answer that is an error: status, one line, headers."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}


class Meter:
    """What /metrics tells. One registry per app; several processes add up through files in PROMETHEUS_MULTIPROC_DIR."""

    def __init__(self) -> None:
        registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "headcount_requests", "requests answered", ["method", "path", "status"], registry=registry
        )
        self.latency = prometheus_client.Histogram(
            "headcount_request_seconds", "from request to answer", ["path"], registry=registry
        )
        self.waiting = prometheus_client.Gauge(
            "headcount_waiting", "pictures accepted and not done", registry=registry, multiprocess_mode="livesum"
        )
        self.pictures = prometheus_client.Counter(
            "headcount_pictures", "pictures and frames counted", registry=registry
        )
        self.people = prometheus_client.Counter("headcount_people", "people counted in them", registry=registry)
        self.errors = prometheus_client.Counter("headcount_errors", "answers of 400 and more", registry=registry)
        self.registry = registry

    def counted(self, result: CountResult) -> None:
        self.pictures.inc()
        self.people.inc(max(result.count, 0.0))

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        self.requests.labels(method, path, status).inc()
        self.latency.labels(path).observe(seconds)
        if status >= 400:
            self.errors.inc()

    def text(self) -> bytes:
        registry = self.registry
        if METRICS in os.environ:
            registry = prometheus_client.CollectorRegistry()
            MultiProcessCollector(registry)
        return prometheus_client.generate_latest(registry)


class Models:
    """The models that clients may name, opened when they are first asked for."""

    def __init__(self, settings: ServeSettings):
        self.settings = settings
        self.lock = threading.Lock()
        first = self.open(find_model(settings.model))
        self.default = first.engine.meta.name
        self.files = {file.stem: file for file in sorted(WEIGHTS.glob("*.onnx"))}
        self.counters = {self.default: first}

    def open(self, path: Path) -> Counter:
        counter = load(path, self.settings.engine, self.settings.precision)
        return replace(counter, max_pixels=round(self.settings.megapixels * 1e6))

    @property
    def names(self) -> list[str]:
        return [self.default, *(name for name in self.files if name != self.default)]

    def get(self, name: str | None) -> Counter:
        """Raises Refused for a name that is none of `names`."""
        name = name or self.default
        if name not in self.names:
            raise Refused(404, f"no model {name[:80]!r}; there are: {', '.join(self.names)}")
        with self.lock:
            if name not in self.counters:
                self.counters[name] = self.open(self.files[name])
            return self.counters[name]

    def facts(self) -> list[dict]:
        """What each model says of itself."""
        metas = [self.get(name).engine.meta for name in self.names]
        return [
            {
                "name": name,
                "parameters": meta.parameters,
                "stride": meta.stride,
                "trained_on": meta.data,
                "metrics": meta.metrics,
                "interval": bool(meta.interval),
            }
            for name, meta in zip(self.names, metas, strict=True)
        ]


class Service:
    """What the routes share: settings, models, the pool that counts, the jobs, the project, the meter."""

    def __init__(self, settings: ServeSettings):
        self.settings = settings
        self.meter = Meter()
        self.models = Models(settings)
        self.project = Project(settings.project) if settings.project else None
        self.pool = Pool(settings.waiting)
        self.meter.waiting.set_function(lambda: self.pool.accepted) if METRICS not in os.environ else None
        fence()
        self.jobs = Jobs(Path(settings.state), keep_hours=settings.keep)
        self.runner = Runner(self.jobs, self.count_frame, settings.seconds)

    def start(self) -> None:
        side = 448
        self.models.get(None).count(np.zeros((side, side, 3), np.uint8))  # the first inference is slow
        self.runner.start()

    def stop(self) -> None:
        self.runner.stop()
        self.pool.close()

    def ready(self) -> bool:
        return self.pool.alive and self.runner.alive

    def count_frame(self, image: np.ndarray, regions: tuple[Region, ...], model: str) -> CountResult:
        """One frame of a video, for the runner's thread."""
        result = self.pool.submit(self.models.get(model), image, regions, patient=True).result()
        self.meter.counted(result)
        return result

    async def count(
        self, request: Request, body: bytes, model: str | None, scale: float, regions: tuple[Region, ...]
    ) -> CountResult:
        """Raises Refused where there is no room, no time, nobody to answer, or nothing to count."""
        counter = await run_in_threadpool(self.models.get, model)
        self.check_size(body)
        future = self.pool.submit(counter, body, regions, scale)
        result = await self.until_gone(request, future)
        self.meter.counted(result)
        return result

    def check_size(self, body: bytes) -> None:
        width, height = image_size(body)
        if width * height > self.settings.megapixels * 1e6:
            size = f"{width}x{height} is {width * height / 1e6:.4g} megapixels"
            raise Refused(413, f"{size}, over this server's limit of {self.settings.megapixels:g}; shrink it")

    async def until_gone(self, request: Request, future: Future) -> Any:
        """The future's result, unless the deadline passes or the client goes first: then it is cancelled."""
        answer = asyncio.wrap_future(future)
        gone = asyncio.create_task(disconnected(request))
        try:
            await asyncio.wait({answer, gone}, timeout=self.settings.deadline, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise Refused(499, "the client has gone")
            raise Refused(504, f"not counted within {self.settings.deadline:g} seconds; send a smaller picture")
        finally:
            gone.cancel()
            if not answer.done():
                answer.cancel()  # and with it the picture, if it is still waiting


async def disconnected(request: Request) -> None:
    """Returns when the client has gone; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

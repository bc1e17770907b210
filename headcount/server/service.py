"""What the routes share: settings, models, the counting queues, video jobs, the project and the metrics."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from platformdirs import user_state_path
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from headcount.datasets.annotation_project import Project
from headcount.inference.counter import Counter, load
from headcount.inference.pretrained import WEIGHTS, find_model
from headcount.inference.result import CountResult
from headcount.regions.region import Region
from headcount.server.counting_queue import Counted
from headcount.server.errors import ApiError
from headcount.server.job_runner import JobRunner
from headcount.server.job_store import JobStore
from headcount.server.lanes import Lanes
from headcount.server.metrics import Metrics
from headcount.server.types import JsonObject

T = TypeVar("T")

# Environment variable with the key that clients must send. It is no command-line option: other users could list those.
API_KEY_VARIABLE = "HEADCOUNT_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
WARM_UP_SIZE = (448, 448, 3)  # of the blank image that is counted before the first request


@dataclass(frozen=True)
class ServeSettings:
    """What a server may do.

    Attributes:
        model: as in `load`.
        engine: as in `load`.
        precision: as in `load`.
        state: the folder of the video jobs.
        project: a folder of photos to annotate, or None.
        allowed_hosts: names that requests may call this server by; empty means any.
        max_pending: images accepted and not done; 0 means three batches of the engine.
        max_body_bytes: largest request body, except for videos.
        max_video_bytes: largest video.
        max_megapixels: largest image, and largest frame of a video.
        max_video_seconds: longest video.
        deadline_seconds: how long an image may take before it is refused.
        keep_hours: how long the rows of a video are kept after it was counted.
    """

    model: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    state: str = ""
    project: str | None = None
    allowed_hosts: tuple[str, ...] = LOOPBACK
    max_pending: int = 0
    max_body_bytes: int = 50_000_000
    max_video_bytes: int = 2_000_000_000
    max_megapixels: float = 100.0
    max_video_seconds: float = 3600.0
    deadline_seconds: float = 30.0
    keep_hours: float = 24.0

    @property
    def max_pixels(self) -> float:
        return self.max_megapixels * 1e6


def state_folder() -> Path:
    """Where video jobs are kept by default; on Linux XDG_STATE_HOME/headcount or ~/.local/state/headcount."""
    return user_state_path("headcount")


class Models:
    """The models that clients may name. Each is opened when it is first asked for.

    Attributes:
        default: name of the model that counts if a request names none.
    """

    def __init__(self, settings: ServeSettings):
        self.settings = settings
        self.lock = threading.Lock()
        first = self.open(find_model(settings.model))
        self.default = first.engine.meta.name
        self.files = {file.stem: file for file in sorted(WEIGHTS.glob("*.onnx"))}
        self.counters = {self.default: first}

    def open(self, path: Path) -> Counter:
        counter = load(path, self.settings.engine, self.settings.precision)
        return replace(counter, max_pixels=round(self.settings.max_pixels))

    @property
    def names(self) -> list[str]:
        return [self.default, *(name for name in self.files if name != self.default)]

    def get(self, name: str | None) -> Counter:
        """The counter of a model; None takes the default.

        Raises:
            ApiError: there is no such model.
        """
        name = name or self.default
        if name not in self.names:
            raise ApiError(404, f"no model {name[:80]!r}; available: {', '.join(self.names)}")
        with self.lock:
            if name not in self.counters:
                self.counters[name] = self.open(self.files[name])
            return self.counters[name]

    def facts(self) -> list[JsonObject]:
        """What each model says of itself, for GET /v1/models."""
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
    """The objects behind the routes of one application.

    Raises:
        ValueError: the model, the project or the state folder cannot be used; one line.
    """

    def __init__(self, settings: ServeSettings):
        self.settings = settings
        self.metrics = Metrics()
        self.models = Models(settings)
        self.project = Project(settings.project) if settings.project else None
        self.jobs = JobStore(Path(settings.state), settings.keep_hours)
        self.runner = JobRunner(self.jobs, self.count_frame, settings.max_video_seconds)
        # Last, since it starts processes, which a refused setting would leave behind.
        self.queue = Lanes(round(settings.max_pixels), settings.max_pending, settings.deadline_seconds)

    def start(self) -> None:
        """Count a blank image, since the first inference is slow, and start counting video jobs."""
        self.models.get(None).count(np.zeros(WARM_UP_SIZE, np.uint8))
        self.runner.start()

    def stop(self) -> None:
        """Finish what was accepted; video jobs resume at the next start."""
        self.runner.stop()
        self.queue.close()

    def ready(self) -> bool:
        return self.queue.alive and self.runner.alive

    def count_frame(
        self, frame: np.ndarray, regions: tuple[Region, ...], model: str, scale: float | None
    ) -> CountResult:
        """Count one frame of a video; waits for the result."""
        result = self.queue.submit_frame(self.models.get(model), frame, regions, scale).result().result
        self.metrics.record_result(result)
        return result

    async def check_capacity(self, request: Request, model: str | None) -> None:
        """Refuse a request before its body is read. The middleware has checked that the length is a number.

        Raises:
            ApiError: no such model.
            QueueFullError: too many images wait.
        """
        counter = await run_in_threadpool(self.models.get, model)
        self.queue.check_capacity(counter, int(request.headers.get("content-length", 0)))

    async def count(
        self, request: Request, body: bytes, model: str | None, scale: float | None, regions: tuple[Region, ...]
    ) -> Counted:
        """Count the image of a request.

        Raises:
            ApiError: no such model, the deadline passed, or the client disconnected.
            QueueFullError: too many images wait.
            ValueError: the image or a region cannot be used.
        """
        counter = await run_in_threadpool(self.models.get, model)
        counted = await self.wait_for(request, self.queue.submit(counter, body, regions, scale))
        self.metrics.record_result(counted.result)
        return counted

    async def wait_for(self, request: Request, future: Future[T]) -> T:
        """The future's result. If the deadline passes or the client disconnects first, the future is cancelled.

        Raises:
            ApiError: the deadline passed, or the client disconnected.
        """
        result = asyncio.wrap_future(future)
        disconnect = asyncio.create_task(disconnected(request))
        either: set[asyncio.Future[T] | asyncio.Task[None]] = {result, disconnect}
        deadline = self.settings.deadline_seconds
        try:
            await asyncio.wait(either, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            if disconnect.done():
                raise ApiError(499, "the client disconnected")
            raise ApiError(504, f"not counted within {deadline:g} seconds; send a smaller image")
        finally:
            disconnect.cancel()
            if not result.done():
                result.cancel()  # the image leaves the queue, if it still waits


async def disconnected(request: Request) -> None:
    """Return when the client has disconnected. The body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Counts the images of concurrent requests in one thread, in batches of one padded size.

The queue is short on purpose. One inference uses every core, so a longer queue makes every client wait longer and
counts no image sooner. A client that finds the queue full is told at once when to retry. While one batch is counted, a
second thread has the next images read by a child process (image_reader), and a third draws overlays.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from headcount.inference import tiling
from headcount.inference.counter import Counter, PreparedImage
from headcount.inference.result import CountResult
from headcount.regions.region import Region
from headcount.server.image_reader import ImageReader, ReadImage

T = TypeVar("T")
ImageSource = bytes | Path | np.ndarray  # the bytes of an image file, its path, or uint8 (H,W,3) RGB
PENDING_BATCHES = 3  # accepted and not done: one is counted, one is decoded, one is ready
SMOOTHING = 0.2  # weight of the newest batch in the estimate of how long one takes
STUCK_SECONDS = 120.0  # that counting one batch may take; the largest image takes a tenth


class QueueFullError(Exception):
    """The queue accepts no more images now.

    Attributes:
        retry_after: seconds after which to try again.
    """

    def __init__(self, retry_after: float):
        super().__init__("busy: too many images are waiting; try again")
        self.retry_after = retry_after


class Counted(NamedTuple):
    """An image of a request that was counted.

    Attributes:
        result: its count.
        pixels: uint8 (H,W,3).
    """

    result: CountResult
    pixels: np.ndarray


@dataclass(frozen=True)
class Ticket:
    """A decoded image and the future that takes its result."""

    counter: Counter
    image: PreparedImage
    regions: tuple[Region, ...]
    future: Future[Counted]

    @property
    def batch_key(self) -> tuple[int, tuple[int, int]]:
        """Tickets with the same key can be counted in one batch."""
        return id(self.counter), tiling.padded_size(self.image.model_input.shape, self.counter.engine.meta)


class CountingQueue:
    """Counts images for many threads, in a thread of its own.

    Args:
        reader: reads the images.
        max_pending: images that may be accepted and not done; 0 means PENDING_BATCHES batches of the engine.

    Attributes:
        pending: images accepted and not done.
        batch_seconds: how long recent batches took.
    """

    def __init__(self, reader: ImageReader, max_pending: int = 0):
        self.reader, self.max_pending = reader, max_pending
        self.pending = 0
        self.batch_seconds = 1.0
        self.decoded: deque[Ticket] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.counting_since: float | None = None  # on the monotonic clock, while a batch is counted
        self.decoder = ThreadPoolExecutor(1, "decoding")
        self.drawer = ThreadPoolExecutor(1, "drawing")
        self.thread = threading.Thread(target=self.count_until_closed, name="counting", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether images are being counted: the thread runs, and no batch holds it."""
        since = self.counting_since
        stuck = since is not None and time.monotonic() - since > STUCK_SECONDS
        return self.thread.is_alive() and not self.closing and not stuck

    def capacity(self, counter: Counter) -> int:
        """How many images may be accepted and not done."""
        return self.max_pending or PENDING_BATCHES * counter.engine.batch

    def check_capacity(self, counter: Counter) -> None:
        """Fail early, before a large request body is read.

        Raises:
            QueueFullError: `submit` would refuse an image now.
        """
        if self.pending >= self.capacity(counter):
            raise QueueFullError(self.batch_seconds)

    def submit(
        self, counter: Counter, image: ImageSource, regions: tuple[Region, ...] = (), scale: float | None = None
    ) -> Future[Counted]:
        """Queue an image of a request.

        Args:
            counter: the model to count with.
            image: the image to count.
            regions: counted from the same density.
            scale: as in `Counter.count`.

        Returns:
            The future result. Cancel it while it waits and the image is not counted. It raises ValueError for an
            image or a region that cannot be used.

        Raises:
            QueueFullError: the queue is full or closing.
        """
        with self.changed:
            self.check_open()
            self.check_capacity(counter)
            self.pending += 1
        future: Future[Counted] = Future()
        future.add_done_callback(self.release)
        self.decoder.submit(self.decode, counter, image, regions, scale, future)
        return future

    def submit_frame(
        self, counter: Counter, frame: np.ndarray, regions: tuple[Region, ...], scale: float | None
    ) -> Future[Counted]:
        """Queue a video frame, uint8 (H,W,3), even if the queue is full: a video has one frame here at a time.

        Raises:
            QueueFullError: the queue is closing.
        """
        self.check_open()
        future: Future[Counted] = Future()
        self.decoder.submit(self.decode, counter, frame, regions, scale, future)
        return future

    def draw(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Run a function that draws a counted image. One is drawn at a time, and it keeps a place in the queue."""
        with self.changed:
            self.check_open()
            self.pending += 1
        future = self.drawer.submit(function, *arguments)
        future.add_done_callback(self.release)
        return future

    def check_open(self) -> None:
        if self.closing:
            raise QueueFullError(self.batch_seconds)

    def release(self, future: Future) -> None:
        with self.changed:
            self.pending -= 1

    def decode(
        self,
        counter: Counter,
        image: ImageSource,
        regions: tuple[Region, ...],
        scale: float | None,
        future: Future[Counted],
    ) -> None:
        if future.cancelled():
            return
        try:
            pixels, warning = (
                ReadImage(image, None) if isinstance(image, np.ndarray) else self.reader.read(image, scale)
            )
            prepared = replace(counter.prepare(pixels, None, scale), warning=warning)
            ticket = Ticket(counter, prepared, regions, future)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        with self.changed:
            self.decoded.append(ticket)
            self.changed.notify()

    def count_until_closed(self) -> None:
        """The work of the counting thread."""
        while (tickets := self.next_batch()) is not None:
            began = self.counting_since = time.monotonic()
            self.count([ticket for ticket in tickets if ticket.future.set_running_or_notify_cancel()])
            self.counting_since = None
            self.batch_seconds += SMOOTHING * (time.monotonic() - began - self.batch_seconds)

    def next_batch(self) -> list[Ticket] | None:
        """Wait for the first ticket and take those with the same key right behind it; None after `close`."""
        with self.changed:
            while not self.decoded:
                if self.closing:
                    return None
                self.changed.wait()
            first = self.decoded.popleft()
            batch = [first]
            while self.decoded and len(batch) < first.counter.engine.batch:
                if self.decoded[0].batch_key != first.batch_key:
                    break
                batch.append(self.decoded.popleft())
            return batch

    def count(self, tickets: list[Ticket]) -> None:
        """Count one batch. Each image has its own regions, so they are counted afterwards, from the density maps."""
        if not tickets:
            return
        counter = tickets[0].counter
        try:
            results: list[CountResult] = list(counter.count_batch([ticket.image for ticket in tickets], ()))
        except Exception as error:
            for ticket in tickets:
                ticket.future.set_exception(error)
            return
        for ticket, result in zip(tickets, results, strict=True):
            try:
                ticket.future.set_result(Counted(result.in_regions(ticket.regions), ticket.image.image))
            except Exception as error:  # a region that is outside of this image
                ticket.future.set_exception(error)

    def close(self) -> None:
        """Count and draw what was accepted, then stop."""
        self.closing = True
        self.decoder.shutdown()
        self.drawer.shutdown()
        with self.changed:
            self.changed.notify()
        self.thread.join()

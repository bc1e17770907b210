"""Counts the images of concurrent requests in one thread, in batches of one padded size.

The queue is short on purpose. One inference uses every core, so a longer queue makes every client wait longer and
counts no image sooner. A client that finds the queue full is told at once when to retry. While one batch is counted, a
second thread has the next images read by a child process (image_reader), and a third draws overlays.

A server has two queues (lanes): what one finds too large, it passes on to the other.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from headcount.geometry import enlargement, resize
from headcount.inference import tiling
from headcount.inference.counter import Counter, PreparedImage
from headcount.inference.result import CountResult
from headcount.regions.region import Region
from headcount.server.ending import ending
from headcount.server.image_reader import ImageReader, LargeImageError, ReadImage

T = TypeVar("T")
ImageSource = bytes | Path | np.ndarray  # the bytes of an image file, its path, or uint8 (H,W,3) RGB
PENDING_BATCHES = 3  # accepted and not done: one is counted, one is decoded, one is ready
SMOOTHING = 0.2  # weight of the newest batch in the estimate of how long one takes
MAX_DRAWN = 16_000_000  # pixels of an overlay, so of what is kept of a counted image
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
        pixels: uint8 (H,W,3), shrunk to MAX_DRAWN pixels if it has more.
    """

    result: CountResult
    pixels: np.ndarray


@dataclass(frozen=True)
class Order:
    """An image to count, and the future that takes its result.

    Attributes:
        counter: the model to count with.
        image: as in `submit`.
        regions: counted from the same density.
        scale: as in `Counter.count`.
        end: when to give up, on the monotonic clock.
        future: takes the result.
    """

    counter: Counter
    image: ImageSource
    regions: tuple[Region, ...]
    scale: float | None
    end: float
    future: Future[Counted]

    def fail(self, error: Exception) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(without_images(error))


@dataclass(frozen=True)
class Ticket:
    """An order whose image is decoded."""

    order: Order
    image: PreparedImage

    @property
    def batch_key(self) -> tuple[int, tuple[int, int]]:
        """Tickets with the same key can be counted in one batch."""
        counter = self.order.counter
        return id(counter), tiling.padded_size(self.image.model_input.shape, counter.engine.meta)


class CountingQueue:
    """Counts images for many threads, in a thread of its own.

    Args:
        reader: reads the images.
        max_pending: images that may be accepted and not done; 0 means PENDING_BATCHES batches of the engine.
        deadline: seconds from `submit` after which an image is given up.
        larger: counts the images that the reader finds too large for this queue.
        window_bytes: memory for one run of the engine; None is what `Counter` takes.
        one_by_one: decode an image only after the one before it is counted, to hold one in memory.

    Attributes:
        batch_seconds: how long recent batches took.
    """

    def __init__(
        self,
        reader: ImageReader,
        max_pending: int = 0,
        deadline: float = math.inf,
        larger: CountingQueue | None = None,
        window_bytes: int | None = None,
        one_by_one: bool = False,
    ):
        self.reader, self.max_pending, self.deadline, self.larger = reader, max_pending, deadline, larger
        self.window_bytes, self.one_by_one = window_bytes, one_by_one
        self.accepted: set[Future] = set()
        self.batch_seconds = 1.0
        self.decoded: deque[Ticket] = deque()
        self.changed = threading.Condition()
        self.closing = False  # nothing more is accepted, and
        self.closed = False  # nothing more will be decoded
        self.counting_since: float | None = None  # on the monotonic clock, while a batch is counted
        self.decoder = ThreadPoolExecutor(1, "decoding")
        self.drawer = ThreadPoolExecutor(1, "drawing")
        self.thread = threading.Thread(target=self.count_until_closed, name="counting", daemon=True)
        self.thread.start()

    @property
    def pending(self) -> int:
        """Images accepted and not done."""
        return len(self.accepted)

    @property
    def alive(self) -> bool:
        """Whether images are being counted: they can be read, the thread runs, and no batch holds it."""
        since = self.counting_since
        stuck = since is not None and time.monotonic() - since > STUCK_SECONDS
        return self.thread.is_alive() and not self.closing and not stuck and self.reader.alive

    def capacity(self, counter: Counter) -> int:
        """How many images may be accepted and not done."""
        return self.max_pending or PENDING_BATCHES * counter.engine.batch

    def check_capacity(self, counter: Counter) -> None:
        """Fail early, before a large request body is read.

        Raises:
            QueueFullError: `submit` would refuse an image now.
        """
        if self.closing or self.pending >= self.capacity(counter):
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
            image or a region that cannot be used, NotInTimeError after the deadline, and QueueFullError if the image
            was passed on to a queue that is full.

        Raises:
            QueueFullError: the queue is full or closing.
        """
        order = Order(counter, image, regions, scale, time.monotonic() + self.deadline, Future())
        self.accept(order)
        return order.future

    def submit_frame(
        self, counter: Counter, frame: np.ndarray, regions: tuple[Region, ...], scale: float | None
    ) -> Future[Counted]:
        """Queue a video frame, uint8 (H,W,3), even if the queue is full: a video has one frame here at a time.

        Raises:
            QueueFullError: the queue is closing.
        """
        if self.closing:
            raise QueueFullError(self.batch_seconds)
        order = Order(counter, frame, regions, scale, math.inf, Future())
        self.decoder.submit(self.decode, order)
        return order.future

    def draw(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Run a function that draws a counted image. One is drawn at a time, and it keeps a place in the queue."""
        with self.changed:
            if self.closing:
                raise QueueFullError(self.batch_seconds)
            future = self.drawer.submit(function, *arguments)
            self.accepted.add(future)
        future.add_done_callback(self.release)
        return future

    def accept(self, order: Order) -> None:
        """Queue an order. Raises QueueFullError."""
        with self.changed:
            self.check_capacity(order.counter)
            self.accepted.add(order.future)
        order.future.add_done_callback(self.release)
        self.decoder.submit(self.decode, order)

    def release(self, future: Future) -> None:
        with self.changed:
            self.accepted.discard(future)

    def decode(self, order: Order) -> None:
        """The work of the decoding thread, for one image."""
        if self.one_by_one:
            with self.changed:
                self.changed.wait_for(lambda: not self.decoded and self.counting_since is None)
        if order.future.cancelled():
            return
        try:
            ticket = Ticket(order, self.prepare(order))
        except LargeImageError:
            self.pass_on(order)
        except Exception as error:
            order.fail(error)
        else:
            with self.changed:
                self.decoded.append(ticket)
                self.changed.notify_all()

    def prepare(self, order: Order) -> PreparedImage:
        """Read an image. Raises LargeImageError if another queue has to count it."""
        if isinstance(order.image, np.ndarray):
            read = ReadImage(order.image, None)
        else:
            read = self.reader.read(order.image, order.scale)
        if self.larger and counted_pixels(read.pixels, order) > self.reader.decoded_pixels:
            raise LargeImageError
        return replace(order.counter.prepare(read.pixels, None, order.scale), warning=read.warning)

    def pass_on(self, order: Order) -> None:
        """Let the other queue count an image."""
        assert self.larger
        self.release(order.future)
        try:
            if isinstance(order.image, np.ndarray):
                self.larger.decoder.submit(self.larger.decode, order)
            else:
                self.larger.accept(order)
        except (QueueFullError, RuntimeError) as error:  # full, or closed meanwhile
            order.fail(error if isinstance(error, QueueFullError) else QueueFullError(self.batch_seconds))

    def count_until_closed(self) -> None:
        """The work of the counting thread."""
        while self.count_next():
            with self.changed:  # now that nothing refers to the images any more
                self.counting_since = None
                self.changed.notify_all()

    def count_next(self) -> bool:
        """Wait for a batch and count it. False after `close`."""
        tickets = self.next_batch()
        began = time.monotonic()
        self.count([ticket for ticket in tickets if ticket.order.future.set_running_or_notify_cancel()])
        self.batch_seconds += SMOOTHING * (time.monotonic() - began - self.batch_seconds)
        return bool(tickets)

    def next_batch(self) -> list[Ticket]:
        """Wait for the first ticket and take those with the same key right behind it; none after `close`."""
        with self.changed:
            self.changed.wait_for(lambda: self.decoded or self.closed)
            batch: list[Ticket] = []
            while self.decoded and (not batch or self.decoded[0].batch_key == batch[0].batch_key):
                if batch and len(batch) >= batch[0].order.counter.engine.batch:
                    break
                batch.append(self.decoded.popleft())
            self.counting_since = time.monotonic() if batch else None
            return batch

    def count(self, tickets: list[Ticket]) -> None:
        """Count one batch. Each image has its own regions, so they are counted afterwards, from the density maps."""
        if not tickets:
            return
        counter = ending(tickets[0].order.counter, max(ticket.order.end for ticket in tickets), self.window_bytes)
        try:
            results: list[CountResult] = list(counter.count_batch([ticket.image for ticket in tickets], ()))
        except Exception as error:
            for ticket in tickets:
                ticket.order.future.set_exception(without_images(error))
            return
        for ticket, result in zip(tickets, results, strict=True):
            order = ticket.order
            try:
                order.future.set_result(Counted(result.in_regions(order.regions), drawable(ticket.image.image)))
            except Exception as error:  # a region that is outside of this image
                order.future.set_exception(error)

    def close(self) -> None:
        """Count and draw what was accepted, then stop."""
        self.closing = True
        self.decoder.shutdown()
        self.drawer.shutdown()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.thread.join()


def counted_pixels(pixels: np.ndarray, order: Order) -> float:
    """Pixels of an image, uint8 (H,W,3), at the largest scale that it may be counted at."""
    scale = max(order.scale or 1.0, 1.0)
    height, width = round(scale * pixels.shape[0]), round(scale * pixels.shape[1])
    return height * width * enlargement(height, width, order.counter.engine.meta.min_side) ** 2


def drawable(pixels: np.ndarray) -> np.ndarray:
    """An image, uint8 (H,W,3), with MAX_DRAWN pixels at most."""
    return resize(pixels, min(1.0, (MAX_DRAWN / (pixels.shape[0] * pixels.shape[1])) ** 0.5))


def without_images(error: Exception) -> Exception:
    """The error without what its traceback refers to: the image, and the future that will hold the error."""
    if found := error.__traceback__:
        traceback.clear_frames(found)
        error.__traceback__ = found.tb_next  # the first frame is still running
    return error

"""Many requests at once, one model: pictures wait in a short line, and those of like size are counted together.

What is unusual: the line is short on purpose. One inference uses every core, so a longer line makes everyone wait
longer and counts nobody sooner; who finds it full is told at once when to come again. Pictures are decoded in a thread
of their own while the one before is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from headcount.inference import tiling
from headcount.inference.counter import Counter, PreparedImage
from headcount.inference.result import CountResult
from headcount.regions.region import Region

IN_LINE = 3  # batches accepted and not done: one is counted, one is decoded, one is ready


class Full(Exception):
    """The line is full. seconds: when to come again."""

    def __init__(self, seconds: float):
        super().__init__("busy: too many pictures are waiting; try again")
        self.seconds = seconds


@dataclass(frozen=True)
class Ticket:
    """A picture that is ready to be counted, and where its result goes."""

    counter: Counter
    picture: PreparedImage
    regions: tuple[Region, ...]
    future: Future

    @property
    def kind(self) -> tuple[int, tuple[int, int]]:
        """Tickets of one kind can be counted together."""
        return id(self.counter), tiling.padded_size(self.picture.model_input.shape, self.counter.engine.meta)


class Pool:
    """Counts pictures of several threads with one thread. most: pictures accepted and not done; 0: by the batch."""

    def __init__(self, most: int = 0):
        self.most = most
        self.accepted = 0
        self.seconds = 1.0  # that a picture took lately: what one who is turned away is told to wait
        self.ready: deque[Ticket] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.reader = ThreadPoolExecutor(1, "reading")
        self.thread = threading.Thread(target=self.work, name="counting", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive() and not self.closing

    def room(self, counter: Counter) -> int:
        """How many pictures may be accepted and not done."""
        return self.most or IN_LINE * counter.engine.batch

    def check(self, counter: Counter) -> None:
        """Raises Full where `submit` would: before a large body is read, say."""
        if self.accepted >= self.room(counter):
            raise Full(self.seconds)

    def submit(
        self, counter: Counter, x: Any, regions: tuple[Region, ...] = (), scale: float = 1.0, patient: bool = False
    ) -> Future:
        """The CountResult to come of one picture, `x` as `Counter.count` takes it. A future that is cancelled while it
        waits is not counted. patient: is let in though the line is full; for a video, which has one frame here at a
        time. Raises Full. What is wrong with the picture is raised by the future, a ValueError."""
        with self.changed:
            if self.closing:
                raise Full(self.seconds)
            if not patient:
                self.check(counter)
                self.accepted += 1
        future: Future = Future()
        if not patient:
            future.add_done_callback(self.leave)
        self.reader.submit(self.read, counter, x, regions, scale, future)
        return future

    def leave(self, future: Future) -> None:
        with self.changed:
            self.accepted -= 1

    def read(self, counter: Counter, x: Any, regions: tuple[Region, ...], scale: float, future: Future) -> None:
        if future.cancelled():
            return
        try:
            ticket = Ticket(counter, counter.prepare(x, None, scale), regions, future)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        with self.changed:
            self.ready.append(ticket)
            self.changed.notify()

    def work(self) -> None:
        while (tickets := self.next_batch()) is not None:
            began = time.perf_counter()
            self.count([ticket for ticket in tickets if ticket.future.set_running_or_notify_cancel()])
            self.seconds += 0.2 * (time.perf_counter() - began - self.seconds)

    def next_batch(self) -> list[Ticket] | None:
        """The first ticket and those of its kind right behind it, a batch at most; None when all is over."""
        with self.changed:
            while not self.ready:
                if self.closing:
                    return None
                self.changed.wait()
            tickets = [self.ready.popleft()]
            while (
                self.ready and len(tickets) < tickets[0].counter.engine.batch and self.ready[0].kind == tickets[0].kind
            ):
                tickets.append(self.ready.popleft())
            return tickets

    def count(self, tickets: list[Ticket]) -> None:
        """Regions are each picture's own, so they are counted after the maps."""
        if not tickets:
            return
        counter = tickets[0].counter
        try:
            results: list[CountResult] = list(counter.count_batch([ticket.picture for ticket in tickets], ()))
        except Exception as error:
            for ticket in tickets:
                ticket.future.set_exception(error)
            return
        for ticket, result in zip(tickets, results, strict=True):
            try:
                ticket.future.set_result(result.in_regions(ticket.regions))
            except Exception as error:  # a region that is outside of this picture
                ticket.future.set_exception(error)

    def close(self) -> None:
        """Count what was accepted, and end."""
        self.closing = True
        self.reader.shutdown()
        with self.changed:
            self.changed.notify()
        self.thread.join()

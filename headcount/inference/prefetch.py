"""Producing items in a background thread before the consumer asks for them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], size: int) -> Generator[T, None, None]:
    """The same items in the same order, produced in a thread of their own.

    Closing this generator ends the thread and closes `items`.

    Args:
        items: an exception that they raise is raised here in its turn.
        size: how many items are produced ahead at most.
    """
    waiting: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(size)
    closed = threading.Event()

    def offer(item: list[T], error: BaseException | None) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((item, error), timeout=0.1)
                return

    def produce() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                offer([item], None)
                if closed.is_set():
                    break
            offer([], None)
        except BaseException as error:
            offer([], error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if not item:  # the end
                return
            yield item[0]
    finally:
        closed.set()
        thread.join()

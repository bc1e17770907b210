"""Making items in a background thread, ahead of the consumer."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any


def prefetch(items: Iterable[Any], size: int) -> Generator[Any, None, None]:
    """The same items, made in a thread of their own, at most `size` before they are asked for. What making them raises
    is raised in its turn; closing this ends the thread, and closes the items."""
    waiting: queue.Queue = queue.Queue(size)
    closed = threading.Event()

    def offer(item: Any, error: BaseException | None) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((item, error), timeout=0.1)
                return

    def make() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                offer(item, None)
                if closed.is_set():
                    break
            offer(None, StopIteration())
        except BaseException as error:
            offer(None, error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=make, name="reading ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        closed.set()
        thread.join()

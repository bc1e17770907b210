"""Stopping on Ctrl-C or SIGTERM between two results."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class Interrupts:
    """A context in which the first SIGINT or SIGTERM ends the results instead of the process.

    The caller can then finish what it is writing. A second signal raises KeyboardInterrupt at once.

    Attributes:
        signal: The number of the first signal, or 0 as long as there was none.
        waiting: Whether the next result is being computed. No row is half written at this time.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.waiting = False

    def __enter__(self) -> Interrupts:
        self.previous_handlers = {
            number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: On the second signal, or while the next result is being computed.
        """
        again = bool(self.signal)
        if not again:
            self.signal = number
        if self.waiting or again:
            raise KeyboardInterrupt

    def until(self, results: Generator[T, None, None]) -> Iterator[T]:
        """Yield the results until a signal arrives, then close their generator."""
        with contextlib.closing(results):
            while not self.signal:
                try:
                    self.waiting = True
                    result = next(results)
                except (StopIteration, KeyboardInterrupt):
                    return
                finally:
                    self.waiting = False
                yield result

"""Counting that ends with the time of its request, instead of going on for nobody."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from headcount.inference.counter import Counter
from headcount.inference.engines import Engine, Maps
from headcount.inference.tiling import bytes_per_pixel


class NotInTimeError(Exception):
    """The deadline of an image has passed before it was counted."""

    def __init__(self) -> None:
        super().__init__("not counted in time; send a smaller image")


class EndingEngine:
    """Runs an engine until a moment. Large images are counted window by window, so it ends within a window.

    Args:
        engine: the engine to run.
        end: on the monotonic clock.
    """

    def __init__(self, engine: Engine, end: float):
        self.engine, self.end = engine, end
        self.name, self.precision, self.batch, self.meta = engine.name, engine.precision, engine.batch, engine.meta

    def run(self, images: np.ndarray) -> Maps:
        """As in `Engine.run`. Raises NotInTimeError after the end."""
        if time.monotonic() > self.end:
            raise NotInTimeError
        return self.engine.run(images)


def ending(counter: Counter, end: float, window_bytes: int | None) -> Counter:
    """A counter that gives up at `end`, on the monotonic clock.

    Args:
        counter: counts until then.
        end: when to give up.
        window_bytes: memory for one window; None is what the counter takes.
    """
    engine = EndingEngine(counter.engine, end)
    if window_bytes is None:
        return replace(counter, engine=engine)
    return replace(counter, engine=engine, max_tile=int(window_bytes / bytes_per_pixel(engine)))

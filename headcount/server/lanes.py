"""Two queues: one for ordinary images, and one for large ones, which take long and much memory.

A stranger's image of 100 megapixels may compute for half a minute. In its own lane it delays other large images only.
The engine is shared: between two windows of a large image, it counts the ordinary ones. One large image is in memory at
a time, so the memory of a server does not depend on how many are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np

from headcount.inference.counter import Counter
from headcount.inference.result import CountResult
from headcount.regions.region import Region
from headcount.server.counting_queue import Counted, CountingQueue
from headcount.server.image_reader import ImageReader

T = TypeVar("T")
ORDINARY_PIXELS = 2_500_000  # counted in a fifth of a second on two cores; a frame of 1920x1080 has 2.1 million
ORDINARY_BYTES = 4_000_000  # of a file; larger ones can have headers that take seconds to parse
LARGE_PENDING = 3  # large images accepted and not done
WINDOW_BYTES = 400_000_000  # for a window of a large image; ordinary images wait until it is counted


class Lanes:
    """Counts images for many threads, the large ones apart. The methods are those of `CountingQueue`.

    Args:
        max_pixels: the largest image that is counted.
        max_pending: ordinary images that may be accepted and not done; 0 means three batches of the engine.
        deadline: seconds after which an image is given up.
    """

    def __init__(self, max_pixels: int, max_pending: int, deadline: float):
        self.large = CountingQueue(
            ImageReader(max_pixels), LARGE_PENDING, deadline, window_bytes=WINDOW_BYTES, one_by_one=True
        )
        reader = ImageReader(max_pixels, decoded_pixels=ORDINARY_PIXELS)
        self.ordinary = CountingQueue(reader, max_pending, deadline, larger=self.large)

    @property
    def pending(self) -> int:
        return self.ordinary.pending + self.large.pending

    @property
    def alive(self) -> bool:
        return self.ordinary.alive and self.large.alive

    def lane(self, file_bytes: int) -> CountingQueue:
        """Where a file of this size begins. The ordinary lane passes on what turns out to be large."""
        return self.large if file_bytes > ORDINARY_BYTES else self.ordinary

    def check_capacity(self, counter: Counter, file_bytes: int) -> None:
        """Fail before a request body of this size is read. Raises QueueFullError."""
        self.lane(file_bytes).check_capacity(counter)

    def submit(
        self, counter: Counter, image: bytes | Path, regions: tuple[Region, ...] = (), scale: float | None = None
    ) -> Future[Counted]:
        file_bytes = len(image) if isinstance(image, bytes) else image.stat().st_size
        return self.lane(file_bytes).submit(counter, image, regions, scale)

    def submit_frame(
        self, counter: Counter, frame: np.ndarray, regions: tuple[Region, ...], scale: float | None
    ) -> Future[Counted]:
        return self.ordinary.submit_frame(counter, frame, regions, scale)

    def draw(self, function: Callable[..., T], result: CountResult, *arguments: object) -> Future[T]:
        """Run a function that draws a counted image, in the lane of its size."""
        lane = self.large if result.width * result.height > ORDINARY_PIXELS else self.ordinary
        return lane.draw(function, result, *arguments)

    def close(self) -> None:
        for queue in (self.ordinary, self.large):  # in the order in which images pass through them
            queue.close()
            queue.reader.close()

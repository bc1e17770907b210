"""Video frames: one frame, how often one is wanted, and what the header of a source states."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from headcount.io.images import MediaError

DEFAULT_FPS = 25.0  # for sources that do not state theirs


@dataclass(frozen=True)
class Frame:
    """One video frame.

    Attributes:
        index: Position in the stream, from 0.
        time: Seconds since the first frame.
        image: uint8 (H,W,3) RGB, upright.
    """

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Every:
    """How often a frame is wanted, as a number of frames or a time. The other field is 0.

    Attributes:
        frames: A frame is wanted each time this many have passed.
        seconds: A frame is wanted each time this many seconds have passed.
    """

    frames: int = 0
    seconds: float = 0.0

    def due(self, index: int, time: float) -> float:
        """Return the number of the interval that a frame is in. The first frame of each interval is wanted."""
        if self.frames:
            return index // self.frames
        return math.floor((time + 0.001) / self.seconds)  # containers round times to 1 ms

    def rate(self, fps: float) -> float:
        """Return the wanted frames per second of a source with `fps` frames per second."""
        return fps / self.frames if self.frames else min(fps, 1 / self.seconds)


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a source states.

    Attributes:
        live: The source has no end and must be read as it arrives.
        fps: Frames per second, 0 if unknown.
        seconds: Length, 0 if unknown or endless.
        width: Of a frame as it is stored, pixels; 0 if unknown.
        height: Of a frame as it is stored, pixels; 0 if unknown.
    """

    live: bool
    fps: float = 0.0
    seconds: float = 0.0
    width: int = 0
    height: int = 0

    def rate(self, every: Every) -> float:
        """Return the wanted frames per second. DEFAULT_FPS stands in if the source does not state its own."""
        return every.rate(self.fps or DEFAULT_FPS)

    def expected(self, every: Every) -> int | None:
        """Return how many frames are wanted in all, or None if that is unknown."""
        if self.live or not self.seconds:
            return None
        frames = round(self.seconds * self.fps)
        return int(every.due(max(frames - 1, 0), max(self.seconds - 1 / self.fps, 0.0))) + 1


def parse_every(text: str | int) -> Every:
    """Parse how often a frame is wanted: "1s", "0.5s", "500ms", "2m", "10f" or 10.

    Raises:
        MediaError: If the text is none of these forms, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|m|f|)", str(text).strip())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if unit in ("f", "") and number >= 1 and number == int(number):
        return Every(frames=int(number))
    if unit in ("s", "ms", "m") and number > 0:
        return Every(seconds=number * {"s": 1.0, "ms": 0.001, "m": 60.0}[unit])
    raise MediaError(f"every {text}: write a time as 1s or 0.2s, or a number of frames as 10f")

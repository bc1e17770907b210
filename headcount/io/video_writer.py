"""Frames to a video file.

What is unusual: PyAV writes, though OpenCV reads: OpenCV takes several times as long over what browsers play. A file
appears when it is complete, or as far as it came where an error ends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from headcount._extras import install_hint
from headcount.io.files import single_line
from headcount.io.images import MediaError, as_image

CLOCK = 90_000  # ticks a second of written times
TICK = CLOCK // 1000  # at least so many between frames, since WebM rounds times to 1 ms
CODECS = {  # by suffix; browsers play both
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "33", "b": "0"}),
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "23"}),
}


class VideoWriter:
    """Writes frames to a .webm (VP9) or .mp4 (H.264) file, which browsers play. It appears when it is complete, as far
    as it came where an error ends it.

        with VideoWriter("out.webm", fps=25) as video:
            video.write(rgb)
    """

    def __init__(self, path: str | Path, fps: float):
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise MediaError(f"{path}: cannot write '{self.path.suffix}' video; use {' or '.join(CODECS)}")
        try:
            import av
        except ImportError:
            raise MediaError(f"{path}: writing video needs PyAV: {install_hint('video')}") from None
        self.av, self.fps = av, Fraction(fps).limit_denominator(100_000)
        self.draft = self.path.with_name(f".{self.path.stem}.{os.getpid()}.new{self.path.suffix}")
        self.container: Any = None
        self.stream: Any = None
        self.size = (0, 0)
        self.count = 0
        self.ticks = -TICK  # when the last frame is shown

    def write(self, rgb: np.ndarray, time: float | None = None) -> None:
        """Add a frame, uint8 (H,W,3), all of one size; an odd last row or column is left out. It is shown at `time`,
        seconds, later than the one before; without it, frames follow each other evenly. Raises MediaError."""
        height, width = rgb.shape[:2]
        if self.container is None:
            self.open(width, height)
        if (width, height) != self.size:
            was = f"{width}x{height}, the first {self.size[0]}x{self.size[1]}"
            raise MediaError(f"{self.path}: frame {self.count} is {was}; resize all frames to one size")
        even = np.ascontiguousarray(rgb[: height // 2 * 2, : width // 2 * 2])
        shown = self.count / self.fps if time is None else time
        self.ticks = max(round(shown * CLOCK), self.ticks + TICK)
        try:
            frame = self.av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.time_base = self.ticks, Fraction(1, CLOCK)
            self.container.mux(self.stream.encode(frame))
        except (OSError, ValueError) as error:  # PyAV's own are both
            raise self.failed(error) from error
        self.count += 1

    def open(self, width: int, height: int) -> None:
        codec, options = CODECS[self.path.suffix.lower()]
        if min(width, height) < 2:
            raise MediaError(f"{self.path}: a frame of {width}x{height} is too small for video")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.container = self.av.open(str(self.draft), "w", format=self.path.suffix[1:].lower())
            self.stream = self.container.add_stream(codec, rate=self.fps, options=dict(options))
        except (OSError, ValueError) as error:
            raise self.failed(error) from error
        self.stream.width, self.stream.height, self.stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        self.stream.codec_context.time_base = Fraction(1, CLOCK)
        self.stream.codec_context.colorspace = 6  # BT.601, which PyAV makes; unsaid, browsers take HD for BT.709
        self.stream.codec_context.thread_type = "AUTO"
        self.size = (width, height)

    def close(self) -> None:
        """Complete the file and give it its name; nothing is left where there was no frame."""
        if self.container is None:
            return
        container, self.container = self.container, None
        try:
            if self.count:
                container.mux(self.stream.encode())
            container.close()
            if self.count:
                self.draft.replace(self.path)
        except (OSError, ValueError) as error:
            raise self.failed(error) from error
        finally:
            self.draft.unlink(missing_ok=True)

    def failed(self, error: Exception) -> MediaError:
        return MediaError(f"{self.path}: cannot be written ({single_line(error)}); check the folder and disk")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = 25.0) -> int:
    """Write uint8 (H,W,3) RGB frames of one size as .webm or .mp4; returns how many. Raises MediaError."""
    with VideoWriter(path, fps) as video:
        for frame in frames:
            video.write(as_image(frame))
        if video.count == 0:
            raise MediaError(f"{path}: there are no frames to write; check the source video")
        return video.count

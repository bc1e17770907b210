"""Writing frames to a video file.

PyAV writes the files. OpenCV would need several times as long to encode what browsers play.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np

from headcount.io.files import partial_file, single_line
from headcount.io.images import ImageLike, MediaError, as_image

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

CLOCK = 90_000  # ticks per second of the written times
MIN_STEP = CLOCK // 1000  # ticks between two frames at least, because WebM rounds times to 1 ms
BT_601 = 6  # PyAV's color space; if none is stated, browsers take HD video for BT.709
CODECS = {  # by suffix; browsers play both
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "33", "b": "0"}),
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "23"}),
}


class VideoWriter:
    """Writes frames to a .webm (VP9) or .mp4 (H.264) file, which browsers play.

    The file takes its name when the writer is closed. If an error ends the `with` block, the file holds the frames
    before the error.

        with VideoWriter("out.webm", fps=25) as video:
            video.write(rgb)

    Attributes:
        path: The file.
        fps: Frames per second, for frames without a time.
        frame_count: How many frames were written.
    """

    def __init__(self, path: str | Path, fps: float):
        """Prepare to write. The file is opened with the first frame.

        Raises:
            MediaError: If the suffix is unknown.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise MediaError(f"{path}: cannot write '{self.path.suffix}' video; use {' or '.join(CODECS)}")
        import av

        self.av, self.fps = av, Fraction(fps).limit_denominator(100_000)
        self.partial = partial_file(self.path)
        self.output: tuple[OutputContainer, VideoStream] | None = None
        self.size = (0, 0)
        self.frame_count = 0
        self.last_tick = -MIN_STEP  # when the last frame is shown

    def write(self, rgb: np.ndarray, time: float | None = None) -> None:
        """Add a frame.

        Args:
            rgb: uint8 (H,W,3), the same size for all frames. An odd last row or column is left out.
            time: When the frame is shown, in seconds, later than the frame before. Without it, frames follow each
                other at `fps`.

        Raises:
            MediaError: If the size differs from the first frame's, or the file cannot be written.
        """
        height, width = rgb.shape[:2]
        container, stream = self.output or self.open(width, height)
        if (width, height) != self.size:
            sizes = f"{width}x{height}, the first {self.size[0]}x{self.size[1]}"
            raise MediaError(f"{self.path}: frame {self.frame_count} is {sizes}; resize all frames to one size")
        even = np.ascontiguousarray(rgb[: height // 2 * 2, : width // 2 * 2])
        seconds = self.frame_count / self.fps if time is None else time
        self.last_tick = max(round(seconds * CLOCK), self.last_tick + MIN_STEP)
        try:
            frame = self.av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.time_base = self.last_tick, Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
        except (OSError, ValueError) as error:  # PyAV's errors are both
            raise self.write_error(error) from error
        self.frame_count += 1

    def open(self, width: int, height: int) -> tuple[OutputContainer, VideoStream]:
        """Start the file for frames of this size."""
        codec, options = CODECS[self.path.suffix.lower()]
        if min(width, height) < 2:
            raise MediaError(f"{self.path}: a frame of {width}x{height} is too small for video")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            container = self.av.open(str(self.partial), "w", format=self.path.suffix[1:].lower())
            stream = cast("VideoStream", container.add_stream(codec, rate=self.fps, options=dict(options)))
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                self.partial.unlink()
            raise self.write_error(error) from error
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        stream.codec_context.colorspace = BT_601
        stream.codec_context.thread_type = "AUTO"
        self.size, self.output = (width, height), (container, stream)
        return container, stream

    def close(self) -> None:
        """Complete the file and give it its name. Without any frame, no file is left."""
        if self.output is None:
            return
        (container, stream), self.output = self.output, None
        try:
            if self.frame_count:
                container.mux(stream.encode())
            container.close()
            if self.frame_count:
                self.partial.replace(self.path)
        except (OSError, ValueError) as error:
            raise self.write_error(error) from error
        finally:
            self.partial.unlink(missing_ok=True)

    def write_error(self, error: Exception) -> MediaError:
        return MediaError(f"{self.path}: cannot be written ({single_line(error)}); check the folder and disk")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def write_video(path: str | Path, frames: Iterable[ImageLike], fps: float = 25.0) -> int:
    """Write frames of one size as a .webm or .mp4 file.

    Args:
        path: The file to write.
        frames: Images, of any kind that `as_image` converts.
        fps: Frames per second.

    Returns:
        How many frames were written.

    Raises:
        MediaError: If there are no frames, or the file cannot be written.
    """
    with VideoWriter(path, fps) as video:
        for frame in frames:
            video.write(as_image(frame))
        if video.frame_count == 0:
            raise MediaError(f"{path}: there are no frames to write; check the source video")
        return video.frame_count

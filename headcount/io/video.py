"""Reading frames from video files, network streams and cameras.

A damaged or truncated file first yields the frames it has, and then raises an error. A live source yields its newest
frame, so a slow reader skips frames instead of falling behind. A lost connection is retried at growing intervals.
"""

from __future__ import annotations

import math
import os
import re
import struct
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from headcount.io.images import MediaError, check_file
from headcount.io.video_source import (
    LIVE_SCHEMES,
    VIDEO_SUFFIXES,
    VideoSource,
    camera_number,
    public_name,
    url_scheme,
)

if TYPE_CHECKING:
    import cv2

TIMEOUT = 8.0  # seconds that a stream may take to open, or to deliver its next frame
PATIENCE = 60.0  # seconds without a frame after which a live source is given up
MAX_DAMAGED = 100  # consecutive damaged packets to skip before a file counts as ended
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between retries
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
    """

    live: bool
    fps: float
    seconds: float

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


def probe(source: VideoSource) -> VideoInfo:
    """Read the header of a source.

    An address that cannot be reached counts as a live camera, which may come online later, unless it names a file.

    Raises:
        MediaError: If a file, local or on the network, cannot be opened.
    """
    if camera_number(source) is not None or url_scheme(source) in LIVE_SCHEMES:
        return VideoInfo(live=True, fps=0.0, seconds=0.0)
    if not url_scheme(source):
        check_file(str(source), "video")
    video = open_capture(source)
    try:
        if not video.isOpened():
            if url_scheme(source) and not urlsplit(str(source)).path.lower().endswith(VIDEO_SUFFIXES):
                return VideoInfo(live=True, fps=0.0, seconds=0.0)
            raise unreadable_error(source)
        return header_info(video, bool(url_scheme(source)))
    finally:
        video.release()


def header_info(video: cv2.VideoCapture, from_network: bool) -> VideoInfo:
    """Return what the header of an open source states. A network source of unknown length is live."""
    import cv2

    fps, frames = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 0.0
    known = fps > 0 and math.isfinite(frames) and 0 < frames < 1e9
    return VideoInfo(live=from_network and not known, fps=fps, seconds=frames / fps if known else 0.0)


def read_frames(
    source: VideoSource,
    every: str | int = 1,
    warn: Callable[[str], None] = warnings.warn,
    patience: float = PATIENCE,
    back_off: tuple[float, ...] = BACK_OFF,
) -> Generator[Frame, None, None]:
    """Read frames of a video file, a stream (rtsp://..., http://...) or a camera.

    A file is decoded as its frames are requested. A live source yields its newest wanted frame, so a slow reader skips
    frames instead of falling behind.

    Args:
        source: A file, an address, or the number of a camera.
        every: "1s" for the first frame at or after each second of the stream's own timestamps; "10f" or 10 for every
            tenth frame.
        warn: Receives a message each time a live source is lost and retried.
        patience: Seconds without a frame after which a live source is given up.
        back_off: Seconds between retries; the last value repeats.

    Yields:
        The wanted frames in order.

    Raises:
        MediaError: If there is nothing to read, or, after its last frame, if a file is truncated or damaged.
    """
    wanted = parse_every(every)
    if probe(source).live:
        return live_frames(source, wanted, warn, patience, back_off)
    return file_frames(source, wanted)


def file_frames(
    source: VideoSource, every: Every, on_frame: Callable[[], None] = lambda: None
) -> Generator[Frame, None, None]:
    """Read the wanted frames of a file, as `read_frames` does.

    `on_frame` is called for each decoded frame, wanted or not. What it raises ends the reading.
    """
    import cv2

    video = open_capture(source)
    index, last, last_due, start, damaged = 0, 0.0, -1.0, 0.0, 0
    try:
        info = header_info(video, False)
        while (skipped := next_frame(video)) is not None:
            last = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if index == 0 and info.fps:  # OpenCV's times start at 0, but Matroska's length includes the first offset
                start = max(0.0, video.get(cv2.CAP_PROP_PTS) / info.fps - last)
            elif skipped:
                damaged += 1
            on_frame()
            if (due := every.due(index, last)) > last_due:  # only wanted frames are converted
                ok, bgr = video.retrieve()
                if ok:
                    last_due = due
                    yield Frame(index, last, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            index += 1
    finally:
        video.release()
    if index == 0:
        raise unreadable_error(source)
    end = last + (1 / info.fps if info.fps else 0)
    if ends_early(source, start + end, info.seconds):
        raise MediaError(
            f"{public_name(source)}: ends after {end:.1f} s of the {info.seconds:.1f} s it announces, truncated or"
            " damaged; the frames before that are counted"
        )
    if damaged:
        places = "one place" if damaged == 1 else f"{damaged} places"
        raise MediaError(f"{public_name(source)}: damaged in {places}; the remaining frames are counted")


def next_frame(video: cv2.VideoCapture) -> int | None:
    """Step to the next frame.

    OpenCV reports a damaged packet exactly as it reports the end, so a few more attempts decide which it was.

    Returns:
        How many damaged packets were skipped, or None at the end.
    """
    deadline = time.monotonic() + 1.0  # each attempt on a lost camera may take seconds
    for skipped in range(MAX_DAMAGED):
        if video.grab():
            return skipped
        if time.monotonic() > deadline:
            break
    return None


def ends_early(source: VideoSource, end: float, announced: float) -> bool:
    """Tell whether a file whose last frame ends at `end` seconds is shorter than the `announced` seconds."""
    if not url_scheme(source) and (truncated := mp4_is_truncated(str(source))) is not None:
        return truncated
    return announced - end > min(2.0, max(0.25, 0.05 * announced))  # the sound track may be longer than the video


def mp4_is_truncated(path: str) -> bool | None:
    """Tell whether the media data of an MP4 or MOV file runs past the end of the file; None for other formats.

    The announced length does not show this: it includes frames that an edit list hides, as left by trimming on a phone.
    """
    size, start, kind = os.path.getsize(path), 0, b""
    with open(path, "rb") as file:
        while start + 16 <= size:
            file.seek(start)
            length, kind, long_length = struct.unpack(">I4sQ", file.read(16))
            if start == 0 and kind not in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
                return None
            if length == 0:  # this box extends to the end of the file
                return False
            start += max(8, long_length if length == 1 else length)
    return start > size and kind == b"mdat"


def live_frames(
    source: VideoSource, every: Every, warn: Callable[[str], None], patience: float, back_off: tuple[float, ...]
) -> Generator[Frame, None, None]:
    """Read the newest wanted frames of a live source, as `read_frames` does."""
    camera = Camera(source, every, warn, patience, back_off)
    camera.thread.start()
    try:
        while (frame := camera.newest()) is not None:
            yield frame
    finally:
        camera.stop()


class Camera:
    """A thread that reads a live source and keeps its newest wanted frame."""

    def __init__(
        self,
        source: VideoSource,
        every: Every,
        warn: Callable[[str], None],
        patience: float,
        back_off: tuple[float, ...],
    ):
        self.source, self.every, self.warn, self.patience, self.back_off = source, every, warn, patience, back_off
        self.name = public_name(source)
        self.latest: deque[Frame] = deque(maxlen=1)
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.index = 0
        self.first_frame_at = 0.0  # monotonic clock
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, name=f"reading {self.name}", daemon=True)

    def newest(self) -> Frame | None:
        """Wait for a wanted frame that was not returned before, and return the newest.

        Raises:
            MediaError: If the source is given up.
        """
        with self.changed:
            while not self.latest and not self.ended.is_set():
                self.changed.wait(1.0)
            if self.latest:
                return self.latest.pop()
        if self.error:
            raise self.error
        raise MediaError(
            f"{self.name}: no frame for {self.patience:g} s; check the camera, its address and the network"
        )

    def stop(self) -> None:
        """End the thread."""
        self.ended.set()
        self.thread.join(1.0)  # a thread that waits for the network ends when that times out

    def run(self) -> None:
        """Run the thread, and pass an error on to the reader."""
        try:
            self.keep_reading()
        except BaseException as error:
            self.error = error
        finally:
            with self.changed:
                self.ended.set()
                self.changed.notify_all()

    def keep_reading(self) -> None:
        """Read, and reconnect after each loss, until stopped or out of patience."""
        retries, lost_at = 0, time.monotonic()
        while not self.ended.is_set():
            if self.read_connection():
                retries, lost_at = 0, time.monotonic()
            wait = self.back_off[min(retries, len(self.back_off) - 1)]
            if self.ended.is_set() or time.monotonic() + wait - lost_at > self.patience:
                break
            retries += 1
            self.warn(f"{self.name}: {'connection lost' if self.index else 'no answer'}; retrying in {wait:g} s")
            self.ended.wait(wait)

    def read_connection(self) -> bool:
        """Connect and read until the connection is lost. Return whether there was a frame."""
        import cv2

        video, any_frame, last_due = open_capture(self.source), False, -1.0
        try:
            while not self.ended.is_set() and next_frame(video) is not None:
                any_frame = True
                self.first_frame_at = self.first_frame_at or time.monotonic()
                now = time.monotonic() - self.first_frame_at
                if (due := self.every.due(self.index, now)) > last_due:
                    ok, bgr = video.retrieve()
                    if ok:
                        last_due = due
                        with self.changed:
                            self.latest.append(Frame(self.index, now, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
                            self.changed.notify_all()
                self.index += 1
        finally:
            video.release()
        return any_frame


def open_capture(source: VideoSource) -> cv2.VideoCapture:
    """Open a source with OpenCV, whose own messages on the console are turned off."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    number = camera_number(source)
    if number is not None:
        return cv2.VideoCapture(number)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    settings = [n for limit in limits for n in (limit, round(TIMEOUT * 1000))]
    # Only FFmpeg: other OpenCV backends take an image file for a numbered image sequence.
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, settings)


def unreadable_error(source: VideoSource) -> MediaError:
    name = public_name(source)
    return MediaError(f"{name}: no frame can be read; convert it to MP4 (H.264) or WebM, or check the camera")

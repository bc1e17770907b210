"""Video files, streams and cameras to frames.

What is unusual: a file gives the frames it has, however it ends, and only then says that it was cut short. A camera
never makes a slow reader fall behind: it gives the newest frame, and one that is lost is sought again, more and more
patiently.
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from headcount.io.images import MediaError, check_file

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".flv"),
)
LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "mms")  # http has files too
SCHEMES = (*LIVE_SCHEMES, "http", "https")
TIMEOUT = 8.0  # seconds that a stream may take to open, or to give its next frame
PATIENCE = 60.0  # seconds that a lost camera is sought for
DAMAGED = 100  # damaged pieces in a row that are passed over
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between tries

Source = str | Path | int  # a file, an address, or a camera's number


@dataclass(frozen=True)
class Frame:
    """One video frame: `index` in the stream (from 0), `time` in seconds, `image` uint8 (H,W,3) RGB."""

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Every:
    """How often a frame is wanted: every so many `frames`, or every so many `seconds`; the other is 0."""

    frames: int = 0
    seconds: float = 0.0

    def due(self, index: int, time: float) -> float:
        """Which of the wanted moments a frame is at or after: a frame is wanted if it is a later one than the last."""
        return index // self.frames if self.frames else math.floor((time + 0.001) / self.seconds)  # files round to 1 ms

    def rate(self, fps: float) -> float:
        """Frames a second that are wanted of `fps`."""
        return fps / self.frames if self.frames else min(fps, 1 / self.seconds)


@dataclass(frozen=True)
class VideoInfo:
    """What a source announces. live: it has no end, and is read as it comes. fps: frames a second, 0 where it does not
    say; seconds: its length, 0 where it has none or does not say."""

    live: bool
    fps: float
    seconds: float

    def rate(self, every: Every) -> float:
        """Wanted frames a second, 25 frames taken where the source does not say."""
        return every.rate(self.fps or 25.0)

    def expected(self, every: Every) -> int | None:
        """How many frames are wanted in all, where that is known."""
        if self.live or not self.seconds:
            return None
        frames = round(self.seconds * self.fps)
        return int(every.due(max(frames - 1, 0), max(self.seconds - 1 / self.fps, 0.0))) + 1


def is_video(source: str) -> bool:
    """Whether a word on the command line is a video file, an address of a stream, or the number of a camera."""
    if os.path.exists(source):
        return not os.path.isdir(source) and source.lower().endswith(VIDEO_SUFFIXES)
    return scheme(source) in SCHEMES or source.isdecimal() or source.lower().endswith(VIDEO_SUFFIXES)


def scheme(source: Source) -> str:
    """rtsp of rtsp://...; nothing for a path or a number."""
    found = re.match(r"([a-z][a-z0-9+.-]*)://", str(source), re.IGNORECASE)
    return found[1].lower() if found else ""


def public_name(source: Source) -> str:
    """What results call a source: an address without its user and password, `camera 0` for a number."""
    if camera_number(source) is not None:
        return f"camera {source}"
    if not scheme(source):
        return str(source)
    parts = urlsplit(str(source))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def camera_number(source: Source) -> int | None:
    text = str(source)
    return int(text) if text.isdecimal() and not os.path.exists(text) else None


def parse_every(text: str | int) -> Every:
    """1s, 0.5s, 500ms, 2m, 10f or 10: how often a frame is wanted. Raises MediaError."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|m|f|)", str(text).strip())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if unit in ("f", "") and number >= 1 and number == int(number):
        return Every(frames=int(number))
    if unit in ("s", "ms", "m") and number > 0:
        return Every(seconds=number * {"s": 1.0, "ms": 0.001, "m": 60.0}[unit])
    raise MediaError(f"every {text}: write a time as 1s or 0.2s, or a number of frames as 10f")


def probe(source: Source) -> VideoInfo:
    """What a source announces, from its header. Raises MediaError for a file that cannot be opened, on the network too;
    any other address that cannot be reached is taken for a camera, which may come yet."""
    if camera_number(source) is not None or scheme(source) in LIVE_SCHEMES:
        return VideoInfo(live=True, fps=0.0, seconds=0.0)
    if not scheme(source):
        check_file(str(source), "video")
    video = open_capture(source)
    try:
        if not video.isOpened():
            if scheme(source) and not urlsplit(str(source)).path.lower().endswith(VIDEO_SUFFIXES):
                return VideoInfo(live=True, fps=0.0, seconds=0.0)
            raise unreadable(source)
        return announced(video, bool(scheme(source)))
    finally:
        video.release()


def announced(video: Any, from_network: bool) -> VideoInfo:
    import cv2

    fps, frames = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 0.0
    known = fps > 0 and math.isfinite(frames) and 0 < frames < 1e9
    return VideoInfo(live=from_network and not known, fps=fps, seconds=frames / fps if known else 0.0)


def read_frames(
    source: Source,
    every: str | int = 1,
    say: Callable[[str], None] = warnings.warn,
    patience: float = PATIENCE,
    back_off: tuple[float, ...] = BACK_OFF,
) -> Generator[Frame, None, None]:
    """Frames of a video file, of a stream's address (rtsp://..., http://...) or of a camera's number, upright.

    Args:
        every: "1s" is the first frame at or after each second of the stream's own timestamps, "10f" or 10 every tenth.
        say: told of a camera that is lost and sought again.
        patience: seconds without a frame after which a camera is given up. back_off: seconds between tries.

    A file is read as its frames are asked for. Of a camera the newest wanted frame is given, so that a slow reader
    misses frames and does not fall behind; its times are seconds since its first frame.

    Raises:
        MediaError: where there is nothing to read; and after the last frame of a file that is cut short or damaged.
    """
    wanted = parse_every(every)
    if probe(source).live:
        return live_frames(source, wanted, say, patience, back_off)
    return file_frames(source, wanted)


def file_frames(
    source: Source, every: Every, on_frame: Callable[[], None] = lambda: None
) -> Generator[Frame, None, None]:
    """The wanted frames of a file, as `read_frames`. `on_frame` is called for each decoded frame, wanted or not; what
    it raises ends the reading."""
    import cv2

    video = open_capture(source)
    index, last, moment, start, damaged = 0, 0.0, -1.0, 0.0, 0
    try:
        length = announced(video, False)
        while (passed := next_frame(video)) is not None:
            last = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if index == 0 and length.fps:  # OpenCV's times begin at 0, the length that Matroska announces may not
                start = max(0.0, video.get(cv2.CAP_PROP_PTS) / length.fps - last)
            elif passed:
                damaged += 1
            on_frame()
            if (due := every.due(index, last)) > moment:  # the others are not even converted
                ok, bgr = video.retrieve()
                if ok:
                    moment = due
                    yield Frame(index, last, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            index += 1
    finally:
        video.release()
    if index == 0:
        raise unreadable(source)
    ended = last + (1 / length.fps if length.fps else 0)
    if ends_early(source, start + ended, length.seconds):
        raise MediaError(
            f"{public_name(source)}: ends after {ended:.1f} s of the {length.seconds:.1f} s it announces, cut short or"
            " damaged; the frames until there are counted"
        )
    if damaged:
        places = "one place" if damaged == 1 else f"{damaged} places"
        raise MediaError(f"{public_name(source)}: damaged in {places}; the frames that are left are counted")


def next_frame(video: Any) -> int | None:
    """Step to the next frame; None at the end, else how many pieces before it were too damaged to decode: to each of
    them OpenCV says no, as it does at the end."""
    patience = time.monotonic() + 1.0  # a lost camera may take seconds to say no
    for passed in range(DAMAGED):
        if video.grab():
            return passed
        if time.monotonic() > patience:
            break
    return None


def ends_early(source: Source, ended: float, announced: float) -> bool:
    """Whether a file whose last frame `ended` at this time should have gone on."""
    if not scheme(source) and (cut := cut_in_a_box(str(source))) is not None:
        return cut
    return announced - ended > min(2.0, max(0.25, 0.05 * announced))  # sound may be longer than the pictures


def cut_in_a_box(path: str) -> bool | None:
    """Whether the frames of an MP4 or MOV file run past its end; None for other files. Its times do not tell: it counts
    frames that it hides, as trimming on a phone leaves them."""
    size, start, kind = os.path.getsize(path), 0, b""
    with open(path, "rb") as file:
        while start + 16 <= size:
            file.seek(start)
            length, kind, long_length = struct.unpack(">I4sQ", file.read(16))
            if start == 0 and kind not in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
                return None
            if length == 0:  # up to the end of the file
                return False
            start += max(8, long_length if length == 1 else length)
    return start > size and kind == b"mdat"


def live_frames(
    source: Source, every: Every, say: Callable[[str], None], patience: float, back_off: tuple[float, ...]
) -> Generator[Frame, None, None]:
    camera = Camera(source, every, say, patience, back_off)
    camera.thread.start()
    try:
        while (frame := camera.newest()) is not None:
            yield frame
    finally:
        camera.stop()


class Camera:
    """A thread that reads a camera or stream and keeps the newest frame that is wanted."""

    def __init__(
        self,
        source: Source,
        every: Every,
        say: Callable[[str], None],
        patience: float,
        back_off: tuple[float, ...],
    ):
        self.source, self.every, self.say, self.patience, self.back_off = source, every, say, patience, back_off
        self.name = public_name(source)
        self.slot: deque[Frame] = deque(maxlen=1)
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.index = 0
        self.began = 0.0  # when the first frame came, monotonic
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, name=f"reading {self.name}", daemon=True)

    def newest(self) -> Frame | None:
        """Waits for the newest wanted frame that was not given yet. Raises MediaError when the camera is given up."""
        with self.changed:
            while not self.slot and not self.ended.is_set():
                self.changed.wait(1.0)
            if self.slot:
                return self.slot.pop()
        if self.error:
            raise self.error
        raise MediaError(
            f"{self.name}: no frame for {self.patience:g} s; check the camera, its address and the network"
        )

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(1.0)  # one that waits for the network ends when that times out

    def run(self) -> None:
        """What the thread does; whoever waits for a frame hears how it ended."""
        try:
            self.seek()
        except BaseException as error:
            self.error = error
        finally:
            with self.changed:
                self.ended.set()
                self.changed.notify_all()

    def seek(self) -> None:
        """Read, and seek again, until stopped or out of patience."""
        tries, lost_at = 0, time.monotonic()
        while not self.ended.is_set():
            if self.read():
                tries, lost_at = 0, time.monotonic()
            wait = self.back_off[min(tries, len(self.back_off) - 1)]
            if self.ended.is_set() or time.monotonic() + wait - lost_at > self.patience:
                break
            tries += 1
            self.say(f"{self.name}: {'lost' if self.index else 'no answer'}; trying again in {wait:g} s")
            self.ended.wait(wait)

    def read(self) -> bool:
        """Frames until there are no more; whether there was one."""
        import cv2

        video, any_frame, moment = open_capture(self.source), False, -1.0
        try:
            while not self.ended.is_set() and next_frame(video) is not None:
                any_frame = True
                self.began = self.began or time.monotonic()
                now = time.monotonic() - self.began
                if (due := self.every.due(self.index, now)) > moment:
                    ok, bgr = video.retrieve()
                    if ok:
                        moment = due
                        with self.changed:
                            self.slot.append(Frame(self.index, now, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
                            self.changed.notify_all()
                self.index += 1
        finally:
            video.release()
        return any_frame


def open_capture(source: Source) -> Any:
    """OpenCV's reader of a source, silent: what is wrong is ours to say."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    number = camera_number(source)
    if number is not None:
        return cv2.VideoCapture(number)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    settings = [n for limit in limits for n in (limit, round(TIMEOUT * 1000))]
    # FFmpeg alone: other OpenCV readers take a picture's name for a numbered sequence of pictures.
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, settings)


def unreadable(source: Source) -> MediaError:
    name = public_name(source)
    return MediaError(f"{name}: no frame can be read; convert it to MP4 (H.264) or WebM, or check the camera")


class Smoother:
    """The mean count of the last `seconds`: a jump shows in full after that long, on average half of it too late."""

    def __init__(self, seconds: float):
        self.seconds, self.delay = seconds, seconds / 2
        self.kept: deque[tuple[float, float]] = deque()

    def add(self, time: float, count: float) -> float:
        """The mean with a count at `time`, seconds, later than the ones before."""
        self.kept.append((time, count))
        while self.kept[0][0] <= time - self.seconds:
            self.kept.popleft()
        return sum(count for _, count in self.kept) / len(self.kept)

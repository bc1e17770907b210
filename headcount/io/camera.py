"""Reading live sources: local cameras and network streams."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from functools import partial

import numpy as np

from headcount.io.frames import Every, Frame
from headcount.io.images import MediaError
from headcount.io.video_source import VideoSource, camera_number, public_name
from headcount.io.video_stream import VideoStream, upright_image


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
        any_frame, last_due = False, -1.0
        with contextlib.closing(connect(self.source)) as images:
            for image in images:
                if self.ended.is_set():
                    break
                any_frame = True
                self.first_frame_at = self.first_frame_at or time.monotonic()
                now = time.monotonic() - self.first_frame_at
                if (due := self.every.due(self.index, now)) > last_due:
                    last_due = due
                    frame = Frame(self.index, now, image())
                    with self.changed:
                        self.latest.append(frame)
                        self.changed.notify_all()
                self.index += 1
        return any_frame


def connect(source: VideoSource) -> Generator[Callable[[], np.ndarray]]:
    """Yield the images of a live source, each as a function that converts it: only wanted frames are converted.

    The generator ends where the connection is lost, or at once if there is none.
    """
    number = camera_number(source)
    if number is not None:
        yield from device_images(number)
        return
    with contextlib.suppress(MediaError), VideoStream(source) as stream:
        for frame in stream.decode_all():
            yield partial(upright_image, frame)


def device_images(number: int) -> Generator[Callable[[], np.ndarray]]:
    """Yield the images of a local camera, which OpenCV finds by its number on every platform."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a missing camera is reported by us
    capture = cv2.VideoCapture(number)
    try:
        while True:
            ok, bgr = capture.read()
            if not ok:
                return
            yield partial(cv2.cvtColor, bgr, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()

"""Reading frames from video files, network streams and cameras.

A damaged or truncated file first yields the frames it has, and then raises an error. A live source yields its newest
frame, so a slow reader skips frames instead of falling behind. A lost connection is retried at growing intervals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from urllib.parse import urlsplit

from headcount.io.camera import live_frames
from headcount.io.frames import Frame, VideoInfo, parse_every
from headcount.io.images import MediaError, check_file
from headcount.io.video_source import LIVE_SCHEMES, VIDEO_SUFFIXES, VideoSource, camera_number, url_scheme
from headcount.io.video_stream import VideoStream, file_frames

PATIENCE = 60.0  # seconds without a frame after which a live source is given up
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between retries


def probe(source: VideoSource, untrusted: bool = False) -> VideoInfo:
    """Read the header of a source.

    An address that cannot be reached counts as a live camera, which may come online later, unless it names a file.

    Args:
        source: A file, an address, or the number of a camera.
        untrusted: The file comes from a stranger: only containers that hold their own data are opened.

    Raises:
        MediaError: If a file, local or on the network, cannot be opened.
    """
    if camera_number(source) is not None or url_scheme(source) in LIVE_SCHEMES:
        return VideoInfo(live=True)
    if not url_scheme(source):
        check_file(str(source), "video")
    try:
        with VideoStream(source, untrusted) as stream:
            return stream.info
    except MediaError:
        if url_scheme(source) and not urlsplit(str(source)).path.lower().endswith(VIDEO_SUFFIXES):
            return VideoInfo(live=True)
        raise


def read_frames(
    source: VideoSource,
    every: str | int = 1,
    warn: Callable[[str], None] = warnings.warn,
    patience: float = PATIENCE,
    back_off: tuple[float, ...] = BACK_OFF,
    untrusted: bool = False,
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
        untrusted: As for `probe`.

    Yields:
        The wanted frames in order.

    Raises:
        MediaError: If there is nothing to read, or, after its last frame, if a file is truncated or damaged.
    """
    wanted = parse_every(every)
    if probe(source, untrusted).live:
        return live_frames(source, wanted, warn, patience, back_off)
    return file_frames(source, wanted, untrusted)

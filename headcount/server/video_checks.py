"""Which uploads are videos that FFmpeg may open.

FFmpeg also reads playlists, which name other files and addresses, so an uploaded playlist could make the server read
its own files or the network. Two barriers prevent that. An upload must begin like one of the known containers, and
while FFmpeg is restricted it opens nothing but local files of those containers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from headcount.io.images import MediaError
from headcount.io.video import open_capture, probe

TS_PACKET = 188  # bytes of a packet in an MPEG transport stream; each begins with G
# How container files begin: (offset, bytes). A playlist is text and begins otherwise.
CONTAINERS = (
    (4, b"ftyp"),  # MP4, MOV
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (0, b"\x1a\x45\xdf\xa3"),  # WebM, MKV
    (8, b"AVI "),
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF, WMV
)
FFMPEG_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # environment variable that OpenCV reads when it opens a video
FFMPEG_RESTRICTIONS = (
    "protocol_whitelist;file|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf"
)


class VideoRejectedError(ValueError):
    """An upload that is not counted; the message is one line for the client."""


@contextlib.contextmanager
def restricted_ffmpeg() -> Iterator[None]:
    """Let FFmpeg open nothing but local files of the containers above, in this process and those that it starts.

    `serve` enters it for as long as the server process lives. Code that reads uploads fails outside of it.
    """
    before = os.environ.get(FFMPEG_VARIABLE)
    os.environ[FFMPEG_VARIABLE] = FFMPEG_RESTRICTIONS
    try:
        yield
    finally:
        if before is None:
            del os.environ[FFMPEG_VARIABLE]
        else:
            os.environ[FFMPEG_VARIABLE] = before


def require_restricted_ffmpeg() -> None:
    """Raises RuntimeError outside of `restricted_ffmpeg`: an upload must not be opened there."""
    if os.environ.get(FFMPEG_VARIABLE) != FFMPEG_RESTRICTIONS:
        raise RuntimeError("uploads are only opened within headcount.server.video_checks.restricted_ffmpeg()")


def check_video(path: Path, max_seconds: float, max_pixels: float) -> None:
    """Check an uploaded video before it becomes a job.

    Args:
        path: the upload.
        max_seconds: the longest duration.
        max_pixels: the largest frame, in pixels.

    Raises:
        VideoRejectedError: it is no known container, cannot be opened, is too long, or its frames are too large.
        RuntimeError: FFmpeg is not restricted.
    """
    require_restricted_ffmpeg()
    check_container(path)
    try:
        info = probe(path)
    except MediaError as error:
        raise VideoRejectedError(str(error).replace(str(path), "video")) from None
    if info.seconds > max_seconds:
        raise VideoRejectedError(
            f"the video lasts {info.seconds:.0f} seconds, more than this server's limit of {max_seconds:g}; shorten it"
        )
    width, height = frame_size(path)
    if width * height > max_pixels:
        limit = f"this server's limit of {max_pixels / 1e6:g} megapixels"
        raise VideoRejectedError(f"frames of {width}x{height} exceed {limit}; resize the video")


def check_container(path: Path) -> None:
    """Raises VideoRejectedError unless the file begins like a known container."""
    with open(path, "rb") as stream:
        start = stream.read(2 * TS_PACKET)
    if any(start[offset : offset + len(magic)] == magic for offset, magic in CONTAINERS):
        return
    if start[:1] == start[TS_PACKET : TS_PACKET + 1] == b"\x47":
        return
    raise VideoRejectedError("not a supported video; send MP4, MOV, WebM, MKV, AVI, MPEG, FLV or WMV")


def frame_size(path: Path) -> tuple[int, int]:
    """Width and height that the video announces, in pixels."""
    import cv2

    video = open_capture(path)
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    finally:
        video.release()

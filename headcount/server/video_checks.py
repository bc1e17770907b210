"""Which uploads are videos that FFmpeg may open.

FFmpeg also reads playlists, which name other files and addresses, so an uploaded playlist could make the server read
its own files or the network. Two barriers prevent that. An upload must begin like one of the known containers, and it
is always opened as untrusted: FFmpeg then opens nothing but local files of those containers.
"""

from __future__ import annotations

from pathlib import Path

from headcount.io.images import MediaError
from headcount.io.video import probe

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


class VideoRejectedError(ValueError):
    """An upload that is not counted; the message is one line for the client."""


def check_video(path: Path, max_seconds: float, max_pixels: float) -> None:
    """Check an uploaded video before it becomes a job.

    Args:
        path: the upload.
        max_seconds: the longest duration.
        max_pixels: the largest frame, in pixels.

    Raises:
        VideoRejectedError: it is no known container, cannot be opened, is too long, or its frames are too large.
    """
    check_container(path)
    try:
        info = probe(path, untrusted=True)
    except MediaError as error:
        raise VideoRejectedError(str(error).replace(str(path), "video")) from None
    if info.seconds > max_seconds:
        raise VideoRejectedError(
            f"the video lasts {info.seconds:.0f} seconds, more than this server's limit of {max_seconds:g}; shorten it"
        )
    if info.width * info.height > max_pixels:
        limit = f"this server's limit of {max_pixels / 1e6:g} megapixels"
        raise VideoRejectedError(f"frames of {info.width}x{info.height} exceed {limit}; resize the video")


def check_container(path: Path) -> None:
    """Raises VideoRejectedError unless the file begins like a known container."""
    with open(path, "rb") as stream:
        start = stream.read(2 * TS_PACKET)
    if any(start[offset : offset + len(magic)] == magic for offset, magic in CONTAINERS):
        return
    if start[:1] == start[TS_PACKET : TS_PACKET + 1] == b"\x47":
        return
    raise VideoRejectedError("not a supported video; send MP4, MOV, WebM, MKV, AVI, MPEG, FLV or WMV")

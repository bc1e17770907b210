"""Which uploads are videos that may be opened: what they begin with, how long they are, how large their frames.

What is unusual: FFmpeg reads playlists, which name other files and addresses. None is given to it, and while a server
runs it may open nothing but a file of the containers below.
"""

from __future__ import annotations

import os
from pathlib import Path

from headcount.io.images import MediaError
from headcount.io.video import open_capture, probe

TS_PACKET = 188  # bytes, of an MPEG transport stream: each begins with G

# How the files begin that are given to FFmpeg: (offset, bytes). Playlists, which name other files and addresses, are
# text and begin otherwise.
CONTAINERS = (
    (4, b"ftyp"),  # MP4, MOV
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (0, b"\x1a\x45\xdf\xa3"),  # WebM, MKV
    (8, b"AVI "),
    (0, b"\x00\x00\x01\xba"),  # MPEG programme stream
    (0, b"\x00\x00\x01\xb3"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF, WMV
)
# What FFmpeg may open in a process that reads uploads: these containers, and no address.
FENCE = (
    "OPENCV_FFMPEG_CAPTURE_OPTIONS",
    "protocol_whitelist;file|format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf",
)


class VideoRefused(ValueError):
    """An upload that is not counted: why, in one line."""


def check_video(path: Path, max_seconds: float, max_pixels: float) -> None:
    """Refuse an upload that is none of the containers above, is too long, or has frames too large. Raises VideoRefused
    or MediaError, one line."""
    import cv2

    with open(path, "rb") as stream:
        head = stream.read(2 * TS_PACKET)
    container = any(head[at : at + len(magic)] == magic for at, magic in CONTAINERS)
    if not container and not (head[:1] == head[TS_PACKET : TS_PACKET + 1] == b"\x47"):
        raise VideoRefused("not a video that is read here; send MP4, MOV, WebM, MKV, AVI, MPEG, FLV or WMV")
    try:
        info = probe(path)
    except MediaError as error:
        raise VideoRefused(str(error).replace(str(path), "video")) from None
    if info.seconds > max_seconds:
        raise VideoRefused(f"{info.seconds:.0f} seconds, over this server's limit of {max_seconds:g}; cut it")
    video = open_capture(path)
    try:
        width, height = (int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    finally:
        video.release()
    if width * height > max_pixels:
        raise VideoRefused(f"frames of {width}x{height} are over this server's limit; shrink it")


def fence() -> None:
    """From now on FFmpeg opens nothing in this process but a file of those containers."""
    os.environ[FENCE[0]] = FENCE[1]

"""Telling video files, network streams and cameras apart, and naming them without their passwords."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".flv"),
)
LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "mms")  # http serves files too
SCHEMES = (*LIVE_SCHEMES, "http", "https")

VideoSource: TypeAlias = str | Path | int  # a file, an address, or the number of a camera


def is_video(source: str) -> bool:
    """Tell whether a command-line argument is a video file, the address of a stream, or the number of a camera."""
    if os.path.exists(source):
        return not os.path.isdir(source) and source.lower().endswith(VIDEO_SUFFIXES)
    return url_scheme(source) in SCHEMES or source.isdecimal() or source.lower().endswith(VIDEO_SUFFIXES)


def url_scheme(source: VideoSource) -> str:
    """Return the lower-case scheme of an address ("rtsp" of rtsp://...), or "" for a path or a number."""
    found = re.match(r"([a-z][a-z0-9+.-]*)://", str(source), re.IGNORECASE)
    return found[1].lower() if found else ""


def public_name(source: VideoSource) -> str:
    """Return the name of a source for results and messages: an address without its user and password, or "camera 0"."""
    if camera_number(source) is not None:
        return f"camera {source}"
    if not url_scheme(source):
        return str(source)
    parts = urlsplit(str(source))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def camera_number(source: VideoSource) -> int | None:
    """Return the number of a camera, or None for any other source."""
    text = str(source)
    return int(text) if text.isdecimal() and not os.path.exists(text) else None

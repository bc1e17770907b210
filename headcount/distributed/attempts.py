"""Notes about the images in work, so that an image that ends the process is not tried for ever.

Some images cannot be survived: their pixels do not fit the memory, say, and the kernel kills the process without a
word. A process therefore leaves a note of what it works on. Whoever finds the note of one that died blames each image
in work once, counts the blamed ones singly, and leaves out an image that was blamed MAX_DEATHS times.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

MAX_DEATHS = 2  # processes that die during one image before it is left out
_LEFT_OUT = re.compile(r"\d+ processes died while counting it\b")

Deaths = dict[str, int]  # image -> processes that died while they worked on it


def read_note(text: bytes | None) -> Deaths | None:
    """What the note of a process that died says; None without a note. A damaged note blames nothing."""
    if text is None:
        return None
    deaths: Deaths = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        note = json.loads(text.partition(b"\n")[0])
        deaths = {str(image): int(times) for image, times in note["deaths"].items()}
        for image in note["current"]:
            deaths[image] = deaths.get(image, 0) + 1
    return deaths


def write_note(deaths: Deaths, current: Iterable[str] = ()) -> bytes:
    """The note of a process that works on the images `current`: a line of JSON."""
    return json.dumps({"deaths": deaths, "current": [*current]}).encode() + b"\n"


def left_out(deaths: int) -> ValueError:
    """The error of an image that is left out."""
    return ValueError(f"{deaths} processes died while counting it, perhaps for lack of memory; count it alone")


def is_left_out(error: str) -> bool:
    """Whether an error is that of an image that was left out."""
    return bool(_LEFT_OUT.search(error))


class Attempts:
    """The note of this process, in a file of its own. Safe to use from several threads.

    Attributes:
        file: The note, or None to write none.
        deaths: What earlier processes left in it, as far as the images are not done.
    """

    def __init__(self, file: Path | None, deaths: Deaths):
        self.file, self.deaths = file, deaths
        self._stream: BinaryIO | None = None
        self._current: list[str] = []
        self._lock = threading.Lock()

    def begin(self, image: str) -> None:
        """Note that the image is in work. Raises OSError if that cannot be written."""
        with self._lock:
            self._current.append(image)
            self._write()

    def end(self, image: str) -> None:
        """The image has its row. The file is not written: a row counts for more than the note."""
        with self._lock:
            self.deaths.pop(image, None)
            if image in self._current:
                self._current.remove(image)

    def close(self) -> None:
        """Delete the note, or keep what is known of images that are not done, since this process lives."""
        with self._lock:
            if self.file is None:
                return
            self._current = []
            if self.deaths:
                self._write()
            if self._stream is not None:
                self._stream.close()
            if not self.deaths:
                self.file.unlink(missing_ok=True)

    def _write(self) -> None:
        """Replace the note in one write, which a kill does not tear; `read_note` reads its first line."""
        if self.file is None:
            return
        if self._stream is None:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
            self._stream = open(descriptor, "r+b", buffering=0)  # noqa: SIM115  open until the run ends
        self._stream.seek(0)
        self._stream.write(write_note(self.deaths, self._current))
        self._stream.truncate()

"""Reads the images that clients send in a process that can be ended.

A file of a few kilobytes can make a decoder compute for minutes or fill the memory, and nothing can stop it inside a
process. So a child process reads headers and decodes. It may take a limited amount of memory, and it is killed and
replaced when a file takes too long. Only that file is lost. The pixels of ordinary images come back in memory that both
processes share, and those of larger ones through a pipe, so that no large block stays in memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headcount.inference.reliability import first_of_several
from headcount.inference.scale import check_pixels
from headcount.io.allocator import keep_freed_memory
from headcount.io.images import MediaError, image_size, read_image, source_name

SECONDS = 2.0  # that a header may take, and that decoding may take, and
SECONDS_PER_MEGAPIXEL = 0.05  # more for its size: several times what common files take
BYTES_PER_PIXEL = 12  # that a decoder may take: Pillow holds 4, its copy 3, and the list of parts that it joins 3
BASE_BYTES = 64_000_000  # that it may take for any image
SHARED_BYTES = 8_000_000  # for the pixels of an image; a larger one, of 2.7 megapixels, comes through the pipe
START_SECONDS = 30.0  # that a new process may take to start, on a busy machine
# First bytes of the child's messages.
READY, SIZE, IMAGE, REFUSED, TOO_LARGE, LARGE = b"s", b"w", b"i", b"r", b"l", b"o"
_PILLOW_OUT_OF_MEMORY = "decoder error -9"

_spawn = multiprocessing.get_context("spawn")  # a fork would inherit the server's sockets and locks


class TooLargeError(MediaError):
    """An image with more pixels than the server takes, as it is or as it is to be counted."""


class LargeImageError(Exception):
    """An image that the server takes, but that this reader leaves to another."""


class ReadImage(NamedTuple):
    """An image that a client sent.

    Attributes:
        pixels: uint8 (H,W,3) RGB, upright.
        warning: how the file differs from a photo, in one line, or None.
    """

    pixels: np.ndarray
    warning: str | None


class ImageReader:
    """Reads one image at a time in a child process. Safe to call from several threads.

    Args:
        max_pixels: the largest image that the server takes, in pixels.
        decoded_pixels: the largest image to decode here; by default all that the server takes.
        seconds: how long an image may take, beside SECONDS_PER_MEGAPIXEL.

    Attributes:
        kills: how many processes were ended because of an image.
    """

    def __init__(self, max_pixels: int, seconds: float = SECONDS, decoded_pixels: int | None = None):
        self.max_pixels, self.seconds = max_pixels, seconds
        self.decoded_pixels = min(decoded_pixels or max_pixels, max_pixels)
        self.kills = 0
        self.lock = threading.Lock()
        self.closing = False
        self.shared = SharedMemory(create=True, size=SHARED_BYTES)
        self.start()

    def start(self) -> None:
        """Start the child process, without waiting for it."""
        self.connection, theirs = _spawn.Pipe()
        arguments = theirs, self.shared.name, self.max_pixels, self.decoded_pixels
        self.process = _spawn.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.started = False

    @property
    def alive(self) -> bool:
        """Whether images can be read now. A process that the system ended is replaced."""
        if not self.lock.acquire(blocking=False):
            return self.started  # it reads an image, within its time
        try:
            if not self.process.is_alive() and not self.closing:
                self._replace()
            return self.started or self.connection.poll()
        finally:
            self.lock.release()

    def read(self, source: bytes | Path, scale: float | None = None) -> ReadImage:
        """Read an image.

        Args:
            source: the content of an image file, or its path.
            scale: as in `Counter.count`; the resized image must not be too large either.

        Raises:
            TooLargeError: the image has too many pixels.
            LargeImageError: it has more than this reader decodes.
            MediaError: the image cannot be read, or takes too much time or memory.
        """
        with self.lock:
            if not self.process.is_alive():  # the system ended it, to free memory for example
                self._replace()
            try:
                return self._read(source, scale)
            except (EOFError, OSError, TimeoutError) as error:
                self._replace()
                reason = "takes too long" if isinstance(error, TimeoutError) else "takes too much memory"
                raise MediaError(
                    f"{source_name(source)}: {reason} to decode; save it again as an ordinary JPEG"
                ) from error

    def _read(self, source: bytes | Path, scale: float | None) -> ReadImage:
        if not self.started:
            self._receive(START_SECONDS)
            self.started = True
        self.connection.send_bytes(f"{scale or ''} {'' if isinstance(source, bytes) else source}".encode())
        self.connection.send_bytes(source if isinstance(source, bytes) else b"")
        pixels = int(self._receive(self.seconds))
        height, width, warning = self._receive(self.seconds + SECONDS_PER_MEGAPIXEL * pixels / 1e6).split(" ", 2)
        return ReadImage(self._pixels(int(height), int(width)), warning or None)

    def _pixels(self, height: int, width: int) -> np.ndarray:
        """The pixels that the child has sent, uint8 (height,width,3)."""
        if height * width * 3 <= SHARED_BYTES:
            return np.ndarray((height, width, 3), np.uint8, self.shared.buf).copy()
        image = np.empty((height, width, 3), np.uint8)
        self._wait(self.seconds)
        self.connection.recv_bytes_into(image.reshape(-1).data)
        return image

    def _receive(self, seconds: float) -> str:
        """The text of the child's next message. Raises the error that it tells of."""
        self._wait(seconds)
        message = self.connection.recv_bytes()
        kind, text = message[:1], message[1:].decode()
        if kind == LARGE:
            raise LargeImageError
        if kind in (REFUSED, TOO_LARGE):
            raise TooLargeError(text) if kind == TOO_LARGE else MediaError(text)
        return text

    def _wait(self, seconds: float) -> None:
        if not self.connection.poll(seconds):
            raise TimeoutError

    def _replace(self) -> None:
        self.kills += 1
        self._end()
        if not self.closing:
            self.start()

    def _end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def close(self) -> None:
        """End the child process. An image that is being read is refused within its time."""
        self.closing = True
        with self.lock:
            self._end()
            self.shared.close()
            self.shared.unlink()


def _serve(connection: Connection, shared_name: str, max_pixels: int, decoded_pixels: int) -> None:
    """The child process: read images until the other end closes."""
    from PIL import Image

    Image.preinit()  # load the decoders before the memory is limited and the first image is awaited
    if 3 * decoded_pixels <= SHARED_BYTES:
        keep_freed_memory()  # new pages for each image would take as long as decoding it
    child = _Child(connection, SharedMemory(shared_name), max_pixels, decoded_pixels)
    _limit_memory(BASE_BYTES + BYTES_PER_PIXEL * decoded_pixels)
    connection.send_bytes(READY)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            scale, _, path = connection.recv_bytes().decode().partition(" ")
            content = connection.recv_bytes()
            child.answer(content or Path(path), float(scale) if scale else None)


class _Child(NamedTuple):
    """What the child process answers with; see ImageReader."""

    connection: Connection
    shared: SharedMemory
    max_pixels: int
    decoded_pixels: int

    def answer(self, source: bytes | Path, scale: float | None) -> None:
        """Send the number of pixels of an image, then its size, warning and pixels; or why it cannot be read."""
        try:
            width, height = image_size(source)
            _check_size(width, height, scale, self.max_pixels)
            if width * height * max(scale or 1.0, 1.0) ** 2 > self.decoded_pixels:
                self.connection.send_bytes(LARGE)
                return
            self.connection.send_bytes(SIZE + str(width * height).encode())
            image = read_image(source, self.max_pixels)
            warning = first_of_several(source) or ""
        except TooLargeError as error:
            self.connection.send_bytes(TOO_LARGE + str(error).encode())
        except MediaError as error:
            memory = isinstance(error.__cause__, MemoryError) or _PILLOW_OUT_OF_MEMORY in str(error)
            text = f"{source_name(source)}: takes too much memory to decode; save it again as an ordinary JPEG"
            self.connection.send_bytes(REFUSED + (text if memory else str(error)).encode())
        else:
            self.send(image, warning)

    def send(self, image: np.ndarray, warning: str) -> None:
        if image.nbytes <= SHARED_BYTES:
            np.ndarray(image.shape, np.uint8, self.shared.buf)[:] = image
        self.connection.send_bytes(IMAGE + f"{image.shape[0]} {image.shape[1]} {warning}".encode())
        if image.nbytes > SHARED_BYTES:
            self.connection.send_bytes(image.reshape(-1).data)


def _check_size(width: int, height: int, scale: float | None, max_pixels: int) -> None:
    """Raise TooLargeError if an image has more pixels than the limit, or would have when it is resized."""
    if width * height > max_pixels:
        raise TooLargeError(
            f"the image has {width}x{height} pixels, {width * height / 1e6:.4g} megapixels; this server's limit is"
            f" {max_pixels / 1e6:g}; resize it"
        )
    try:
        check_pixels(height, width, scale, max_pixels)
    except MediaError as error:
        raise TooLargeError(str(error)) from None


def _limit_memory(more: int) -> None:
    """Let this process take `more` bytes than it has now. Without effect on systems that cannot limit it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return

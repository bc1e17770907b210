"""Photos that are not files yet: behind web addresses, in zip archives and on standard input.

They are copied to a temporary folder, each under a limit of size, and keep the name that the user gave them.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from headcount.io.files import single_line
from headcount.io.images import IMAGE_SUFFIXES, MediaError
from headcount.io.names import is_hidden, natural_key
from headcount.io.video_source import VIDEO_SUFFIXES, public_name, url_scheme

STDIN = "-"
MAX_BYTES = 200_000_000  # of a photo that is downloaded or unpacked
MAX_MEMBERS = 100_000  # photos of an archive
TIMEOUT = 30.0  # seconds without data from a web server


@dataclass
class Gathered:
    """The inputs of a run, after photos were copied.

    Attributes:
        inputs: Files, folders, videos, streams and cameras.
        names: What the user calls each copied photo, by its path.
        errors: A line for each input that cannot be read.
    """

    inputs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)

    def name(self, path: Path) -> str:
        """What the user calls a photo."""
        return self.names.get(path, str(path))


def gather(inputs: Sequence[str], folder: Path) -> Gathered:
    """Copy the photos that are not files yet.

    Args:
        inputs: The inputs of the command line.
        folder: An empty folder for the copies.
    """
    gathered = Gathered()
    for source in inputs:
        try:
            copies = list(copy_photos(source, folder / str(len(gathered.names))))
        except (MediaError, OSError) as error:
            name = public_name(source)
            gathered.errors.append(str(error) if name in str(error) else f"{name}: {error}")
            continue
        if copies:
            gathered.names |= copies
            gathered.inputs += [str(path) for path, _ in copies]
        else:
            gathered.inputs += expand(source)
    return gathered


def expand(source: str) -> list[str]:
    """The files of a pattern such as photos/*.jpg, which the shells of Windows leave to the program."""
    if os.path.exists(source) or url_scheme(source):
        return [source]
    return sorted(glob.glob(source), key=natural_key) or [source]


def copy_photos(source: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Copy the photos of one input into a folder.

    Yields:
        Each copy and its name; nothing for an input that is a file, a folder, a stream or a camera.

    Raises:
        MediaError: If the photos cannot be read.
    """
    if source == STDIN:
        yield save(sys.stdin.buffer, folder, "", "stdin")
    elif url_scheme(source) in ("http", "https") and not urlsplit(source).path.lower().endswith(VIDEO_SUFFIXES):
        yield from download(source, folder)
    elif source.lower().endswith(".zip") and os.path.isfile(source):
        yield from unpack(source, folder)


def download(address: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Copy the photo at a web address. Nothing if the server sends no image: then it may be a stream."""
    import urllib.error
    import urllib.request

    name = public_name(address)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            if answer.headers.get_content_maintype() == "image":
                yield save(answer, folder, PurePosixPath(urlsplit(address).path).name, name)
    except MediaError:
        raise
    except urllib.error.HTTPError as error:
        raise MediaError(f"{name}: the server answers {error.code} {error.reason}; check the address") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}: cannot be fetched ({single_line(error)}); check the address") from None


def unpack(archive: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Copy the photos of a zip archive. Their names decide nothing about where they are written."""
    import zipfile

    try:
        with zipfile.ZipFile(archive) as opened:
            names = [entry.filename for entry in opened.infolist() if is_photo(entry.filename)]
            if not names:
                raise MediaError(f"{archive}: holds no photos; it needs {', '.join(IMAGE_SUFFIXES)} files")
            if len(names) > MAX_MEMBERS:
                raise MediaError(f"{archive}: holds {len(names):,} photos, over {MAX_MEMBERS:,}; unpack it first")
            for number, name in enumerate(sorted(names, key=natural_key)):
                with opened.open(name) as member:
                    yield save(member, folder / str(number), name, f"{archive}/{name}")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, or unknown packing
        raise MediaError(f"{archive}: cannot be unpacked ({single_line(error)}); unpack it first") from None


def is_photo(name: str) -> bool:
    """Whether a member of an archive has the suffix of a photo and is not hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path)


def save(stream: IO[bytes], folder: Path, file_name: str, name: str) -> tuple[Path, str]:
    """Copy a stream to a file that keeps the suffix of `file_name`.

    Raises:
        MediaError: If it is longer than MAX_BYTES.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = PurePosixPath(file_name).suffix.lower()
    path = folder / f"photo{suffix if suffix in IMAGE_SUFFIXES else ''}"
    with open(path, "wb") as file:
        shutil.copyfileobj(Limited(stream, name), file)
    return path, name


class Limited:
    """A stream that refuses to give more than MAX_BYTES."""

    def __init__(self, stream: IO[bytes], name: str):
        self.stream, self.name, self.left = stream, name, MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises MediaError beyond the limit."""
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise MediaError(f"{self.name}: is larger than {MAX_BYTES / 1e6:.0f} MB; give a file")
        return content

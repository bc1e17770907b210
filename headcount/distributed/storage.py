"""Files and folders on a disk or in an object store, by one set of names.

What is unusual: what has "://" in it (s3://bucket/key, gs://, abfs://, file://) is an address, opened by pyarrow's file
systems, or by fsspec's where pyarrow knows no such scheme; its key is taken as it is written, and accounts are found
where those libraries look for them. Anything else is a path of this machine. A file appears under its name when it is
whole, in either.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import url2pathname

from headcount.io.files import single_line
from headcount.io.images import IMAGE_SUFFIXES, MediaError, list_images

LARGEST = 1 << 30  # bytes of a picture in an object store, which is read whole
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Folder:
    """A folder that need not be there yet: a path or an address. Names in it may have slashes."""

    address: str

    def where(self, name: str) -> str:
        return f"{self.address.rstrip('/')}/{name}"

    def names(self, under: str = "") -> set[str]:
        """Of the files right in the folder `under` this one, but hidden ones, which are drafts."""
        from pyarrow.fs import FileSelector, FileType

        system, path = located(self.where(under))
        found = system.get_file_info(FileSelector(path.rstrip("/"), allow_not_found=True))
        return {i.base_name for i in found if i.type == FileType.File and not i.base_name.startswith(".")}

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes | None:
        """What is in a file, or `size` bytes of it from `start` on; None where there is no such file."""
        system, path = located(self.where(name))
        try:
            with system.open_input_file(path) as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return None

    def lines(self, name: str) -> Iterator[bytes]:
        """Of a file that may be too large to be read at once."""
        system, path = located(self.where(name))
        with system.open_input_stream(path) as stream:
            yield from io.BufferedReader(stream, 1 << 20)

    def write(self, name: str, parts: bytes | Iterable[bytes]) -> None:
        """Write a file whole: a reader, or a second writer of the same name, never sees half of it."""
        system, path = located(self.where(name))
        folder, _, base = path.rpartition("/")
        system.create_dir(folder, recursive=True)
        draft = f"{folder}/.{base}.{uuid.uuid4().hex}.new"
        with system.open_output_stream(draft) as stream:
            for part in [parts] if isinstance(parts, bytes) else parts:
                stream.write(part)
        system.move(draft, path)

    def sweep(self, *folders: str) -> None:
        """Delete the drafts of writers that were killed."""
        from pyarrow.fs import FileSelector

        for under in folders:
            system, path = located(self.where(under))
            for info in system.get_file_info(FileSelector(path.rstrip("/"), allow_not_found=True)):
                if info.base_name.startswith(".") and info.base_name.endswith(".new"):
                    system.delete_file(info.path)

    def remove(self, name: str) -> None:
        system, path = located(self.where(name))
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(path)


def is_address(path: str) -> bool:
    return "://" in path


def find(sources: Iterable[str]) -> Iterator[str]:
    """The pictures in folders, that match patterns, or that are named, as absolute paths and addresses, sorted in each
    source. A picture that is named and not there is given too, so that whoever reads it reports it. In an address *
    also matches slashes. Raises MediaError where a folder or bucket cannot be listed, or holds no picture."""
    for source in sources:
        found = listed(source) if is_address(source) else here(source)
        empty = True
        for path in found:
            empty = False
            yield path
        if empty:
            raise MediaError(f"{source}: no pictures there; give a folder, a pattern or --paths list.txt")


def here(source: str) -> Iterator[str]:
    """Absolute paths of the pictures that a path or pattern of this machine means."""
    matched = sorted(glob.iglob(source, recursive=True)) if WILD.search(source) and not os.path.exists(source) else None
    yield from (os.path.abspath(path) for path in list_images([source] if matched is None else matched))


def listed(address: str) -> Iterator[str]:
    """Addresses of the pictures in a folder of an object store, or that match a pattern there, sorted; a file's own."""
    from pyarrow.fs import FileSelector, FileType

    wild = WILD.search(address)
    top = address[: address.rindex("/", 0, wild.start()) + 1] if wild else address
    system, path = located(top)
    root = top.rstrip("/")
    try:
        kind = None if wild else system.get_file_info(path.rstrip("/")).type
        if kind == FileType.File or (kind == FileType.NotFound and is_picture(address)):
            yield address
            return
        found = system.get_file_info(FileSelector(path.rstrip("/"), recursive=True))
    except (OSError, ValueError) as error:
        raise MediaError(f"{address}: cannot be listed ({single_line(error)})") from None
    start = len(path.rstrip("/")) + 1
    for name in sorted(info.path[start:] for info in found if info.type == FileType.File):
        if is_picture(name) and (not wild or fnmatchcase(f"{root}/{name}", address)):
            yield f"{root}/{name}"


def is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_list(file: Path) -> Iterator[str]:
    """The paths and addresses in a text file, one a line; paths are made absolute."""
    with open(file, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            if line := line.rstrip("\r\n"):
                yield line if is_address(line) else os.path.abspath(line)


def contents(address: str) -> bytes:
    """The bytes of a picture at an address. Raises MediaError."""
    try:
        system, path = located(address)
        with system.open_input_file(path) as file:
            if file.size() > LARGEST:
                raise MediaError(
                    f"{address}: is {file.size() / 1e9:.1f} GB; give a picture of {LARGEST / 1e9:.1f} GB at most"
                )
            return file.read()
    except FileNotFoundError:
        raise MediaError(f"{address}: no such object; check the address") from None
    except OSError as error:
        raise MediaError(f"{address}: cannot be read ({single_line(error)})") from None


def located(path: str) -> tuple[Any, str]:
    """The pyarrow file system of a path or address, and its name there. Raises MediaError."""
    from pyarrow.fs import LocalFileSystem

    if not is_address(path):
        return LocalFileSystem(), os.path.abspath(path)
    scheme, _, rest = path.partition("://")
    if scheme == "file":
        return LocalFileSystem(), os.path.abspath(url2pathname(rest))
    authority, _, key = rest.partition("/")
    system, base = opened(f"{scheme}://{authority}")
    return system, f"{base.rstrip('/')}/{key}"


@lru_cache
def opened(root: str) -> tuple[Any, str]:
    """The file system of s3://bucket, and what names in it begin with. Once a bucket: opening asks for its region."""
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    try:
        try:
            return FileSystem.from_uri(root)
        except ArrowInvalid:  # pyarrow knows no such scheme; fsspec may
            return FileSystem.from_uri(f"fsspec+{root}")
    except Exception as error:  # fsspec's file systems raise what they like
        raise MediaError(f"{root}: cannot be opened ({single_line(error)})") from None

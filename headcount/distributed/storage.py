"""Files and folders on a disk or in an object store, through one interface.

A name with "://" (s3://bucket/key, gs://, abfs://, file://) is an address; anything else is a path on this machine.
Addresses are opened by pyarrow's file systems, or by fsspec's if pyarrow does not know the scheme. Credentials come
from where those libraries look for them. Keys are taken literally, and a file appears under its name only when it is
complete.

The module builds on pyarrow and not on fsspec alone, because Parquet needs pyarrow anyway and its S3, GCS and Azure
clients need no further packages, while fsspec needs one per store. The code would be no shorter with fsspec: complete
files, patterns and one-line errors are needed with either.
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
from typing import TYPE_CHECKING
from urllib.request import url2pathname

from headcount.io.files import single_line
from headcount.io.images import IMAGE_SUFFIXES, MediaError, list_images
from headcount.io.names import is_hidden, natural_key

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

MAX_IMAGE_BYTES = 1 << 30  # of an image in an object store, which is read whole
WILDCARD = re.compile(r"[*?\[]")
PARTIAL_SUFFIX = ".new"  # of a hidden file that is being written


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet. Names of files in it may contain slashes.

    Attributes:
        address: a path or an address.
    """

    address: str

    def address_of(self, name: str) -> str:
        """The path or address of a file in the folder."""
        return f"{self.address.rstrip('/')}/{name}"

    def names(self, subfolder: str = "") -> set[str]:
        """Names of the files directly in a subfolder, without hidden ones, which may be incomplete."""
        from pyarrow.fs import FileType

        found = list_folder(self.address_of(subfolder))
        return {i.base_name for i in found if i.type == FileType.File and not i.base_name.startswith(".")}

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes | None:
        """The content of a file, or `size` bytes of it from `start` on; None if there is no such file."""
        system, path = locate(self.address_of(name))
        try:
            with system.open_input_file(path) as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return None

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, which may be larger than the memory."""
        system, path = locate(self.address_of(name))
        with system.open_input_stream(path) as stream:
            yield from io.BufferedReader(stream, 1 << 20)

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Write a file. Neither readers nor other writers of the same name ever see a part of it."""
        system, path = locate(self.address_of(name))
        folder, _, base = path.rpartition("/")
        system.create_dir(folder, recursive=True)
        partial = f"{folder}/.{base}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
        with system.open_output_stream(partial) as stream:
            for chunk in [content] if isinstance(content, bytes) else content:
                stream.write(chunk)
        system.move(partial, path)

    def remove(self, name: str) -> None:
        """Delete a file, if it exists."""
        system, path = locate(self.address_of(name))
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(path)

    def remove_partial_files(self, *subfolders: str) -> None:
        """Delete what killed writers left behind."""
        for subfolder in subfolders:
            address = self.address_of(subfolder)
            system, _ = locate(address)
            for info in list_folder(address):
                if info.base_name.startswith(".") and info.base_name.endswith(PARTIAL_SUFFIX):
                    system.delete_file(info.path)


def is_address(path: str) -> bool:
    return "://" in path


def find_images(sources: Iterable[str]) -> Iterator[str]:
    """List the images in folders, matching patterns, or named directly.

    Args:
        sources: folders, patterns, files and addresses. In the pattern of an address, * also matches slashes.

    Yields:
        Absolute paths and addresses, sorted within each source. An image that is named but missing is included, so
        that whoever reads it reports it.

    Raises:
        MediaError: a folder or bucket cannot be listed, or contains no image.
    """
    for source in sources:
        empty = True
        for path in remote_images(source) if is_address(source) else local_images(source):
            empty = False
            yield path
        if empty:
            raise MediaError(f"{source}: no images found; give a folder, a pattern or --paths list.txt")


def local_images(source: str) -> Iterator[str]:
    """Absolute paths of the images that a path or pattern of this machine means."""
    sources = [source]
    if WILDCARD.search(source) and not os.path.exists(source):
        sources = sorted(glob.iglob(source, recursive=True), key=natural_key)
    yield from (os.path.abspath(path) for path in list_images(sources))


def remote_images(address: str) -> Iterator[str]:
    """Addresses of the images in a folder of an object store, or matching a pattern there; or of a single file."""
    from pyarrow.fs import FileSelector, FileType

    wildcard = WILDCARD.search(address)
    top = address[: address.rindex("/", 0, wildcard.start()) + 1] if wildcard else address
    system, path = locate(top)
    path, root = path.rstrip("/"), top.rstrip("/")
    try:
        kind = None if wildcard else system.get_file_info(path).type
        if kind == FileType.File or (kind == FileType.NotFound and is_image_name(address)):
            yield address
            return
        found = system.get_file_info(FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:
        raise MediaError(f"{address}: cannot be listed ({single_line(error)})") from None
    names = (info.path[len(path) + 1 :] for info in found if info.type == FileType.File)
    for name in sorted(names, key=natural_key):
        matches = not wildcard or fnmatchcase(f"{root}/{name}", address)
        if matches and is_image_name(name) and not is_hidden(PurePosixPath(name)):
            yield f"{root}/{name}"


def is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def read_path_list(file: Path) -> Iterator[str]:
    """The paths and addresses in a text file with one per line; paths become absolute."""
    with open(file, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            if line := line.rstrip("\r\n"):
                yield line if is_address(line) else os.path.abspath(line)


def read_image_file(address: str) -> bytes:
    """The bytes of an image file at an address.

    Raises:
        MediaError: there is no such object, it cannot be read, or it is larger than MAX_IMAGE_BYTES.
    """
    try:
        system, path = locate(address)
        with system.open_input_file(path) as file:
            if file.size() > MAX_IMAGE_BYTES:
                size, limit = file.size() / 1e9, MAX_IMAGE_BYTES / 1e9
                raise MediaError(f"{address}: has {size:.1f} GB; give an image of at most {limit:.1f} GB")
            return file.read()
    except FileNotFoundError:
        raise MediaError(f"{address}: no such object; check the address") from None
    except OSError as error:
        raise MediaError(f"{address}: cannot be read ({single_line(error)})") from None


def list_folder(address: str) -> list[FileInfo]:
    """The entries directly in a folder; none if it does not exist."""
    from pyarrow.fs import FileSelector

    system, path = locate(address)
    return system.get_file_info(FileSelector(path.rstrip("/"), allow_not_found=True))


def locate(path: str) -> tuple[FileSystem, str]:
    """The pyarrow file system of a path or address, and the path in it.

    Raises:
        MediaError: the address cannot be opened.
    """
    from pyarrow.fs import LocalFileSystem

    if not is_address(path):
        return LocalFileSystem(), os.path.abspath(path)
    scheme, _, rest = path.partition("://")
    if scheme == "file":
        return LocalFileSystem(), os.path.abspath(url2pathname(rest))
    authority, _, key = rest.partition("/")
    system, base = open_file_system(f"{scheme}://{authority}")
    return system, f"{base.rstrip('/')}/{key}"


@lru_cache
def open_file_system(root: str) -> tuple[FileSystem, str]:
    """The file system of an address such as s3://bucket, and the prefix of paths in it.

    The result is kept, because opening a bucket asks the store for its region.
    """
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    try:
        try:
            return FileSystem.from_uri(root)
        except ArrowInvalid:  # pyarrow does not know the scheme; fsspec may
            return FileSystem.from_uri(f"fsspec+{root}")
    except Exception as error:  # fsspec's file systems raise errors of many types
        raise MediaError(f"{root}: cannot be opened ({single_line(error)})") from None

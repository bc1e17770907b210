"""Writing files whole or not at all, and by one process at a time.

A file is first written under a temporary name beside its own (`.NAME.PID.new`) and renamed when it is complete. A
reader therefore sees the old file or the new one, and never a part of one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain, count
from pathlib import Path
from typing import IO, BinaryIO, Literal, TextIO, overload


class FileInUseError(ValueError):
    """Another process holds the lock of a file or folder."""


def partial_file(path: Path) -> Path:
    """Return the temporary name that this process writes `path` under."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def new_partial_file(path: Path) -> Path:
    """Return a temporary name for `path` that is not taken yet.

    A killed process may have had the process id of this one, and what it wrote must stay.
    """
    first = partial_file(path)
    others = (path.with_name(f".{path.name}.{os.getpid()}-{number}.new") for number in count(2))
    return next(name for name in chain([first], others) if not name.exists())


def partial_files(path: Path) -> list[Path]:
    """List the temporary files that killed processes left behind while they wrote `path`, newest last."""
    path = path.resolve()
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+(-\d+)?\.new")
    found = [file for file in path.parent.iterdir() if pattern.fullmatch(file.name)]
    return sorted(found, key=lambda partial: partial.stat().st_mtime)


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Hold a lock while the `with` block runs. The lock of a process that dies is released.

    Args:
        lock: The file to lock. It is created, and deleted at the end.

    Raises:
        FileInUseError: Another process holds the lock.
    """
    import filelock

    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise FileInUseError(f"{lock}: is locked by another process") from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        if held.is_locked:
            with contextlib.suppress(OSError):  # Windows does not delete an open file
                lock.unlink()
        held.release()


@overload
def atomic_write(path: str | Path, mode: Literal["w"] = "w") -> AbstractContextManager[TextIO]: ...


@overload
def atomic_write(path: str | Path, mode: Literal["wb"]) -> AbstractContextManager[BinaryIO]: ...


def atomic_write(path: str | Path, mode: str = "w") -> AbstractContextManager[IO]:
    """Open a file that takes its name only when the `with` block ends without an error.

    An existing file stays until then. A link keeps pointing to its target, which is what gets replaced. Devices and
    pipes, such as /dev/stdout, are written to directly.

    Args:
        path: The file to write.
        mode: "w" for UTF-8 text with newlines as given, "wb" for bytes.

    Returns:
        A context manager that yields the open file.
    """
    return _atomic_write(Path(path), mode)


@contextlib.contextmanager
def _atomic_write(path: Path, mode: str) -> Iterator[IO]:
    if path.exists() and not path.is_file():
        with _open(path, mode) as stream:
            yield stream
        return
    path = path.resolve()
    partial = partial_file(path)
    try:
        with _open(partial, mode) as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _open(path: Path, mode: str) -> IO:
    if "b" in mode:
        return open(path, mode)
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")


def flush_to_disk(file: Path) -> None:
    """Wait until a file's content is on the disk.

    Call this before a rename that must survive a power failure: otherwise the new name may reach the disk before the
    content does.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def single_line(error: Exception) -> str:
    """Return an exception's message as one line, or its type's name if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__

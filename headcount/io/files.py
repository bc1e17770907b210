"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """A file to write, text or bytes, that takes its name when it is complete: what was there stays until then."""
    text: Any = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    path = Path(path)
    if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout, is written to as it is
        with open(path, mode, **text) as stream:
            yield stream
        return
    path = path.resolve()  # a link goes on pointing where it does
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(draft, mode, **text) as stream:
            yield stream
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def flush(file: Path) -> None:
    """Wait until a file is on the disk: a rename may get there before what it names."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_files(path: Path) -> list[Path]:
    """What runs that were killed while they wrote `path` left behind, the newest last."""
    path = path.resolve()
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.new"), key=lambda draft: draft.stat().st_mtime)


def single_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

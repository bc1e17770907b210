"""Signs by which annotation formats are recognized: names of files, and the first lines of files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

PEEK_BYTES = 1 << 16  # how much of a file is looked at
FILES_PER_FOLDER = 3  # how many files of a folder are looked at

Sign = Callable[[Path], bool]


def holds(*patterns: str) -> Sign:
    """Whether something in the folder, or in a folder directly below it, matches one of the glob patterns."""
    nested = [name for pattern in patterns for name in (pattern, f"*/{pattern}")]
    return holds_directly(*nested)


def holds_directly(*patterns: str) -> Sign:
    """Whether something in the folder matches one of the glob patterns."""

    def matches(root: Path) -> bool:
        found = (path for pattern in patterns for path in root.glob(pattern))
        return root.is_dir() and any(not path.name.startswith(".") for path in found)

    return matches


def file_starts(suffix: str, fits: Callable[[str], bool], *patterns: str) -> Sign:
    """Whether the start of a file fits.

    Args:
        suffix: The suffix that the file must have if the user names a file.
        fits: Whether the beginning of a file is in the format.
        *patterns: Glob patterns of the files to look at if the user names a folder.
    """
    return lambda root: any(fits(start) for start in _starts(root, suffix, *patterns))


def first_row(fits: Callable[[list[str]], bool], *patterns: str) -> Sign:
    """Whether the first line of a text file that matches one of the patterns fits, split at spaces and commas."""

    def matches(root: Path) -> bool:
        rows = (first_line(start) for start in _starts(root, None, *patterns))
        return root.is_dir() and any(row and fits(re.split(r"[\s,]+", row.strip(", "))) for row in rows)

    return matches


def numbers_of(parts: list[str]) -> list[float] | None:
    """The parts as numbers, or None if one is not a number."""
    try:
        return [float(part) for part in parts]
    except ValueError:
        return None


def read_start(file: Path) -> str:
    """The beginning of a text file, '' if it cannot be read."""
    if not file.is_file():  # reading a pipe would wait for ever
        return ""
    with contextlib.suppress(OSError), open(file, "rb") as stream:
        return stream.read(PEEK_BYTES).decode("utf-8-sig", errors="replace")
    return ""


def first_line(start: str) -> str:
    """The first line that is not empty, '' if there is none."""
    return next(iter(start.strip().splitlines()), "")


def _starts(root: Path, suffix: str | None, *patterns: str) -> Iterator[str]:
    """The beginnings of `root` itself, or of the first few matching files of each folder."""
    if root.is_file():
        if root.suffix.lower() == suffix:
            yield read_start(root)
        return
    seen: dict[Path, int] = {}
    for pattern in patterns:
        for file in sorted(root.glob(pattern)):
            seen[file.parent] = seen.get(file.parent, 0) + 1
            if seen[file.parent] <= FILES_PER_FOLDER and not file.name.startswith("."):
                yield read_start(file)

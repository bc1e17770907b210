"""The output of `headcount count`: rows as CSV or JSON Lines, files that appear when complete, overlays, progress.

Each row is flushed at once, so the reader of a pipe sees it. A run with --resume reads the rows that an interrupted run
left behind.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from headcount.io.files import atomic_write, partial_files
from headcount.io.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from headcount.inference.result import CountResult, Row
    from headcount.regions.region import Region


class RowWriter(Protocol):
    """Writes the rows that `CountResult.to_dict` gives."""

    def write(self, row: Row) -> None:
        """Write one row."""

    def finish(self) -> None:
        """Write what needs all rows. Called once, after the last row."""


class CsvWriter:
    """Writes CSV with a header. Other keys of the rows than the columns are left out."""

    def __init__(self, stream: TextIO, columns: Sequence[str]):
        self.stream = stream
        self.lines = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
        self.lines.writeheader()

    def write(self, row: Row) -> None:
        self.lines.writerow(row)
        self.stream.flush()

    def finish(self) -> None:
        self.stream.flush()


class JsonLinesWriter:
    """Writes one JSON object per line."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, row: Row) -> None:
        self.stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self.stream.flush()

    def finish(self) -> None:
        self.stream.flush()


def open_writer(output_format: str, stream: TextIO, columns: Sequence[str]) -> RowWriter:
    """The writer of a format: csv, jsonl or table. Only csv uses the columns."""
    if output_format == "csv":
        return CsvWriter(stream, columns)
    if output_format == "jsonl":
        return JsonLinesWriter(stream)
    from headcount.cli.table import TableWriter

    return TableWriter(stream)


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open a file that appears under its name when it is complete; None gives stdout."""
    if path is None:
        yield sys.stdout
        return
    with atomic_write(path) as stream:
        yield stream


# Resuming


def finished_rows(path: Path, output_format: str) -> dict[str, Row]:
    """The rows without an error in a file and in its partial files, by path. A torn last line is ignored."""
    rows: dict[str, Row] = {}
    for file in [path, *partial_files(path)]:
        if file.is_file():
            counted = (row for row in READERS[output_format](file) if row.get("path") and not row.get("error"))
            rows |= {row["path"]: row for row in counted}
    return rows


def remove_partial_files(path: Path, stream: TextIO) -> None:
    """Delete the partial files of earlier runs, after `stream`, this run's own, has received their rows."""
    stream.flush()
    for file in partial_files(path):
        if file.name != Path(stream.name).name:
            file.unlink(missing_ok=True)


def read_csv(file: Path) -> list[Row]:
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        text = stream.read()
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    return [row for row in csv.DictReader(lines) if None not in row.values()]


def read_jsonl(file: Path) -> list[Row]:
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


READERS = {"csv": read_csv, "jsonl": read_jsonl}


# Overlays


def overlay_paths(images: Iterable[Path], folder: Path) -> list[Path]:
    """Name a file in `folder` for each image. The second x.jpg, from any folder, becomes x-2.overlay.jpg."""
    taken: dict[str, int] = {}
    targets = []
    for image in images:
        name = image.stem
        while (key := name.lower()) in taken:  # some systems do not distinguish X.jpg and x.jpg
            taken[key] += 1
            name = f"{image.stem}-{taken[key]}"
        taken[key] = 1
        targets.append(folder / f"{name}.overlay.jpg")
    return targets


def write_overlay(result: CountResult, image: Path | np.ndarray, target: Path, regions: Sequence[Region] = ()) -> None:
    """Write the overlay of a counted image.

    Args:
        result: What was counted.
        image: The image that was counted.
        target: The .jpg, .png or .webp file to write.
        regions: The regions that were counted, to draw them too.

    Raises:
        MediaError: If the file cannot be written.
    """
    from headcount.io.images import write_image

    write_image(target, result.overlay(image, regions))


# Progress


def progress(total: int | None, quiet: bool = False) -> AbstractContextManager[Callable[[], None]]:
    """Show a progress bar with rate and remaining time on stderr if that is a terminal.

    Args:
        total: Number of steps, or None if unknown. A single step shows no bar.
        quiet: Show nothing, because rows are written to the same terminal.

    Returns:
        A context that gives a function to call after each step.
    """
    return progress_bar(total, shown=total not in (0, 1) and not quiet)

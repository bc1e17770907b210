"""The rows of `headcount count`: as CSV, JSON Lines, Parquet or a table, in a file that no failure empties.

Each row is flushed at once, so the reader of a pipe sees it. The file of --out takes its name at the end. Until then,
its rows are in a partial file beside it, which stays if the process is killed or the disk is full, and which a run with
--resume reads. It is deleted only when a file with its rows is on the disk.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from headcount.distributed.attempts import is_left_out
from headcount.io.files import (
    FileInUseError,
    atomic_write,
    flush_to_disk,
    locked,
    new_partial_file,
    partial_files,
    single_line,
)
from headcount.io.names import name_from_text, name_to_text, one_line

if TYPE_CHECKING:
    from headcount.inference.result import Row


# Writing


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
        cells = {name: one_line(value) if isinstance(value, str) else value for name, value in row.items()}
        self.lines.writerow(cells | {"path": name_to_text(row["path"])})
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
    """The writer of a format: csv, jsonl, parquet or table. Only csv and parquet use the columns."""
    if output_format == "csv":
        return CsvWriter(stream, columns)
    if output_format == "jsonl":
        return JsonLinesWriter(stream)
    if output_format == "parquet":
        from headcount.cli.parquet_rows import ParquetWriter

        return ParquetWriter(stream, columns)
    from headcount.cli.table import TableWriter

    return TableWriter(stream)


# The file


@dataclass
class RowFile:
    """Where the rows of a run go.

    Attributes:
        stream: Takes the rows.
        earlier: Files of earlier runs: the one that is to be replaced, and partial files.
        failed: Whether a row could not be written. Whoever writes rows sets it.
        has_new_rows: Whether the stream has rows that no other file has. Whoever writes such a row sets it.
        resumed: Whether the stream has the rows of all earlier files, so that their partial files can go.
    """

    stream: TextIO
    earlier: list[Path] = field(default_factory=list)
    failed: bool = False
    has_new_rows: bool = False
    resumed: bool = False


@contextlib.contextmanager
def open_rows(path: Path | None) -> Iterator[RowFile]:
    """Open the file of --out, which takes its name when the `with` block ends; None gives stdout.

    Args:
        path: The file. Devices and pipes are written to directly.

    Raises:
        FileInUseError: Another process writes the file.
        OSError: The file cannot be written, for example because the disk is full. The message says where the rows are.
    """
    if path is None:
        yield RowFile(sys.stdout)
        return
    if path.exists() and not path.is_file():
        with atomic_write(path) as stream:
            yield RowFile(stream)
        return
    path = path.resolve()
    with _locked(path):
        partial = new_partial_file(path)
        earlier = sorted([*filter(Path.is_file, [path]), *partial_files(path)], key=lambda file: file.stat().st_mtime)
        rows = RowFile(sys.stdout, earlier)
        try:
            with open(partial, "x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                rows.stream = stream
                yield rows
            flush_to_disk(partial)
            partial.replace(path)
        except BaseException as error:
            if not rows.has_new_rows:
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise _write_error(path, partial, rows, error) from error
            raise
        if rows.resumed:
            for file in earlier:
                if file != path:
                    file.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path.with_name(f".{path.name}.lock")))
        except FileInUseError:
            raise FileInUseError(
                f"{path}: another process is writing it; wait until it ends, or give another --out"
            ) from None
        yield


def _write_error(path: Path, partial: Path, rows: RowFile, error: OSError) -> OSError:
    """The error of a file that cannot be written, with where its rows are."""
    where = ", ".join(map(str, [partial] if rows.has_new_rows else rows.earlier))
    problem = f"{path}: cannot be written ({error.strerror or single_line(error)})"
    if not where:
        return OSError(f"{problem}; make room, then run the same command again")
    return OSError(f"{problem}; its rows are safe in {where}; make room, then run the same command with --resume")


# Resuming


def finished_rows(files: Sequence[Path], output_format: str) -> dict[str, Row]:
    """The rows of earlier runs by path, without those of images that are to be counted again after an error.

    Args:
        files: The files of earlier runs, newest last. A torn last line is ignored.
        output_format: csv or jsonl.
    """
    rows: dict[str, Row] = {}
    for file in files:
        for row in READERS[output_format](file):
            path, error = row.get("path"), row.get("error")
            if path and isinstance(path, str) and (not error or is_left_out(str(error))):
                rows[path] = row
    return rows


def read_csv(file: Path) -> list[Row]:
    text = file.read_bytes().decode("utf-8-sig", errors="replace")
    header, *lines = (_cells(line) for line in text.split("\n")[:-1]) if "\n" in text else [[]]
    rows: list[Row] = [dict(zip(header, cells, strict=True)) for cells in lines if len(cells) == len(header)]
    return [row | {"path": name_from_text(row["path"])} for row in rows if "path" in row]


def _cells(line: str) -> list[str]:
    """The cells of a line; none if it is damaged."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def read_jsonl(file: Path) -> list[Row]:
    rows = []
    for line in file.read_bytes().split(b"\n"):  # names may hold what str.splitlines takes for the end of a line
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


READERS = {"csv": read_csv, "jsonl": read_jsonl}

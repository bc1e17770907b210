"""Where a command's results go: a table, CSV or JSON lines, on the screen or in a file; overlays; progress; complaints.

What is unusual: whatever happens, what is written is whole. A file appears under its name when it is
complete, Ctrl-C stops between two pictures, and a row is written at once, so that a reader at the other end
of a pipe sees it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from .media import write_image

COLUMNS = ("path", "count", "low", "high", "width", "height", "seconds", "model", "warning", "error")
TABLE_WIDTH = 80
Row = dict[str, Any]  # as CountResult.to_dict gives it


def say(message: str) -> None:
    """Lines on stderr, led by the command's name."""
    for line in str(message).splitlines():
        if line.strip():
            print(f"headcount: {line.strip()}", file=sys.stderr)


def overlay_paths(images: list[Path], folder: Path) -> list[Path]:
    """A file in `folder` for each picture; the second x.jpg is x-2.overlay.jpg, whatever folder it comes from."""
    taken: dict[str, int] = {}
    targets = []
    for image in images:
        name = image.stem
        while (key := name.lower()) in taken:  # lower: on some systems X.jpg and x.jpg are one file
            taken[key] += 1
            name = f"{image.stem}-{taken[key]}"
        taken[key] = 1
        targets.append(folder / f"{name}.overlay.jpg")
    return targets


def draw(result: Any, target: Path) -> bool:
    """Write the overlay of a counted file; False, having said why, where that fails."""
    try:
        write_image(target, result.overlay(result.path))
    except (ValueError, OSError) as error:
        say(str(error))
        return False
    return True


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that takes its name when it is complete."""
    if path is None:
        yield sys.stdout
        return
    if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout, is written to as it is
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        return
    path = path.resolve()  # a link goes on pointing where it does
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(draft, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def ctrl_c() -> Iterator[list[int]]:
    """Ctrl-C puts something into the list instead of interrupting a write; the second one interrupts."""
    stopped: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        stopped.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def progress(total: int, stream: TextIO | None = None, form: str = "table") -> Iterator[Callable[[], None]]:
    """A bar on stderr, where that is a terminal that the results are not being written to."""
    streaming = stream is not None and stream.isatty() and form != "table"
    if total < 2 or streaming or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def csv_writer(stream: TextIO) -> Callable[[Row | None], None]:
    lines = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    lines.writeheader()

    def write(row: Row | None) -> None:
        if row is not None:
            lines.writerow(row)
        stream.flush()

    return write


def jsonl_writer(stream: TextIO) -> Callable[[Row | None], None]:
    def write(row: Row | None) -> None:
        if row is not None:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()

    return write


def table_writer(stream: TextIO) -> Callable[[Row | None], None]:
    rows: list[Row] = []

    def write(row: Row | None) -> None:
        if row is not None:
            rows.append(row)
        elif any("error" not in r for r in rows):
            print_table([r for r in rows if "error" not in r], stream)

    return write


# Each gives a function that is called with every row, and at the end with None.
WRITERS = {"table": table_writer, "csv": csv_writer, "jsonl": jsonl_writer}


def print_table(rows: list[Row], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    console.width = min(console.width, TABLE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=len(rows) > 1)
    total = sum(row["count"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    table.add_column("picture", f"{len(rows)} pictures", no_wrap=True)
    table.add_column("people", f"{total:,.0f}", justify="right", style="bold", no_wrap=True)
    if known := any(row["low"] is not None for row in rows):
        table.add_column("likely", justify="right", no_wrap=True)
    table.add_column("size", justify="right", style="dim", no_wrap=True)
    table.add_column("seconds", f"{seconds:.2f}", justify="right", style="dim", no_wrap=True)
    room = console.width - (50 if known else 36)
    for row in rows:
        path = row["path"] if len(row["path"]) <= room else "…" + row["path"][1 - room :]
        size = f"{row['width']}x{row['height']}"
        likely = [f"{row['low']:,.0f}-{row['high']:,.0f}" if row["low"] is not None else ""] if known else []
        table.add_row(Text(path), f"{row['count']:,.0f}", *likely, size, f"{row['seconds']:.2f}")
    console.print(table)

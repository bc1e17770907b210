"""Where a command's results go: a table, CSV or JSON lines, on the screen or in a file; overlays; charts; progress;
complaints.

What is unusual: whatever happens, what is written is whole. A file appears under its name when it is complete, or when
Ctrl-C ends it between two rows; what a killed run leaves can be resumed from; and a row is written at once, so that a
reader at the other end of a pipe sees it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from headcount._extras import install_hint
from headcount.inference.result import COLUMNS, Row
from headcount.io.files import atomic_write, partial_files
from headcount.io.images import write_image

TABLE_WIDTH = 80


class UsageError(ValueError):
    """The command line asks for something that cannot be: exit code 2."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """What the rooms refuse here was asked for on the command line."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UsageError(error) from None


def check_target(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written before any work is done for it."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"{option} {path}: {'is a folder' if path.is_dir() else 'no such folder'}; give a file")


def say(message: str) -> None:
    """Lines on stderr, led by the command's name."""
    for line in str(message).splitlines():
        if line.strip():
            print(f"headcount: {printable(line.strip())}", file=sys.stderr)


def printable(text: str) -> str:
    """A name as a terminal may show it: one with control characters could move the cursor or hide a line."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


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


def draw(result: Any, image: Any, target: Path, regions: Any = ()) -> None:
    """Write the overlay of a counted picture, given again. Raises MediaError where that fails."""
    write_image(target, result.overlay(image, regions))


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that takes its name when it is complete."""
    if path is None:
        yield sys.stdout
        return
    with atomic_write(path) as stream:
        yield stream


def finished(path: Path, form: str) -> dict[str, Row]:
    """path -> row of what was counted without an error, in a file and in the drafts of it; a torn last line is left."""
    rows: dict[str, Row] = {}
    for file in [path, *partial_files(path)]:
        if file.is_file():
            rows |= {row["path"]: row for row in READERS[form](file) if row.get("path") and not row.get("error")}
    return rows


def forget_drafts(path: Path, stream: TextIO) -> None:
    """Delete the drafts of runs that were killed: their rows stand in `stream` now."""
    stream.flush()
    for draft in partial_files(path):
        if draft.name != Path(stream.name).name:
            draft.unlink(missing_ok=True)


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


class Interrupts:
    """Ctrl-C, or being told to end, while this context lasts: results end, and what is being written is finished. The
    second one interrupts whatever is going on. `signal`: the first one's number, 0 until then."""

    def __init__(self) -> None:
        self.signal = 0
        self.waiting = False

    def __enter__(self) -> Interrupts:
        self.before = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def stop(self, number: int, frame: Any) -> None:
        again, self.signal = bool(self.signal), self.signal or number
        if self.waiting or again:  # for a result: none is half written
            raise KeyboardInterrupt

    def until(self, results: Generator[Any, None, None]) -> Iterator[Any]:
        """The results, as far as they are wanted."""
        with contextlib.closing(results):
            while not self.signal:
                try:
                    self.waiting = True
                    result = next(results)
                except (StopIteration, KeyboardInterrupt):
                    return
                finally:
                    self.waiting = False
                yield result


@contextlib.contextmanager
def progress(total: int | None, stream: TextIO | None = None, form: str = "table") -> Iterator[Callable[[], None]]:
    """A bar on stderr with the rate and what remains, where that is a terminal that the results are not written to."""
    streaming = stream is not None and stream.isatty() and form != "table"
    if total in (0, 1) or streaming or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=total, rate="")
        shown = bar.tasks[0]
        yield lambda: bar.update(task, advance=1, rate=f"{shown.speed:.1f}/s" if shown.speed else "")


def plot(path: Path, series: dict[str, list[tuple[float, float]]]) -> None:
    """Write a chart, PNG, of people over time; `series`: name -> [(seconds, people)]. Raises ValueError, one line."""
    if not series:
        raise ValueError(f"{path}: there is no count to draw a chart of")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(f"{path}: drawing a chart needs matplotlib: {install_hint('plot')}") from None
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.plot([t for t, _ in points], [n for _, n in points], label=name, marker="." if len(points) < 50 else "")
    if max(t for points in series.values() for t, _ in points) >= 120:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))
        axes.set_xlabel("time, minutes:seconds")
    else:
        axes.set_xlabel("time, seconds")
    axes.set(ylabel="people", ylim=(0, None))
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize="small")
    figure.savefig(path)


def csv_writer(stream: TextIO, columns: Sequence[str] = COLUMNS) -> Callable[[Row | None], None]:
    lines = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    lines.writeheader()

    def write(row: Row | None) -> None:
        if row is not None:
            lines.writerow(row)
        stream.flush()

    return write


def jsonl_writer(stream: TextIO, columns: Sequence[str] = ()) -> Callable[[Row | None], None]:
    def write(row: Row | None) -> None:
        if row is not None:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()

    return write


def table_writer(stream: TextIO, columns: Sequence[str] = ()) -> Callable[[Row | None], None]:
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
    filmed = any("time" in row for row in rows)  # the same people in every frame: no sum of them
    table.add_column("picture", f"{len(rows)} pictures", no_wrap=True)
    table.add_column("people", "" if filmed else f"{total:,.0f}", justify="right", style="bold", no_wrap=True)
    if known := any(row["low"] is not None for row in rows):
        table.add_column("likely", justify="right", no_wrap=True)
    table.add_column("size", justify="right", style="dim", no_wrap=True)
    table.add_column("seconds", f"{seconds:.2f}", justify="right", style="dim", no_wrap=True)
    room = console.width - (50 if known else 36)
    for row in rows:
        path = printable(row["path"]) + (f" {row['time']:.1f} s" if "time" in row else "")
        path = path if len(path) <= room else "…" + path[1 - room :]
        size = f"{row['width']}x{row['height']}"
        likely = [f"{row['low']:,.0f}-{row['high']:,.0f}" if row["low"] is not None else ""] if known else []
        table.add_row(Text(path), f"{row['count']:,.0f}", *likely, size, f"{row['seconds']:.2f}")
        for region in row.get("regions", ()):
            people, density = f"{region['count']:,.0f}", region["per_square_metre"]
            remark = "over" if region["over"] else "" if density is None else f"{density:.2f}/m2"
            table.add_row(Text(f"  {printable(region['name'])}"[:room]), people, *[""] * known, remark, "")
    console.print(table)

"""The table that `headcount count` prints by default."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headcount.cli.messages import printable

if TYPE_CHECKING:
    from headcount.inference.result import Row

TABLE_WIDTH = 80  # characters, also on wider terminals
OTHER_COLUMNS = 36  # width of all columns but the image's
INTERVAL_COLUMN = 14


class TableWriter:
    """Collects rows and prints them as one table at the end. Rows with an error are only counted."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.rows: list[Row] = []
        self.failures = 0

    def write(self, row: Row) -> None:
        if "error" in row:
            self.failures += 1
        else:
            self.rows.append(row)

    def finish(self) -> None:
        """Print the table; on stdout if the file of --out cannot hold it."""
        try:
            self.print(self.stream)
        except OSError:
            if self.stream is not sys.stdout:
                self.print(sys.stdout)
            raise

    def print(self, stream: TextIO) -> None:
        if self.rows:
            print_table(self.rows, stream)
            if self.failures:
                stream.write(f"{self.failures:,} could not be read\n")
        stream.flush()


def print_table(rows: list[Row], stream: TextIO) -> None:
    """Print one line per image or frame and one per region, with totals below if there are several rows."""
    console = Console(file=stream, highlight=False)
    console.width = min(console.width, TABLE_WIDTH)
    has_interval = any(row["low"] is not None for row in rows)
    name_width = console.width - OTHER_COLUMNS - (INTERVAL_COLUMN if has_interval else 0)
    table = empty_table(rows, has_interval)
    for row in rows:
        cells: list[Text | str] = [
            Text(shorten(row_name(row), name_width)),
            f"{row['count']:,.0f}",
            f"{row['low']:,.0f}-{row['high']:,.0f}" if row["low"] is not None else "",
            f"{row['width']}x{row['height']}",
            f"{row['seconds']:.2f}",
        ]
        table.add_row(*cells if has_interval else cells[:2] + cells[3:])
        for region in row.get("regions", ()):
            name = Text(f"  {printable(region['name'])}"[:name_width])
            cells = [name, f"{region['count']:,.0f}", "", region_remark(region), ""]
            table.add_row(*cells if has_interval else cells[:2] + cells[3:])
    console.print(table)


def empty_table(rows: list[Row], has_interval: bool) -> Table:
    """The columns, with their totals as footers. Counts of video frames have no total: they are the same people."""
    is_video = any("time" in row for row in rows)
    people = "" if is_video else f"{sum(row['count'] for row in rows):,.0f}"
    seconds = f"{sum(row['seconds'] for row in rows):.2f}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=len(rows) > 1)
    table.add_column("image", f"{len(rows)} images", no_wrap=True)
    table.add_column(rows[0].get("unit", "people"), people, justify="right", style="bold", no_wrap=True)
    if has_interval:
        table.add_column("interval", justify="right", no_wrap=True)
    table.add_column("size", justify="right", style="dim", no_wrap=True)
    table.add_column("seconds", seconds, justify="right", style="dim", no_wrap=True)
    return table


def row_name(row: Row) -> str:
    """The path of an image, or the source and time of a video frame."""
    path = printable(row["path"])
    return f"{path} {row['time']:.1f} s" if "time" in row else path


def shorten(name: str, width: int) -> str:
    """Cut a long name at its start, since its end tells it apart."""
    return name if len(name) <= width else "…" + name[1 - width :]


def region_remark(region: Row) -> str:
    """Whether a region is over its maximum, else its people per square metre if its area is known."""
    if region["over"]:
        return "over"
    density = region["per_square_metre"]
    return "" if density is None else f"{density:.2f}/m2"

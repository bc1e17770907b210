"""The rows of `headcount count` as one Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from headcount.io.names import name_to_text, one_line

if TYPE_CHECKING:
    from headcount.inference.result import Row


class ParquetWriter:
    """Collects rows and writes them at the end, as Parquet cannot be appended to. Its columns are those of CSV.

    Args:
        stream: A text stream, whose buffer takes the file.
        columns: The columns. Other keys of the rows are left out.
    """

    def __init__(self, stream: TextIO, columns: Sequence[str]):
        self.stream, self.columns = stream, columns
        self.rows: list[Row] = []

    def write(self, row: Row) -> None:
        cells = {name: one_line(value) if isinstance(value, str) else value for name, value in row.items()}
        self.rows.append(cells | {"path": name_to_text(row["path"])})

    def finish(self) -> None:
        import pyarrow
        from pyarrow.parquet import write_table

        from headcount.distributed.worker import COLUMN_TYPES

        # Times and the columns of regions are numbers.
        types = [(name, getattr(pyarrow, COLUMN_TYPES.get(name, "float64"))()) for name in self.columns]
        write_table(pyarrow.Table.from_pylist(self.rows, pyarrow.schema(types)), self.stream.buffer)
        self.stream.flush()

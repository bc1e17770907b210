"""What runs on the machines of a Ray cluster: workers that count the shards of a list of images.

The list is cut into shards once. Each shard's part file has a name that follows from its place in the list, and is
written whole. A shard that is counted twice, because a machine was lost at the wrong moment, therefore still gives one
part, and the names alone tell what remains to be done.

A worker leaves a note while it counts a shard. A worker that finds the note of one that died counts image by image,
and leaves out an image during which MAX_DEATHS workers died (see headcount.distributed.attempts).

    OUT/manifest.json              the settings, including the model's hash, and the sources
    OUT/model/                     the model, for the workers
    OUT/lists/000.jsonl            one path or address per line, as JSON; a later run may add 001.jsonl
    OUT/parts/000-0000000.parquet  one row per image, in the list's order, including failed ones
    OUT/trying/                    the notes
    OUT/failures.jsonl             the rows of images that could not be counted, written at the end of a run
"""

from __future__ import annotations

import io
import json
import os
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, TypeVar

import numpy as np

from headcount import __version__
from headcount.distributed.attempts import MAX_DEATHS, Deaths, left_out, read_note, write_note
from headcount.distributed.storage import Folder, is_address, read_image_file
from headcount.inference.counter import Counter, PreparedImage, load
from headcount.inference.engines import THREADS
from headcount.inference.result import COLUMNS, CountResult, Row
from headcount.io.files import single_line
from headcount.io.names import name_to_text

Item = TypeVar("Item")
Result = TypeVar("Result")
NUMBER_TYPES = dict.fromkeys(("count", "low", "high", "scale", "seconds"), "float64")
COLUMN_TYPES = dict.fromkeys(COLUMNS, "string") | NUMBER_TYPES | {"width": "int32", "height": "int32"}


class RunSettings(TypedDict):
    """The settings in the manifest, which all runs into a folder share.

    Attributes:
        headcount: version of the driver.
        model: name of the model.
        sha256: hash of the model's files.
        engine: as in `load`.
        precision: as in `load`.
        scale: as in `Counter.count`.
        roi: polygon as in `Counter.count`, or None.
        max_pixels: as in `Counter`.
        format: parquet or jsonl.
        part: images per shard.
    """

    headcount: str
    model: str
    sha256: str
    engine: str
    precision: str
    scale: float | None
    roi: list[list[float]] | None
    max_pixels: int
    format: str
    part: int


class Manifest(TypedDict):
    """The content of manifest.json.

    Attributes:
        settings: those of the first run.
        sources: the inputs of all runs.
    """

    settings: RunSettings
    sources: list[str]


class ShardAnswer(TypedDict):
    """What a worker reports of a shard.

    Attributes:
        images: how many it counted.
        problem: one line about what stops all workers, or "".
    """

    images: int
    problem: str


@dataclass(frozen=True)
class Shard:
    """Consecutive images of a list.

    Attributes:
        list_index: number of the list.
        number: number of the shard within its list.
        start: where its lines begin in the list, in bytes.
        size: length of its lines in bytes.
        retry_failures: whether to count the failed images of an existing part again.
    """

    list_index: int
    number: int
    start: int
    size: int
    retry_failures: bool = False

    @property
    def name(self) -> str:
        return f"{self.list_index:03d}-{self.number:07d}"


@dataclass(frozen=True)
class WorkerConfig:
    """What each worker is told.

    Attributes:
        out: path or address of the run's folder.
        settings: as in the manifest.
        threads: threads that the engine computes in.
        readers: images that are read at the same time.
    """

    out: str
    settings: RunSettings
    threads: int
    readers: int


class Worker:
    """Counts shards with one open model.

    A failure that stops all workers is no exception but a `problem` in the answer, so that the driver can report it in
    one line.
    """

    def __init__(self, config: WorkerConfig):
        self.config, self.settings, self.out = config, config.settings, Folder(config.out)
        self.problem = ""
        os.environ[THREADS] = str(config.threads)
        try:
            check_machine(config)
            self.counter = open_model(config)
        except (ValueError, OSError) as error:
            self.problem = f"{socket.gethostname()}: {single_line(error)}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Count shards for Ray Data.

        Args:
            batch: one column per field of Shard.

        Returns:
            One column per field of ShardAnswer, with a row for each shard.
        """
        number = len(batch["start"])
        shards = [Shard(**{name: values[i].item() for name, values in batch.items()}) for i in range(number)]
        answers = [self.answer(shard) for shard in shards]
        return {
            "images": np.array([answer["images"] for answer in answers]),
            "problem": np.array([answer["problem"] for answer in answers]),
        }

    def answer(self, shard: Shard) -> ShardAnswer:
        if self.problem:
            return {"images": 0, "problem": self.problem}
        try:
            return {"images": self.count_shard(shard), "problem": ""}
        except (ValueError, OSError) as error:  # of the folder; an image's own error is in its row
            return {"images": 0, "problem": f"{socket.gethostname()}: {shard.name}: {single_line(error)}"}

    def count_shard(self, shard: Shard) -> int:
        """Count the images of a shard that have no row yet, and write its part.

        Returns:
            How many images were counted.

        Raises:
            ValueError: a file in the folder is damaged.
            OSError: the folder cannot be read or written.
        """
        output_format = self.settings["format"]
        part, note = f"parts/{shard.name}.{output_format}", f"trying/{shard.name}.json"
        existing = self.out.read(part)
        if existing is not None and not shard.retry_failures:  # its worker died before it could answer
            return 0
        rows: dict[int, Row] = {}
        if existing is not None:
            rows = {i: row for i, row in enumerate(read_rows(existing, output_format)) if not row.get("error")}
        paths = read_paths(self.out, shard)
        remaining = [i for i in range(len(paths)) if i not in rows]
        deaths = read_note(self.out.read(note))
        if deaths is None:
            self.out.write(note, write_note({}))
            rows |= zip(remaining, self.count([paths[i] for i in remaining]), strict=True)
        else:
            rows |= self.count_one_by_one(paths, remaining, deaths, note)
        self.out.write(part, write_rows([rows[i] for i in range(len(paths))], output_format))
        self.out.remove(note)
        return len(remaining)

    def count(self, paths: Sequence[str]) -> Iterator[Row]:
        """The rows of images, in order. The next images are read and decoded while one is counted."""
        images = map_in_threads(self.prepare, paths, self.config.readers)
        results = self.counter.count_prepared(images, (), self.counter.engine.batch)
        for path, (result, _) in zip(paths, results, strict=True):
            yield row_of(result, path)

    def prepare(self, path: str) -> PreparedImage | CountResult:
        """Read an image; a failed result if it cannot be read."""
        try:
            source = read_image_file(path) if is_address(path) else path
        except ValueError as error:
            return self.counter.failed(path, error)
        return self.counter.try_prepare(source, self.settings["roi"], self.settings["scale"])

    def count_one_by_one(
        self, paths: Sequence[str], indices: Sequence[int], deaths: Deaths, note: str
    ) -> dict[int, Row]:
        """Count images singly, with a note of which, and leave out those during which MAX_DEATHS workers died.

        Args:
            paths: all paths of the shard.
            indices: which of them to count.
            deaths: path -> number of workers that died during this image.
            note: name of the note.

        Returns:
            index -> row.
        """
        rows: dict[int, Row] = {}
        for i in indices:
            if (times := deaths.get(paths[i], 0)) >= MAX_DEATHS:
                rows[i] = row_of(self.counter.failed(None, left_out(times)), paths[i])
            else:
                self.out.write(note, write_note(deaths, [paths[i]]))
                [rows[i]] = self.count([paths[i]])
        return rows


def check_machine(config: WorkerConfig) -> None:
    """Check that this machine sees the driver's folder and runs the same version of headcount.

    Raises:
        ValueError: it does not.
    """
    if Folder(config.out).read("manifest.json") is None:
        raise ValueError(
            f"{config.out} is not visible from this machine; give --out a folder that all machines share, or an"
            " address (s3://...)"
        )
    if __version__ != config.settings["headcount"]:
        wanted = config.settings["headcount"]
        raise ValueError(f"headcount is {__version__} here, but {wanted} on the driver; install the same version")


def open_model(config: WorkerConfig) -> Counter:
    """Open the model in OUT/model.

    Raises:
        ValueError: it cannot be opened.
    """
    folder, settings = Folder(config.out), config.settings
    with tempfile.TemporaryDirectory() as copy:
        for name in folder.names("model"):
            (Path(copy) / name).write_bytes(folder.read(f"model/{name}") or b"")
        files = list(Path(copy).iterdir())
        model = files[0] if len(files) == 1 else Path(copy)  # an .onnx file, or a checkpoint folder
        counter = load(model, settings["engine"], settings["precision"])
    return replace(counter, max_pixels=settings["max_pixels"])


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> Iterator[Result]:
    """The results of `function`, in order, computed in threads at most `threads` items ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_paths(out: Folder, shard: Shard) -> list[str]:
    """The paths and addresses of a shard.

    Raises:
        ValueError: the list has changed.
    """
    name = f"lists/{shard.list_index:03d}.jsonl"
    text = out.read(name, shard.start, shard.size)
    if text is None or len(text) != shard.size:
        raise ValueError(f"{name} was changed or cut short; give another --out")
    return [json.loads(line) for line in text.splitlines()]


def row_of(result: CountResult, path: str) -> Row:
    """The row of an image. A file's name need not be valid text, but a cell of a table must be."""
    return result.to_dict() | {"path": name_to_text(path)}


def read_rows(data: bytes, output_format: str, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of a part, with at least these columns.

    Raises:
        ValueError: the part is damaged.
    """
    if output_format == "jsonl":
        return [json.loads(line) for line in data.splitlines()]
    from pyarrow import BufferReader
    from pyarrow.parquet import read_table

    return read_table(BufferReader(data), columns=columns).to_pylist()


def write_rows(rows: Sequence[Row], output_format: str) -> bytes:
    """A part: JSON lines, or Parquet with the columns COLUMN_TYPES."""
    if output_format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()
    import pyarrow
    from pyarrow.parquet import write_table

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMN_TYPES.items()])
    file = io.BytesIO()
    write_table(pyarrow.Table.from_pylist(list(rows), schema), file)
    return file.getvalue()

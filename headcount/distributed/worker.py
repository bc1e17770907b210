"""A long list of pictures in shards, each counted by one worker into one part file: what runs on the machines of Ray.

What is unusual: the list is cut once, for good, and a shard's part is named by its place in the list and written whole.
So a shard that is counted twice, since a machine was lost at the wrong moment, gives one part all the same, and
whoever comes later sees by the names alone what is left to do. A worker leaves a note while it counts a shard: the one
that finds the note of a worker that died there goes picture by picture, and leaves out one that two died of.

    OUT/manifest.json              the settings, the model's hash among them, and the sources
    OUT/model/                     the model, for the workers
    OUT/lists/000.jsonl            a path or address a line, as JSON; a later run may add 001.jsonl
    OUT/parts/000-0000000.parquet  a row a picture, in the list's order, failed ones too
    OUT/trying/                    the notes
    OUT/failures.jsonl             the rows of pictures that could not be counted, written when a run ends
"""

from __future__ import annotations

import io
import json
import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headcount.distributed.storage import Folder, contents, is_address
from headcount.inference.counter import Counter, PreparedImage, load
from headcount.inference.engines import THREADS
from headcount.inference.result import COLUMNS, CountResult, Row
from headcount.io.files import single_line

FATAL = 2  # workers that die while they count one picture: it is left out
NUMBERS = {"count": "float64", "low": "float64", "high": "float64", "seconds": "float64"}  # columns of a part;
TYPES = dict.fromkeys(COLUMNS, "string") | NUMBERS | {"width": "int32", "height": "int32"}  # the others are text


@dataclass(frozen=True)
class Shard:
    """Pictures that follow each other in a list.

    index, number: which list, and which shard of it. start, size: its bytes there. again: count the failures anew that
    its part has.
    """

    index: int
    number: int
    start: int
    size: int
    again: bool = False

    @property
    def name(self) -> str:
        return f"{self.index:03d}-{self.number:07d}"


@dataclass(frozen=True)
class Job:
    """What a worker is told. out: the folder. settings: as the manifest has them. threads: that its engine computes in.
    readers: pictures that it reads at once."""

    out: str
    settings: dict[str, Any]
    threads: int
    readers: int


class Worker:
    """Counts shards, one after another, with one open model. What stops all workers is no exception but a `problem` in
    the answer, which the driver says in one line."""

    def __init__(self, job: Job):
        self.job, self.out, self.form, self.problem = job, Folder(job.out), job.settings["format"], ""
        os.environ[THREADS] = str(job.threads)
        try:
            check(job)
            self.counter = open_model(job)
        except (ValueError, OSError) as error:
            self.problem = f"{socket.gethostname()}: {single_line(error)}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Shards, as columns of their fields, to a row each: how many pictures were counted, and a problem or ""."""
        shards = [
            Shard(**{name: values[i].item() for name, values in batch.items()}) for i in range(len(batch["start"]))
        ]
        answers = [self.answer(shard) for shard in shards]
        return {name: np.array([answer[name] for answer in answers]) for name in ("pictures", "problem")}

    def answer(self, shard: Shard) -> Row:
        try:
            return {"pictures": 0 if self.problem else self.work(shard), "problem": self.problem}
        except (ValueError, OSError) as error:  # of the folder; a picture's own is in its row
            return {"pictures": 0, "problem": f"{socket.gethostname()}: {shard.name}: {single_line(error)}"}

    def work(self, shard: Shard) -> int:
        """Count what the part of a shard lacks, and write it; how many pictures that was. Raises ValueError or OSError
        where the folder fails."""
        part, note = f"parts/{shard.name}.{self.form}", f"trying/{shard.name}.json"
        before = self.out.read(part)
        if before is not None and not shard.again:  # by a worker that died before it could say so
            return 0
        rows: dict[int, Row] = {}
        if before is not None:
            rows = {i: row for i, row in enumerate(read_rows(before, self.form)) if not row.get("error")}
        paths = read_paths(self.out, shard)
        left = [i for i in range(len(paths)) if i not in rows]
        deaths = read_note(self.out.read(note))
        if deaths is None:
            self.out.write(note, write_note({}))
            rows |= zip(left, self.count([paths[i] for i in left]), strict=True)
        else:
            rows |= self.count_carefully(paths, left, deaths, note)
        self.out.write(part, write_rows([rows[i] for i in range(len(paths))], self.form))
        self.out.remove(note)
        return len(left)

    def count(self, paths: list[str]) -> Iterator[Row]:
        """The rows of pictures, in their order; the next ones are read and decoded while one is counted."""
        pictures = in_threads(self.prepare, paths, self.job.readers)
        results = self.counter.count_prepared(pictures, (), self.counter.engine.batch)
        for path, (result, _) in zip(paths, results, strict=True):
            yield result.to_dict() | {"path": printable(path)}

    def prepare(self, path: str) -> PreparedImage | CountResult:
        settings = self.job.settings
        try:
            source = contents(path) if is_address(path) else path
        except ValueError as error:
            return self.counter.failed(path, error)
        return self.counter.try_prepare(source, settings["roi"], settings["scale"])

    def count_carefully(self, paths: list[str], left: list[int], deaths: dict[int, int], note: str) -> dict[int, Row]:
        """index -> row of the pictures `left`, one by one, with a note of which; without those that workers died of."""
        rows: dict[int, Row] = {}
        for i in left:
            if deaths.get(i, 0) >= FATAL:
                reason = f"{deaths[i]} workers died while they counted it, of too little memory perhaps"
                rows[i] = self.counter.failed(None, ValueError(reason)).to_dict() | {"path": printable(paths[i])}
            else:
                self.out.write(note, write_note(deaths, i))
                [rows[i]] = self.count([paths[i]])
        return rows


def check(job: Job) -> None:
    """That this machine sees the folder of the driver, and runs the same headcount. Raises ValueError."""
    from headcount import __version__

    if Folder(job.out).read("manifest.json") is None:
        raise ValueError(
            f"{job.out} is not seen from here; give --out a folder that all share, or an address (s3://...)"
        )
    if __version__ != job.settings["headcount"]:
        raise ValueError(f"headcount is {__version__} here and {job.settings['headcount']} at the driver; install one")


def open_model(job: Job) -> Counter:
    """The counter of the model in OUT/model. Raises ValueError."""
    folder, settings = Folder(job.out), job.settings
    with tempfile.TemporaryDirectory() as copy:
        for name in folder.names("model"):
            (Path(copy) / name).write_bytes(folder.read(f"model/{name}") or b"")
        [*files] = Path(copy).iterdir()
        model = files[0] if len(files) == 1 else Path(copy)  # an .onnx file, or a checkpoint folder
        counter = load(model, settings["engine"], settings["precision"])
    return replace(counter, max_pixels=settings["max_pixels"])


def in_threads(function: Any, items: list[Any], threads: int) -> Iterator[Any]:
    """What `function` gives of each item, in order, made by threads at most so many items ahead."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_paths(out: Folder, shard: Shard) -> list[str]:
    """The paths and addresses of a shard."""
    text = out.read(f"lists/{shard.index:03d}.jsonl", shard.start, shard.size)
    if text is None or len(text) != shard.size:
        raise ValueError(f"lists/{shard.index:03d}.jsonl is not what it was; give another --out")
    return [json.loads(line) for line in text.splitlines()]


def read_note(text: bytes | None) -> dict[int, int] | None:
    """Of the note of a worker that died: index -> how many died of this picture; None where there is no note."""
    if text is None:
        return None
    note = json.loads(text)
    deaths = {int(i): times for i, times in note["deaths"].items()}
    if note["now"] is not None:
        deaths[note["now"]] = deaths.get(note["now"], 0) + 1
    return deaths


def write_note(deaths: dict[int, int], now: int | None = None) -> bytes:
    return json.dumps({"deaths": deaths, "now": now}).encode()


def read_rows(data: bytes, form: str, columns: list[str] | None = None) -> list[Row]:
    """The rows of a part, of some columns at least. Raises ValueError where it is damaged."""
    if form == "jsonl":
        return [json.loads(line) for line in data.splitlines()]
    from pyarrow import BufferReader
    from pyarrow.parquet import read_table

    return read_table(BufferReader(data), columns=columns).to_pylist()


def write_rows(rows: list[Row], form: str) -> bytes:
    """A part: JSON lines, or Parquet of the columns TYPES."""
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()
    import pyarrow
    from pyarrow.parquet import write_table

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in TYPES.items()])
    file = io.BytesIO()
    write_table(pyarrow.Table.from_pylist(rows, schema), file)
    return file.getvalue()


def printable(path: str) -> str:
    """A file's name need not be text; a table's cell must."""
    return path.encode("utf-8", "backslashreplace").decode()

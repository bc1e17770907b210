"""`headcount count --ray ADDRESS`: millions of pictures on many machines, by Ray Data.

What is unusual: Ray Data moves no picture and keeps no result. What goes through its pool of actors are shards, a few
numbers each (shards.py); an actor, with one open model, reads, decodes and counts the pictures of a shard and writes
their rows itself, whole, under a name that follows from the list. So memory is bounded by the actors, each with the few
pictures that it reads ahead. A lost worker or machine costs the shards that it was in, which Ray Data gives to another;
a driver that is killed costs no more; and nothing is lost or counted twice, whatever is done again. Between its
processes Ray pickles what it sends; nothing of ours is pickled on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from headcount.cli.output import Interrupts, UsageError, progress, say, usage_errors
from headcount.inference.result import Row

if TYPE_CHECKING:
    from headcount.distributed.worker import RunSettings

MOST_TASKS = 10_000  # that Ray is given; of more shards, several are one task
STORE = 256 << 20  # bytes of shared memory that a local Ray takes: only numbers go through it
READING = 16  # parts that are read at once for the sums, since an object store is slow to answer


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class RayOptions:
    """What `headcount count --ray` can be asked for, besides.

    Parameters
    ----------
    ray
        Count on many machines: the address of a Ray cluster, as host:6379, ray://host:10001, or auto, the one that this
        machine is part of; local starts one here. Inputs may then be addresses (s3://bucket/folder) and patterns too.
        Results go to Parquet (or JSON lines) in the folder --out, and a second run goes on where one was stopped.
    paths
        With --ray: a text file of paths and addresses, one a line.
    retry
        With --ray: count those again that failed in the runs before.
    part
        With --ray: pictures per result file, and what a lost worker has to do again at most.
    workers
        With --ray: processes that count; 0 is as many as the cluster has room for.
    worker_cpus, worker_gpus
        With --ray: what each takes; its engine computes in as many threads as CPUs.
    readers
        With --ray: pictures that each reads at once; more for a GPU, or a slow store.
    """

    ray: str | None = None
    paths: Path | None = None
    retry: Annotated[bool, cyclopts.Parameter(negative="")] = False
    part: int = 1000
    workers: int = 0
    worker_cpus: int = 1
    worker_gpus: float = 0
    readers: int = 4


def count_on_ray(inputs: tuple[str, ...], options: Any, scale: RayOptions) -> int:
    """Count what the command line names (`options`: a tally.CountOptions) on a Ray cluster; returns the exit code.
    Raises UsageError for what cannot be asked for, ValueError for what stops the whole run."""
    from headcount.distributed.worker import WorkerConfig

    check(inputs, options, scale)
    assert scale.ray
    with usage_errors():
        out = folder_of(options.out)
        settings = begin(out, inputs, options, scale)
        shards, pictures = planned(out, inputs, scale, settings)
        left = unfinished(out, settings["format"], shards, scale.retry)
    if len(left) < len(shards):
        say(
            f"{out.address}: {len(shards) - len(left)} of {len(shards)} parts of {pictures:,} pictures are done already"
        )
    job = WorkerConfig(out.address, settings, max(1, scale.worker_cpus), scale.readers)
    counted, began, stopped = 0, time.monotonic(), 0
    if left:
        with connected(scale.ray), progress(pictures) as step, Interrupts() as interrupts:
            began = time.monotonic()
            for answer in interrupts.until(answers(job, left, scale)):
                if answer["problem"]:
                    raise ValueError(answer["problem"])
                counted += answer["images"]
                for _ in range(answer["images"]):
                    step()
            stopped = interrupts.signal
    return report(out, settings["format"], shards, counted, time.monotonic() - began, stopped)


def check(inputs: tuple[str, ...], options: Any, scale: RayOptions) -> None:
    """Refuse before any work is done what would fail after it. Raises UsageError."""
    others = ("resume", "overlay", "regions", "points", "plot", "smooth")
    if given := [name for name in others if getattr(options, name)]:
        why = (
            "a run with the same --out goes on by itself" if given == ["resume"] else "count those pictures without it"
        )
        raise UsageError(f"--{given[0]}: not with --ray; {why}")
    if not inputs and not scale.paths:
        raise UsageError("no picture given; try: headcount count photos --ray local --out counts")
    if options.out is None or options.out.is_file():
        raise UsageError(f"--out {options.out or ''}: --ray needs a folder, or an address, that all machines share")
    if options.format not in (None, "table", "parquet", "jsonl"):
        raise UsageError(f"--format {options.format}: takes parquet or jsonl with --ray")
    if not 0.05 <= options.scale <= 8:
        raise UsageError(f"--scale {options.scale:g}: takes 0.05 to 8")
    for name, least in {"part": 1, "workers": 0, "worker_cpus": 0, "worker_gpus": 0, "readers": 1}.items():
        if getattr(scale, name) < least:
            raise UsageError(f"--{name.replace('_', '-')}: takes {least} or more")


def folder_of(path: Path) -> Any:
    """--out, a path to the command line, which makes one slash of the two in s3://bucket."""
    from headcount.distributed.storage import Folder

    address = re.sub(r"^([A-Za-z][\w+.-]+):/+", r"\1://", str(path))
    return Folder(address if "://" in address else os.path.abspath(address))


def begin(out: Any, inputs: tuple[str, ...], options: Any, scale: RayOptions) -> RunSettings:
    """The settings of this run, which the manifest has from now on, with the model beside it. Raises ValueError where
    the folder was begun with other ones."""
    from headcount import __version__
    from headcount.cli.count import parse_polygon
    from headcount.inference.counter import load
    from headcount.inference.pretrained import find_model

    path = find_model(options.model)
    meta = load(path, options.engine, options.precision).engine.meta
    model = model_files(path)
    settings: RunSettings = {
        "headcount": __version__,
        "model": meta.name,
        "sha256": hashlib.sha256(b"".join(model[name] for name in sorted(model))).hexdigest(),
        "engine": options.engine,
        "precision": options.precision,
        "scale": options.scale,
        "roi": options.roi and [list(corner) for corner in parse_polygon(options.roi)],
        "max_pixels": round(options.max_pixels * 1e6),
        "format": "jsonl" if options.format == "jsonl" else "parquet",
        "part": scale.part,
    }
    sources = [*inputs, *([f"--paths {scale.paths}"] if scale.paths else [])]
    text = out.read("manifest.json")
    if text is None and out.names():
        raise ValueError(f"{out.address}: holds other files; give --out a new folder")
    manifest: dict[str, Any] = json.loads(text) if text else {"settings": settings, "sources": []}
    for name, value in settings.items():
        if (before := manifest["settings"].get(name)) != value:
            raise ValueError(
                f"{out.address}: was begun with {name} {before}, not {value}; give the same, or another --out"
            )
    manifest["sources"] = list(dict.fromkeys([*manifest["sources"], *sources]))
    for name, data in model.items() if text is None else ():
        out.write(f"model/{name}", data)
    out.write("manifest.json", json.dumps(manifest, indent=2).encode())
    return settings


def model_files(path: Path) -> dict[str, bytes]:
    """name -> bytes of a model: one file, or a checkpoint's."""
    names = ("config.json", "model.safetensors", "calibration.json")
    files = [path / name for name in names if (path / name).is_file()] if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


def planned(out: Any, inputs: tuple[str, ...], scale: RayOptions, settings: RunSettings) -> tuple[list[Any], int]:
    """All shards of the folder's lists, and how many pictures are in them. Pictures that are in no list yet make a new
    one; one that is named twice is counted once."""
    from headcount.distributed.storage import find_images, read_path_list

    lists, known = sorted(out.names("lists")), set[str]()
    shards: list[Any] = []
    for index, name in enumerate(lists):
        shards += cut(index, out.lines(f"lists/{name}"), scale.part)
        known.update(json.loads(line) for line in out.lines(f"lists/{name}"))
    new = unknown(chain(find_images(inputs), read_path_list(scale.paths) if scale.paths else ()), known)
    if first := next(new, None):
        name = f"lists/{len(lists):03d}.jsonl"
        out.write(name, (json.dumps(path).encode() + b"\n" for path in chain([first], new)))
        shards += cut(len(lists), out.lines(name), scale.part)
    if not shards:
        raise ValueError(f"{scale.paths}: names no picture")
    return shards, len(known)


def unknown(paths: Iterable[str], known: set[str]) -> Iterator[str]:
    """Those of the paths that are not in `known`, which they are added to."""
    for path in paths:
        if path not in known:
            known.add(path)
            yield path


def cut(index: int, lines: Iterable[bytes], part: int) -> Iterator[Any]:
    """The shards of a list, of `part` lines each."""
    from headcount.distributed.worker import Shard

    start = size = 0
    for i, line in enumerate(lines):
        if i and i % part == 0:
            yield Shard(index, i // part - 1, start, size)
            start, size = start + size, 0
        size += len(line)
    if size:
        yield Shard(index, i // part, start, size)


def unfinished(out: Any, form: str, shards: list[Any], retry: bool) -> list[Any]:
    """The shards that have no part; to `retry`, those whose part has failures too."""
    there = out.names("parts")
    done = [shard for shard in shards if f"{shard.name}.{form}" in there]
    failed = {part.name for part in parts(out, form, done) if part.failures} if retry else set()
    left = [shard for shard in shards if f"{shard.name}.{form}" not in there]
    return left + [replace(shard, retry_failures=True) for shard in done if shard.name in failed]


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a Ray cluster, or one of this machine alone, for as long as this lasts. Raises ValueError."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would tell its maker of each start; read when it is imported
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what ends a run is raised as well
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")  # there is one already
    import ray
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    only_here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
    try:
        if found := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address):
            socket.create_connection((found[1].strip("[]"), int(found[2])), 10).close()  # Ray would try for minutes
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **only_here)
    except Exception as error:  # whatever its libraries raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"--ray {address}: no cluster there ({reason}); try --ray local") from None
    try:
        yield
    finally:
        ray.shutdown()


def answers(job: Any, shards: list[Any], scale: RayOptions) -> Generator[Row, None, None]:
    """A row for each shard, in any order, when a worker has counted it: pictures, problem. Raises ValueError where Ray
    fails."""
    import ray

    scale = replace(scale, workers=scale.workers or room(scale))
    try:
        if not str(scale.ray).startswith("ray://"):
            yield from streamed(job, shards, scale)
            return
        remote: Any = ray.remote(num_cpus=0)(Stream)  # Ray Data does not run in a Ray client
        there = remote.remote(job, shards, scale)
        while (answer := ray.get(there.next.remote())) is not None:
            yield answer
    except Exception as error:  # some are pages long, and end with what went wrong
        reason = " ".join(str(error).split())[-300:]
        raise ValueError(f"--ray {scale.ray}: Ray stopped ({reason}); run the same again to go on") from None


class Stream:
    """`streamed` in a process of the cluster."""

    def __init__(self, job: Any, shards: list[Any], scale: RayOptions):
        self.rows = streamed(job, shards, scale)

    def next(self) -> Row | None:
        return next(self.rows, None)


def streamed(job: Any, shards: list[Any], scale: RayOptions) -> Generator[Row, None, None]:
    """The answers of Ray Data's actors."""
    import ray.data

    from headcount.distributed.worker import Worker

    most = scale.workers
    context = ray.data.DataContext.get_current()
    context.print_on_execution_start = False
    work = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=min(len(shards), MOST_TASKS))
    done = work.map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=2
        ),
        num_cpus=scale.worker_cpus,
        num_gpus=scale.worker_gpus or None,
    )
    yield from done.iter_rows()


def room(scale: RayOptions) -> int:
    """How many workers the machines of the cluster have room for now. Raises ValueError for none."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": scale.worker_cpus, "GPU": scale.worker_gpus}
    workers = sum(
        int(min(machine.get(kind, 0) // number for kind, number in wanted.items() if number)) for machine in machines
    )
    if not workers:
        asked = f"{scale.worker_cpus} CPUs and {scale.worker_gpus:g} GPUs"
        raise ValueError(f"--ray {scale.ray}: none of its {len(machines)} machines has {asked} for a worker")
    return workers


@dataclass(frozen=True)
class Part:
    """What stands in a part file. failures: the rows of pictures that could not be counted."""

    name: str
    pictures: int
    people: float
    failures: list[Row]


def parts(out: Any, form: str, shards: list[Any]) -> Iterator[Part]:
    """The parts of shards that have one, in order. Raises ValueError for one that is damaged."""
    from headcount.distributed.worker import read_rows

    def read(shard: Any) -> Part | None:
        data = out.read(file := f"parts/{shard.name}.{form}")
        try:
            rows = [] if data is None else read_rows(data, form, ["path", "count", "error"])
        except Exception as error:
            raise ValueError(f"{out.address_of(file)}: is damaged ({error}); delete it, and run this again") from None
        counted = [row["count"] for row in rows if not row.get("error")]
        return data and Part(shard.name, len(rows), sum(counted), [row for row in rows if row.get("error")])

    with ThreadPoolExecutor(READING) as pool:
        for i in range(0, len(shards), 10 * READING):
            yield from filter(None, pool.map(read, shards[i : i + 10 * READING]))


def report(out: Any, form: str, shards: list[Any], counted: int, seconds: float, stopped: int) -> int:
    """Write failures.jsonl, say what stands in the folder, and give the exit code."""
    done = pictures = failures = 0
    people = 0.0

    def failed() -> Iterator[bytes]:
        nonlocal done, pictures, people, failures
        for part in parts(out, form, shards):
            done, pictures, people = done + 1, pictures + part.pictures, people + part.people
            failures += len(part.failures)
            for row in part.failures:
                yield json.dumps({"path": row["path"], "error": row["error"]}).encode() + b"\n"

    out.write("failures.jsonl", failed())
    rate = f", {counted / seconds:,.1f} images/s in this run" if counted else ""
    print(f"{pictures:,} images, {people:,.0f} people, {failures:,} failures{rate}")
    print(f"{done:,} {form} files are in {out.address_of('parts')}")
    if done == len(shards):
        out.remove_partial_files("parts", "lists", "trying", "")
    if failures:
        say(f"{failures:,} images could not be counted: {out.address_of('failures.jsonl')}; --retry counts them again")
    if done < len(shards):
        say(f"{len(shards) - done:,} of {len(shards):,} parts are still to be counted; run the same again to go on")
    return 128 + stopped if stopped else 1 if failures or done < len(shards) else 0

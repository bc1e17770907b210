"""The folder of a run on Ray: its manifest, its lists of images, and which shards of them remain.

headcount.distributed.worker describes the files in this folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from headcount import __version__
from headcount.cli.options import CountOptions, RayOptions
from headcount.distributed.storage import Folder, find_images, read_path_list
from headcount.distributed.worker import Manifest, RunSettings, Shard, read_rows
from headcount.geometry import parse_polygon
from headcount.inference.counter import load
from headcount.inference.pretrained import find_model
from headcount.inference.result import Row

READERS = 16  # parts that are read at the same time, since an object store answers slowly
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Part:
    """The content of a part file.

    Attributes:
        name: The name of its shard.
        images: Number of rows.
        people: Sum of the counts.
        failures: The rows of images that could not be counted.
    """

    name: str
    images: int
    people: float
    failures: list[Row]


def output_folder(path: Path | None) -> Folder:
    """The folder or address of --out. As a path, s3://bucket has lost one of its slashes, which is restored."""
    address = re.sub(r"^([A-Za-z][\w+.-]+):/+", r"\1://", str(path))
    return Folder(address if "://" in address else os.path.abspath(address))


def prepare_folder(out: Folder, inputs: Sequence[str], options: CountOptions, ray_options: RayOptions) -> RunSettings:
    """Write the manifest, and in a new folder the model, for the workers.

    Args:
        out: The folder of the run.
        inputs: Images, folders, patterns and addresses.
        options: The options of `headcount count`.
        ray_options: The options for the cluster.

    Returns:
        The settings of the run, as the manifest has them.

    Raises:
        ValueError: If the folder holds other files or a run with other settings, or the model cannot be opened.
    """
    path = find_model(options.model)
    model = model_files(path)
    settings = run_settings(path, model, options, ray_options)
    text = out.read(MANIFEST)
    if text is None and out.names():
        raise ValueError(f"{out.address}: holds other files; give --out a new folder")
    manifest: Manifest = json.loads(text) if text else {"settings": settings, "sources": []}
    for name, value in settings.items():
        if (before := manifest["settings"].get(name)) != value:
            raise ValueError(
                f"{out.address}: was started with {name} {before}, not {value}; use the same, or another --out"
            )
    sources = [*inputs]
    if ray_options.paths:
        sources.append(f"--paths {ray_options.paths}")
    manifest["sources"] = list(dict.fromkeys([*manifest["sources"], *sources]))
    if text is None:
        for name, data in model.items():
            out.write(f"model/{name}", data)
    out.write(MANIFEST, json.dumps(manifest, indent=2).encode())
    return settings


def run_settings(path: Path, model: dict[str, bytes], options: CountOptions, ray_options: RayOptions) -> RunSettings:
    """The settings that all runs into a folder must share."""
    roi = None if options.roi is None else [list(corner) for corner in parse_polygon(options.roi)]
    return {
        "headcount": __version__,
        "model": load(path, options.engine, options.precision).engine.meta.name,
        "sha256": hashlib.sha256(b"".join(model[name] for name in sorted(model))).hexdigest(),
        "engine": options.engine,
        "precision": options.precision,
        "scale": options.scale,
        "roi": roi,
        "max_pixels": round(options.max_pixels * 1e6),
        "format": "jsonl" if options.format == "jsonl" else "parquet",
        "part": ray_options.part,
    }


def model_files(path: Path) -> dict[str, bytes]:
    """The files of a model by name: one file, or those of a checkpoint folder."""
    files = [path]
    if path.is_dir():
        names = ("config.json", "model.safetensors", "calibration.json")
        files = [path / name for name in names if (path / name).is_file()]
    return {file.name: file.read_bytes() for file in files}


def plan_shards(out: Folder, inputs: Sequence[str], ray_options: RayOptions) -> tuple[list[Shard], int]:
    """Cut the lists in the folder into shards. Images that are in no list yet are written to a new list.

    Args:
        out: The folder of the run.
        inputs: Images, folders, patterns and addresses.
        ray_options: The options for the cluster.

    Returns:
        All shards, and the number of images in them. Each image is counted once, however often it is named.

    Raises:
        ValueError: If an input cannot be listed or there is no image at all.
    """
    lists = sorted(out.names("lists"))
    shards: list[Shard] = []
    known: set[str] = set()
    for index, name in enumerate(lists):
        shards += cut_list(index, out.lines(f"lists/{name}"), ray_options.part)
        known.update(json.loads(line) for line in out.lines(f"lists/{name}"))
    listed = read_path_list(ray_options.paths) if ray_options.paths else ()

    def unlisted_paths() -> Iterator[str]:
        for path in chain(find_images(inputs), listed):
            if path not in known:
                known.add(path)
                yield path

    new = unlisted_paths()
    if (first := next(new, None)) is not None:
        name = f"lists/{len(lists):03d}.jsonl"
        out.write(name, (json.dumps(path).encode() + b"\n" for path in chain([first], new)))
        shards += cut_list(len(lists), out.lines(name), ray_options.part)
    if not shards:
        raise ValueError(f"{ray_options.paths}: names no image")
    return shards, len(known)


def cut_list(index: int, lines: Iterable[bytes], part: int) -> Iterator[Shard]:
    """Cut a list into shards of `part` lines. The last one may have fewer."""
    start = size = number = 0
    for i, line in enumerate(lines):
        if i and i % part == 0:
            yield Shard(index, number, start, size)
            start, size, number = start + size, 0, number + 1
        size += len(line)
    if size:
        yield Shard(index, number, start, size)


def unfinished_shards(out: Folder, output_format: str, shards: Sequence[Shard], retry: bool) -> list[Shard]:
    """The shards that have no part file yet; with `retry`, also those whose part contains failures."""
    names = out.names("parts")
    done = [shard for shard in shards if f"{shard.name}.{output_format}" in names]
    remaining = [shard for shard in shards if f"{shard.name}.{output_format}" not in names]
    if retry:
        failed = {part.name for part in read_parts(out, output_format, done) if part.failures}
        remaining += [replace(shard, retry_failures=True) for shard in done if shard.name in failed]
    return remaining


def read_parts(out: Folder, output_format: str, shards: Sequence[Shard]) -> Iterator[Part]:
    """Read the part files of the shards that have one, in order.

    Raises:
        ValueError: If a part file is damaged; one line.
    """

    def read(shard: Shard) -> Part | None:
        file = f"parts/{shard.name}.{output_format}"
        data = out.read(file)
        if data is None:
            return None
        try:
            rows = read_rows(data, output_format, ["path", "count", "error"])
        except Exception as error:
            raise ValueError(f"{out.address_of(file)}: is damaged ({error}); delete it and run this again") from None
        failures = [row for row in rows if row.get("error")]
        people = sum(row["count"] for row in rows if not row.get("error"))
        return Part(shard.name, len(rows), people, failures)

    with ThreadPoolExecutor(READERS) as pool:
        for i in range(0, len(shards), 10 * READERS):
            for part in pool.map(read, shards[i : i + 10 * READERS]):
                if part is not None:
                    yield part

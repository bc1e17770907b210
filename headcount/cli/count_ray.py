"""`headcount count --ray ADDRESS`: counting millions of images on many machines with Ray Data.

The driver in this process only plans shards and sends their numbers to workers. Each worker reads and counts the images
of a shard and writes their rows as one part file (see headcount.distributed.worker). A lost worker costs the shard it
was counting, which another one repeats. A killed driver loses nothing that was written. No image is lost or counted
twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headcount.cli.count_plan import check_numbers, report_skipped
from headcount.cli.interrupts import Interrupts
from headcount.cli.messages import UsageError, print_message, progress, usage_errors
from headcount.cli.options import CountOptions, RayOptions
from headcount.cli.ray_cluster import connected, count_shards
from headcount.cli.ray_plan import Part, output_folder, plan_shards, prepare_folder, read_parts, unfinished_shards
from headcount.distributed.storage import Folder
from headcount.distributed.worker import Shard, WorkerConfig

MINIMUM = {"part": 1, "workers": 0, "worker_cpus": 0, "worker_gpus": 0, "readers": 1}
NOT_WITH_RAY = ("resume", "overlay", "regions", "points", "plot", "smooth")


def count_on_ray(inputs: Sequence[str], options: CountOptions, ray_options: RayOptions) -> int:
    """Count the inputs of the command line on a Ray cluster.

    Args:
        inputs: Images, folders, patterns and addresses.
        options: The options of `headcount count`.
        ray_options: The options for the cluster, with an address in `ray`.

    Returns:
        The exit code: 0, 1 if images failed or remain, or 128 plus the number of the signal that stopped the run.

    Raises:
        UsageError: If the inputs and options make no sense together.
        ValueError: If the cluster or a worker fails.
    """
    check_options(inputs, options, ray_options)
    assert ray_options.ray
    with usage_errors():
        out = output_folder(options.out)
        settings = prepare_folder(out, inputs, options, ray_options)
        shards, images = plan_shards(out, inputs, ray_options)
        remaining = unfinished_shards(out, settings["format"], shards, ray_options.retry)
    report_skipped(Path(source) for source in inputs if os.path.isdir(source))
    if len(remaining) < len(shards):
        done = len(shards) - len(remaining)
        print_message(f"{out.address}: {done} of {len(shards)} parts with {images:,} images are already done")
    config = WorkerConfig(out.address, settings, max(1, ray_options.worker_cpus), ray_options.readers)
    counted, started, stopped = 0, time.monotonic(), 0
    if remaining:
        with connected(ray_options.ray), progress(images) as step, Interrupts() as interrupts:
            started = time.monotonic()
            for answer in interrupts.until(count_shards(config, remaining, ray_options)):
                if answer["problem"]:
                    raise ValueError(answer["problem"])
                counted += answer["images"]
                for _ in range(answer["images"]):
                    step()
            stopped = interrupts.signal
    summary = summarize(out, settings["format"], shards)
    summary.print(out, settings["format"], counted, time.monotonic() - started)
    if stopped:
        return 128 + stopped
    return 1 if summary.failures or summary.remaining else 0


def check_options(inputs: Sequence[str], options: CountOptions, ray_options: RayOptions) -> None:
    """Refuse options that would fail only after the counting.

    Raises:
        UsageError: For a value out of range, a missing folder, or options that exclude each other.
    """
    if options.resume:
        raise UsageError("--resume cannot be combined with --ray; a run with the same --out resumes automatically")
    for name in NOT_WITH_RAY:
        if getattr(options, name):
            raise UsageError(f"--{name} cannot be combined with --ray; count these images without --ray")
    if not inputs and not ray_options.paths:
        raise UsageError("no input given; try: headcount count photos --ray local --out counts")
    if options.out is None or options.out.is_file():
        raise UsageError(
            f"--ray requires --out with a folder or address that all machines share, got {options.out or 'nothing'}"
        )
    if options.format not in (None, "table", "parquet", "jsonl"):
        raise UsageError(f"--format must be parquet or jsonl with --ray, got {options.format}")
    check_numbers(options)
    for name, minimum in MINIMUM.items():
        if getattr(ray_options, name) < minimum:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {minimum}, got {getattr(ray_options, name)}")
    if not (ray_options.workers or ray_options.worker_cpus or ray_options.worker_gpus):
        raise UsageError("--worker-cpus 0 requires --workers, unless the workers have GPUs")


class Summary:
    """Totals of the part files in the folder of a run.

    Attributes:
        shards: Number of parts that the run will have.
        parts: Number of parts that are done.
        images: Number of images in these parts, failed ones included.
        people: Sum of the counts.
        failures: Number of images that could not be counted.
    """

    def __init__(self, shards: int):
        self.shards = shards
        self.parts = self.images = self.failures = 0
        self.people = 0.0

    @property
    def remaining(self) -> int:
        """Number of parts that are not done."""
        return self.shards - self.parts

    def add(self, part: Part) -> None:
        self.parts += 1
        self.images += part.images
        self.people += part.people
        self.failures += len(part.failures)

    def failure_lines(self, parts: Iterable[Part]) -> Iterator[bytes]:
        """Add parts while yielding the path and error of each failed image as a line of JSON."""
        for part in parts:
            self.add(part)
            for row in part.failures:
                yield json.dumps({"path": row["path"], "error": row["error"]}).encode() + b"\n"

    def print(self, out: Folder, output_format: str, counted: int, seconds: float) -> None:
        """Print the totals.

        Args:
            out: The folder of the run.
            output_format: parquet or jsonl.
            counted: Number of images that this run has counted.
            seconds: How long that took.
        """
        rate = f", {counted / seconds:,.1f} images/s in this run" if counted else ""
        print(f"{self.images:,} images, {self.people:,.0f} people, {self.failures:,} failures{rate}")
        print(f"{self.parts:,} {output_format} files are in {out.address_of('parts')}")
        if self.failures:
            failures = out.address_of("failures.jsonl")
            print_message(f"{self.failures:,} images could not be counted, see {failures}; --retry counts them again")
        if self.remaining:
            print_message(f"{self.remaining:,} of {self.shards:,} parts remain; run the same command again to resume")


def summarize(out: Folder, output_format: str, shards: Sequence[Shard]) -> Summary:
    """Read all parts, write failures.jsonl, and delete leftover files if nothing remains to be counted."""
    summary = Summary(len(shards))
    out.write("failures.jsonl", summary.failure_lines(read_parts(out, output_format, shards)))
    if not summary.remaining:
        out.remove_partial_files("parts", "lists", "trying", "")
    return summary

"""Option types that several commands share, and the options of `headcount count`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import cyclopts

T = TypeVar("T")

# These repeat ENGINES and PRECISIONS of headcount.inference.engines, which `headcount --help` must not import.
EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
OutputFormat = Literal["table", "csv", "jsonl", "parquet"]

Flag = Annotated[bool, cyclopts.Parameter(negative="", show_default=False)]
Repeatable = Annotated[tuple[T, ...], cyclopts.Parameter(negative="", show_default=False)]

VIDEO = cyclopts.Group("Video and cameras", sort_key=1)
RAY = cyclopts.Group("Many machines, with --ray", sort_key=2)


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class CountOptions:
    """The options of `headcount count`.

    Attributes:
        model: An .onnx file, a checkpoint folder, or the name of a bundled model. The command headcount info
            lists these models and describes the default one.
        format: table, csv (with a header), jsonl (one JSON object per image or frame) or parquet (with the columns of
            CSV). By default, the suffix of --out decides. Without --out, images give a table and videos give CSV.
        out: Write the results to this file instead of the screen. The file appears when it is complete.
        resume: Skip the images that --out already contains or that an interrupted run has counted.
        overlay: Write each image with its density map on top to this folder. The folder mirrors those
            of the images. For a single image it can be a .jpg, .png or .webp file, for a single video a .webm or .mp4
            file.
        regions: A JSON or GeoJSON file with named polygons. The people in each polygon are counted too.
        roi: Count only inside this polygon, given by its corners x,y in pixels: "0,0 400,0 400,300".
        points: Write the estimated head positions to this .csv, .json or .geojson file. headcount train reads the first
            two.
        scale: Resize each image by this factor first. By default, photos above 1.5 megapixels are counted at the scale
            that finds most of the people, and others as they are.
        every: Count one frame per interval: 1s, 0.2s, or 10f (every tenth frame).
        smooth: Also report the mean count over this many seconds. The mean lags by half that time.
        plot: Write a chart of the count over time to this .png file.
        engine: The runtime that runs the model.
        precision: The precision of the computation. auto is the engine's choice for this processor.
        max_pixels: Refuse larger files, in megapixels, before they are decoded.
        strict: Exit with code 1 if an image has a warning, such as one that is unlike those that the model knows.
    """

    model: Path | None = None
    format: OutputFormat | None = None
    out: Path | None = None
    resume: Flag = False
    overlay: Path | None = None
    regions: Path | None = None
    roi: str | None = None
    points: Path | None = None
    scale: float | None = None
    every: Annotated[str, cyclopts.Parameter(group=VIDEO)] = "1s"
    smooth: Annotated[float, cyclopts.Parameter(group=VIDEO, show_default=False)] = 0.0
    plot: Annotated[Path | None, cyclopts.Parameter(group=VIDEO)] = None
    engine: EngineName = "auto"
    precision: Precision = "auto"
    max_pixels: float = 400
    strict: Flag = False


@cyclopts.Parameter(name="*", group=RAY)
@dataclass(frozen=True)
class RayOptions:
    """The options of `headcount count` that count on a Ray cluster.

    Attributes:
        ray: The address of a Ray cluster: host:6379, ray://host:10001, auto (the cluster of this machine) or local
            (start one here). Inputs can then also be addresses (s3://bucket/folder) and patterns. The results are
            Parquet or JSON Lines files in the folder --out. If a run stops, run the same command again to resume it.
        paths: A text file of paths and addresses, one per line.
        retry: Count the images again that failed in earlier runs.
        part: Images per result file; a crashed worker repeats at most this many.
        workers: Number of worker processes. 0 starts as many as the cluster has capacity for.
        worker_cpus: CPUs per worker, and threads that its engine uses.
        worker_gpus: GPUs per worker.
        readers: Number of images each worker reads and decodes ahead. Increase it for GPUs and slow storage.
    """

    ray: str | None = None
    paths: Path | None = None
    retry: Flag = False
    part: int = 1000
    workers: int = 0
    worker_cpus: int = 1
    worker_gpus: float = 0
    readers: int = 4

"""Exporting a checkpoint to one .onnx file that counts the same, for images of any size.

Weights are stored in half precision, with a cast to float32 in the graph that every runtime folds away when it loads
the file. The file is half as large, and each engine still chooses what it computes in. No file is written unless its
counts agree with torch's on images of three odd sizes, and no int8 file unless its counts hold on photos too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from headcount.deployment.count_change import (
    CountChange,
    Folders,
    compare,
    counts,
    counts_of_crowds,
    half_precision_changes,
    select_photos,
)
from headcount.deployment.onnx_graph import (
    ExportError,
    Graph,
    append_checksum,
    in_half,
    set_metadata,
    trace,
    write_metadata,
)
from headcount.deployment.quantization import choose_photos, load_nncf, quantize
from headcount.inference.counter import Counter
from headcount.inference.engines import EngineError, Maps, ModelMeta, OpenVINOEngine, describe
from headcount.inference.engines.torch_engine import uncertainty_head
from headcount.models import serialization
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.synthetic.scenes import render

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 0.001  # relative count error of the graph in fp32
HALF_TOLERANCE = 0.01  # the same with weights stored in half precision
COMPARED = 40  # photos at most, whose counts are compared
INT8_TOLERANCE = 0.015  # of the mean count; int8 may change the counts of photos by this much
STORED = ("fp16", "fp32", "int8")  # precisions of stored weights
SIZES = ((213, 331), (384, 257), (97, 101))  # height, width: odd, tall and wide


@dataclass(frozen=True)
class ExportReport:
    """What was exported. The count errors are relative to torch, the worst over SIZES.

    Attributes:
        path: The file.
        megabytes: Its size.
        graph: Error of the graph with float32 weights.
        stored: Error with the weights as they are stored, computed in fp32.
        auto: Error of the same file computed in `precision`.
        precision: What this CPU computes in.
        change: For an int8 file, how int8 changed the counts of photos. The errors above are of the file before it
            was quantized.
        changes: How each half precision of this processor changed the counts of photos, against fp32.
    """

    path: Path
    megabytes: float
    graph: float
    stored: float
    auto: float
    precision: str
    change: CountChange | None = None
    changes: Mapping[str, CountChange] = field(default_factory=dict)


def export(
    checkpoint: str | Path | CountingModel | Ensemble,
    path: str | Path,
    precision: str = "fp16",
    name: str | None = None,
    data: str | None = None,
    metrics: Mapping[str, float] | None = None,
    calibrate: Folders | None = None,
    photos: Folders | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write a model as one .onnx file.

    Args:
        checkpoint: A checkpoint folder, a published MCNN .h5 file, or a CountingModel or Ensemble.
        path: The .onnx file to write. Its folder is created.
        precision: Of the stored weights. fp16 takes half the space of fp32, and the engine still chooses what it
            computes in. int8 is smaller and faster still, and is computed in int8 except for the layers that
            quantization.py keeps.
        name: What the model is called. None takes the checkpoint's name.
        data: What it was trained on. None takes the sets of its run.
        metrics: What it reached. None takes what the checkpoint says.
        calibrate: For int8, one or more folders of photos like those that will be counted, at least 20. A quarter of
            them is held out to measure how far counts change.
        photos: One or more folders of photos, at least 20. The file then says how far each half precision of this
            processor moves their counts, and "auto" takes none that moves them by more than 1 %.
        force: Whether to write an int8 file however far its counts change.
        progress: Called with (photos done, photos in total) after each photo that int8 takes.

    Returns:
        The file, and how its counts compare with torch's.

    Raises:
        ValueError: The checkpoint or a photo cannot be read, there are too few photos, a package is missing, or `path`
            does not end in .onnx.
        ExportError: The file would not count as the checkpoint does. Nothing is written.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"{path}: the exported file must end in .onnx")
    for_int8 = photos_for(precision, calibrate)
    to_compare = [] if photos is None else select_photos(photos, COMPARED)
    folder = Path(checkpoint) if isinstance(checkpoint, (str, Path)) else None
    model = serialization.load(checkpoint) if isinstance(checkpoint, (str, Path)) else checkpoint
    model = model.cpu().float().eval()
    with torch.inference_mode():
        meta = describe(model, folder)
    meta = replace(
        meta,
        name=meta.name if name is None else name,
        data=meta.data if data is None else data,
        metrics=meta.metrics if metrics is None else dict(metrics),
    )
    graph = Graph(model, uncertainty_head(folder)).eval()
    program = trace(graph)
    for key, value in meta.to_strings().items():
        program.metadata_props.add(key=key, value=value)

    path.parent.mkdir(parents=True, exist_ok=True)
    # Not io.files.atomic_write: engines open the draft by its name, which must end in .onnx, before it is complete.
    draft = path.with_name(f".{path.stem}.new.onnx")
    try:
        report = verify(graph, draft, program, half=precision != "fp32")
        if to_compare:
            report = replace(report, changes=half_precision_changes(draft, to_compare))
            means = {name: round(change.mean, 5) for name, change in report.changes.items()}
            set_metadata(program, "precision_change", json.dumps(means))
            write_metadata(draft, "precision_change", json.dumps(means))
        if for_int8:
            calibration, held_out = for_int8
            change = to_int8(draft, program, meta, calibration, held_out, progress)
            if not (change.mean <= INT8_TOLERANCE or force):
                raise ExportError(int8_refusal(change))
            report = replace(report, change=change, megabytes=draft.stat().st_size / 1e6)
        append_checksum(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return replace(report, path=path)


def photos_for(precision: str, calibrate: Folders | None) -> tuple[list[Path], list[Path]] | None:
    """Choose the photos that int8 needs: to calibrate on, and to compare counts on. None for other precisions.

    Raises:
        ValueError: The precision is unknown, int8 and photos are not given together, or there are too few photos.
    """
    if precision not in STORED:
        raise ValueError(f"unknown precision {precision!r}: weights are stored as {', '.join(STORED)}")
    if (precision == "int8") == (calibrate is None):
        raise ValueError("int8 and photos go together: --precision int8 --calibrate FOLDER")
    if calibrate is None:
        return None
    photos = choose_photos(calibrate)
    load_nncf()  # a missing package is reported before minutes of work
    return photos


def to_int8(
    path: Path,
    program: ModelProto,
    meta: ModelMeta,
    calibration: list[Path],
    held_out: list[Path],
    progress: Callable[[int, int], None] | None,
) -> CountChange:
    """Replace the half-precision file at `path` by an int8 one.

    Args:
        path: The file.
        program: The same graph with float32 weights.
        meta: What the file says about the model.
        calibration: Photos to calibrate on.
        held_out: Photos to compare counts on.
        progress: Called with (photos done, photos in total) after each photo.

    Returns:
        How far the counts of the held-out photos changed.

    Raises:
        PhotosError: The model counts nobody on the photos.
    """
    total, done = len(calibration) + 2 * len(held_out), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, total), total)

    before = counts_of_crowds(Counter(OpenVINOEngine(path, "fp32")), held_out, step)
    program = in_half(quantize(program, calibration, meta.min_side, step))
    set_metadata(program, "weights", "int8")
    path.write_bytes(program.SerializeToString())
    return compare(before, counts(Counter(OpenVINOEngine(path)), held_out, step))


def int8_refusal(change: CountChange) -> str:
    """Why an int8 file is not written."""
    return (
        f"int8 changes the counts of {change.photos} held-out photos by {change.mean:.2%} of the mean count, and"
        f" {INT8_TOLERANCE:.1%} is allowed; calibrate on more photos like those that will be counted (--force writes"
        " the file anyway)"
    )


def verify(graph: Graph, path: Path, program: ModelProto, half: bool) -> ExportReport:
    """Write the graph to `path` and compare its counts with the model's.

    Args:
        graph: The network, as it is exported.
        path: The file to write.
        program: Its ONNX graph with float32 weights.
        half: Whether to store the weights in half precision.

    Raises:
        ExportError: The counts, the mask or the shapes differ.
    """
    images = [crowd_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]
    with torch.inference_mode():
        own = [Maps(*(m.numpy() for m in graph(torch.from_numpy(image)))) for image in images]

    def counted(precision: str, program: ModelProto) -> tuple[list[Maps], str]:
        path.write_bytes(program.SerializeToString())
        try:
            engine = OpenVINOEngine(path, precision)
        except EngineError as error:
            raise ExportError(f"the exported graph cannot be run: {error}") from None
        return [engine.run(image) for image in images], engine.precision

    exact, _ = counted("fp32", program)
    for image, mine, theirs in zip(images, own, exact, strict=True):
        size = f"{image.shape[2]}x{image.shape[1]}"
        if mine.density.shape != theirs.density.shape:
            raise ExportError(f"at {size} the exported graph gives {theirs.density.shape}, not {mine.density.shape}")
        for name in graph.outputs[1:]:
            if not np.allclose(getattr(mine, name), getattr(theirs, name), atol=0.01):
                raise ExportError(f"at {size} the exported {name} differs from torch's")
    error = worst(own, exact)
    if not error <= TOLERANCE:
        raise ExportError(f"the exported graph's counts are {error:.2%} off torch's; {TOLERANCE:.1%} is allowed")
    written = in_half(program) if half else program
    stored = worst(own, counted("fp32", written)[0])
    if not stored <= HALF_TOLERANCE:
        raise ExportError(f"half-precision weights change the counts by {stored:.2%}; export with --precision fp32")
    fast, precision = counted("auto", written)
    return ExportReport(path, path.stat().st_size / 1e6, error, stored, worst(own, fast), precision)


def worst(reference: list[Maps], other: list[Maps]) -> float:
    """The largest error of the counts, relative to sum |density| or to a tenth of a person if that is less."""
    pairs = zip(reference, other, strict=True)
    return max(float(abs(a.density.sum() - b.density.sum()) / max(np.abs(a.density).sum(), 0.1)) for a, b in pairs)


def crowd_image(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (1,H,W,3): a rendered crowd. On noise a counter sees nobody, and there would be nothing to compare."""
    return render(seed, people=120, width=width, height=height).image[None]

"""A checkpoint to one .onnx file that is as good: any picture size, all weights inside, and checked.

What is unusual: weights are stored in half precision with a cast to float32 in the graph, which every runtime
folds away when it loads them, so that the file is half as large and each engine still chooses what it
computes in. No file is written unless its counts agree with torch's at three odd picture sizes, and no int8
file unless they hold on photos too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.deployment.quantization import (
    CalibrationError,
    CountChange,
    choose_photos,
    compare,
    counts,
    load_nncf,
    quantise,
)
from headcount.inference.counter import Counter
from headcount.inference.engines import SEAL, EngineError, ModelMeta, OpenVINOEngine, describe
from headcount.models import serialization
from headcount.synthetic.scenes import render

TOLERANCE = 0.001  # relative count error of the graph in fp32
HALF_TOLERANCE = 0.01  # and once its weights are stored in half precision
INT8_TOLERANCE = 0.015  # of the mean count, how much int8 may move counts on photos
STORED = ("fp16", "fp32", "int8")  # what the weights of a file can be
SIZES = ((213, 331), (384, 257), (97, 101))  # height, width: odd, tall and wide
OPSET = 20
SMALL = 1024  # values; smaller tensors keep their precision


class ExportError(RuntimeError):
    """The exported file does not count as the checkpoint does, or a tool for exporting is missing."""


@dataclass(frozen=True)
class ExportReport:
    """path, megabytes of the file written. Relative count errors against torch, the worst over SIZES: `graph`
    of the graph with whole weights, `stored` of the file (half-precision weights) computed in fp32, `auto` of
    the file computed in `precision`, which this CPU chooses. An int8 file was such a file before; `change` is what
    int8 then did to its counts on photos."""

    path: Path
    megabytes: float
    graph: float
    stored: float
    auto: float
    precision: str
    change: CountChange | None = None


class Graph(nn.Module):
    """A CountingModel as the exported graph has it: image uint8 (N,H,W,3) -> density, mask: float32 (N,h,w)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(image.permute(0, 3, 1, 2))
        logits = output.mask_logits
        return output.density, torch.ones_like(output.density) if logits is None else logits.sigmoid()


def export(
    checkpoint: str | Path | nn.Module,
    path: str | Path,
    precision: str = "fp16",
    name: str | None = None,
    data: str | None = None,
    metrics: dict | None = None,
    calibrate: str | Path | Iterable[str | Path] | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write a model as one .onnx file.

    Args:
        checkpoint: a checkpoint folder, a published MCNN .h5 file, or a CountingModel or Ensemble.
        path: the .onnx file to write; its folder is made.
        precision: of the stored weights. fp16 is half the size of fp32; what it computes in stays the engine's choice.
            int8 is smaller and faster still, and is computed in int8 but for the layers that quantise.py keeps.
        name, data, metrics: what the file says of itself: its name, what it was trained on, what it reached.
            None takes what the checkpoint says.
        calibrate: for int8, a folder or folders of photos like those that will be counted, 20 at least; a fourth of
            them is held back to measure how far counts move.
        force: write an int8 file however far they move.
        progress: called with (photos done, photos in all) after each photo that int8 takes.

    Raises:
        ValueError: the checkpoint or a photo cannot be read, there are too few photos, a package is missing, or the
            path is not an .onnx file's.
        ExportError: the file would not count as the checkpoint does; nothing is written.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"{path}: the exported file must end in .onnx")
    photos = photos_for(precision, calibrate)
    folder = Path(checkpoint) if isinstance(checkpoint, (str, Path)) else None
    model: Any = checkpoint if isinstance(checkpoint, nn.Module) else serialization.load(checkpoint)
    model = model.cpu().float().eval()
    with torch.inference_mode():
        meta = describe(model, folder)
    said: dict[str, Any] = {"name": name, "data": data, "metrics": metrics}
    meta = replace(meta, **{k: v for k, v in said.items() if v is not None})
    program = trace(model)
    for key, value in meta.to_strings().items():
        program.metadata_props.add(key=key, value=value)

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.new.onnx")
    try:
        report = check(model, draft, program, half=precision != "fp32")
        if photos:
            change = to_int8(draft, program, meta, *photos, progress)
            if not (change.mean <= INT8_TOLERANCE or force):
                raise ExportError(refusal(change))
            report = replace(report, change=change, megabytes=draft.stat().st_size / 1e6)
        seal(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return replace(report, path=path)


def seal(path: Path) -> None:
    """Append the checksum that `engines.check_seal` compares."""
    content = path.read_bytes()
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


def photos_for(precision: str, calibrate: Any) -> tuple[list[Path], list[Path]] | None:
    """The photos that int8 needs, to calibrate on and to compare counts on; None where it is not asked for."""
    if precision not in STORED:
        raise ValueError(f"unknown precision {precision!r}: weights are stored as {', '.join(STORED)}")
    if (precision == "int8") == (calibrate is None):
        raise ValueError("int8 and photos go together: --precision int8 --calibrate FOLDER")
    if calibrate is None:
        return None
    photos = choose_photos(calibrate)
    load_nncf()  # if it is missing, that is said before minutes of work
    return photos


def to_int8(
    path: Path,
    program: Any,
    meta: ModelMeta,
    calibrated: list[Path],
    held_back: list[Path],
    progress: Callable[[int, int], None] | None,
) -> CountChange:
    """Write the program to `path`, where it stands in half precision, in int8; how far counts moved on `held_back`."""
    total, done = len(calibrated) + 2 * len(held_back), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, total), total)

    before = counts(Counter(OpenVINOEngine(path, "fp32")), held_back, step)
    if before.mean() < 1:  # nothing to compare, nor to calibrate on
        raise CalibrationError(
            f"the photos show nobody: the model counts {before.mean():.1f} on average; calibrate on photos of crowds"
        )
    program = in_half(quantise(program, calibrated, meta.min_side, step))
    for note in program.metadata_props:
        if note.key == "weights":
            note.value = "int8"
    path.write_bytes(program.SerializeToString())
    return compare(before, counts(Counter(OpenVINOEngine(path)), held_back, step))


def refusal(change: CountChange) -> str:
    return (
        f"int8 moves the counts of {change.photos} photos that were held back by {change.mean:.2%} of the mean count,"
        f" and {INT8_TOLERANCE:.1%} is allowed; calibrate on more photos, of the kind that will be counted"
        " (--force writes it all the same)"
    )


def trace(model: nn.Module) -> Any:
    """The ONNX ModelProto of a model, for any N, H and W."""
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it, and says so in a page of text
    except ImportError:
        raise ExportError(f"exporting needs onnx and onnxscript: {install_hint('train')}") from None
    example = torch.zeros(2, 123, 157, 3, dtype=torch.uint8)  # odd and unequal, so that no size is taken for a constant
    any_size = {axis: torch.export.Dim.DYNAMIC for axis in (0, 1, 2)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # its progress is of no use to users
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Graph(model).eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(any_size,),
            input_names=["image"],
            output_names=["density", "mask"],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # with dynamo=True there always is one
    return tidy(program.model_proto)


def tidy(program: Any) -> Any:
    """Drop the exporter's notes (source lines, paths of this machine) and name the sizes."""
    graph = program.graph
    del graph.value_info[:]
    for part in (program, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for value, names in [(graph.input[0], ("n", "height", "width"))] + [(o, ("n", "h", "w")) for o in graph.output]:
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            axis.dim_param = name
    return program


def in_half(program: Any) -> Any:
    """The same program with large tensors in float16, each followed by a Cast to float32. Biases, int8's scales and the
    normalisation stay: they weigh nothing, and rounding them would shift every pixel."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    half = ModelProto()
    half.CopyFrom(program)
    limit = np.finfo(np.float16).max  # a weight beyond it is clipped: the check tells whether that matters
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or math.prod(tensor.dims) < SMALL:
            continue
        wanted, stored = tensor.name, f"{tensor.name}.half"
        weights = numpy_helper.to_array(tensor).clip(-limit, limit).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(weights, stored))
        casts.append(helper.make_node("Cast", [stored], [wanted], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half


def check(model: nn.Module, path: Path, program: Any, half: bool) -> ExportReport:
    """Write the program to `path`, with its weights in half precision or not, having compared its counts with
    the model's; ExportError where they differ."""
    images = [picture(height, width, seed) for seed, (height, width) in enumerate(SIZES)]
    with torch.inference_mode():
        own = [[m.numpy() for m in Graph(model)(torch.from_numpy(image))] for image in images]

    def counted(precision: str, program: Any) -> tuple[list, str]:
        path.write_bytes(program.SerializeToString())
        try:
            engine = OpenVINOEngine(path, precision)
        except EngineError as error:
            raise ExportError(f"the exported graph cannot be run: {error}") from None
        return [engine.run(image) for image in images], engine.precision

    exact, _ = counted("fp32", program)
    for image, mine, theirs in zip(images, own, exact, strict=True):
        size = f"{image.shape[2]}x{image.shape[1]}"
        if mine[0].shape != theirs[0].shape:
            raise ExportError(f"at {size} the exported graph gives {theirs[0].shape}, not {mine[0].shape}")
        if not np.allclose(mine[1], theirs[1], atol=0.01):
            raise ExportError(f"at {size} the exported mask differs from torch's")
    graph = worst(own, exact)
    if not graph <= TOLERANCE:
        raise ExportError(f"the exported graph's counts are {graph:.2%} off torch's; {TOLERANCE:.1%} is allowed")
    written = in_half(program) if half else program
    stored = worst(own, counted("fp32", written)[0])
    if not stored <= HALF_TOLERANCE:
        raise ExportError(f"half precision weights put counts {stored:.2%} off; export with --precision fp32")
    fast, precision = counted("auto", written)
    return ExportReport(path, path.stat().st_size / 1e6, graph, stored, worst(own, fast), precision)


def worst(reference: list, other: list) -> float:
    """The largest error of the counts, relative to sum |density|, of which a tenth of a person is the least."""
    pairs = zip(reference, other, strict=True)
    return max(float(abs(a[0].sum() - b[0].sum()) / max(np.abs(a[0]).sum(), 0.1)) for a, b in pairs)


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (1,H,W,3): a rendered crowd, since on noise a counter sees nobody and there is nothing to compare."""
    return render(seed, people=120, width=width, height=height).image[None]

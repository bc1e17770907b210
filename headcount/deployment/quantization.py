"""Quantizing a traced graph to int8, calibrated on photos, and measuring how that changes the count.

Layers that int8 would ruin keep their precision. A cell holds few people, so 256 steps of the density are too coarse
for sparse scenes and saturate in dense ones. The branch that ends in the density, the layers with a single input or
output map, and the products of maps are therefore not quantized. Neither are depthwise convolutions, which take little
time and would double the error. Whether that is enough is measured on photos that were not calibrated on. Weights take
7 bits: CPUs without VNNI add two products of bytes in 16 bits, which 8-bit weights overflow.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from headcount._extras import install_hint
from headcount.geometry import enlarge_to
from headcount.inference.counter import Counter
from headcount.io.images import list_images, read_image

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MIN_PHOTOS, MAX_PHOTOS = 20, 400  # fewer do not represent a crowd, more add nothing new
HELD_OUT = 4  # every fourth photo is not calibrated on, and counts are compared on it
SIDE = 512  # pixels; only the center of a photo is calibrated on, at most this high and wide
FEW = 10.0  # people; a worst error is relative to at least this many

KEPT = ("head.density.", "head.regressor.")  # the branches that end in the density (fusion.py)
KEPT_TYPES = ("Mul", "Div")  # mask x density, its scale, luma: nncf would quantize them too


class CalibrationError(ValueError):
    """The photos to calibrate on cannot be used, or a package for it is missing. The message is one line."""


@dataclass(frozen=True)
class CountChange:
    """How int8 changed the counts of photos that were not calibrated on.

    Attributes:
        photos: Number of photos.
        people: Mean count before.
        mean: Mean |after - before| over the mean count.
        sparse: The same in the quarter of the photos with the fewest people.
        bias: Relative change of all people together.
        worst: Largest change of a photo's count, relative to it or to FEW people.
    """

    photos: int
    people: float
    mean: float
    sparse: float
    bias: float
    worst: float


def choose_photos(folders: str | Path | Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """Choose photos evenly from the sorted files of folders, the same ones each time.

    Args:
        folders: One or more folders, which are searched with their subfolders.

    Returns:
        Photos to calibrate on, and photos that are held out; at most MAX_PHOTOS in total.

    Raises:
        CalibrationError: A folder does not exist, or there are fewer than MIN_PHOTOS photos.
    """
    given = [Path(f) for f in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)]
    if missing := [folder for folder in given if not folder.is_dir()]:
        raise CalibrationError(f"{missing[0]}: no such folder; give one of photos like those that will be counted")
    found = list_images(given)
    if len(found) < MIN_PHOTOS:
        names = ", ".join(map(str, given)) or "no folder"
        raise CalibrationError(
            f"{names}: {len(found)} photos; int8 needs at least {MIN_PHOTOS} like those that will be counted"
        )
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(len(found), MAX_PHOTOS)).round().astype(int)]
    held_out = chosen[HELD_OUT - 1 :: HELD_OUT]
    return [path for i, path in enumerate(chosen) if (i + 1) % HELD_OUT], held_out


def quantize(
    program: ModelProto, photos: list[Path], min_side: int, step: Callable[[], None] = lambda: None
) -> ModelProto:
    """Quantize a graph, with QuantizeLinear / DequantizeLinear pairs that OpenVINO and ONNX Runtime both run.

    Args:
        program: A graph as `onnx_export.trace` returns it, with float32 weights. It is not changed.
        photos: Photos to calibrate on, as the model will see them.
        min_side: The model's rule for enlarging small images.
        step: Called after each photo.

    Returns:
        A graph with int8 weights and the same input, outputs and metadata.
    """
    import onnx

    nncf = load_nncf()

    def model_input(path: Path) -> dict[str, np.ndarray]:
        image = center_crop(enlarge_to(read_image(path), min_side))
        step()
        return {"image": image[None]}

    copy = onnx.ModelProto()
    copy.CopyFrom(program)
    with quiet():
        settings = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        quantized: ModelProto = nncf.quantize(
            copy,
            nncf.Dataset(photos, model_input),
            subset_size=len(photos),
            ignored_scope=nncf.IgnoredScope(names=kept(program)),
            advanced_parameters=settings,
        )
    del quantized.graph.value_info[:]  # shapes of every map, which each runtime infers
    return quantized


def kept(program: ModelProto) -> list[str]:
    """The names of the nodes that are not quantized; the docstring of this module says why."""
    weights = {tensor.name: tensor for tensor in program.graph.initializer}

    def keeps(node: NodeProto) -> bool:
        if node.op_type != "Conv":
            return node.op_type in KEPT_TYPES
        outputs, inputs = weights[node.input[1]].dims[:2]  # (out, in per group, height, width)
        return 1 in (outputs, inputs) or node.input[1].removeprefix("model.").startswith(KEPT)

    return [node.name for node in program.graph.node if keeps(node)]


def center_crop(image: np.ndarray) -> np.ndarray:
    """The center of an image (H,W,3), at most SIDE pixels high and wide."""
    top, left = (max(size - SIDE, 0) // 2 for size in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def counts(counter: Counter, photos: list[Path], step: Callable[[], None] = lambda: None) -> np.ndarray:
    """(N,) people in each photo, as users count them. `step` is called after each."""
    found = []
    for photo in photos:
        found.append(counter.count(photo).count)
        step()
    return np.array(found)


def compare(before: np.ndarray, after: np.ndarray) -> CountChange:
    """How two counts (N,) of the same photos differ. `before` must have people in it."""
    change = after - before
    sparse = np.argsort(before)[: max(len(before) // 4, 1)]
    return CountChange(
        photos=len(before),
        people=float(before.mean()),
        mean=float(np.abs(change).sum() / before.sum()),
        sparse=float(np.abs(change[sparse]).sum() / max(before[sparse].sum(), FEW)),
        bias=float(change.sum() / before.sum()),
        worst=float((np.abs(change) / np.maximum(before, FEW)).max()),
    )


def load_nncf() -> ModuleType:
    """Import nncf without output and without its telemetry.

    Raises:
        CalibrationError: nncf or onnxruntime is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        with quiet():
            import nncf
            import onnxruntime  # noqa: F401  nncf runs the graph in it
    except ImportError as error:
        raise CalibrationError(f"int8 needs {error.name}: {install_hint('int8')}") from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the progress bars, notes and warnings of other packages."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

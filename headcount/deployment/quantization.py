"""A traced graph in int8, calibrated on photos, and what that costs the count.

What is unusual: what int8 would ruin is kept as it was. People are few per cell, so 256 steps of the density are too
coarse for sparse scenes and saturate in dense ones: the branch that ends in the density, the layers that give or take
a single map, and the products of maps stay whole; so do depthwise convolutions, which cost nearly no time and twice the
error. Whether that is enough is measured on photos that were not calibrated on. Weights take 7 bits: CPUs without VNNI
add two products of bytes in 16 bits, which 8-bit weights overflow.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headcount._extras import install_hint
from headcount.geometry import enlarge_to
from headcount.inference.counter import Counter
from headcount.io.images import list_images, read_image

LEAST, MOST = 20, 400  # photos taken: fewer say nothing of a crowd, more say nothing new
HELD_BACK = 4  # every fourth photo is not calibrated on: the count is compared there
SIDE = 512  # pixels; the middle of a photo is calibrated on, at most so high and wide
FEW = 10.0  # people; a worst error is relative to at least so many

KEPT = ("head.density.", "head.regressor.")  # the branches that end in the density (fusion.py)
KEPT_TYPES = ("Mul", "Div")  # mask x density, its scale, luma: not convolutions, yet quantised where nobody objects


class CalibrationError(ValueError):
    """The photos to calibrate on are not usable, or a package for it is missing; one line."""


@dataclass(frozen=True)
class CountChange:
    """How counts moved on `photos` that were not calibrated on, where `people` is the mean count before.

    mean: the mean |after - before| over the mean count. sparse: the same in the quarter that has the fewest people.
    bias: the change of all people together, relative. worst: the largest change of one photo's count, relative to it
    or to FEW people.
    """

    photos: int
    people: float
    mean: float
    sparse: float
    bias: float
    worst: float


def choose_photos(folders: str | Path | Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """(to calibrate on, held back), from folders that are walked: at most MOST, evenly spaced in their sorted order,
    the same ones each time. Raises CalibrationError where there are fewer than LEAST."""
    given = [Path(f) for f in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)]
    if missing := [folder for folder in given if not folder.is_dir()]:
        raise CalibrationError(f"{missing[0]}: no such folder; give one of photos like those that will be counted")
    found = list_images(given)
    if len(found) < LEAST:
        names = ", ".join(map(str, given)) or "no folder"
        raise CalibrationError(
            f"{names}: {len(found)} photos; int8 is calibrated on at least {LEAST} like those that will be counted"
        )
    taken = [found[i] for i in np.linspace(0, len(found) - 1, min(len(found), MOST)).round().astype(int)]
    held_back = taken[HELD_BACK - 1 :: HELD_BACK]
    return [path for i, path in enumerate(taken) if (i + 1) % HELD_BACK], held_back


def quantise(program: Any, photos: list[Path], min_side: int, step: Callable[[], None] = lambda: None) -> Any:
    """An ONNX ModelProto with int8 weights and QuantizeLinear / DequantizeLinear pairs, which OpenVINO and ONNX Runtime
    both run; same input, outputs and metadata.

    program: a ModelProto as export.trace gives it, weights in float32; it is not changed. photos: calibrated on as the
    model will see them (`min_side`). step: called after each photo.
    """
    import onnx

    nncf = load_nncf()

    def image_of(path: Path) -> dict[str, np.ndarray]:
        image = middle(enlarge_to(read_image(path), min_side))
        step()
        return {"image": image[None]}

    copy = onnx.ModelProto()
    copy.CopyFrom(program)
    with quiet():
        settings = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        quantised = nncf.quantize(
            copy,
            nncf.Dataset(photos, image_of),
            subset_size=len(photos),
            ignored_scope=nncf.IgnoredScope(names=kept(program)),
            advanced_parameters=settings,
        )
    del quantised.graph.value_info[:]  # shapes of every map, which each runtime works out by itself
    return quantised


def kept(program: Any) -> list[str]:
    """The names of the nodes that are not quantised; see the top of this file."""
    weights = {tensor.name: tensor for tensor in program.graph.initializer}

    def keeps(node: Any) -> bool:
        if node.op_type != "Conv":
            return node.op_type in KEPT_TYPES
        outputs, inputs = weights[node.input[1]].dims[:2]  # (out, in of a group, height, width)
        return 1 in (outputs, inputs) or node.input[1].removeprefix("model.").startswith(KEPT)

    return [node.name for node in program.graph.node if keeps(node)]


def middle(image: np.ndarray) -> np.ndarray:
    """The middle of an image (H,W,3), at most SIDE pixels high and wide."""
    top, left = (max(size - SIDE, 0) // 2 for size in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def counts(counter: Counter, photos: list[Path], step: Callable[[], None] = lambda: None) -> np.ndarray:
    """(N,) people in each photo, as users count them. step: called after each."""
    found = []
    for photo in photos:
        found.append(counter.count(photo).count)
        step()
    return np.array(found)


def compare(before: np.ndarray, after: np.ndarray) -> CountChange:
    """How counts (N,) of the same photos differ; `before` has people in it."""
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


def load_nncf() -> Any:
    """The nncf package, silent: nothing on the screen, and its maker is not told that it runs."""
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
def quiet():
    """No progress bars, notes or warnings of others on standard output."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

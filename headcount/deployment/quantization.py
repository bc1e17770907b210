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
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from headcount._extras import install_hint
from headcount.deployment.count_change import Folders, select_photos
from headcount.geometry import enlarge_to
from headcount.io.images import read_image

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MAX_PHOTOS = 400  # more add nothing new
HELD_OUT = 4  # every fourth photo is not calibrated on, and counts are compared on it
SIDE = 512  # pixels; only the center of a photo is calibrated on, at most this high and wide

KEPT = ("head.density.", "head.regressor.")  # the branches that end in the density (fusion.py)
KEPT_TYPES = ("Mul", "Div")  # mask x density, its scale, luma: nncf would quantize them too


class QuantizationError(ValueError):
    """A package that int8 needs is missing. The message is one line."""


def choose_photos(folders: Folders) -> tuple[list[Path], list[Path]]:
    """Choose photos evenly from the sorted files of folders, the same ones each time.

    Args:
        folders: One or more folders, which are searched with their subfolders.

    Returns:
        Photos to calibrate on, and photos that are held out; at most MAX_PHOTOS in total.

    Raises:
        PhotosError: A folder does not exist, or there are too few photos.
    """
    chosen = select_photos(folders, MAX_PHOTOS)
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


def load_nncf() -> ModuleType:
    """Import nncf without output and without its telemetry.

    Raises:
        QuantizationError: nncf or onnxruntime is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        with quiet():
            import nncf
            import onnxruntime  # noqa: F401  nncf runs the graph in it
    except ImportError as error:
        raise QuantizationError(f"int8 needs {error.name}: {install_hint('int8')}") from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the progress bars, notes and warnings of other packages."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

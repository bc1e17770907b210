"""The ONNX graph of a network: tracing it, storing its weights in half precision, and its metadata."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.inference.engines import CHECKSUM_FIELD, Maps
from headcount.io.files import atomic_write

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
CHECKSUM_KEY = "sha256"  # of the metadata entry that is CHECKSUM_FIELD
SMALL = 1024  # values; smaller tensors keep their precision


class ExportError(RuntimeError):
    """The exported file would not count as the checkpoint does, or a package for exporting is missing."""


class Graph(nn.Module):
    """A CountingModel with the inputs and outputs of the exported graph.

    It takes images uint8 (N,H,W,3) and returns float32 (N,h,w): density, mask and, with a fitted head, uncertainty.
    """

    def __init__(self, model: nn.Module, uncertainty: nn.Module | None = None):
        super().__init__()
        self.model, self.uncertainty = model, uncertainty
        self.outputs = Maps._fields[: 2 if uncertainty is None else 3]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output = self.model(image.permute(0, 3, 1, 2))
        logits = output.mask_logits
        mask = torch.ones_like(output.density) if logits is None else logits.sigmoid()
        return output.density, mask, *(() if self.uncertainty is None else [self.uncertainty(output.features)])


def trace(graph: Graph) -> ModelProto:
    """The ONNX graph of a model, for any N, H and W.

    Raises:
        ExportError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it, and its own message is a page long
    except ImportError:
        raise ExportError(f"exporting needs onnx and onnxscript: {install_hint('train')}") from None
    example = torch.zeros(2, 123, 157, 3, dtype=torch.uint8)  # odd and unequal, so that no size becomes a constant
    any_size = {axis: torch.export.Dim.DYNAMIC for axis in (0, 1, 2)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # its progress output
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=(any_size,),
            input_names=["image"],
            output_names=list(graph.outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # it never is with dynamo=True
    return tidy(program.model_proto)


def tidy(program: ModelProto) -> ModelProto:
    """Return a copy without the exporter's notes (source lines, paths of this machine), and with named sizes."""
    program = copy_of(program)
    graph = program.graph
    del graph.value_info[:]
    for part in (program, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for value, names in [(graph.input[0], ("n", "height", "width"))] + [(o, ("n", "h", "w")) for o in graph.output]:
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            axis.dim_param = name
    return program


def in_half(program: ModelProto) -> ModelProto:
    """Return a copy with large tensors in float16, each followed by a Cast to float32.

    Biases, the scales of int8 and the normalization keep their precision: they take little space, and rounding them
    would shift every pixel.
    """
    from onnx import TensorProto, helper, numpy_helper

    half = copy_of(program)
    limit = np.finfo(np.float16).max  # larger weights are clipped; the check tells whether that matters
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


def copy_of(program: ModelProto) -> ModelProto:
    """A copy of a graph."""
    from onnx import ModelProto

    copy = ModelProto()
    copy.CopyFrom(program)
    return copy


def set_metadata(program: ModelProto, key: str, value: str) -> None:
    """Set an entry of a graph's metadata that `ModelMeta.to_strings` wrote."""
    [entry] = [entry for entry in program.metadata_props if entry.key == key]
    entry.value = value


def write_metadata(path: Path, key: str, value: str) -> None:
    """The same of a file."""
    import onnx

    program = onnx.load(path)
    set_metadata(program, key, value)
    path.write_bytes(program.SerializeToString())


def copy_with_metadata(source: Path, target: Path, **values: object) -> None:
    """Write a copy of an exported file that says something else of itself.

    Args:
        source: The file.
        target: The copy.
        values: Fields of ModelMeta that are stored as JSON.
    """
    import onnx

    program = onnx.load(source)
    known = {entry.key for entry in program.metadata_props}
    kept = [entry for entry in program.metadata_props if entry.key != CHECKSUM_KEY]
    del program.metadata_props[:]
    program.metadata_props.extend(kept)
    for key, value in values.items():
        if key not in known:
            program.metadata_props.add(key=key)
        set_metadata(program, key, json.dumps(value))
    with atomic_write(target, "wb") as file:
        file.write(with_checksum(program.SerializeToString()))


def append_checksum(path: Path) -> None:
    """Append the checksum that `engines.checksum.verify_checksum` compares."""
    path.write_bytes(with_checksum(path.read_bytes()))


def with_checksum(content: bytes) -> bytes:
    """The content of an .onnx file with its checksum behind it."""
    return content + CHECKSUM_FIELD + hashlib.sha256(content).hexdigest().encode()

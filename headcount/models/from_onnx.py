"""An exported .onnx file back to the network that it was made from, to train it further.

Exporting folds each batch norm into the convolution before it, so the original norm is lost. It is restored as a norm
that adds the folded offset and does nothing else. That is the same function, and it trains equally well because no
network here updates the statistics of its norms in training.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.io.files import single_line
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.serialization import build


def restore(path: str | Path) -> CountingModel | Ensemble:
    """The network that `headcount export` wrote to an .onnx file, in eval mode.

    Weights are as the file stores them, so half-precision weights are rounded.

    Raises:
        ValueError: naming the file, which cannot be read, is quantized, or does not say which network it holds.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path)
    if metadata.get("weights") == "int8":
        raise ValueError(f"{path}: is quantized and cannot be trained further; give the checkpoint it was made from")
    if not metadata.get("config", "{}").strip("{}"):
        raise ValueError(f"{path}: does not say which network it holds; export it again with: headcount export")
    try:
        model = build(json.loads(metadata["config"]))
        model.load_state_dict(weights_of(model, tensors))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = single_line(error)[:300]
        raise ValueError(f"{path}: does not hold the network it names ({reason}); export it again") from None
    return model.eval()


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata of an .onnx file, and its tensors by name.

    The bias of each convolution is stored under the name of its weight. In the file the offset of a folded norm has
    another name, and a bias of zeros is missing because exporting drops it.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ValueError(f"{path}: reading its weights needs onnx; {install_hint('train')}") from None
    try:
        program = onnx.load(path, load_external_data=False)
        tensors = {t.name.removesuffix(".half"): numpy_helper.to_array(t) for t in program.graph.initializer}
    except Exception as error:  # protobuf's exceptions have no common base
        raise ValueError(f"{path}: cannot be read as an .onnx file ({single_line(error)[:200]})") from None
    for node in program.graph.node:
        if node.op_type == "Conv" and node.input[1] in tensors:
            bias = tensors.get("".join(node.input[2:]), np.zeros(len(tensors[node.input[1]])))
            tensors[f"{node.input[1].removesuffix('.weight')}.bias"] = bias
    return {entry.key: entry.value for entry in program.metadata_props}, tensors


def weights_of(model: nn.Module, tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of `model` from the tensors of its exported graph. Raises KeyError for a missing tensor."""
    state: dict[str, Tensor] = {}
    previous = ""  # the last convolution: the norm that follows it was folded into it
    for name, module in model.named_modules():
        own = [key for key in module.state_dict() if "." not in key]
        if isinstance(module, nn.BatchNorm2d) and f"model.{name}.weight" not in tensors:
            values = offset_only(module, as_floats(tensors[f"model.{previous}.bias"]))
        else:
            values = {key: as_floats(tensors[f"model.{name}.{key}"]) for key in own}
        state |= {f"{name}.{key}": value for key, value in values.items()}
        previous = name if isinstance(module, nn.Conv2d) else previous
    return state


def as_floats(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def offset_only(norm: nn.BatchNorm2d, offset: Tensor) -> dict[str, Tensor]:
    """The state of a norm that adds `offset` (C,) and does nothing else."""
    return {
        "weight": torch.ones_like(offset),
        "bias": offset,
        "running_mean": torch.zeros_like(offset),
        "running_var": torch.full_like(offset, 1 - norm.eps),  # the norm adds eps to it
        "num_batches_tracked": torch.tensor(0),
    }

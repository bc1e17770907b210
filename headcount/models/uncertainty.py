"""How unsure a network is of each cell, as one linear layer on the features that its head counts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class UncertaintyHead(nn.Module):
    """The logarithm of the error that a cell's features announce, relative to that of a typical image.

    `evaluation.uncertainty` fits the weights after training, so the network counts as it would without them.

    Args:
        weights: One for each of the C channels of the features.
        bias: Added to each cell.
    """

    def __init__(self, weights: Sequence[float], bias: float):
        super().__init__()
        self.layer = nn.Conv2d(len(weights), 1, 1)
        with torch.no_grad():
            self.layer.weight[0, :, 0, 0] = torch.tensor(weights)
            self.layer.bias[:] = bias  # type: ignore[index]

    def forward(self, features: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,h,w)."""
        return self.layer(features)[:, 0]

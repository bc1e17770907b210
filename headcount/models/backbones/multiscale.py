"""The paper's light backbone, which trains from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headcount.models.backbones.base import Backbone, conv

WIDTH = 64  # channels of each branch of a multi-scale unit


class MultiscaleUnit(nn.Module):
    """Four 64-channel branches that see 1, 3, 5 and (separably) 7 cells, concatenated to 256 channels."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(inputs, WIDTH, 1),
                conv(inputs, WIDTH, 3),
                conv(inputs, WIDTH, 5),
                nn.Sequential(conv(inputs, WIDTH, (1, 7)), conv(WIDTH, WIDTH, (7, 1))),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)  # (N,256,h,w)


class Multiscale(Backbone):
    """The paper's light backbone: grey input, stride 4.

    The section "Networks" of docs/method.md says how the paper was read.
    """

    channels, stride, pad, reach, grey = 256, 4, 4, 36, True
    mean, std = (127.5,), (64.0,)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(1, 64, 3), conv(64, 64, 3), nn.MaxPool2d(2),
            conv(64, 128, 3), conv(128, 128, 3), nn.MaxPool2d(2),
            conv(128, 128, 3),
        )  # fmt: skip
        self.units = nn.Sequential(MultiscaleUnit(128), MultiscaleUnit(256))

    def forward(self, x: Tensor) -> Tensor:
        return self.units(self.stem(x))  # (N,256,H/4,W/4)

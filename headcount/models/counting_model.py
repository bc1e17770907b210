"""CountingModel: normalise -> backbone -> fusion -> density, in one module that owns its pre- and post-processing.

`model(image).density.sum()` is people: there is no gain outside (`density_scale` is applied inside), and pictures of
any size may be given, since padding and cropping happen here too. `image` is RGB in 0..255; the model makes it grey
itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.backbones import BACKBONES
from headcount.models.csrnet import CSRNet
from headcount.models.fusion import FUSIONS, Fused
from headcount.models.mcnn import MCNN

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's and Pillow's grey


@dataclass(frozen=True)
class ModelConfig:
    """All that a network is made from.

    backbone: multiscale, vgg16, lite0, lite2 or, as a whole network, mcnn and csrnet.
    fusion: a key of fusion.FUSIONS; not used by mcnn and csrnet.
    width: channels inside the heads (256 in the paper).
    dilation: of the heads' 3x3 convolutions (the paper's light network 1; on VGG16 2, as CSRNet).
    density_scale: the network's raw output is divided by this to give people per cell.
    min_side: the test-time rule; a picture whose short side is shorter is enlarged to it (0: never).
    shrink: pictures are shrunk to the multiples of pad below (the published MCNN's rule), not padded to those above.
    init: "kaiming", or "normal", the paper's N(0, 0.01); pre-trained layers are loaded after it.
    mean, std: normalisation of 0..255 pixels; None takes the backbone's own.
    """

    name: str = "headcount"
    backbone: str = "multiscale"
    fusion: str = "feature_posterior"
    width: int = 256
    dilation: int = 1
    density_scale: float = 1.0
    min_side: int = 0
    shrink: bool = False
    init: str = "kaiming"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Output(NamedTuple):
    """Maps of (N,h,w), h = ceil(H / stride): density in people per cell; the rest None where a network lacks it."""

    density: Tensor
    mask_logits: Tensor | None = None
    first_density: Tensor | None = None
    rate: Tensor | None = None


class CountingModel(nn.Module):
    """A backbone and a fusion head (or a peer network), with what every caller must know of it.

    stride: pixels per density cell. pad: sizes and tile starts are multiples of it. halo: pixels of context, a
    multiple of pad, that make a tile's interior exact.

    Raises:
        ValueError: for an unknown backbone, fusion or init.
    """

    stride: int
    pad: int
    halo: int
    mean: Tensor
    std: Tensor
    luma: Tensor
    backbone: Any  # one of BACKBONES or PEERS, with the attributes that backbones.py lists
    head: Any  # one of FUSIONS; None beside a whole network

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        if config.backbone in PEERS:
            self.backbone, self.head = PEERS[config.backbone](), None
            reach = self.backbone.reach
        elif config.backbone in BACKBONES and config.fusion in FUSIONS:
            self.backbone = BACKBONES[config.backbone]()
            self.head = FUSIONS[config.fusion](self.backbone.channels, config.width, config.dilation)
            reach = self.backbone.reach + self.head.reach * config.dilation * self.backbone.stride
        else:
            raise ValueError(
                f"unknown network {config.backbone!r} + {config.fusion!r}: backbones are"
                f" {', '.join([*BACKBONES, *PEERS])}; fusions are {', '.join(FUSIONS)}"
            )
        self.stride, self.pad = self.backbone.stride, self.backbone.pad
        self.halo = math.ceil(reach / self.pad) * self.pad
        self.grey = self.backbone.grey
        mean, std = config.mean or self.backbone.mean, config.std or self.backbone.std
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)
        initialise(self, config.init)

    def normalise(self, image: Tensor) -> Tensor:
        """RGB 0..255 (N,3,H,W) -> (N,C,H,W), C = 1 for grey networks; the luma is rounded as an 8-bit picture's."""
        x = image.float()
        if self.grey:
            x = (x * self.luma).sum(dim=1, keepdim=True).round()
        return (x - self.mean) / self.std

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """Count. `image`: RGB (N,3,H,W) in 0..255, uint8 or float. `mask`: ground truth (N,h,w), which product_gt and
        feature_gt need in training."""
        height, width = image.shape[-2:]
        x = self.normalise(image)
        if self.config.shrink:
            x = shrink(x, self.pad)
        x = F.pad(x, (0, -x.shape[-1] % self.pad, 0, -x.shape[-2] % self.pad))
        if self.head is None:
            fused = Fused(self.backbone(x).unsqueeze(1))
        else:
            features = self.backbone(x)  # (N,C,H/stride,W/stride)
            fused = self.head(features, None if mask is None else fit_mask(mask, features))
        # ceil written so: ONNX's integer division truncates, and -(-a // b) would lose a row
        h, w = (height + self.stride - 1) // self.stride, (width + self.stride - 1) // self.stride
        density, *others = [None if m is None else m[:, 0, :h, :w].float() for m in fused]
        assert density is not None  # every network gives one
        if self.config.shrink:  # the cells that shrinking took away hold nobody
            density = F.pad(density, (0, w - density.shape[-1], 0, h - density.shape[-2]))
        return Output(density / self.config.density_scale, *others)


def shrink(x: Tensor, multiple: int) -> Tensor:
    """(N,C,H,W) resized to the multiples of `multiple` below (one of it at least), bilinear, in whole grey values."""
    height, width = (max(size // multiple, 1) * multiple for size in x.shape[-2:])
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False).round()


def fit_mask(mask: Tensor, features: Tensor) -> Tensor:
    """(N,h,w) -> (N,1,h',w'), with background in the cells that padding added."""
    extra_rows, extra_columns = features.shape[-2] - mask.shape[-2], features.shape[-1] - mask.shape[-1]
    return F.pad(mask, (0, extra_columns, 0, extra_rows)).unsqueeze(1)


def initialise(model: nn.Module, init: str) -> None:
    """Kaiming for the ReLUs with a small last layer, or the paper's N(0, 0.01)."""
    if init not in ("kaiming", "normal"):
        raise ValueError(f"unknown init {init!r}: use kaiming or normal")
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if init == "normal" or module.out_channels == 1:
            nn.init.normal_(module.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


PEERS: dict[str, type[nn.Module]] = {"mcnn": MCNN, "csrnet": CSRNet}

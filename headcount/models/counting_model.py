"""CountingModel: normalization, backbone, fusion and density in one module.

`model(image).density.sum()` is the number of people. The module does its own pre- and post-processing: it makes the
image grey if the backbone needs it, pads it to a size that the backbone takes, and crops the maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount._settings import SettingsError
from headcount.models.backbones import BACKBONES
from headcount.models.backbones.base import ImageNetwork
from headcount.models.csrnet import CSRNet
from headcount.models.fusion import FUSIONS, Fused, Fusion
from headcount.models.mcnn import MCNN

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's and Pillow's grey

# Published networks that give the density themselves, so no fusion head follows them.
BASELINES: dict[str, type[ImageNetwork]] = {"mcnn": MCNN, "csrnet": CSRNet}


@dataclass(frozen=True)
class ModelConfig:
    """Everything a network is built from.

    Attributes:
        name: of the model, for reports.
        backbone: a key of `backbones.BACKBONES`, or of `BASELINES` for a complete published network.
        fusion: a key of `fusion.FUSIONS`; ignored for the published networks.
        width: channels inside the fusion head (256 in the paper).
        dilation: of the head's 3x3 convolutions (1 for the paper's light network, 2 on VGG16, as in CSRNet).
        min_side: images whose short side has fewer pixels are enlarged to it at inference; 0 disables this.
        shrink: resize images to the next smaller multiple of the backbone's pad, as the published MCNN does, instead
            of padding them to the next larger one.
        init: "kaiming", or "normal" for the paper's N(0, 0.01). Pretrained layers are loaded afterwards.
        mean: replaces the backbone's normalization mean, in 0..255.
        std: replaces the backbone's normalization standard deviation.
    """

    name: str = "headcount"
    backbone: str = "multiscale"
    fusion: str = "feature_posterior"
    width: int = 256
    dilation: int = 1
    min_side: int = 0
    shrink: bool = False
    init: str = "kaiming"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def without_density_scale(settings: object, where: str) -> object:
    """Model settings without `density_scale`, which files written by older versions still contain.

    Args:
        settings: parsed from JSON or TOML.
        where: the file or option that they come from, for the message.

    Raises:
        SettingsError: it is not 1, so it would change the counts.
    """
    if not isinstance(settings, Mapping) or "density_scale" not in settings:
        return settings
    scale = settings["density_scale"]
    if scale != 1:
        raise SettingsError(f"{where}: density_scale is {scale!r}; it is no longer supported, only 1.0 can be loaded")
    return {name: value for name, value in settings.items() if name != "density_scale"}


class Output(NamedTuple):
    """The maps of a network, each (N,h,w) with h = ceil(H / stride); None if the network has no such map.

    Attributes:
        density: people per cell.
        mask_logits: logits of the probability that people are in the cell.
        first_density: people per cell, of baseline 3's first branch.
        rate: people per foreground cell, of zero-inflated networks.
        features: (N,C,h,w), what the backbone gives the head; None for networks without a head.
    """

    density: Tensor
    mask_logits: Tensor | None = None
    first_density: Tensor | None = None
    rate: Tensor | None = None
    features: Tensor | None = None


class CountingModel(nn.Module):
    """A backbone and a fusion head, or a complete published network.

    Attributes:
        config: the settings it was built from.
        backbone: gives features, or the density if it is a published network.
        head: the fusion head; None for a published network.
        stride: pixels per density cell.
        pad: sizes and tile starts are multiples of it.
        halo: pixels of context, a multiple of pad, that make a tile's interior exact.
        predicts_mask: whether `mask_logits` are given.

    Raises:
        ValueError: unknown backbone, fusion or init.
    """

    backbone: ImageNetwork
    head: Fusion | None
    mean: Tensor
    std: Tensor
    luma: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone, self.head = build_parts(config)
        reach = self.backbone.reach
        if self.head is not None:
            reach += self.head.reach * config.dilation * self.backbone.stride
        self.stride, self.pad = self.backbone.stride, self.backbone.pad
        self.halo = math.ceil(reach / self.pad) * self.pad
        self.predicts_mask = self.head is not None and self.head.predicts_mask
        mean, std = config.mean or self.backbone.mean, config.std or self.backbone.std
        if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
            raise ValueError(f"mean {mean} and std {std} must be finite, and std positive")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)
        initialize(self, config.init)

    def normalize(self, image: Tensor) -> Tensor:
        """RGB 0..255 (N,3,H,W) -> (N,C,H,W), C = 1 for grey networks. The luma is rounded, as in an 8-bit image."""
        x = image.float()
        if self.backbone.grey:
            x = (x * self.luma).sum(dim=1, keepdim=True).round()
        return (x - self.mean) / self.std

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """Count.

        Args:
            image: RGB (N,3,H,W) in 0..255, uint8 or float.
            mask: ground truth (N,h,w), which product_gt and feature_gt need in training.
        """
        height, width = image.shape[-2:]
        x = self.normalize(image)
        if self.config.shrink:
            x = shrink(x, self.pad)
        x = F.pad(x, (0, -x.shape[-1] % self.pad, 0, -x.shape[-2] % self.pad))
        features = None
        if self.head is None:
            fused = Fused(self.backbone(x).unsqueeze(1))
        else:
            features = self.backbone(x)  # (N,C,H/stride,W/stride)
            fused = self.head(features, None if mask is None else fit_mask(mask, features))
        # This form of ceil survives export: ONNX's integer division truncates, so -(-a // b) would lose a row.
        h, w = (height + self.stride - 1) // self.stride, (width + self.stride - 1) // self.stride
        density, logits, first, rate = [None if m is None else m[:, 0, :h, :w].float() for m in fused]
        assert density is not None  # every network gives one
        if self.config.shrink:  # the cells that shrinking removed hold nobody
            density = F.pad(density, (0, w - density.shape[-1], 0, h - density.shape[-2]))
        seen = None if features is None or self.config.shrink else features[..., :h, :w]
        return Output(density, logits, first, rate, seen)


def build_parts(config: ModelConfig) -> tuple[ImageNetwork, Fusion | None]:
    """The backbone and the fusion head of a network. Raises ValueError for unknown names."""
    if config.backbone in BASELINES:
        return BASELINES[config.backbone](), None
    if config.backbone not in BACKBONES or config.fusion not in FUSIONS:
        raise ValueError(
            f"unknown network {config.backbone!r} + {config.fusion!r}: backbones are"
            f" {', '.join([*BACKBONES, *BASELINES])}; fusions are {', '.join(FUSIONS)}"
        )
    backbone = BACKBONES[config.backbone]()
    return backbone, FUSIONS[config.fusion](backbone.channels, config.width, config.dilation)


def shrink(x: Tensor, multiple: int) -> Tensor:
    """(N,C,H,W) resized bilinearly to the next smaller multiples of `multiple`, at least one, in whole grey values."""
    height, width = (max(size // multiple, 1) * multiple for size in x.shape[-2:])
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False).round()


def fit_mask(mask: Tensor, features: Tensor) -> Tensor:
    """(N,h,w) -> (N,1,h',w'), with background in the cells that padding added."""
    extra_rows, extra_columns = features.shape[-2] - mask.shape[-2], features.shape[-1] - mask.shape[-1]
    return F.pad(mask, (0, extra_columns, 0, extra_rows)).unsqueeze(1)


def initialize(model: nn.Module, init: str) -> None:
    """Kaiming initialization for the ReLUs with a small last layer, or the paper's N(0, 0.01)."""
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

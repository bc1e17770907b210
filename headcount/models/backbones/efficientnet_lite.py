"""EfficientNet-Lite0 and Lite2 with a top-down decoder, the backbones of the fast models."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.backbones.base import Backbone, conv, load_named, receptive_reach

# The stages: (kernel, stride, expansion). Lite2 is 1.1x wider and 1.2x deeper than Lite0.
LITE_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6))
LITE_CHANNELS = {"lite0": (16, 24, 40, 80, 112, 192), "lite2": (16, 24, 48, 88, 120, 208)}
LITE_REPEATS = {"lite0": (1, 2, 2, 3, 3, 4), "lite2": (1, 3, 3, 4, 4, 5)}
TAPPED_STAGES = (2, 4, 5)  # the last stages at stride 8, 16 and 32, which the decoder takes


class Depthwise(nn.Conv2d):
    """A depthwise convolution that computes in fp32 on a CPU, even under bf16 autocast.

    The CPU's bf16 kernels for it are several times slower (docs/method.md).
    """

    def __init__(self, channels: int, kernel: int, stride: int):
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class LiteBlock(nn.Module):
    """MBConv without squeeze-and-excitation, with ReLU6. Parameters have the names of the published weights."""

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


class EfficientNetLite(Backbone):
    """EfficientNet-Lite through its stride-32 stage, and a top-down decoder back to stride 8.

    The batch norms keep their published statistics, in training too, unless `fixed_statistics` is set to False.
    Statistics of a few crops are noisy, so that a batch of at least 16 is needed to train them. The scales and offsets
    of the norms are always trained.

    Args:
        variant: a key of `LITE_CHANNELS`.
        channels: number of feature channels of the decoder.

    Attributes:
        fixed_statistics: whether the batch norms keep their means and variances in training.
    """

    stride, pad, grey = 8, 32, False
    mean, std = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
    pretrained = ("_",)

    def __init__(self, variant: str = "lite0", channels: int = 128):
        super().__init__()
        self.channels = channels
        self.fixed_statistics = True
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        self._blocks = nn.ModuleList()
        self.taps: list[int] = []  # indices of the blocks whose output the decoder takes
        layers = [(3, 2)]  # (kernel, stride) of everything that widens the receptive field
        inputs = 32
        stages = zip(LITE_STAGES, LITE_CHANNELS[variant], LITE_REPEATS[variant], strict=True)
        for stage, ((kernel, stride, expansion), outputs, repeats) in enumerate(stages):
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                self._blocks.append(LiteBlock(inputs, outputs, kernel, step, expansion))
                layers.append((kernel, step))
                inputs = outputs
            if stage in TAPPED_STAGES:
                self.taps.append(len(self._blocks) - 1)
        widths = [LITE_CHANNELS[variant][stage] for stage in TAPPED_STAGES]
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.smooth = nn.ModuleList([conv(channels, channels, 3) for _ in widths[:-1]])
        # The decoder's 3x3 convolutions at strides 16 and 8 add one cell each. Cells that enlarging shares are within
        # the half cell that receptive_reach adds.
        self.reach = receptive_reach(layers) + 16 + 8

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        pyramid: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.taps:
                pyramid.append(self.lateral[len(pyramid)](x))
        top = pyramid[-1]  # (N,channels,H/32,W/32)
        for level in (1, 0):
            top = self.smooth[level](pyramid[level] + F.interpolate(top, scale_factor=2.0, mode="nearest"))
        return top  # (N,channels,H/8,W/8)

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks fixed."""
        for part in (self._conv_stem, self._bn0, *self._blocks[:blocks]):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and self.fixed_statistics:
                module.eval()
        return self

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Load the published weights. Raises ValueError as `load_named`."""
        own = {n for n in self.state_dict() if n.startswith("_") and "num_batches" not in n}
        load_named(self, {name: value for name, value in weights.items() if name in own}, own)


class EfficientNetLite2(EfficientNetLite):
    """EfficientNet-Lite2."""

    def __init__(self) -> None:
        super().__init__("lite2")

"""What every network states about itself, and the parts that backbones share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class ImageNetwork(nn.Module):
    """A network that takes a normalized image (N,C,H,W), and what it states about itself.

    A network with published ImageNet weights is also `Pretrained`. One whose first layers can be kept fixed in training
    is also `Freezable`.

    Attributes:
        stride: pixels per output cell.
        pad: H and W must be multiples of this; the model pads the image.
        reach: pixels of context that an output cell sees on each side.
        grey: whether the input is one luma channel instead of RGB.
        mean: subtracted from pixel values in 0..255, one value per input channel.
        std: what the difference is then divided by, one value per input channel.
        pretrained: prefixes of the parameters that ImageNet weights fill.
    """

    stride: int
    pad: int
    reach: int
    grey: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pretrained: tuple[str, ...] = ()


class Backbone(ImageNetwork):
    """A network that gives features (N,channels,H/stride,W/stride).

    Attributes:
        channels: number of feature channels.
    """

    channels: int


@runtime_checkable
class Pretrained(Protocol):
    """A network that can start from ImageNet weights."""

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Load weights by name. Raises ValueError, naming the first tensor that is missing or has another shape."""


@runtime_checkable
class Freezable(Protocol):
    """A network whose first layers can be kept fixed."""

    def freeze(self, blocks: int) -> None:
        """Exclude the first `blocks` blocks from training. Raises ValueError if there are fewer."""


def conv(inputs: int, outputs: int, kernel: int | tuple[int, int], dilation: int = 1) -> nn.Sequential:
    """The paper's C(in,out,k): a same-size convolution and a ReLU."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (height // 2 * dilation, width // 2 * dilation)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, (height, width), padding=padding, dilation=dilation), nn.ReLU(inplace=True)
    )


def receptive_reach(layers: Iterable[tuple[int, int]]) -> int:
    """Pixels that one output cell of a chain of (kernel, stride) layers sees on each side, rounded up."""
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return (field + jump) // 2


def load_named(module: nn.Module, weights: dict[str, Tensor], required: set[str]) -> None:
    """Load `weights` by name into `module`.

    Args:
        module: receives the weights.
        weights: tensors by their name in `module`.
        required: names that must be present with the right shape.

    Raises:
        ValueError: naming the first tensor that is missing or has another shape.
    """
    state = module.state_dict()
    for name in sorted(required):
        if name not in weights:
            raise ValueError(f"backbone weights: no tensor {name!r}; is this the file of another network?")
        if weights[name].shape != state[name].shape:
            found, wanted = tuple(weights[name].shape), tuple(state[name].shape)
            raise ValueError(f"backbone weights: {name!r} is {found}, not {wanted}")
    module.load_state_dict(weights, strict=False)


@runtime_checkable
class Normalized(Protocol):
    """A network with batch norms.

    Attributes:
        fixed_statistics: whether the norms keep their means and variances in training.
    """

    fixed_statistics: bool

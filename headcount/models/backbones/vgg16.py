"""VGG16 as a backbone, and its first layers, which CSRNet uses too."""

from __future__ import annotations

from torch import Tensor, nn

from headcount.models.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, conv, load_named

VGG16_REACH = 46  # pixels of context around a cell of conv4_3
_LAYERS: tuple[int | str, ...] = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512)


def vgg16_layers() -> nn.Sequential:
    """VGG16 through conv4_3. The indices are those of torchvision's `features`, so its weights load by name."""
    layers: list[nn.Module] = []
    inputs = 3
    for step in _LAYERS:
        if step == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, int(step), 3, padding=1), nn.ReLU(inplace=True)]
            inputs = int(step)
    return nn.Sequential(*layers)


def freeze_vgg16(layers: nn.Sequential, blocks: int) -> None:
    """Exclude the first `blocks` (0-4) blocks of convolutions from training.

    Raises:
        ValueError: there are fewer blocks.
    """
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    ends = [0] + [i + 1 for i in pools] + [len(layers)]
    if blocks not in range(len(ends)):
        raise ValueError(f"vgg16 has {len(ends) - 1} blocks to freeze, not {blocks}")
    layers[: ends[blocks]].requires_grad_(False)


class VGG16(Backbone):
    """VGG16's first ten convolutions and one dilated 512->256 convolution (the paper's model_csr).

    CSRNet has six dilated convolutions in place of the last, which costs more.
    """

    channels, stride, pad, reach, grey = 256, 8, 8, VGG16_REACH + 16, False
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    pretrained = ("features",)

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16_layers()
        self.reduce = conv(512, 256, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.features(x))  # (N,256,H/8,W/8)

    def freeze(self, blocks: int) -> None:
        """Keep the first `blocks` (0-4) convolution blocks fixed, which saves their whole backward pass."""
        freeze_vgg16(self.features, blocks)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Load VGG16's weights under torchvision's names. Raises ValueError as `load_named`."""
        own = {f"features.{name}" for name in self.features.state_dict()}
        load_named(self, {name: value for name, value in weights.items() if name in own}, own)

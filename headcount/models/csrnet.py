"""CSRNet (Li et al., CVPR 2018), a published network to compare with."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from headcount.models.backbones.base import IMAGENET_MEAN, IMAGENET_STD, ImageNetwork, load_named
from headcount.models.backbones.vgg16 import VGG16_REACH, freeze_vgg16, vgg16_layers


class CSRNet(ImageNetwork):
    """CSRNet, configuration B, with 16.3 M parameters.

    Li et al., *CSRNet: dilated convolutional neural networks for understanding the highly congested scenes*, CVPR 2018.
    It has VGG16's first ten convolutions, six dilated ones and a 1x1 convolution. As published, nothing follows the
    last layer, so single cells may be slightly negative. It is meant to start from ImageNet weights.
    """

    stride, pad, reach, grey = 8, 8, VGG16_REACH + 6 * 16, False
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    pretrained = ("frontend",)

    def __init__(self) -> None:
        super().__init__()
        self.frontend = vgg16_layers()
        widths = (512, 512, 512, 512, 256, 128, 64)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=2, dilation=2), nn.ReLU(inplace=True)]
        self.backend = nn.Sequential(*layers)
        self.output_layer = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backend(self.frontend(x))  # (N,64,H/8,W/8)
        return self.output_layer(features).squeeze(1)  # (N,H/8,W/8)

    def freeze(self, blocks: int) -> None:
        """Keep the first `blocks` (0-4) convolution blocks of the front end fixed."""
        freeze_vgg16(self.frontend, blocks)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Load VGG16's weights under torchvision's names. Raises ValueError as `load_named`."""
        named = {name.removeprefix("features."): tensor for name, tensor in weights.items()}
        own = set(self.frontend.state_dict())
        load_named(self.frontend, {name: named[name] for name in own & named.keys()}, own)

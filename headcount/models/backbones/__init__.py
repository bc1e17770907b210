"""Backbones, which turn a normalized image into features, one file per family.

A new backbone is a subclass of `Backbone` in a file of its own and a line in `BACKBONES`. The tests in
tests/models/test_backbones.py run for every entry of the registry and check what the backbone states about itself.
"""

from headcount.models.backbones.base import Backbone
from headcount.models.backbones.efficientnet_lite import EfficientNetLite, EfficientNetLite2
from headcount.models.backbones.multiscale import Multiscale
from headcount.models.backbones.vgg16 import VGG16
from headcount.models.backbones.weights import read_backbone_weights

__all__ = [
    "BACKBONES",
    "Backbone",
    "EfficientNetLite",
    "EfficientNetLite2",
    "Multiscale",
    "VGG16",
    "read_backbone_weights",
]

BACKBONES: dict[str, type[Backbone]] = {
    "multiscale": Multiscale,
    "vgg16": VGG16,
    "lite0": EfficientNetLite,
    "lite2": EfficientNetLite2,
}

"""Fusion: how the foreground mask reaches the density (paper, section III).

The classes stand side by side so that their differences are easy to read. A new fusion is a subclass of `Fusion` (or of
`Product` or `Feature`) and a line in `FUSIONS`; its row in tests/models/test_fusion.py says whether the density loss
reaches the mask branch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.backbones.base import conv


class Fused(NamedTuple):
    """The maps of a fusion head, each (N,1,h,w); None if the solution has no such map.

    Attributes:
        density: people per cell.
        mask_logits: logits of the probability that people are in the cell.
        first_density: baseline 3's density, regressed where the other solutions have a mask.
        rate: people per foreground cell, of zero-inflated solutions.
    """

    density: Tensor
    mask_logits: Tensor | None = None
    first_density: Tensor | None = None
    rate: Tensor | None = None


class Fusion(nn.Module):
    """A head that turns features (N,channels,h,w) into density.

    Args:
        channels: of the features.
        width: channels inside the head, 256 in the paper.
        dilation: of the 3x3 convolutions.

    Attributes:
        reach: context in cells, for dilation 1, that the head adds to the backbone's.
        predicts_mask: whether `mask_logits` are given.
    """

    reach: int
    predicts_mask = True

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__()

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        """`mask` is the ground truth (N,1,h,w), which only solutions 1 and 4 need, and only in training."""
        raise NotImplementedError


def mask_branch(channels: int, width: int, dilation: int) -> nn.Sequential:
    """C(256,256,3) C(256,1,1) -> one map of logits (or, for baseline 3, of density)."""
    return nn.Sequential(conv(channels, width, 3, dilation), nn.Conv2d(width, 1, 1))


def density_branch(channels: int, width: int, dilation: int, depth: int = 1) -> nn.Sequential:
    """`depth` 3x3 convolutions and a linear 1x1: a ReLU at the end could die and predict zero from then on."""
    widths = [channels] + [width] * depth
    layers = [conv(i, o, 3, dilation) for i, o in zip(widths[:-1], widths[1:], strict=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 1))


class BinarizeSTE(torch.autograd.Function):
    """m = [p > 0.5]; the gradient passes as if m were p (straight-through, d m / d p = 1)."""

    @staticmethod
    def forward(ctx, posterior: Tensor) -> Tensor:
        return (posterior > 0.5).to(posterior.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class Plain(Fusion):
    """Baseline 1: no mask."""

    reach, depth = 1, 1
    predicts_mask = False

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__(channels, width, dilation)
        self.density = density_branch(channels, width, dilation, self.depth)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        return Fused(self.density(features))


class PlainDeep(Plain):
    """Baseline 2: no mask, with three convolutions, as many as the image path of solutions 4 and 5 has."""

    reach, depth = 3, 3


class Product(Fusion):
    """Solutions 1-3: density branch x mask. They differ in which mask multiplies, see `gate`."""

    reach = 1

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__(channels, width, dilation)
        self.mask = mask_branch(channels, width, dilation)
        self.density = density_branch(channels, width, dilation)

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        """The mask (N,1,h,w) that multiplies the density."""
        raise NotImplementedError

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)  # (N,1,h,w)
        return Fused(self.density(features) * self.gate(mask_logits, mask), mask_logits)


class ProductGT(Product):
    """Solution 1: the true mask in training, the predicted one at inference; no gradient joins the branches."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        return true_or_predicted(self, mask_logits, mask)


class ProductPosterior(Product):
    """Solution 2: the predicted posterior, end to end."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        return mask_logits.sigmoid()


class ProductSTE(Product):
    """Solution 3: the binarized posterior, with the straight-through gradient."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        posterior = mask_logits.sigmoid()
        return BinarizeSTE.apply(posterior) if self.training else (posterior > 0.5).to(posterior.dtype)


class Feature(Fusion):
    """Solutions 4, 5 and baseline 3: a map is turned into 256 channels and concatenated with the image's 256."""

    reach = 5  # mask branch 1, mask features 2, regressor 2

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__(channels, width, dilation)
        self.mask = mask_branch(channels, width, dilation)
        self.mask_features = nn.Sequential(conv(1, width, 3, dilation), conv(width, width, 3, dilation))
        self.image_features = conv(channels, width, 3, dilation)
        self.regressor = density_branch(2 * width, width, dilation, depth=2)

    def regress(self, features: Tensor, given: Tensor) -> Tensor:
        """One map (N,1,h,w) from the features and a `given` map (N,1,h,w)."""
        joined = torch.cat([self.image_features(features), self.mask_features(given)], dim=1)  # (N,512,h,w)
        return self.regressor(joined)


class FeatureGT(Feature):
    """Solution 4: the true mask in training, the predicted one at inference."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return Fused(self.regress(features, true_or_predicted(self, mask_logits, mask)), mask_logits)


class FeaturePosterior(Feature):
    """Solution 5, the paper's best: the predicted posterior, end to end."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return Fused(self.regress(features, mask_logits.sigmoid()), mask_logits)


class FeatureDensity(Feature):
    """Baseline 3: solution 5's network with its mask branch trained to regress density."""

    predicts_mask = False

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        first = self.mask(features)
        return Fused(self.regress(features, first), first_density=first)


class ProductZip(Product):
    """Solution 2 with a likelihood: density = posterior x rate, the mean of a zero-inflated Poisson distribution."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return zero_inflated(mask_logits, self.density(features))


class FeatureZip(Feature):
    """Solution 5 with a likelihood, which is headcount's own: the posterior also reaches the regressor."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return zero_inflated(mask_logits, self.regress(features, mask_logits.sigmoid()))


def zero_inflated(mask_logits: Tensor, raw: Tensor) -> Fused:
    """Build `Fused` from mask logits and the raw rate, which a softplus makes positive; (N,1,h,w) each."""
    rate = F.softplus(raw.float())
    return Fused(mask_logits.sigmoid() * rate, mask_logits, rate=rate)


def true_or_predicted(head: nn.Module, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
    """The ground-truth mask in training; at inference the predicted one, binary like the true one, without gradient."""
    if not head.training:
        return (mask_logits > 0).to(mask_logits.dtype)
    if mask is None:
        raise ValueError("product_gt and feature_gt train on the ground-truth mask: call model(image, mask)")
    return mask.to(mask_logits.dtype)


FUSIONS: dict[str, type[Fusion]] = {
    "plain": Plain,
    "plain_deep": PlainDeep,
    "feature_density": FeatureDensity,
    "product_gt": ProductGT,
    "product_posterior": ProductPosterior,
    "product_ste": ProductSTE,
    "feature_gt": FeatureGT,
    "feature_posterior": FeaturePosterior,
    "product_zip": ProductZip,
    "feature_zip": FeatureZip,
}

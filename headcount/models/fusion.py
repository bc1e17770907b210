"""Fusion, the heart of the mask-aware network: how the foreground mask reaches the density (paper, section III).

Every class takes features (N,channels,h,w) and, where it trains on it, the ground-truth mask (N,1,h,w), and gives a
`Fused`. They stand side by side so that what differs between them is all there is to read. `width` is the channels
inside a head, 256 everywhere in the paper. `reach` is the context, in cells and for dilation 1, that the head adds to
the backbone's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.backbones import conv


class Fused(NamedTuple):
    """What a head gives, each (N,1,h,w); None where a solution has no such thing."""

    density: Tensor
    mask_logits: Tensor | None = None
    first_density: Tensor | None = None  # baseline 3: the density regressed where the others have a mask
    rate: Tensor | None = None  # zero-inflated: people per foreground cell


def mask_branch(channels: int, width: int, dilation: int) -> nn.Sequential:
    """C(256,256,3) C(256,1,1) -> one map of logits (or, for baseline 3, of density)."""
    return nn.Sequential(conv(channels, width, 3, dilation), nn.Conv2d(width, 1, 1))


def density_branch(channels: int, width: int, dilation: int, depth: int = 1) -> nn.Sequential:
    """`depth` 3x3 convolutions and a linear 1x1: a ReLU at the end could die and never count again."""
    widths = [channels] + [width] * depth
    layers = [conv(i, o, 3, dilation) for i, o in zip(widths[:-1], widths[1:], strict=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 1))


class BinariseSTE(torch.autograd.Function):
    """m = [p > 0.5]; the gradient passes as if m were p (straight-through, d m / d p = 1)."""

    @staticmethod
    def forward(ctx, posterior: Tensor) -> Tensor:
        return (posterior > 0.5).to(posterior.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class Plain(nn.Module):
    """Baseline 1: no mask."""

    reach, depth = 1, 1

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__()
        self.density = density_branch(channels, width, dilation, self.depth)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        return Fused(self.density(features))


class PlainDeep(Plain):
    """Baseline 2: no mask, as deep as solutions 4 and 5."""

    reach, depth = 3, 3


class Product(nn.Module):
    """Solutions 1-3: density branch x mask. They differ only in which mask: see `gate`."""

    reach = 1

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__()
        self.mask = mask_branch(channels, width, dilation)
        self.density = density_branch(channels, width, dilation)

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        raise NotImplementedError  # which mask multiplies: what the three solutions below differ in

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)  # (N,1,h,w)
        return Fused(self.density(features) * self.gate(mask_logits, mask), mask_logits)


class ProductGT(Product):
    """Solution 1: the true mask in training, the predicted one in test; no gradient joins the branches."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        return true_or_predicted(self, mask_logits, mask)


class ProductPosterior(Product):
    """Solution 2: the predicted posterior, end to end."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        return mask_logits.sigmoid()


class ProductSTE(Product):
    """Solution 3: the binarised posterior, with the straight-through gradient."""

    def gate(self, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
        posterior = mask_logits.sigmoid()
        return BinariseSTE.apply(posterior) if self.training else (posterior > 0.5).to(posterior.dtype)


class Feature(nn.Module):
    """Solutions 4, 5 and baseline 3: a map is turned into 256 channels and concatenated with the image's 256."""

    reach = 5  # mask branch 1, mask features 2, regressor 2

    def __init__(self, channels: int, width: int = 256, dilation: int = 1):
        super().__init__()
        self.mask = mask_branch(channels, width, dilation)
        self.mask_features = nn.Sequential(conv(1, width, 3, dilation), conv(width, width, 3, dilation))
        self.image_features = conv(channels, width, 3, dilation)
        self.regressor = density_branch(2 * width, width, dilation, depth=2)

    def regress(self, features: Tensor, given: Tensor) -> Tensor:
        joined = torch.cat([self.image_features(features), self.mask_features(given)], dim=1)  # (N,512,h,w)
        return self.regressor(joined)  # (N,1,h,w)


class FeatureGT(Feature):
    """Solution 4: the true mask in training, the predicted one in test."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return Fused(self.regress(features, true_or_predicted(self, mask_logits, mask)), mask_logits)


class FeaturePosterior(Feature):
    """Solution 5, the paper's best: the predicted posterior, end to end."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return Fused(self.regress(features, mask_logits.sigmoid()), mask_logits)


class FeatureDensity(Feature):
    """Baseline 3: solution 5's network, its mask branch trained to regress density."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        first = self.mask(features)
        return Fused(self.regress(features, first), first_density=first)


class ProductZip(Product):
    """Solution 2 with a likelihood: density = posterior x rate, the mean of a zero-inflated Poisson."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return zero_inflated(mask_logits, self.density(features))


class FeatureZip(Feature):
    """Solution 5 with a likelihood, ours: the posterior also reaches the regressor."""

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Fused:
        mask_logits = self.mask(features)
        return zero_inflated(mask_logits, self.regress(features, mask_logits.sigmoid()))


def zero_inflated(mask_logits: Tensor, raw: Tensor) -> Fused:
    """Of the logits of the mask and of what the softplus makes the rate, (N,1,h,w) each."""
    rate = F.softplus(raw.float())
    return Fused(mask_logits.sigmoid() * rate, mask_logits, rate=rate)


def true_or_predicted(head: nn.Module, mask_logits: Tensor, mask: Tensor | None) -> Tensor:
    """The ground-truth mask in training; in test the predicted one, binary as the true one was, without gradient."""
    if not head.training:
        return (mask_logits > 0).to(mask_logits.dtype)
    if mask is None:
        raise ValueError("product_gt and feature_gt train on the ground-truth mask: call model(image, mask)")
    return mask.to(mask_logits.dtype)


FUSIONS: dict[str, type[nn.Module]] = {
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

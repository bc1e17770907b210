"""CountLoss: what a prediction is told. The paper's Eq. 2 and 3, and the likelihood and count terms that come later.

Normalisation, since papers mix them silently: the density loss is summed over the cells of a crop and averaged over
the batch (Eq. 2 for each picture); mask terms are averaged over cells; the likelihood is summed over cells and averaged
over the batch. A term whose weight is 0 is not computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.counting_model import Output


@dataclass
class LossConfig:
    """Weights of the terms.

    density: alpha of Eq. 3, the weight of the squared error on density (Eq. 2).
    mask: weight of the mask loss; gamma: its focal exponent (0 is binary cross-entropy).
    likelihood: zero-inflated Poisson on heads per cell (fusions product_zip and feature_zip only).
    blocks: weight of the L1 on counts in square blocks of `block_cells` cells.
    count: weight of the L1 on the count of the whole crop.
    bayesian: weight of the L1 on the count of every head (Bayesian loss).
    teacher: weight of the L1 on counts in those blocks against the density of a teacher (distillation).
    """

    density: float = 1.0
    mask: float = 1.0
    gamma: float = 2.0
    likelihood: float = 0.0
    blocks: float = 0.0
    block_cells: tuple[int, ...] = (2, 4)
    count: float = 0.0
    bayesian: float = 0.0
    teacher: float = 0.0


class CountLoss(nn.Module):
    """Weighted sum of the terms; forward gives {"loss": total, term: value before its weight, ...}."""

    def __init__(self, config: LossConfig):
        super().__init__()
        self.config = config

    def forward(
        self, output: Output, density: Tensor, mask: Tensor, counts: Tensor, taught: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`output` of a model, and the targets (N,h,w): `density`, `mask`, `counts`, heads per cell, and `taught`, the
        density that a teacher sees in the same crops."""
        config = self.config
        terms: dict[str, Tensor] = {}
        if config.density:
            terms["density"] = squared_error(output.density, density)
        if config.density and output.first_density is not None:  # baseline 3 regresses density twice
            terms["density"] = terms["density"] + squared_error(output.first_density, density)
        if config.mask and output.mask_logits is not None:
            terms["mask"] = focal_loss(output.mask_logits, mask, config.gamma)
        if config.likelihood and output.rate is not None and output.mask_logits is not None:
            terms["likelihood"] = zip_loss(output.mask_logits, output.rate, counts)
        if config.blocks:
            terms["blocks"] = self.in_blocks(output.density, counts)
        if config.count:
            terms["count"] = (output.density.sum((1, 2)) - counts.sum((1, 2))).abs().mean()
        if config.bayesian:
            terms["bayesian"] = bayesian_error(output.density, counts)
        if config.teacher and taught is not None:
            terms["teacher"] = self.in_blocks(output.density, taught)
        if not terms:
            raise ValueError("no loss term applies: give a weight to one that this network has")
        weights = {name: getattr(config, name) for name in terms}
        return {"loss": sum(weights[name] * value for name, value in terms.items()), **terms}

    def in_blocks(self, predicted: Tensor, counts: Tensor) -> Tensor:
        """The L1 on the counts of blocks of each size."""
        return torch.stack([block_error(predicted, counts, k) for k in self.config.block_cells]).sum()


def squared_error(predicted: Tensor, density: Tensor) -> Tensor:
    """Eq. 2: the sum over cells of (f - d)^2, averaged over the batch."""
    return (predicted - density).square().sum((1, 2)).mean()


def focal_loss(logits: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Focal loss, mean over cells: -(1 - p_t)^gamma log p_t; gamma 0 is binary cross-entropy."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")  # -log p_t
    if gamma == 0:
        return cross_entropy.mean()
    wrong = -torch.expm1(-cross_entropy)  # 1 - p_t, exact where it is small
    return (wrong.clamp(min=1e-8) ** gamma * cross_entropy).mean()  # 0 ** gamma has no gradient for gamma < 1


def zip_loss(mask_logits: Tensor, rate: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood of a zero-inflated Poisson, summed over cells: posterior p = sigmoid(mask_logits) that a
    cell is foreground, and there a Poisson of mean `rate`. P(0) = 1 - p + p e^-rate."""
    log_p, log_not_p = F.logsigmoid(mask_logits), F.logsigmoid(-mask_logits)
    empty = torch.logaddexp(log_not_p, log_p - rate)
    some = log_p + counts * torch.log(rate + 1e-8) - rate - torch.lgamma(counts + 1)
    return -torch.where(counts > 0, some, empty).sum((1, 2)).mean()


def block_error(predicted: Tensor, counts: Tensor, cells: int) -> Tensor:
    """L1 on the counts of square blocks of cells, summed over blocks, averaged over the batch; a block that the border
    cuts counts what is left of it."""
    difference = F.avg_pool2d((predicted - counts).unsqueeze(1), cells, ceil_mode=True, divisor_override=1)
    return difference.abs().sum((1, 2, 3)).mean()


def bayesian_error(predicted: Tensor, counts: Tensor, sigma: float = 1.0, far: float = 3.0) -> Tensor:
    """Bayesian loss (Ma et al. 2019), heads being at the middles of their cells: each cell's density is shared among
    the heads around it by their Gaussians of `sigma` cells, and with a background, as likely as a head `far` sigmas
    away. The sum over heads of |1 - what each got|, and what the background got; averaged over the batch."""
    reach = math.ceil((far + 1) * sigma)  # cells: past that a Gaussian is far below the background
    steps = torch.arange(-reach, reach + 1, dtype=predicted.dtype, device=predicted.device)
    bell = torch.exp(-0.5 * (steps / sigma).square())
    kernel = torch.outer(bell, bell)[None, None]  # (1,1,k,k)
    background = math.exp(-0.5 * far**2)

    def spread(cells: Tensor) -> Tensor:
        return F.conv2d(cells.unsqueeze(1), kernel, padding=reach).squeeze(1)

    share = predicted / (spread(counts) + background)  # of a unit of likelihood
    got = counts * spread(share)  # by the heads of each cell: a Gaussian is as wide seen from either end
    return ((counts - got).abs() + background * share.abs()).sum((1, 2)).mean()

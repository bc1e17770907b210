"""Training losses: the paper's Eq. 2 and 3, and the likelihood and count terms that were published later.

Each term is one function and one entry of TERMS; its weight is the field of LossConfig with the same name. Papers mix
normalizations silently, so each is stated here. The density loss is summed over the cells of a crop and averaged over
the batch (Eq. 2 for each image). Mask terms are averaged over cells. The likelihood is summed over cells and averaged
over the batch. A term with weight 0 is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headcount.models.counting_model import Output


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms, and what the terms depend on.

    Attributes:
        density: Weight alpha of Eq. 3 for the squared error of the density (Eq. 2).
        mask: Weight of the focal loss on the mask.
        gamma: Exponent of the focal loss. 0 is binary cross-entropy.
        likelihood: Weight of the zero-inflated Poisson likelihood of heads per cell. It applies to the fusions
            product_zip and feature_zip only.
        likelihood_cells: Side lengths of the square blocks of cells whose heads the likelihood explains, in cells.
            Dots are off by some pixels, and a larger block forgives that.
        blocks: Weight of the L1 error of counts in square blocks of cells.
        block_cells: Side lengths of the blocks, in cells.
        count: Weight of the L1 error of the count of the whole crop.
        bayesian: Weight of the Bayesian loss, an L1 error of the count of every head.
        teacher: Weight of the L1 error against the density of a teacher, in the same blocks (distillation).
    """

    density: float = 1.0
    mask: float = 1.0
    gamma: float = 2.0
    likelihood: float = 0.0
    likelihood_cells: tuple[int, ...] = (1,)
    blocks: float = 0.0
    block_cells: tuple[int, ...] = (2, 4)
    count: float = 0.0
    bayesian: float = 0.0
    teacher: float = 0.0


class Targets(NamedTuple):
    """What a prediction is compared with. All maps are float32 (N,h,w).

    Attributes:
        density: People per cell.
        mask: 1 in foreground cells, else 0.
        counts: Heads per cell.
        teacher_density: What a teacher predicts for the same crops, if there is one.
    """

    density: Tensor
    mask: Tensor
    counts: Tensor
    teacher_density: Tensor | None = None


class CountLoss(nn.Module):
    """The weighted sum of the terms."""

    def __init__(self, config: LossConfig):
        super().__init__()
        self.config = config

    def forward(
        self, output: Output, density: Tensor, mask: Tensor, counts: Tensor, teacher_density: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare a prediction with the targets, all (N,h,w).

        Args:
            output: What a model predicts.
            density: People per cell.
            mask: Foreground cells.
            counts: Heads per cell.
            teacher_density: What a teacher predicts for the same crops.

        Returns:
            "loss", the total, and each term that applies, before its weight.

        Raises:
            ValueError: No term applies to this network.
        """
        targets = Targets(density, mask, counts, teacher_density)
        terms: dict[str, Tensor] = {}
        for name, term in TERMS.items():
            if getattr(self.config, name):
                value = term(output, targets, self.config)
                if value is not None:
                    terms[name] = value
        if not terms:
            raise ValueError("no loss term applies: give a weight to one that this network has")
        total = sum(getattr(self.config, name) * value for name, value in terms.items())
        return {"loss": total, **terms}


def density_term(output: Output, targets: Targets, config: LossConfig) -> Tensor:
    """Eq. 2. Baseline 3 regresses the density twice, and both predictions are compared."""
    error = squared_error(output.density, targets.density)
    if output.first_density is not None:
        error = error + squared_error(output.first_density, targets.density)
    return error


def mask_term(output: Output, targets: Targets, config: LossConfig) -> Tensor | None:
    """The focal loss, for networks that predict a mask."""
    if output.mask_logits is None:
        return None
    return focal_loss(output.mask_logits, targets.mask, config.gamma)


def likelihood_term(output: Output, targets: Targets, config: LossConfig) -> Tensor | None:
    """The likelihood of the heads per cell, for networks that predict a mask and a rate."""
    if output.rate is None or output.mask_logits is None:
        return None
    logits, rate, counts = output.mask_logits, output.rate, targets.counts
    return torch.stack([zip_loss(logits, rate, counts, cells) for cells in config.likelihood_cells]).sum()


def blocks_term(output: Output, targets: Targets, config: LossConfig) -> Tensor:
    """The error of the counts of blocks, summed over the block sizes."""
    return _block_errors(output.density, targets.counts, config)


def count_term(output: Output, targets: Targets, config: LossConfig) -> Tensor:
    """The error of the count of the crop."""
    return (output.density.sum((1, 2)) - targets.counts.sum((1, 2))).abs().mean()


def bayesian_term(output: Output, targets: Targets, config: LossConfig) -> Tensor:
    """The Bayesian loss."""
    return bayesian_error(output.density, targets.counts)


def teacher_term(output: Output, targets: Targets, config: LossConfig) -> Tensor | None:
    """The error against the teacher's counts of blocks."""
    if targets.teacher_density is None:
        return None
    return _block_errors(output.density, targets.teacher_density, config)


Term = Callable[[Output, Targets, LossConfig], Tensor | None]

# Each term by the name of its weight. None means that the term does not apply to the network.
TERMS: dict[str, Term] = {
    "density": density_term,
    "mask": mask_term,
    "likelihood": likelihood_term,
    "blocks": blocks_term,
    "count": count_term,
    "bayesian": bayesian_term,
    "teacher": teacher_term,
}


def _block_errors(predicted: Tensor, counts: Tensor, config: LossConfig) -> Tensor:
    return torch.stack([block_error(predicted, counts, cells) for cells in config.block_cells]).sum()


def squared_error(predicted: Tensor, density: Tensor) -> Tensor:
    """Eq. 2: the sum over cells of (f - d)^2, averaged over the batch."""
    return (predicted - density).square().sum((1, 2)).mean()


def focal_loss(logits: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """The focal loss -(1 - p_t)^gamma log p_t, averaged over cells. gamma 0 is binary cross-entropy."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")  # -log p_t
    if gamma == 0:
        return cross_entropy.mean()
    wrong = -torch.expm1(-cross_entropy)  # 1 - p_t, exact where it is small
    return (wrong.clamp(min=1e-8) ** gamma * cross_entropy).mean()  # 0 ** gamma has no gradient for gamma < 1


def zip_loss(mask_logits: Tensor, rate: Tensor, counts: Tensor, cells: int = 1) -> Tensor:
    """The negative log-likelihood of a zero-inflated Poisson, summed over blocks and averaged over the batch.

    A block is foreground with probability p. Its heads then follow a Poisson of mean `rate`, so
    P(0) = 1 - p + p e^-rate. A block of one cell has p = sigmoid(mask_logits). A larger one is foreground if any of
    its cells is, and expects as many heads as its cells do together.

    Args:
        mask_logits: (N,h,w).
        rate: (N,h,w), positive.
        counts: (N,h,w), heads per cell.
        cells: Side length of a block. A block that the border cuts has the cells that are left of it.
    """
    log_p, log_not_p = F.logsigmoid(mask_logits), F.logsigmoid(-mask_logits)
    if cells > 1:
        expected = _block_sums(mask_logits.sigmoid() * rate, cells)
        log_not_p = _block_sums(log_not_p, cells)
        p = -torch.expm1(log_not_p).clamp(max=-1e-6)  # away from 0, whose logarithm has no gradient
        log_p, rate, counts = p.log(), expected / p, _block_sums(counts, cells)
    empty = torch.logaddexp(log_not_p, log_p - rate)
    occupied = log_p + counts * torch.log(rate + 1e-8) - rate - torch.lgamma(counts + 1)
    return -torch.where(counts > 0, occupied, empty).sum((1, 2)).mean()


def block_error(predicted: Tensor, counts: Tensor, cells: int) -> Tensor:
    """The L1 error of the counts of square blocks, summed over blocks and averaged over the batch.

    A block that the border cuts counts the cells that are left of it.

    Args:
        predicted: (N,h,w), people per cell.
        counts: (N,h,w), heads per cell.
        cells: Side length of a block.
    """
    return _block_sums(predicted - counts, cells).abs().sum((1, 2)).mean()


def _block_sums(values: Tensor, cells: int) -> Tensor:
    """(N,h,w) -> (N,h/cells,w/cells), rounded up: the sums over square blocks."""
    return F.avg_pool2d(values.unsqueeze(1), cells, ceil_mode=True, divisor_override=1).squeeze(1)


SIGMA = 1.0  # cells; width of a head's Gaussian in the Bayesian loss
BACKGROUND = 3.0  # sigmas; at this distance the background is as likely as a head


def bayesian_error(predicted: Tensor, counts: Tensor) -> Tensor:
    """The Bayesian loss (Ma et al., ICCV 2019), averaged over the batch. Heads are taken at the centers of their cells.

    The density of each cell is shared among the heads around it by their Gaussians of SIGMA cells, and with a
    background that is as likely as a head BACKGROUND sigmas away. The loss is the sum over heads of |1 - what the head
    received|, plus what the background received.

    Args:
        predicted: (N,h,w), people per cell.
        counts: (N,h,w), heads per cell.
    """
    reach = math.ceil((BACKGROUND + 1) * SIGMA)  # cells; beyond it a Gaussian is far below the background
    steps = torch.arange(-reach, reach + 1, dtype=predicted.dtype, device=predicted.device)
    bell = torch.exp(-0.5 * (steps / SIGMA).square())
    kernel = torch.outer(bell, bell)[None, None]  # (1,1,k,k)
    background = math.exp(-0.5 * BACKGROUND**2)

    def spread(cells: Tensor) -> Tensor:
        return F.conv2d(cells.unsqueeze(1), kernel, padding=reach).squeeze(1)

    share = predicted / (spread(counts) + background)  # density per unit of likelihood
    received = counts * spread(share)  # by the heads of each cell: a Gaussian is as wide seen from either end
    return ((counts - received).abs() + background * share.abs()).sum((1, 2)).mean()

"""Batch norms that start from other statistics than those of the training crops.

A checkpoint whose norms kept ImageNet's means and variances cannot simply go on with `batch_norm = "trained"`: in
training, each norm then divides by the statistics of its batch, which differ from ImageNet's, and the network computes
something else from the first step on. `adopt_statistics` moves the norms to the crops' statistics first. What a norm's
scale and offset lose or gain by that cancels the change, so the network computes what it did.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from headcount.models.counting_model import CountingModel


class _Moments:
    """The mean and variance of each channel of what a norm is given, summed over batches."""

    def __init__(self, channels: int, device: torch.device):
        self.sums = torch.zeros(2, channels, dtype=torch.float64, device=device)  # of x and x^2
        self.values = 0  # per channel

    def observe(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()  # (N,C,h,w)
        self.sums += torch.stack([x.sum((0, 2, 3)), x.square().sum((0, 2, 3))])
        self.values += x.numel() // x.shape[1]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean, square = self.sums / self.values
        return mean, (square - mean.square()).clamp(min=0)


@torch.no_grad()
def adopt_statistics(model: CountingModel, images: Iterable[Tensor]) -> None:
    """Give every batch norm the mean and variance of these images, and leave what the network computes as it is.

    Args:
        model: The network. It is left in evaluation mode.
        images: Batches of crops, uint8 (N,3,H,W) RGB, on the device of the model.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    moments = [_Moments(norm.num_features, norm.weight.device) for norm in norms]
    hooks = [norm.register_forward_pre_hook(moment.observe) for norm, moment in zip(norms, moments, strict=True)]
    try:
        for image in images:
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, moment in zip(norms, moments, strict=True):
        _move(norm, *moment.mean_and_variance())


def _move(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set the statistics of a norm, and the scale and offset with which it computes what it did."""
    assert norm.running_mean is not None and norm.running_var is not None
    before, after = (torch.sqrt(v.double() + norm.eps) for v in (norm.running_var, variance))
    norm.bias.add_(norm.weight.double() * (mean - norm.running_mean.double()) / before)
    norm.weight.mul_(after / before)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)

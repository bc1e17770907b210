"""Several networks that count together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headcount.models.counting_model import CountingModel, ModelConfig, Output

MAX_MEMBERS = 32


@dataclass(frozen=True)
class EnsembleConfig:
    """Several networks that count as one.

    Attributes:
        members: Settings of each network.
        weights: Share of each network. The shares sum to 1; empty for equal shares.
        name: Name of the ensemble.
        min_side: Shortest side, as in `ModelConfig`. All members must have this value.
        shrink: As in `ModelConfig`. All members must have this value.
    """

    members: tuple[ModelConfig, ...]
    weights: tuple[float, ...] = ()
    name: str = "headcount"
    min_side: int = 0
    shrink: bool = False


class Ensemble(nn.Module):
    """Networks of one stride as one model, which averages mask logits and densities.

    For zero-inflated networks the rates are averaged instead, and the density is the posterior of the averaged mask
    times the averaged rate. A network that is certain that nobody is there then outweighs one that is not. An ensemble
    counts like a `CountingModel` but is not trained; its members are trained separately.

    Attributes:
        config: Settings that the ensemble was built from.
        stride: Pixels per density cell.
        pad: Number that sizes and tile starts are multiples of.
        halo: Pixels of context, a multiple of pad, that make a tile's interior exact.
        predicts_mask: Whether `mask_logits` are given.

    Raises:
        ValueError: there is no member, the members differ in stride, min_side or shrink, or the weights are not
            positive or do not sum to 1.
    """

    def __init__(self, config: EnsembleConfig):
        super().__init__()
        if len(config.members) > MAX_MEMBERS:
            raise ValueError(f"an ensemble of {len(config.members)} networks; at most {MAX_MEMBERS} are allowed")
        self.config = config
        members = [CountingModel(member) for member in config.members]
        self.members = nn.ModuleList(members)
        rules = {(m.stride, m.config.min_side, m.config.shrink) for m in members}
        if len(rules) != 1 or next(iter(rules))[1:] != (config.min_side, config.shrink):
            raise ValueError("an ensemble takes networks of one stride, min_side and shrink")
        self.weights = config.weights or (1 / len(members),) * len(members)
        if len(self.weights) != len(members) or min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-6:
            found = ", ".join(f"{weight:g}" for weight in self.weights)
            raise ValueError(f"weights of {len(members)} networks are {found}: they must be positive and sum to 1")
        self.stride = members[0].stride
        self.pad = math.lcm(*(m.pad for m in members))
        self.halo = math.ceil(max(m.halo for m in members) / self.pad) * self.pad
        self.predicts_mask = all(m.predicts_mask for m in members)

    @property
    def mean(self) -> Tensor:
        """The first member's normalization mean."""
        first = self.members[0]
        assert isinstance(first, CountingModel)
        return first.mean

    def forward(self, image: Tensor) -> Output:
        outputs = [member(image) for member in self.members]
        density = self.average([output.density for output in outputs])
        logits = self.average_if_all([output.mask_logits for output in outputs])
        rate = self.average_if_all([output.rate for output in outputs])
        if logits is not None and rate is not None:
            density = logits.sigmoid() * rate
        return Output(density, logits, rate=rate)

    def average(self, maps: Sequence[Tensor]) -> Tensor:
        """The weighted mean of the members' maps (N,h,w)."""
        first, *others = (weight * one for weight, one in zip(self.weights, maps, strict=True))
        return sum(others, start=first)

    def average_if_all(self, maps: Sequence[Tensor | None]) -> Tensor | None:
        """The weighted mean of the members' maps (N,h,w); None if any member has no such map."""
        known = [one for one in maps if one is not None]
        return self.average(known) if len(known) == len(maps) else None

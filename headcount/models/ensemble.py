"""Several networks that count together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from headcount.models.counting_model import CountingModel, ModelConfig, Output


@dataclass(frozen=True)
class EnsembleConfig:
    """Several networks that count as one. weights: the share of each, adding up to 1; nothing for equal shares.
    min_side and shrink are theirs, which must agree."""

    members: tuple[ModelConfig, ...]
    weights: tuple[float, ...] = ()
    name: str = "headcount"
    min_side: int = 0
    shrink: bool = False


class Ensemble(nn.Module):
    """Networks of one stride as one model: mask logits are averaged, and so are densities.

    Of zero-inflated networks the rates are averaged instead, and the density is the averaged mask's posterior x rate:
    one that is sure that nobody is there then outweighs one that is not. It counts as a CountingModel does and is not
    trained: its members are, each by itself.

    Raises:
        ValueError: no member, members that differ in stride, min_side or shrink or weights that are not a positive
            share for each, 1 in all.
    """

    def __init__(self, config: EnsembleConfig):
        super().__init__()
        self.config = config
        members = [CountingModel(member) for member in config.members]
        self.members = nn.ModuleList(members)
        rules = {(m.stride, m.config.min_side, m.config.shrink) for m in members}
        if len(rules) != 1 or next(iter(rules))[1:] != (config.min_side, config.shrink):
            raise ValueError("an ensemble takes networks of one stride, min_side and shrink")
        self.weights = config.weights or (1 / len(members),) * len(members)
        if len(self.weights) != len(members) or min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights of {len(members)} networks are {self.weights}: give each its share of 1")
        self.stride, self.grey = members[0].stride, members[0].grey
        self.pad = math.lcm(*(m.pad for m in members))
        self.halo = math.ceil(max(m.halo for m in members) / self.pad) * self.pad

    @property
    def mean(self) -> Any:
        return self.members[0].mean

    @property
    def luma(self) -> Any:
        return self.members[0].luma

    def forward(self, image: Tensor) -> Output:
        outputs = [member(image) for member in self.members]
        density, logits, _, rate = (self.mean_of(list(maps)) for maps in zip(*outputs, strict=True))  # (N,h,w) each
        return Output(density if rate is None else logits.sigmoid() * rate, logits, rate=rate)

    def mean_of(self, maps: list[Tensor | None]) -> Any:
        """The weighted mean of each member's map (N,h,w); None where one has none."""
        if any(one is None for one in maps):
            return None
        return sum(weight * one for weight, one in zip(self.weights, maps, strict=True) if one is not None)

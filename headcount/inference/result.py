"""The result of counting one image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headcount.io.images import as_image
from headcount.regions.counting import RegionCount, count_regions
from headcount.regions.drawing import draw_regions
from headcount.regions.region import Region


@dataclass(frozen=True)
class CountResult:
    """What was counted in one picture, tile set or video frame.

    count: people, `density.sum()`; nan where `error` says why there is none.
    density, mask: float32 (h,w), people per cell and the probability 0..1 that people are there.
    width, height: of the picture as it was given, pixels.
    stride: pixels of it per cell; less than the model's where the picture was enlarged to be counted.
    seconds: from image to count. model: its name. path: the file, if it was one.
    low, high: the interval that holds the true count of nine in ten pictures like those the model was calibrated on;
    nan where it was not. warning: why this picture is unlike those, in one line.
    time: of a video's frame, seconds from its start. regions: what was counted in each region, where some were given.
    """

    count: float
    density: np.ndarray
    mask: np.ndarray
    width: int
    height: int
    stride: float
    seconds: float
    model: str
    path: str | None = None
    error: str | None = None
    low: float = math.nan
    high: float = math.nan
    warning: str | None = None
    time: float | None = None
    regions: tuple[RegionCount, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """path, count, low, high, width, height, seconds, model, ready for JSON, None for what is not known; `time`,
        `regions`, `warning` and `error` where there are any."""
        row: dict[str, Any] = {
            "path": self.path,
            **({} if self.time is None else {"time": round(self.time, 3)}),
            **{name: number(getattr(self, name)) for name in ("count", "low", "high")},
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "model": self.model,
        }
        if self.regions:
            row["regions"] = [region.to_dict() for region in self.regions]
        return row | {name: getattr(self, name) for name in ("warning", "error") if getattr(self, name)}

    def in_regions(self, regions: Iterable[Region]) -> CountResult:
        """The same result with what is in each region. Raises ValueError for one that is outside of the picture."""
        counted = count_regions(tuple(regions), self.density, self.stride, self.width, self.height) if regions else ()
        return replace(self, regions=counted)

    def points(self) -> np.ndarray:
        """Estimated head positions, float32 (N,2), x then y in pixels of the picture: as many as the rounded count."""
        from headcount.inference.localization import head_points

        return head_points(self.density, self.mask, self.stride, self.width, self.height)

    def overlay(self, image: Any, regions: Iterable[Region] = ()) -> np.ndarray:
        """The picture that was counted, given again as to `Counter.count`, under its density: uint8 (H,W,3); with the
        regions that it was counted in, if they are given again too."""
        from headcount.visualization.heatmap import overlay

        drawn = overlay(as_image(image), self.density, self.count, self.stride)
        return draw_regions(drawn, self.regions, tuple(regions)) if self.regions and regions else drawn


def number(value: float) -> float | None:
    """Rounded for JSON; None for nan."""
    return None if math.isnan(value) else round(value, 2)


COLUMNS = ("path", "count", "low", "high", "width", "height", "seconds", "model", "warning", "error")
Row = dict[str, Any]  # as CountResult.to_dict gives it

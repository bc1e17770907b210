"""The result of counting one image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headcount.io.images import as_image, encode_png
from headcount.regions.counting import RegionCount, count_regions
from headcount.regions.drawing import draw_regions
from headcount.regions.region import Region

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

    from headcount.io.video import Frame

ImageInput: TypeAlias = "str | PathLike[str] | bytes | Image | np.ndarray | Frame"  # anything `Counter.count` takes
Row = dict[str, Any]  # as CountResult.to_dict gives it
COLUMNS = ("path", "count", "low", "high", "width", "height", "scale", "seconds", "model", "warning", "error")


@dataclass(frozen=True)
class CountResult:
    """What was counted in one image or video frame.

    Attributes:
        count: Number of people, which is `density.sum()`. nan if `error` is set.
        density: People per cell, float32 (h,w).
        mask: Probability 0..1 that people are in the cell, float32 (h,w).
        width: Width of the image as it was given, in pixels.
        height: Height of the image as it was given, in pixels.
        stride: Pixels of that image per cell. This is less than the model's stride if the image was enlarged.
        scale: Factor by which the image was resized to be counted; below 1 for a large photo with large heads.
        seconds: Time from the decoded image to the count, in seconds.
        model: Name of the model.
        unit: What the model counts, such as "people".
        path: Path of the file, or None if the image was not a file.
        error: Reason why the image could not be counted, in one line.
        low: Lower end of the interval, in people. The interval holds the true count of nine in ten images like those
            that the model was calibrated on. nan if the model was not calibrated.
        high: Upper end of the interval, in people. nan if the model was not calibrated.
        uncertainty: Expected error relative to that of a typical image, 0.5 to 3. The interval is that much wider. 1 if
            the model does not tell.
        warning: How this image differs from those that the model knows, in one line.
        time: Seconds from the start of the video, or None if this is not a video frame.
        regions: What was counted in each region that was given.
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
    uncertainty: float = 1.0
    warning: str | None = None
    time: float | None = None
    scale: float = 1.0
    unit: str = "people"
    regions: tuple[RegionCount, ...] = ()

    def __repr__(self) -> str:
        source = f"{self.path!r}, " if self.path is not None else ""
        if self.error:
            return f"CountResult({source}error={self.error!r})"
        between = "" if math.isnan(self.low) else f" ({self.low:.0f}-{self.high:.0f})"
        return f"CountResult({source}{self.count:.1f} {self.unit}{between}, {self.width}x{self.height}, {self.model!r})"

    def _repr_png_(self) -> bytes | None:
        """The overlay for notebooks; on black if the image is not a file. None if it could not be counted."""
        if self.error:
            return None
        return encode_png(self.overlay(self._file() or np.zeros((self.height, self.width, 3), np.uint8)))

    def _file(self) -> str | None:
        """The path of the image; None if it was not a file, as a frame of a video is none."""
        return self.path if self.time is None else None

    def to_dict(self) -> Row:
        """The result for JSON, with None for what is not known.

        Returns:
            path, count, low, high, width, height, scale, seconds and model; `time`, `regions`, `warning` and `error`
            only if they are set, `uncertainty` if the model tells it, and `unit` if it is not "people".
        """
        row: Row = {"path": self.path}
        if self.time is not None:
            row["time"] = round(self.time, 3)
        row |= {name: number(getattr(self, name)) for name in ("count", "low", "high")}
        if self.uncertainty != 1.0:
            row["uncertainty"] = round(self.uncertainty, 3)
        row |= {"width": self.width, "height": self.height, "scale": round(self.scale, 4)}
        row |= {"seconds": round(self.seconds, 3), "model": self.model}
        if self.regions:
            row["regions"] = [region.to_dict() for region in self.regions]
        if self.unit != "people":
            row["unit"] = self.unit
        return row | {name: getattr(self, name) for name in ("warning", "error") if getattr(self, name)}

    def in_regions(self, regions: Iterable[Region]) -> CountResult:
        """The same result with the people in each region.

        Raises:
            ValueError: a region is outside the image.
        """
        regions = tuple(regions)
        counted = count_regions(regions, self.density, self.stride, self.width, self.height) if regions else ()
        return replace(self, regions=counted)

    def points(self) -> np.ndarray:
        """Estimated head positions, float32 (N,2), x then y in pixels of the image; N is the rounded count."""
        from headcount.inference.localization import head_points

        return head_points(self.density, self.mask, self.stride, self.width, self.height)

    def overlay(self, image: ImageInput | None = None, regions: Iterable[Region] = ()) -> np.ndarray:
        """The image with its density drawn on top.

        Args:
            image: the image that was counted, as it was given to `Counter.count`. None reads the file at `path`.
            regions: the regions that it was counted in, to draw them too.

        Returns:
            uint8 (H,W,3) RGB.

        Raises:
            ValueError: the image cannot be read, or is None and was not a file; one line.
        """
        image = self._file() if image is None else image
        if image is None:
            raise ValueError("the counted image is not a file; give it to overlay, as result.overlay(image)")
        from headcount.io.video import Frame
        from headcount.visualization.heatmap import overlay

        pixels = as_image(image.image if isinstance(image, Frame) else image)
        drawn = overlay(pixels, self.density, self.count, self.stride, self.unit)
        regions = tuple(regions)
        return draw_regions(drawn, self.regions, regions) if self.regions and regions else drawn


def number(value: float) -> float | None:
    """A number rounded for JSON; None for nan."""
    return None if math.isnan(value) else round(value, 2)


def to_dataframe(results: Iterable[CountResult]) -> DataFrame:
    """Results as a pandas DataFrame, a row for each, with the columns of `CountResult.to_dict`.

    Raises:
        ModuleNotFoundError: pandas is not installed; headcount does not install it.
    """
    from pandas import DataFrame

    return DataFrame([result.to_dict() for result in results])

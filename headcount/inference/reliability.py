"""How far a count can be trusted: its uncertainty, its interval, and warnings about unfamiliar images."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np

from headcount.geometry import resize
from headcount.inference import tiling
from headcount.inference.engines import Engine, Maps, ModelMeta
from headcount.io.images import holds_several_images

LARGE_HEAD_SPACING = 30.0  # pixels between heads, as the model sees them; above it, heads may be too large for it
UNCERTAINTY = 0.5, 3.0  # relative uncertainties are kept between these
OVERCOUNT_RATIO = 1.5  # heads are too large if the image counts more than this many times its count at half the size


def relative_uncertainty(maps: Maps, weights: np.ndarray | float = 1.0) -> float:
    """The expected error of an image, or of a part of it, relative to that of a typical image.

    It is the geometric mean over the cells, weighted by the probability that people are there. One typical cell is
    added, so that an image without people is a typical one.

    Args:
        maps: (h,w) each.
        weights: share 0..1 of each cell that belongs to the part, (h,w).

    Returns:
        The factor, between the ends of UNCERTAINTY; 1 for a model without uncertainty.
    """
    if maps.uncertainty is None:
        return 1.0
    mask = maps.mask * weights
    mean = (mask * maps.uncertainty).sum(dtype=np.float64) / (1.0 + mask.sum(dtype=np.float64))
    return math.exp(min(max(mean, math.log(UNCERTAINTY[0])), math.log(UNCERTAINTY[1])))


def interval(count: float, calibration: Mapping[str, float], uncertainty: float = 1.0) -> tuple[float, float]:
    """The interval around a count that should contain the true count.

    The bounds are the count, plus `offset` people, multiplied by the ratios that `calibration.fit_interval` found, each
    to the power of the uncertainty.

    Args:
        count: people.
        calibration: what `fit_interval` returns.
        uncertainty: of the image, as `relative_uncertainty` gives it.

    Returns:
        (low, high) in people; nan for an empty calibration.
    """
    if not calibration:
        return math.nan, math.nan
    offset = calibration["offset"]
    low, high = (calibration[end] ** uncertainty * (max(count, 0.0) + offset) - offset for end in ("low", "high"))
    return min(max(0.0, low), count), max(high, count)  # rounding must not move the count outside


def head_spacing(density: np.ndarray, stride: float) -> float:
    """Pixels between neighbouring heads in the crowd around the median person.

    Args:
        density: (h,w), people per cell.
        stride: pixels per cell.

    Returns:
        The spacing; nan if there is nobody.
    """
    import cv2

    crowd = cv2.GaussianBlur(np.maximum(density, 0), (0, 0), 1.5)  # people per cell, averaged over nearby cells
    order = np.argsort(crowd, axis=None)[::-1]
    people = np.cumsum(np.maximum(density, 0).ravel()[order])
    if not len(people) or people[-1] < 1:
        return math.nan
    median = crowd.ravel()[order[np.searchsorted(people, people[-1] / 2)]]
    return stride / math.sqrt(max(median, 1e-6))


def smaller_than_known(density: np.ndarray, stride: float, meta: ModelMeta) -> str | None:
    """A warning if heads are closer together than in the images that the model was calibrated on.

    Args:
        density: (h,w), people per cell.
        stride: pixels of the image per cell.
        meta: of the model.
    """
    spacing = head_spacing(density, stride)
    if not spacing < meta.spacing:  # also for nan, and for a model that was not calibrated, whose spacing is 0
        return None
    return (
        f"heads are about {spacing:.0f} pixels apart, closer than in the images the model knows ({meta.spacing:.0f}):"
        " the count is likely too low; use an image with more pixels"
    )


def larger_than_known(engine: Engine, image: np.ndarray, density: np.ndarray, max_tile: int | None) -> str | None:
    """A warning if far fewer people are counted at half the size: parts of large heads were then counted as people.

    Crowds of small heads are not checked, because they are lost at half the size.

    Args:
        engine: that counted the image.
        image: uint8 (H,W,3), as the model saw it.
        density: (h,w), what the engine found.
        max_tile: as in `tiling.run`.
    """
    if not engine.meta.spacing or not head_spacing(density, engine.meta.stride) > LARGE_HEAD_SPACING:
        return None
    [smaller] = tiling.run(engine, [resize(image, 0.5)], max_tile)
    full, half = float(density.sum()), float(smaller.density.sum())
    if full <= OVERCOUNT_RATIO * half + 2:
        return None
    return (
        f"heads are larger than in the images the model knows: at half its size this image counts {half:.0f};"
        " count it with --scale 0.5"
    )


def brightness(image: np.ndarray) -> float:
    """The mean value of an image (H,W,3), 0 to 255, from every eighth row and column."""
    return float(image[::8, ::8].mean())


def sharpness(image: np.ndarray) -> float:
    """The mean absolute difference of neighbouring pixels of an image (H,W,3), in percent of its contrast.

    Every eighth row is looked at. The contrast is the standard deviation of their values; a uniform image is sharp.
    """
    rows = image[::8, :, 1].astype(np.float32)
    contrast = float(rows.std())
    return 100.0 * float(np.abs(np.diff(rows, axis=1)).mean()) / contrast if contrast > 1 else 100.0


def unfamiliar(image: np.ndarray, uncertainty: float, meta: ModelMeta) -> str | None:
    """A warning if an image is unlike those that the model was calibrated on, with what is unusual about it.

    Args:
        image: uint8 (H,W,3), as the model saw it.
        uncertainty: of the image, as `relative_uncertainty` gives it.
        meta: of the model.
    """
    limits = meta.limits
    if not limits:
        return None
    if brightness(image) < limits["brightness"]:
        return "very dark: the count is likely too low; use a brighter image"
    if sharpness(image) < limits["sharpness"]:
        return "blurred: the count is likely too low; use a sharper image"
    if uncertainty > limits["uncertainty"]:
        return "unlike the images the model knows: the count may be far off; check it"
    return None


def first_of_several(source: object) -> str | None:
    """A warning if an image is the first of several in its file.

    Args:
        source: what was given to `Counter.count`.
    """
    if not isinstance(source, (str, os.PathLike, bytes)) or not holds_several_images(source):
        return None
    return "holds several images, an animation or pages: only the first is counted; convert an animation to MP4"

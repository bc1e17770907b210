"""How far a count can be trusted: its interval, and warnings about unfamiliar images."""

from __future__ import annotations

import math

import numpy as np

from headcount.geometry import resize
from headcount.inference import tiling
from headcount.inference.engines import Engine, ModelMeta

WIDE = 30.0  # pixels from head to head, as the model sees them, above which heads may be too large for it
FAR = 1.5  # they are if this much fewer people are counted from twice as far


def interval(count: float, calibration: dict[str, float]) -> tuple[float, float]:
    """(low, high) people around a count, by what `calibrate.fit_interval` found: as many times the count, `offset`
    people added, as true counts were; nan for an empty calibration."""
    if not calibration:
        return math.nan, math.nan
    offset = calibration["offset"]
    low, high = (calibration[end] * (max(count, 0.0) + offset) - offset for end in ("low", "high"))
    return min(max(0.0, low), count), max(high, count)  # whatever rounding does


def head_spacing(density: np.ndarray, stride: float) -> float:
    """Pixels from head to head in the crowd that the median person of a density (h,w) stands in; nan for nobody."""
    import cv2

    crowd = cv2.GaussianBlur(np.maximum(density, 0), (0, 0), 1.5)  # people per cell, in the cells around
    order = np.argsort(crowd, axis=None)[::-1]
    people = np.cumsum(np.maximum(density, 0).ravel()[order])
    if not len(people) or people[-1] < 1:
        return math.nan
    middle = crowd.ravel()[order[np.searchsorted(people, people[-1] / 2)]]
    return stride / math.sqrt(max(middle, 1e-6))


def smaller_than_known(density: np.ndarray, stride: float, meta: ModelMeta) -> str | None:
    """A warning where heads are closer, in pixels of the picture, than the model saw them; `density` (h,w)."""
    spacing = head_spacing(density, stride)
    if not spacing < meta.spacing:  # nan is not; and a model that was not calibrated says 0
        return None
    return (
        f"heads are about {spacing:.0f} pixels apart, closer than in the pictures the model knows ({meta.spacing:.0f}):"
        " the count is likely too low; take a picture of more pixels"
    )


def larger_than_known(engine: Engine, image: np.ndarray, density: np.ndarray, max_tile: int | None) -> str | None:
    """A warning where many fewer people are there when the picture (H,W,3) is looked at from twice as far: parts of
    large heads are then counted as people. Crowds of small heads, which are lost from afar, are not looked at."""
    if not engine.meta.spacing or not head_spacing(density, engine.meta.stride) > WIDE:
        return None
    [(from_afar, _)] = tiling.run(engine, [resize(image, 0.5)], max_tile)
    near, far = float(density.sum()), float(from_afar.sum())
    if near <= FAR * far + 2:
        return None
    return (
        f"heads are larger than in the pictures the model knows: at half its size this picture counts {far:.0f};"
        " count it with --scale 0.5"
    )

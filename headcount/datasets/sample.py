"""One annotated image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import PointsError, fault, size


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    image: path of the picture. points: float32 (N,2), x then y in pixels, all in [0, width) x [0, height).
    roi: float32 (P,2), the polygon in which the data set counts, or None for the whole image; points outside
    it are kept. scene: the camera, where the set names one. dropped: annotated points outside the image. rule: how
    boxes became points, '' where none did.
    """

    image: Path
    points: np.ndarray
    roi: np.ndarray | None = None
    scene: str = ""
    dropped: int = 0
    rule: str = ""

    @property
    def name(self) -> str:
        return self.image.stem


# Small parts


def _sample(image: Path, points: np.ndarray, roi: np.ndarray | None = None, scene: str = "", rule: str = "") -> Sample:
    """points: float64 (N,2) as annotated; those outside the image are dropped and counted."""
    try:
        extent = np.array(size(image))  # width, height
    except PointsError as error:
        fault(error)
        return Sample(image, np.zeros((0, 2), np.float32), roi, scene)
    inside = ((points >= 0) & (points < extent)).all(axis=1)  # (N,)
    # Rounding to float32 must not carry a point over the far border.
    kept = np.minimum(points[inside].astype(np.float32), np.nextafter(extent.astype(np.float32), np.float32(0)))
    return Sample(image, kept, roi, scene, int((~inside).sum()), rule)

"""One annotated image, as training and evaluation take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_image_size
from headcount.datasets.annotations import ErrorHandler, PointsError, raise_error
from headcount.geometry import inside


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    Coordinates are continuous pixels: pixel i covers [i, i+1). They are taken as the annotation file has them.

    Attributes:
        image: Path of the image.
        points: float32 (N, 2), x then y in pixels, all inside [0, width) x [0, height) of the upright image.
        roi: float32 (P, 2), the polygon in which the data set counts people, or None for the whole image. Points
            outside the polygon are kept.
        scene: The camera, if the data set names one.
        dropped: How many annotated points lie outside the image and were dropped.
        rule: How boxes became points, in words. Empty if no boxes were used.
    """

    image: Path
    points: np.ndarray
    roi: np.ndarray | None = None
    scene: str = ""
    dropped: int = 0
    rule: str = ""

    @property
    def name(self) -> str:
        """The file name of the image without its suffix."""
        return self.image.stem

    @property
    def points_in_roi(self) -> np.ndarray:
        """The points that are counted: those inside `roi`, or all points if there is none. float32 (M, 2)."""
        return self.points if self.roi is None else self.points[inside(self.points, self.roi)]


def make_sample(
    image: Path,
    points: np.ndarray,
    roi: np.ndarray | None = None,
    scene: str = "",
    rule: str = "",
    on_error: ErrorHandler = raise_error,
) -> Sample:
    """A sample of annotated points, without those outside the image.

    Args:
        image: Path of the image.
        points: float64 (N, 2) as annotated.
        roi: Polygon (P, 2) in which people are counted, or None.
        scene: The camera.
        rule: How boxes became points.
        on_error: Called if the image cannot be read. If it returns, the sample has no points.
    """
    roi = None if roi is None else roi.astype(np.float32)
    try:
        extent = np.array(read_image_size(image))  # width, height
    except PointsError as error:
        on_error(error)
        return Sample(image, np.zeros((0, 2), np.float32), roi, scene)
    in_image = ((points >= 0) & (points < extent)).all(axis=1)  # (N,)
    # Rounding to float32 must not carry a point across the right or lower border.
    border = np.nextafter(extent.astype(np.float32), np.float32(0))
    kept = np.minimum(points[in_image].astype(np.float32), border)
    return Sample(image, kept, roi, scene, dropped=int((~in_image).sum()), rule=rule)

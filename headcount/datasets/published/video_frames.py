"""Annotated frames of a video, as the Mall and UCSD sets store them in MATLAB cells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import extract, read_mat
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError, as_points


def read_frame_cells(file: Path) -> np.ndarray:
    """The cells of the variable `frame`, (number of frames,). Raises PointsError."""
    return extract(file, read_mat(file), lambda variables: variables["frame"].ravel())


def frame_records(
    file: Path, frames: dict[int, Path], roi: np.ndarray | None, scene: str
) -> Iterator[tuple[int, AnnotationRecord]]:
    """Yield the number of each annotated frame, from 1, and its record without a split.

    Args:
        file: The .mat file with the annotations of all frames.
        frames: The images of the frames by number.
        roi: Polygon (P, 2) in which people are counted, or None.
        scene: The camera.

    Raises:
        PointsError: the file is damaged, or a frame has no image.
    """
    for number, cell in enumerate(read_frame_cells(file), start=1):
        if number not in frames:
            raise PointsError(f"{file}: frame {number} has no image; unpack the frames of the data set again")
        yield number, AnnotationRecord(frames[number], partial(_load, file, cell, roi), scene=scene)


def _load(file: Path, cell: np.ndarray, roi: np.ndarray | None) -> Annotations:
    """The field `loc` of one frame: (N, 2), or in UCSD (N, 3) with a third column that is not a coordinate."""
    location = np.asarray(extract(file, cell, lambda cell: cell["loc"][0, 0]))
    points = location[:, :2] if location.ndim == 2 else location
    return Annotations(as_points(points, file), roi=roi)

"""The plane of the ground: from points of the image to metres."""

from __future__ import annotations

import itertools

import numpy as np

STRAIGHT = 1e-3  # three points count as collinear if their triangle is flatter than this share of its longest side


def homography(pairs: np.ndarray) -> np.ndarray:
    """Fit the homography from the image to the ground, by least squares if there are more than four points.

    Args:
        pairs: (N,2,2), N >= 4: points of the image, and the same points on the ground in metres.

    Returns:
        float64 (3,3) for `project`. The origin on the ground is the mean of the points. The matrix is scaled so that
        w, the third coordinate, is 1 at the mean of the image points, and therefore positive on their side of the
        horizon.

    Raises:
        numpy.linalg.LinAlgError: If the points determine no homography.
    """
    import cv2

    image_points, metres = pairs[:, 0], pairs[:, 1] - pairs[:, 1].mean(0)
    middle, size, spread = image_points.mean(0), image_points.std(), metres.std()
    # Coordinates near 1: OpenCV takes float32, in which map coordinates would lose their last digits.
    matrix, _ = cv2.findHomography((image_points - middle) / size, metres / spread)
    if matrix is None:
        raise np.linalg.LinAlgError("the points determine no homography")
    normalize = np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1]])
    return np.diag([spread, spread, 1]) @ matrix @ normalize


def project(matrix: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project points of the image onto the ground.

    Args:
        matrix: (3,3) from `homography`.
        points: (N,2).

    Returns:
        Metres (N,2) and w (N,). The metres are meaningless where w is not positive: at the horizon and beyond.
    """
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return mapped[:, :2] / mapped[:, 2:], mapped[:, 2]


def collinear_triples(points: np.ndarray) -> set[tuple[int, int, int]]:
    """Find three points of (N,2) that are nearly collinear, or two of which coincide, as indices in rising order."""
    triples = list(itertools.combinations(range(len(points)), 3))
    corners = points[np.array(triples)]  # (T,3,2)
    sides = corners - np.roll(corners, 1, axis=1)
    twice_area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    flat = twice_area <= STRAIGHT * (sides**2).sum(axis=2).max(axis=1)
    return {triple for triple, is_flat in zip(triples, flat.tolist(), strict=True) if is_flat}


def has_four_without(triples: set[tuple[int, int, int]], count: int) -> bool:
    """Tell whether some four of `count` points contain none of these triples."""
    quadruples = itertools.combinations(range(count), 4)
    return any(triples.isdisjoint(itertools.combinations(four, 3)) for four in quadruples)

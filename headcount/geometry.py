"""Resizing images and testing which pixels and points lie inside a polygon."""

from __future__ import annotations

from typing import Any

import numpy as np

MIN_SCALE = 0.05
MAX_ENLARGE = 8.0  # times, a side: a strip one pixel high is not made a wall of noise


def enlargement(height: int, width: int, min_side: int) -> float:
    """The scale that brings the short side to `min_side`: 1 where it is longer, MAX_ENLARGE at most."""
    return max(1.0, min(min_side / min(height, width), MAX_ENLARGE))


def enlarge_to(image: np.ndarray, min_side: int) -> np.ndarray:
    """`image` with its short side at least `min_side` pixels, at most MAX_ENLARGE times as large."""
    return resize(image, enlargement(image.shape[0], image.shape[1], min_side))


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """`image` (H,W,3) with its sides times `scale`. Larger ones are made as training's validation makes them, bilinear:
    another filter would be another picture to the model."""
    if not MIN_SCALE <= scale <= MAX_ENLARGE:
        raise ValueError(f"scale is {scale:g}; it takes {MIN_SCALE:g} to {MAX_ENLARGE:g}")
    if scale == 1:
        return image
    import cv2

    scale = max(scale, 1 / min(image.shape[:2]))  # a pixel is left
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def polygon_mask(polygon: Any, height: int, width: int) -> np.ndarray:
    """uint8 (H,W): 1 where a pixel's centre is inside the polygon (P,2), P >= 3. ValueError for anything else."""
    import cv2

    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError("roi: give at least three corners, x then y in pixels: [[0, 0], [400, 0], [400, 300]]")
    inside = np.zeros((height, width), np.uint8)
    fixed = np.round((corners - 0.5) * 256).clip(-(2**30), 2**30).astype(np.int32)  # pixel i's centre is at i + 0.5
    cv2.fillPoly(inside, [fixed], 1, shift=8)
    if not inside.any():
        raise ValueError(f"roi: the polygon covers no pixel of a picture of {width}x{height}")
    return inside


def at_cells(inside: np.ndarray, h: int, w: int, stride: float) -> np.ndarray:
    """float32 (h,w): `inside` (H,W) at the centre of each density cell; `stride`: pixels of `inside` per cell."""
    y, x = ((np.arange(n) + 0.5) * stride for n in (h, w))
    y, x = (np.minimum(at, size - 1).astype(int) for at, size in zip((y, x), inside.shape, strict=True))
    return inside[np.ix_(y, x)].astype(np.float32)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which points (N,2) are inside a polygon (P,2), P >= 3, both x then y: bool (N,).

    Even-odd rule. A point on a left or upper edge is inside, on a right or lower edge outside, so that
    adjacent polygons share no point.
    """
    points, polygon = np.asarray(points, np.float64).reshape(-1, 2), np.asarray(polygon, np.float64)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"a polygon is an array (P,2) with P >= 3, got shape {polygon.shape}")
    x, y = points[:, :1], points[:, 1:]  # (N,1)
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T  # (P,) each: the edges
    spans = (y1 <= y) != (y2 <= y)  # (N,P): edges that the horizontal line through the point crosses
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges: they never span
        crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return (spans & (x < crossing)).sum(axis=1) % 2 == 1

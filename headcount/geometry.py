"""Resizing images, and testing which pixels and points are inside a polygon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MIN_SCALE, MAX_SCALE = 0.05, 8.0  # factors by which an image may be resized, per side
MAX_ENLARGED = 4_000_000  # pixels that an image may be enlarged to for its short side: 448 x 8,900


def enlargement(height: int, width: int, min_side: int) -> float:
    """Return the scale that brings the short side to `min_side` pixels: 1 if it is longer, at most MAX_SCALE.

    Without that limit, a strip one pixel high would be enlarged to a wall of noise. A long strip is enlarged less, to
    MAX_ENLARGED pixels in all.
    """
    fits = (MAX_ENLARGED / (height * width)) ** 0.5
    return max(1.0, min(min_side / min(height, width), MAX_SCALE, fits))


def enlarge_to(image: np.ndarray, min_side: int) -> np.ndarray:
    """Enlarge an image (H,W,3) until its short side has `min_side` pixels, at most MAX_SCALE times."""
    return resize(image, enlargement(image.shape[0], image.shape[1], min_side))


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize an image.

    Enlarging is bilinear, as in the validation during training: another filter would look different to the model.

    Args:
        image: uint8 (H,W,3).
        scale: Factor for both sides, MIN_SCALE to MAX_SCALE. At least one pixel per side remains.

    Returns:
        The resized image, or `image` itself if the scale is 1.

    Raises:
        ValueError: If the scale is out of range.
    """
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise ValueError(f"scale must be between {MIN_SCALE:g} and {MAX_SCALE:g}, got {scale:g}")
    if scale == 1:
        return image
    import cv2

    scale = max(scale, 1 / min(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def polygon_mask(polygon: ArrayLike, height: int, width: int) -> np.ndarray:
    """Rasterize a polygon.

    Args:
        polygon: (P,2) corners in pixels, x then y, P >= 3.
        height: Rows of the mask.
        width: Columns of the mask.

    Returns:
        uint8 (height,width): 1 where the centre of a pixel is inside.

    Raises:
        ValueError: If `polygon` is no such array, or covers no pixel.
    """
    import cv2

    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError("roi: give at least three corners, x then y in pixels: [[0, 0], [400, 0], [400, 300]]")
    mask = np.zeros((height, width), np.uint8)
    fixed = np.round((corners - 0.5) * 256).clip(-(2**30), 2**30).astype(np.int32)  # the centre of pixel i is i + 0.5
    cv2.fillPoly(mask, [fixed], 1, shift=8)
    if not mask.any():
        raise ValueError(f"roi: the polygon covers no pixel of an image of {width}x{height}")
    return mask


def at_cells(mask: np.ndarray, h: int, w: int, stride: float) -> np.ndarray:
    """Sample a mask (H,W) at the centres of the density cells.

    Args:
        mask: (H,W), of any type.
        h: Rows of cells.
        w: Columns of cells.
        stride: Pixels of the mask per cell. The last cells may extend past the mask.

    Returns:
        float32 (h,w).
    """
    rows, columns = ((np.arange(n) + 0.5) * stride for n in (h, w))
    y, x = (np.minimum(at, size - 1).astype(int) for at, size in zip((rows, columns), mask.shape, strict=True))
    return mask[np.ix_(y, x)].astype(np.float32)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Tell which points are inside a polygon, by the even-odd rule.

    A point on a left or upper edge is inside, one on a right or lower edge is outside, so adjacent polygons never
    share a point.

    Args:
        points: (N,2) x, y.
        polygon: (P,2) corners x, y, P >= 3.

    Returns:
        bool (N,).

    Raises:
        ValueError: If `polygon` has another shape.
    """
    points, polygon = np.asarray(points, np.float64).reshape(-1, 2), np.asarray(polygon, np.float64)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"a polygon is an array (P,2) with P >= 3, got shape {polygon.shape}")
    # shapely.contains_xy would exclude every edge and intersects_xy include every edge: a point on the border of two
    # adjacent polygons would be lost or counted twice.
    x, y = points[:, :1], points[:, 1:]  # (N,1)
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T  # (P,) each: the edges
    crosses = (y1 <= y) != (y2 <= y)  # (N,P): edges that the horizontal line through the point crosses
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges divide by zero, but never cross
        crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return (crosses & (x < crossing)).sum(axis=1) % 2 == 1


def parse_polygon(text: str) -> list[tuple[float, float]]:
    """Parse the corners of a polygon, written as "0,0 400,0 400,300".

    Args:
        text: Three or more corners x,y in pixels, separated by spaces.

    Returns:
        The corners, x then y.

    Raises:
        ValueError: If the text is anything else; one line.
    """
    try:
        corners = [(float(x), float(y)) for x, y in (corner.split(",") for corner in text.split())]
    except ValueError:
        corners = []
    if len(corners) < 3:
        raise ValueError(f'roi "{text}": give at least three corners x,y: "0,0 400,0 400,300"')
    return corners

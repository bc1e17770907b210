"""A density map to dots: estimated head positions, as many as people were counted.

What is unusual: nobody is lost and nobody invented. A dot takes one person's worth of density from the cells around the
strongest place that is left, so that dots and count agree however wide or narrow a model draws a head.
"""

from __future__ import annotations

import numpy as np

FINER = 4  # places per cell and axis that dots are moved among
ROUNDS = 5  # of moving them; three give nine tenths of what many do
REACH = 3  # cells around the strongest that a person may be spread over


def head_points(
    density: np.ndarray, mask: np.ndarray, stride: float, width: int | None = None, height: int | None = None
) -> np.ndarray:
    """Estimated head positions, float32 (N,2), x then y in pixels of the picture, N the rounded sum of the density.

    density, mask: float32 (h,w), people per cell and the probability 0..1 that people are there. stride: pixels of the
    picture per cell. width, height: of the picture, which the last cells may reach past; points stay inside.
    """
    people = round(max(float(density.sum(dtype=np.float64)), 0.0))
    if not people:
        return np.zeros((0, 2), np.float32)
    weight = np.maximum(density, 0) * np.maximum(mask, 1e-3)  # stray density where nobody stands is taken last
    weight *= people / weight.sum(dtype=np.float64)
    places = refine(take(weight, people), weight)  # in cells
    sides = (width or density.shape[1] * stride, height or density.shape[0] * stride)
    columns = [to_pixels(places[:, i], density.shape[1 - i], stride, side) for i, side in enumerate(sides)]
    return np.stack(columns, axis=1)


def to_pixels(places: np.ndarray, cells: int, stride: float, side: float) -> np.ndarray:
    """Places on one axis from cells to pixels, float32; the last cell is the part of it that is inside the picture."""
    last = (cells - 1) * stride
    pixels = np.interp(places, [0, cells - 1, cells], [0, last, max(side, last)]).astype(np.float32)
    return pixels.clip(0, np.nextafter(np.float32(side), np.float32(0)))


def take(weight: np.ndarray, people: int) -> np.ndarray:
    """float64 (N,2), x then y in cells: one person after another from the strongest place of `weight` (h,w), whose sum
    is `people`."""
    import cv2

    left = np.pad(weight.astype(np.float64), REACH)
    around = cv2.blur(left, (3, 3), borderType=cv2.BORDER_CONSTANT)
    offsets = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].reshape(2, -1)  # dy, dx
    near = np.argsort((offsets**2).sum(axis=0), kind="stable")
    dy, dx = offsets[:, near]
    h, w = left.shape
    places = np.empty((people, 2))
    for number in range(people):
        y, x = divmod(int(around.argmax()), w)
        y, x = min(max(y, REACH), h - REACH - 1), min(max(x, REACH), w - REACH - 1)
        rows, columns = y + dy, x + dx
        here = left[rows, columns]
        before = np.cumsum(here) - here
        taken = np.minimum(here, np.maximum(1.0 - before, 0.0))
        left[rows, columns] = here - taken
        part = taken.sum()
        shift = (taken @ np.stack([dx, dy], axis=1)) / part if part > 0 else np.zeros(2)
        places[number] = (x - REACH + 0.5 + shift[0], y - REACH + 0.5 + shift[1])
        renew(around, left, y, x)
    return places


def renew(around: np.ndarray, left: np.ndarray, y: int, x: int) -> None:
    """Blur anew what changed in `left` REACH cells around (y, x)."""
    import cv2

    top, start = max(y - REACH - 2, 0), max(x - REACH - 2, 0)  # a cell more than changes, for the blur's own border
    blurred = cv2.blur(left[top : y + REACH + 3, start : x + REACH + 3], (3, 3), borderType=cv2.BORDER_CONSTANT)
    rows, columns = slice(top > 0, None), slice(start > 0, None)
    changed = around[top + (top > 0) : y + REACH + 2, start + (start > 0) : x + REACH + 2]
    changed[:] = blurred[rows, columns][: changed.shape[0], : changed.shape[1]]


def spread(places: np.ndarray) -> np.ndarray:
    """The second and later dots of a cell moved off its first, evenly by a low-discrepancy sequence (R2)."""
    cells = np.floor(places).astype(np.int64)
    _, cell, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(cell.ravel(), kind="stable")
    rank = np.empty(len(places), np.int64)
    rank[order] = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    offsets = 0.8 * ((rank[:, None] * [0.7548776662, 0.5698402910] + 0.5) % 1 - 0.5)
    return np.where(rank[:, None] > 0, places + offsets, places)


def refine(places: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Dots (N,2), in cells, moved to the middle of the density that is nearer to each than to the others (Lloyd)."""
    import cv2

    h, w = weight.shape
    fine = cv2.resize(weight.astype(np.float32), (w * FINER, h * FINER), interpolation=cv2.INTER_LINEAR).ravel() + 1e-9
    y, x = ((axis.ravel() + 0.5) / FINER for axis in np.mgrid[: h * FINER, : w * FINER].astype(np.float32))
    places = spread(places)
    for _ in range(ROUNDS):
        columns, rows = np.floor(places.T * FINER).astype(np.int64).clip(0, [[w * FINER - 1], [h * FINER - 1]])
        empty = np.ones((h * FINER, w * FINER), np.uint8)
        empty[rows, columns] = 0
        _, nearest = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        labels, own = nearest.ravel(), nearest[rows, columns]
        mass = np.bincount(labels, fine)
        middle = np.stack([np.bincount(labels, fine * axis)[own] / mass[own] for axis in (x, y)], axis=1)
        alone = np.bincount(own, minlength=len(mass))[own] == 1  # dots that share a place keep their own
        places = np.where(alone[:, None], middle, places)
    return places

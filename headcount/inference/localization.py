"""A density map to dots: estimated head positions, as many as people were counted.

What is unusual: nobody is lost and nobody invented. Each dot first takes one person's worth of density from the cells
around the strongest place that is left; then all move together until equal Gaussians, one on each dot, explain the
density best, so that dots and count agree however wide or narrow a model draws a head.
"""

from __future__ import annotations

import numpy as np

REACH = 3  # cells around the strongest that a person is taken from
BLUR = 0.7  # cells: what is strongest, a cell with its neighbours
SIGMA = 0.5  # cells, of the Gaussian on a dot: the recipes' 4 pixels at a stride of 8
FINER = 2  # places per cell and axis that the density is seen at: where a cell holds several people they stay apart
WINDOW = 4  # such places to each side of a dot: all that its Gaussian reaches
ROUNDS = 10  # of moving all dots; half as many give as much to 0.005 of F1
TINY = 1e-12


def head_points(
    density: np.ndarray, mask: np.ndarray, stride: float, width: int | None = None, height: int | None = None
) -> np.ndarray:
    """Estimated head positions, float32 (N,2), x then y in pixels of the picture, N the rounded sum of the density, or
    none where that is below zero; no two are the same.

    density, mask: float32 (h,w), people per cell and the probability 0..1 that people are there. stride: pixels of the
    picture per cell. width, height: of the picture, which the last cells may reach past; points stay inside.
    """
    people = round(max(float(density.sum(dtype=np.float64)), 0.0))
    if not people:
        return np.zeros((0, 2), np.float32)
    weight = np.maximum(density, 0.0, dtype=np.float64)
    weight *= np.maximum(mask, 1e-3)  # stray density where nobody stands is taken last
    weight *= people / weight.sum()
    places = settle(spread(take(weight, people), 1), weight)
    places = spread(places, 1 / 4)  # a narrow blob of several people has drawn them to its middle
    sides = (width or density.shape[1] * stride, height or density.shape[0] * stride)
    columns = [to_pixels(places[:, i], density.shape[1 - i], stride, side) for i, side in enumerate(sides)]
    return np.stack(columns, axis=1)


def take(weight: np.ndarray, people: int) -> np.ndarray:
    """float64 (N,2), x then y in cells: one person after another from the strongest place of `weight` (h,w), whose sum
    is `people`, the nearest cells first; each stands in the middle of what was taken."""
    import cv2

    def blur(cells: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(cells, (3, 3), BLUR, borderType=cv2.BORDER_CONSTANT)

    side = 2 * REACH + 1
    offsets = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].reshape(2, -1)  # (2,49): y, x
    offsets = offsets[:, np.argsort((offsets**2).sum(axis=0), kind="stable")]
    nearest_first = tuple(offsets + REACH)
    left = np.pad(weight, REACH)
    around = blur(np.pad(weight, REACH + 1))  # kept the blur of `left` by what is taken, blurred: a blur is linear
    inner = around[REACH + 1 : -REACH - 1, REACH + 1 : -REACH - 1]  # (h,w)
    strongest = inner.max(axis=1)  # of each row: a search through these and one row is 100 times shorter
    taken = np.zeros((side + 2, side + 2))
    places = np.empty((people, 2))
    for number in range(people):
        y = int(strongest.argmax())
        x = int(inner[y].argmax())
        window = left[y : y + side, x : x + side]
        here = window[nearest_first]  # (49,)
        part = np.minimum(here, np.maximum(1 - (here.cumsum() - here), 0))
        taken[1:-1, 1:-1][nearest_first] = part
        window -= taken[1:-1, 1:-1]
        around[y : y + side + 2, x : x + side + 2] -= blur(taken)
        changed = slice(max(y - REACH - 1, 0), y + REACH + 2)
        strongest[changed] = inner[changed].max(axis=1)
        shift_y, shift_x = offsets @ part / max(part.sum(), TINY)
        places[number] = x + 0.5 + shift_x, y + 0.5 + shift_y
    return places


def spread(places: np.ndarray, square: float) -> np.ndarray:
    """The second and later dots in one square, its side in cells, moved off its first by less than a quarter of a cell,
    evenly by a low-discrepancy sequence (R2)."""
    shifted = places / square + 0.37  # dots gather at middles and corners of cells: no border is to be there
    squares = np.floor(shifted).astype(np.int64)
    _, which, sizes = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(which.ravel(), kind="stable")
    rank = np.empty((len(places), 1), np.int64)  # of each dot in its square
    rank[order, 0] = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    offsets = 0.48 * ((rank * [0.7548776662, 0.5698402910] + 0.5) % 1 - 0.5)  # none for rank 0
    return places + offsets


def settle(places: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Dots (N,2), in cells, moved by expectation maximisation: each cell of `weight` (h,w) is shared among the dots by
    their Gaussians there, and each dot goes to the middle of its shares."""
    seen = np.pad(weight.repeat(FINER, axis=0).repeat(FINER, axis=1), WINDOW)
    steps = np.arange(-WINDOW, WINDOW + 1)
    places = places * FINER + WINDOW
    for _ in range(ROUNDS):
        x, y = (np.floor(places).astype(np.int64)[:, axis, None] + steps for axis in (0, 1))  # (N,9) each
        gaussian_x, gaussian_y = (
            np.exp(-0.5 * ((at + 0.5 - places[:, axis, None]) / (SIGMA * FINER)) ** 2) for axis, at in enumerate((x, y))
        )
        share = gaussian_y[:, :, None] * gaussian_x[:, None, :]  # (N,9,9)
        index = y[:, :, None] * seen.shape[1] + x[:, None, :]
        total = np.bincount(index.ravel(), share.ravel(), seen.size)
        share *= (seen.ravel() / np.maximum(total, TINY))[index]
        mass = share.sum(axis=(1, 2))
        middle = np.stack([(share.sum(axis=1) * x).sum(axis=1), (share.sum(axis=2) * y).sum(axis=1)], axis=1)
        middle = middle / np.maximum(mass, TINY)[:, None] + 0.5
        places = np.where(mass[:, None] > TINY, middle, places)
    return (places - WINDOW) / FINER


def to_pixels(places: np.ndarray, cells: int, stride: float, side: float) -> np.ndarray:
    """Places on one axis from cells to pixels, float32; the last cell is the part of it that is inside the picture."""
    last = (cells - 1) * stride
    pixels = np.interp(places, [0, cells - 1, cells], [0, last, max(side, last)]).astype(np.float32)
    return pixels.clip(0, np.nextafter(np.float32(side), np.float32(0)))

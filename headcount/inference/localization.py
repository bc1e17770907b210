"""Head positions from a density map, as many as people were counted.

Each position first takes one person's worth of density from the cells around the strongest place that remains. Then all
positions move together until equal Gaussians, one at each, explain the density best. So their number agrees with the
count, however wide or narrow a model draws a head.
"""

from __future__ import annotations

import numpy as np

REACH = 3  # cells around the strongest from which a person is taken
BLUR = 0.7  # cells, of the Gaussian that is applied before the strongest cell is chosen
SIGMA = 0.5  # cells, of a head's Gaussian: the recipes' 4 pixels at a stride of 8
FINER = 2  # samples of the density per cell and axis, so that several people in one cell stay apart
WINDOW = 4  # samples on each side of a head that its Gaussian covers
ROUNDS = 10  # of expectation maximization; half as many change F1 by 0.005 at most
TINY = 1e-12


def head_points(
    density: np.ndarray, mask: np.ndarray, stride: float, width: int | None = None, height: int | None = None
) -> np.ndarray:
    """Estimate head positions.

    Args:
        density: float32 (h,w), people per cell.
        mask: float32 (h,w), the probability 0..1 that people are in the cell.
        stride: pixels of the image per cell.
        width: of the image, which the last cells may exceed; positions stay inside it.
        height: of the image.

    Returns:
        Distinct positions, float32 (N,2), x then y in pixels of the image. N is the rounded sum of the density, or 0 if
        that is negative.
    """
    people = round(max(float(density.sum(dtype=np.float64)), 0.0))
    if not people:
        return np.zeros((0, 2), np.float32)
    weight = np.maximum(density, 0.0, dtype=np.float64)
    weight *= np.maximum(mask, 1e-3)  # stray density on the background is taken last
    weight *= people / weight.sum()
    places = refine(separate(take_people(weight, people), 1), weight)
    places = separate(places, 1 / 4)  # a narrow blob of several people has drawn them to its middle
    sides = (width or density.shape[1] * stride, height or density.shape[0] * stride)
    columns = [to_pixels(places[:, i], density.shape[1 - i], stride, side) for i, side in enumerate(sides)]
    return np.stack(columns, axis=1)


def take_people(weight: np.ndarray, people: int) -> np.ndarray:
    """Take one person's worth of density at a time, each from the cells nearest to the strongest place that remains.

    Args:
        weight: (h,w), people per cell, summing to `people`.
        people: how many.

    Returns:
        The centre of what each person was taken from: float64 (N,2), x then y in cells.
    """
    import cv2

    def blur(cells: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(cells, (3, 3), BLUR, borderType=cv2.BORDER_CONSTANT)

    side = 2 * REACH + 1
    offsets = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].reshape(2, -1)  # (2,49): y, x
    offsets = offsets[:, np.argsort((offsets**2).sum(axis=0), kind="stable")]
    nearest_first = tuple(offsets + REACH)
    left = np.pad(weight, REACH)
    blurred = blur(np.pad(weight, REACH + 1))  # stays the blur of `left`: what is taken is subtracted blurred
    inner = blurred[REACH + 1 : -REACH - 1, REACH + 1 : -REACH - 1]  # (h,w)
    row_maxima = inner.max(axis=1)  # searching these and one row is 100 times faster than searching all cells
    taken = np.zeros((side + 2, side + 2))
    places = np.empty((people, 2))
    for number in range(people):
        y = int(row_maxima.argmax())
        x = int(inner[y].argmax())
        window = left[y : y + side, x : x + side]
        available = window[nearest_first]  # (49,)
        part = np.minimum(available, np.maximum(1 - (available.cumsum() - available), 0))
        taken[1:-1, 1:-1][nearest_first] = part
        window -= taken[1:-1, 1:-1]
        blurred[y : y + side + 2, x : x + side + 2] -= blur(taken)
        changed = slice(max(y - REACH - 1, 0), y + REACH + 2)
        row_maxima[changed] = inner[changed].max(axis=1)
        shift_y, shift_x = offsets @ part / max(part.sum(), TINY)
        places[number] = x + 0.5 + shift_x, y + 0.5 + shift_y
    return places


def separate(places: np.ndarray, square: float) -> np.ndarray:
    """Move positions that share a square apart, by less than a quarter of a cell.

    The first position in a square stays. The others are distributed evenly by a low-discrepancy sequence (R2).

    Args:
        places: (N,2), in cells.
        square: side of a square, in cells.
    """
    shifted = places / square + 0.37  # positions gather at centres and corners of cells; no border should be there
    squares = np.floor(shifted).astype(np.int64)
    _, which, sizes = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(which.ravel(), kind="stable")
    rank = np.empty((len(places), 1), np.int64)  # of each position in its square
    rank[order, 0] = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    offsets = 0.48 * ((rank * [0.7548776662, 0.5698402910] + 0.5) % 1 - 0.5)  # zero for rank 0
    return places + offsets


def refine(places: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Move positions by expectation maximization.

    Each cell is shared among the positions according to their Gaussians there, and each position moves to the centre of
    its shares.

    Args:
        places: (N,2), in cells.
        weight: (h,w), people per cell.
    """
    samples = np.pad(weight.repeat(FINER, axis=0).repeat(FINER, axis=1), WINDOW)
    steps = np.arange(-WINDOW, WINDOW + 1)
    places = places * FINER + WINDOW
    for _ in range(ROUNDS):
        x, y = (np.floor(places).astype(np.int64)[:, axis, None] + steps for axis in (0, 1))  # (N,9) each
        gaussian_x, gaussian_y = (
            np.exp(-0.5 * ((at + 0.5 - places[:, axis, None]) / (SIGMA * FINER)) ** 2) for axis, at in enumerate((x, y))
        )
        share = gaussian_y[:, :, None] * gaussian_x[:, None, :]  # (N,9,9)
        index = y[:, :, None] * samples.shape[1] + x[:, None, :]
        total = np.bincount(index.ravel(), share.ravel(), samples.size)
        share *= (samples.ravel() / np.maximum(total, TINY))[index]
        mass = share.sum(axis=(1, 2))
        centre = np.stack([(share.sum(axis=1) * x).sum(axis=1), (share.sum(axis=2) * y).sum(axis=1)], axis=1)
        centre = centre / np.maximum(mass, TINY)[:, None] + 0.5
        places = np.where(mass[:, None] > TINY, centre, places)
    return (places - WINDOW) / FINER


def to_pixels(places: np.ndarray, cells: int, stride: float, side: float) -> np.ndarray:
    """Positions on one axis from cells to pixels, float32; only the part of the last cell inside the image counts."""
    last = (cells - 1) * stride
    pixels = np.interp(places, [0, cells - 1, cells], [0, last, max(side, last)]).astype(np.float32)
    return pixels.clip(0, np.nextafter(np.float32(side), np.float32(0)))

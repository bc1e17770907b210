"""A picture of any size through an engine, in bounded memory.

What is unusual: a large picture is cut in windows of one size that overlap by the model's receptive halo and start at
multiples of its `pad`, so that what each keeps is what the whole picture would have given there. And pictures are
padded to multiples of BUCKET, in the colour that the model itself pads with: a size that an engine has not met costs it
several times what counting the picture does, and a folder of photos has a hundred sizes but a handful of padded ones.
"""

from __future__ import annotations

import math

import numpy as np

from headcount.inference.engines import Engine, ModelMeta

BUCKET = 64  # pixels
MAX_HALO = 256  # pixels; what lies farther away moves a count by less than 0.1 %, though deep networks see 480
MEMORY = 1_200_000_000  # bytes for the picture and a window; with the engine itself 1.5 GB, also for 100 megapixels
BYTES = {"fp32": 226}  # a pixel of a window by what the engine computes in, of headcount-small
BYTES_HALF = 118  # so a 4K frame is one window

Window = tuple[int, int, int, int]  # on one axis, pixels: start, end, and what it keeps: first, last


def padded_size(shape: tuple[int, ...], meta: ModelMeta) -> tuple[int, int]:
    """(H, W) that a picture of shape (height, width, ...) is counted at: the next multiples of BUCKET, where the model
    says what to pad with."""
    height, width = shape[:2]
    if not meta.blank:
        return height, width
    step = math.lcm(BUCKET, meta.pad)
    return math.ceil(height / step) * step, math.ceil(width / step) * step


def largest(engine: Engine, pixels: int) -> int:
    """Pixels of the largest window that fits MEMORY beside a picture of so many pixels."""
    return max(MEMORY - 3 * pixels, MEMORY // 4) // BYTES.get(engine.precision, BYTES_HALF)


def run(engine: Engine, images: list[np.ndarray], max_tile: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Density and mask, float32 (h,w) each, of uint8 images (H,W,3) that have one `padded_size`, in windows of at most
    `max_tile` pixels; None is what fits MEMORY."""
    meta, stride = engine.meta, engine.meta.stride
    height, width = padded_size(images[0].shape, meta)
    most = max_tile or largest(engine, height * width)
    rows, columns = plan(height, width, most, meta.pad, min(meta.halo, MAX_HALO))
    whole = np.zeros((2, len(images), math.ceil(height / stride), math.ceil(width / stride)), np.float32)
    for top, bottom, first_row, last_row in rows:
        for left, right, first_column, last_column in columns:
            parts = [cut(image, top, bottom, left, right, meta.blank) for image in images]
            maps = engine.run(np.stack(parts) if len(parts) > 1 else parts[0][None])  # (N,h,w) each
            y = slice(first_row // stride, math.ceil(last_row / stride))  # the cells that this window gives
            x = slice(first_column // stride, math.ceil(last_column / stride))
            v, u = y.start - top // stride, x.start - left // stride  # the first of them, in the window
            for target, part in zip(whole, maps, strict=True):
                target[:, y, x] = part[:, v : v + y.stop - y.start, u : u + x.stop - x.start]
    cells = [(math.ceil(image.shape[0] / stride), math.ceil(image.shape[1] / stride)) for image in images]
    return [(whole[0, i, :h, :w], whole[1, i, :h, :w]) for i, (h, w) in enumerate(cells)]


def cut(image: np.ndarray, top: int, bottom: int, left: int, right: int, blank: tuple[int, ...]) -> np.ndarray:
    """uint8 (bottom - top, right - left, 3) of `image` (H,W,3), `blank` beyond its lower and right borders."""
    part = np.ascontiguousarray(image[top:bottom, left:right])
    height, width = part.shape[:2]
    if (height, width) == (bottom - top, right - left):
        return part
    padded = np.empty((bottom - top, right - left, 3), np.uint8)
    padded[:height, :width] = part
    padded[height:], padded[:height, width:] = blank, blank
    return padded


def plan(height: int, width: int, max_tile: int, pad: int, halo: int) -> tuple[list[Window], list[Window]]:
    """Rows and columns of equal windows of at most `max_tile` pixels, those that have the fewest pixels in all.

    None is made so small that less than a halo of it is kept, which would be counting the same pixels many times over.
    """
    halo = math.ceil(halo / pad) * pad
    least = max(pad, halo)

    def options(length: int) -> list[tuple[int, int]]:  # (parts, size of the window)
        sizes = ((n, window_size(length, n, pad, halo)) for n in range(1, max(length // least, 1) + 1))
        return [(n, size) for n, size in sizes if n == 1 or size - 2 * halo >= least]

    grids = [(r, h, c, w) for r, h in options(height) for c, w in options(width)]
    fitting = [grid for grid in grids if grid[1] * grid[3] <= max_tile]
    if fitting:
        rows, _, columns, _ = min(fitting, key=lambda grid: math.prod(grid))
    else:
        rows, _, columns, _ = min(grids, key=lambda grid: grid[1] * grid[3])
    return split(height, rows, pad, halo), split(width, columns, pad, halo)


def split(length: int, parts: int, pad: int, halo: int) -> list[Window]:
    """One axis in `parts` windows of one size (the last may end sooner, at `length`), each with `halo`, a multiple of
    `pad`, around what it keeps."""
    size = window_size(length, parts, pad, halo)
    last_start = max(math.ceil(length / pad) * pad - size, 0)
    starts = [min(i * (size - 2 * halo), last_start) for i in range(parts)]
    cuts = [0, *(start + halo for start in starts[1:]), length]
    ends = (min(start + size, length) for start in starts)
    return list(zip(starts, ends, cuts, cuts[1:], strict=False))


def window_size(length: int, parts: int, pad: int, halo: int) -> int:
    """The smallest multiple of `pad` of which `parts` windows, overlapping by two halos, cover `length`."""
    return math.ceil((length + (parts - 1) * 2 * halo) / parts / pad) * pad

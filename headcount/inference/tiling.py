"""Running an image of any size through an engine in bounded memory.

A large image is cut into windows of one size. They overlap by the model's receptive halo and start at multiples of its
`pad`, so the cells that each window keeps are those that the whole image would have given.

Images are also padded to multiples of BUCKET, in the color that the model itself pads with. A size that an engine has
not met costs it several times what counting does, and a folder of photos has a hundred sizes but few padded ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from headcount.inference.engines import Engine, Maps, ModelMeta

BUCKET = 64  # pixels
MAX_HALO = 256  # pixels; what is farther away moves a count by less than 0.1 %, though deep networks see 480
MEMORY = 1_200_000_000  # bytes for the image and a window; with the engine itself 1.5 GB
# Bytes that OpenVINO takes per pixel of a window, by the model's backbone: in fp32, and in half precision or int8. They
# are the slope of a process's peak resident memory from 0.5 to 2 megapixels, plus 3 %. torch takes no more.
BYTES = {
    "lite0": (226, 118),  # so a 4K frame is one window of headcount-small
    "lite2": (228, 118),
    "vgg16": (600, 304),
    "csrnet": (560, 270),
    "multiscale": (800, 410),
    "mcnn": (173, 91),
}
WIDEST = max(BYTES.values())  # is assumed of a model without a figure of its own
ONNX_RUNTIME = 2.2  # times as much: it keeps more maps at once


class Window(NamedTuple):
    """A window on one axis, in pixels: where it starts and ends, and the first and last pixel that it keeps."""

    start: int
    end: int
    first: int
    last: int


def padded_size(shape: tuple[int, ...], meta: ModelMeta) -> tuple[int, int]:
    """The size at which an image is counted.

    Args:
        shape: (height, width, ...) of the image.
        meta: of the model.

    Returns:
        (H, W): the next multiples of BUCKET, or the image's own size if the model does not say what to pad with.
    """
    height, width = shape[:2]
    if not meta.padding_color:
        return height, width
    step = math.lcm(BUCKET, meta.pad)
    return math.ceil(height / step) * step, math.ceil(width / step) * step


def bytes_per_pixel(engine: Engine) -> float:
    """Bytes that an engine takes per pixel of a window; the members of an ensemble add up."""
    settings = engine.meta.config
    members = settings.get("members", [settings])
    column = 0 if engine.precision == "fp32" else 1
    figure = sum(BYTES.get(member.get("backbone", ""), WIDEST)[column] for member in members)
    return figure * (ONNX_RUNTIME if engine.name.startswith("onnxruntime") else 1.0)


def largest(engine: Engine, pixels: int) -> int:
    """Pixels of the largest window that fits MEMORY beside an image of this many `pixels`."""
    return int(max(MEMORY - 3 * pixels, MEMORY // 4) // bytes_per_pixel(engine))


def run(engine: Engine, images: list[np.ndarray], max_tile: int | None = None) -> list[Maps]:
    """Count images in windows.

    Args:
        engine: runs the model.
        images: uint8 (H,W,3) each, of one `padded_size`.
        max_tile: pixels of the largest window; None is what fits MEMORY.

    Returns:
        The maps of each image, (h,w) each.
    """
    meta, stride = engine.meta, engine.meta.stride
    height, width = padded_size(images[0].shape, meta)
    max_tile = max_tile or largest(engine, height * width)
    rows, columns = plan(height, width, max_tile, meta.pad, min(meta.halo, MAX_HALO))
    shape = len(images), math.ceil(height / stride), math.ceil(width / stride)
    whole: list[np.ndarray] = []
    for row in rows:
        for column in columns:
            parts = [cut(image, row, column, meta.padding_color) for image in images]
            maps = engine.run(np.stack(parts) if len(parts) > 1 else parts[0][None])
            known = [part for part in maps if part is not None]  # (N,h,w) each
            whole = whole or [np.zeros(shape, np.float32) for _ in known]
            y, x = kept_cells(row, stride), kept_cells(column, stride)
            v, u = y.start - row.start // stride, x.start - column.start // stride  # the first of them, in the window
            for target, part in zip(whole, known, strict=True):
                target[:, y, x] = part[:, v : v + y.stop - y.start, u : u + x.stop - x.start]
    cells = [(math.ceil(image.shape[0] / stride), math.ceil(image.shape[1] / stride)) for image in images]
    return [Maps(*(part[i, :h, :w] for part in whole)) for i, (h, w) in enumerate(cells)]


def kept_cells(window: Window, stride: int) -> slice:
    """The cells of the whole image that a window gives, on its axis."""
    return slice(window.first // stride, math.ceil(window.last / stride))


def cut(image: np.ndarray, row: Window, column: Window, blank: tuple[int, ...]) -> np.ndarray:
    """A window of an image (H,W,3), `blank` beyond its lower and right borders: uint8 (height, width, 3)."""
    size = (row.end - row.start, column.end - column.start)
    part = np.ascontiguousarray(image[row.start : row.end, column.start : column.end])
    height, width = part.shape[:2]
    if (height, width) == size:
        return part
    padded = np.empty((*size, 3), np.uint8)
    padded[:height, :width] = part
    padded[height:], padded[:height, width:] = blank, blank
    return padded


def plan(height: int, width: int, max_tile: int, pad: int, halo: int) -> tuple[list[Window], list[Window]]:
    """Rows and columns of equal windows with the fewest pixels in total.

    Windows are not made so small that less than a halo of each is kept, because most pixels would then be counted many
    times. So they can exceed `max_tile` if that is very small.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        max_tile: pixels of a window at most.
        pad: windows start at multiples of it.
        halo: pixels of context around what a window keeps.
    """
    halo = math.ceil(halo / pad) * pad
    least = max(pad, halo)

    def options(length: int) -> list[tuple[int, int]]:  # (number of windows, size of each)
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
    """Divide one axis into windows of one size, each with a halo around what it keeps.

    Args:
        length: of the axis, in pixels; the last window may end sooner, there.
        parts: number of windows.
        pad: they start at multiples of it.
        halo: a multiple of `pad`.
    """
    size = window_size(length, parts, pad, halo)
    last_start = max(math.ceil(length / pad) * pad - size, 0)
    starts = [min(i * (size - 2 * halo), last_start) for i in range(parts)]
    borders = [0, *(start + halo for start in starts[1:]), length]
    ends = [min(start + size, length) for start in starts]
    return [Window(*window) for window in zip(starts, ends, borders, borders[1:], strict=False)]


def window_size(length: int, parts: int, pad: int, halo: int) -> int:
    """The smallest multiple of `pad` so that `parts` windows, overlapping by two halos, cover `length`."""
    return math.ceil((length + (parts - 1) * 2 * halo) / parts / pad) * pad

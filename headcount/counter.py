"""Counter: any picture, of any size, to a CountResult.

What is unusual: the test-time rule is the model's own (small pictures enlarged to its `min_side`), and large
pictures are cut in tiles that overlap by the model's receptive halo and start at multiples of its `pad`, so
that their interiors, each kept once, are what the whole picture would have given.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .engines import Engine, ModelMeta, open_engine
from .media import Frame, as_image

DEFAULT_MODEL = "headcount-base"
WEIGHTS = Path(__file__).parent / "weights"  # of the models that come with headcount
MAX_TILE = 4_000_000  # pixels; bounds the memory of one run to about 2 GB
WIDE = 30.0  # pixels from head to head, as the model sees them, above which heads may be too large for it
FAR = 1.5  # they are if this much fewer people are counted from twice as far
MAX_ENLARGE = 8.0  # times, a side: a strip one pixel high is not made a wall of noise


@dataclass(frozen=True)
class CountResult:
    """What was counted in one picture, tile set or video frame.

    count: people, `density.sum()`; nan where `error` says why there is none.
    density, mask: float32 (h,w), people per cell and the probability 0..1 that people are there.
    width, height: of the picture as it was given, pixels.
    stride: pixels of it per cell; less than the model's where the picture was enlarged to be counted.
    seconds: from image to count. model: its name. path: the file, if it was one.
    low, high: the interval that holds the true count of nine in ten pictures like those the model was calibrated on;
    nan where it was not. warning: why this picture is unlike those, in one line.
    """

    count: float
    density: np.ndarray
    mask: np.ndarray
    width: int
    height: int
    stride: float
    seconds: float
    model: str
    path: str | None = None
    error: str | None = None
    low: float = math.nan
    high: float = math.nan
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """path, count, low, high, width, height, seconds, model, ready for JSON, None for what is not known; `warning`
        and `error` where there is one."""
        row = {
            "path": self.path,
            **{name: number(getattr(self, name)) for name in ("count", "low", "high")},
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "model": self.model,
        }
        return row | {name: getattr(self, name) for name in ("warning", "error") if getattr(self, name)}

    def overlay(self, image: Any) -> np.ndarray:
        """The picture that was counted, given again as to `Counter.count`, under its density: uint8 (H,W,3)."""
        from .heatmap import overlay

        return overlay(as_image(image), self.density, self.count, self.stride)


@dataclass(frozen=True)
class Counter:
    """Counts with one open model. `max_tile`: larger pictures, in pixels, are cut in tiles of at most this size."""

    engine: Engine
    max_tile: int = MAX_TILE

    def count(self, x: Any, roi: Any = None, scale: float = 1.0) -> CountResult:
        """Count the people in one picture.

        Args:
            x: a path, the bytes of a file, a Pillow picture, a uint8 array (H,W), (H,W,3) RGB or (H,W,4), or a
                video Frame.
            roi: a polygon (P,2), x then y in pixels of the picture: the rest is blackened, and cells whose centre
                is outside are not counted.
            scale: the picture is first resized by this factor, 0.05 to 8: less than 1 where heads are very large.

        Raises:
            ValueError: for a picture that cannot be read, or a bad polygon; one line.
        """
        image = as_image(x.image if isinstance(x, Frame) else x)  # (H,W,3)
        began = time.perf_counter()
        height, width = image.shape[:2]
        inside = None if roi is None else polygon_mask(roi, height, width)
        if inside is not None:
            image = image * inside[:, :, None]
        seen = enlarge_to(resize(image, scale), self.engine.meta.min_side)
        density, mask = run_tiled(self.engine, seen, self.max_tile)  # (h,w) each
        stride = self.engine.meta.stride * width / seen.shape[1]  # pixels of the picture per cell
        if inside is not None:
            h, w = density.shape
            cells = at_cells(inside, h, w, stride)
            density, mask = density * cells, mask * cells
        meta, people = self.engine.meta, float(density.sum(dtype=np.float64))
        low, high = interval(people, meta.interval)
        warning = smaller_than_known(density, stride, meta)
        warning = warning or larger_than_known(self.engine, seen, density, self.max_tile)
        return CountResult(
            count=people,
            density=density,
            mask=mask,
            width=width,
            height=height,
            stride=stride,
            seconds=time.perf_counter() - began,
            model=self.engine.meta.name,
            path=path_of(x),
            low=low,
            high=high,
            warning=warning,
        )

    def count_many(self, xs: Iterable[Any], roi: Any = None, scale: float = 1.0) -> Iterator[CountResult]:
        """Count pictures one after another, as they are asked for: anything `count` takes, mixed, of any sizes.

        One path, one file's bytes or one array is one picture. A bad input gives a CountResult with `error` set and
        count nan, in its place, and the others go on.
        """
        for x in [xs] if isinstance(xs, (str, os.PathLike, bytes, np.ndarray)) else xs:
            try:
                yield self.count(x, roi, scale)
            except Exception as error:
                yield self.failed(x, error)

    def failed(self, x: Any, error: Exception) -> CountResult:
        """The result of an input that could not be counted."""
        reason = " ".join(str(error).split()) or type(error).__name__
        nothing = np.zeros((0, 0), np.float32)
        meta = self.engine.meta
        return CountResult(math.nan, nothing, nothing, 0, 0, meta.stride, 0.0, meta.name, path_of(x), reason)


def load(model: str | Path | None = None, engine: str = "auto", precision: str = "auto") -> Counter:
    """Open a model for counting.

    Args:
        model: an .onnx file, a checkpoint folder, a published MCNN .h5 file, or the name of a model that comes with
            headcount; None takes its default.
        engine: auto, openvino, onnxruntime or torch.
        precision: auto, fp32, fp16 or bf16.

    Raises:
        ValueError: one line: no such model, not a model, no such engine, a runtime that is not installed.
    """
    return Counter(open_engine(find_model(model), engine, precision))


def embedded(name: str = DEFAULT_MODEL) -> Path:
    """The file of a model that comes with headcount, whether there is one or not."""
    return WEIGHTS / f"{name}.onnx"


def find_model(model: str | Path | None) -> Path:
    """The file or folder of a model: None is the default; the name of one that comes with headcount is that one, unless
    something of this name lies here."""
    if model is None:
        return embedded()
    return embedded(str(model)) if embedded(str(model)).is_file() and not Path(model).exists() else Path(model)


def interval(count: float, calibration: dict[str, float]) -> tuple[float, float]:
    """(low, high) people around a count, by what `calibrate.fit_interval` found: as many times the count, `offset`
    people added, as true counts were; nan for an empty calibration."""
    if not calibration:
        return math.nan, math.nan
    offset = calibration["offset"]
    low, high = (calibration[end] * (max(count, 0.0) + offset) - offset for end in ("low", "high"))
    return min(max(0.0, low), count), max(high, count)  # whatever rounding does


def head_spacing(density: np.ndarray, stride: float) -> float:
    """Pixels from head to head in the crowd that the median person of a density (h,w) stands in; nan for nobody."""
    import cv2

    crowd = cv2.GaussianBlur(np.maximum(density, 0), (0, 0), 1.5)  # people per cell, in the cells around
    order = np.argsort(crowd, axis=None)[::-1]
    people = np.cumsum(np.maximum(density, 0).ravel()[order])
    if not len(people) or people[-1] < 1:
        return math.nan
    middle = crowd.ravel()[order[np.searchsorted(people, people[-1] / 2)]]
    return stride / math.sqrt(max(middle, 1e-6))


def smaller_than_known(density: np.ndarray, stride: float, meta: ModelMeta) -> str | None:
    """A warning where heads are closer, in pixels of the picture, than the model saw them; `density` (h,w)."""
    spacing = head_spacing(density, stride)
    if not spacing < meta.spacing:  # nan is not; and a model that was not calibrated says 0
        return None
    return (
        f"heads are about {spacing:.0f} pixels apart, closer than in the pictures the model knows ({meta.spacing:.0f}):"
        " the count is likely too low; take a picture of more pixels"
    )


def larger_than_known(engine: Engine, image: np.ndarray, density: np.ndarray, max_tile: int) -> str | None:
    """A warning where many fewer people are there when the picture (H,W,3) is looked at from twice as far: parts of
    large heads are then counted as people. Crowds of small heads, which are lost from afar, are not looked at."""
    if not engine.meta.spacing or not head_spacing(density, engine.meta.stride) > WIDE:
        return None
    near, far = (float(d.sum()) for d in (density, run_tiled(engine, resize(image, 0.5), max_tile)[0]))
    if near <= FAR * far + 2:
        return None
    return (
        f"heads are larger than in the pictures the model knows: at half its size this picture counts {far:.0f};"
        " count it with --scale 0.5"
    )


def number(value: float) -> float | None:
    """Rounded for JSON; None for nan."""
    return None if math.isnan(value) else round(value, 2)


def path_of(x: Any) -> str | None:
    return os.fspath(x) if isinstance(x, (str, os.PathLike)) else None


def enlargement(height: int, width: int, min_side: int) -> float:
    """The scale that brings the short side to `min_side`: 1 where it is longer, MAX_ENLARGE at most."""
    return max(1.0, min(min_side / min(height, width), MAX_ENLARGE))


def enlarge_to(image: np.ndarray, min_side: int) -> np.ndarray:
    """`image` with its short side at least `min_side` pixels, at most MAX_ENLARGE times as large."""
    return resize(image, enlargement(image.shape[0], image.shape[1], min_side))


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """`image` (H,W,3) with its sides times `scale`. Larger ones are made as training's validation makes them, bilinear:
    another filter would be another picture to the model."""
    if not 0.05 <= scale <= MAX_ENLARGE:
        raise ValueError(f"scale is {scale:g}; it takes 0.05 to {MAX_ENLARGE:g}")
    if scale == 1:
        return image
    import cv2

    scale = max(scale, 1 / min(image.shape[:2]))  # a pixel is left
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def run_tiled(engine: Engine, image: np.ndarray, max_tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Density and mask, float32 (h,w), of an image (H,W,3) of any size, in pieces of at most `max_tile` pixels."""
    height, width = image.shape[:2]
    stride = engine.meta.stride
    rows, columns = plan_tiles(height, width, max_tile, engine.meta.pad, engine.meta.halo)
    if len(rows) == len(columns) == 1:
        density, mask = engine.run(image[None])
        return density[0], mask[0]
    density, mask = np.zeros((2, math.ceil(height / stride), math.ceil(width / stride)), np.float32)
    for top, bottom, upper, lower in rows:
        for left, right, outer_left, outer_right in columns:
            maps = engine.run(np.ascontiguousarray(image[None, upper:lower, outer_left:outer_right]))
            y, x = top // stride, left // stride  # first cell to keep, in the whole and then in the tile
            h, w = math.ceil(bottom / stride) - y, math.ceil(right / stride) - x
            v, u = (top - upper) // stride, (left - outer_left) // stride
            for whole, part in zip((density, mask), maps, strict=True):
                whole[y : y + h, x : x + w] = part[0, v : v + h, u : u + w]
    return density, mask


def plan_tiles(height: int, width: int, max_tile: int, pad: int, halo: int) -> tuple[list[tuple], list[tuple]]:
    """Rows and columns of equal tiles: each (start, end, start with halo, end with halo), in pixels.

    The longer side of the tile is split further until a tile with its halo has at most `max_tile` pixels; but none
    is made smaller than its halo, which would be counting the same pixels many times over.
    """
    parts = [1, 1]
    while True:
        axes = [split(length, n, pad, halo) for length, n in zip((height, width), parts, strict=True)]
        sides = [max(high - low for _, _, low, high in axis) for axis in axes]
        sizes = [axis[0][1] - axis[0][0] for axis in axes]
        can_split = [i for i in (0, 1) if sizes[i] > max(pad, halo)]
        if sides[0] * sides[1] <= max_tile or not can_split:
            return axes[0], axes[1]
        longer = max(can_split, key=lambda i: sizes[i])
        parts[longer] += 1


def split(length: int, parts: int, pad: int, halo: int) -> list[tuple[int, int, int, int]]:
    """One axis in at most `parts` equal pieces that start at multiples of `pad`, each with `halo` on both sides."""
    halo = math.ceil(halo / pad) * pad
    size = math.ceil(length / parts / pad) * pad
    ends = [(start, min(start + size, length)) for start in range(0, length, size)]
    return [(start, end, max(0, start - halo), min(length, end + halo)) for start, end in ends]


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

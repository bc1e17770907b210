"""Counter: any picture, of any size, to a CountResult.

What is unusual: the test-time rule is the model's own (small pictures are enlarged to its `min_side`, tiles.py says how
large ones are cut), and it is the same for one picture, a folder and a video. Where there are many, the next ones are
read while one is counted.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import tiles
from .engines import Engine, ModelMeta, open_engine
from .media import MAX_PIXELS, ahead, as_image
from .regions import Region, RegionCount, count_regions, draw_regions
from .video import Frame, probe, public_name, read_frames

AHEAD = 1  # pictures that wait, read, while one is counted; a batch each
DEFAULT_MODEL = "headcount-small"
WEIGHTS = Path(__file__).parent / "weights"  # of the models that come with headcount
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
    time: of a video's frame, seconds from its start. regions: what was counted in each region, where some were given.
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
    time: float | None = None
    regions: tuple[RegionCount, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """path, count, low, high, width, height, seconds, model, ready for JSON, None for what is not known; `time`,
        `regions`, `warning` and `error` where there are any."""
        row: dict[str, Any] = {
            "path": self.path,
            **({} if self.time is None else {"time": round(self.time, 3)}),
            **{name: number(getattr(self, name)) for name in ("count", "low", "high")},
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "model": self.model,
        }
        if self.regions:
            row["regions"] = [region.to_dict() for region in self.regions]
        return row | {name: getattr(self, name) for name in ("warning", "error") if getattr(self, name)}

    def in_regions(self, regions: Iterable[Region]) -> CountResult:
        """The same result with what is in each region. Raises ValueError for one that is outside of the picture."""
        counted = count_regions(tuple(regions), self.density, self.stride, self.width, self.height) if regions else ()
        return replace(self, regions=counted)

    def points(self) -> np.ndarray:
        """Estimated head positions, float32 (N,2), x then y in pixels of the picture: as many as the rounded count."""
        from .heads import head_points

        return head_points(self.density, self.mask, self.stride, self.width, self.height)

    def overlay(self, image: Any, regions: Iterable[Region] = ()) -> np.ndarray:
        """The picture that was counted, given again as to `Counter.count`, under its density: uint8 (H,W,3); with the
        regions that it was counted in, if they are given again too."""
        from .heatmap import overlay

        drawn = overlay(as_image(image), self.density, self.count, self.stride)
        return draw_regions(drawn, self.regions, tuple(regions)) if self.regions and regions else drawn


@dataclass(frozen=True)
class Picture:
    """A picture on its way to be counted.

    x: as it was given. image: uint8 (H,W,3), read from it. seen: uint8, as the model is to see it. inside: uint8 (H,W),
    1 in the roi, or None. seconds: that this took, after reading.
    """

    x: Any
    image: np.ndarray
    seen: np.ndarray
    inside: np.ndarray | None
    seconds: float


@dataclass(frozen=True)
class Counter:
    """Counts with one open model.

    max_tile: larger pictures, in pixels, are cut in windows of at most this size; None is what takes 1.5 GB at most.
    max_pixels: files of more pixels are refused before they are decoded.
    """

    engine: Engine
    max_tile: int | None = None
    max_pixels: int = MAX_PIXELS

    def count(self, x: Any, roi: Any = None, scale: float = 1.0, regions: Iterable[Region] = ()) -> CountResult:
        """Count the people in one picture.

        Args:
            x: a path, the bytes of a file, a Pillow picture, a uint8 array (H,W), (H,W,3) RGB or (H,W,4), or a
                video Frame.
            roi: a polygon (P,2), x then y in pixels of the picture: the rest is blackened, and cells whose centre
                is outside are not counted.
            scale: the picture is first resized by this factor, 0.05 to 8: less than 1 where heads are very large.
            regions: what `headcount.regions.read_regions` gives; each is counted, from the same density.

        Raises:
            ValueError: for a picture that cannot be read, or a bad polygon; one line.
        """
        picture = self.prepare(x, roi, scale)
        return next(self.count_alike([picture], tuple(regions)))

    def count_many(
        self, xs: Iterable[Any], roi: Any = None, scale: float = 1.0, regions: Iterable[Region] = ()
    ) -> Iterator[CountResult]:
        """Count pictures one after another, as they are asked for: anything `count` takes, mixed, of any sizes.

        One path, one file's bytes or one array is one picture. A bad input gives a CountResult with `error` set and
        count nan, in its place, and the others go on. The next pictures are read while one is counted.
        """
        for result, _ in self.stream(xs, roi, scale, regions):
            yield result

    def count_video(
        self,
        source: str | Path | int,
        every: str | int = "1s",
        roi: Any = None,
        scale: float = 1.0,
        regions: Iterable[Region] = (),
    ) -> Iterator[CountResult]:
        """Count frames of a video file, a stream's address or a camera's number, as `read_frames` gives them: `every`
        is a time ("1s", "0.2s") or a number of frames ("10f"). Raises MediaError where there is nothing to read."""
        path = public_name(source)
        with contextlib.closing(read_frames(source, every)) as frames:
            for result, _ in self.stream(frames, roi, scale, regions, probe(source).live):
                yield replace(result, path=path)

    def stream(
        self,
        xs: Iterable[Any],
        roi: Any = None,
        scale: float = 1.0,
        regions: Iterable[Region] = (),
        live: bool = False,
    ) -> Generator[tuple[CountResult, np.ndarray | None], None, None]:
        """As `count_many`; each result with the picture it is of, uint8 (H,W,3), or None where that could not be read.
        live: count each at once, reading none ahead, which would be old when its turn comes."""
        xs = [xs] if isinstance(xs, (str, os.PathLike, bytes, np.ndarray)) else xs
        pictures = (self.try_prepare(x, roi, scale) for x in xs)
        if not live:
            pictures = ahead(pictures, AHEAD * self.engine.batch)
        with contextlib.closing(pictures):
            yield from self.count_prepared(pictures, tuple(regions), 1 if live else self.engine.batch)

    def count_prepared(
        self, pictures: Iterable[Picture | CountResult], regions: tuple[Region, ...], most: int
    ) -> Iterator[tuple[CountResult, np.ndarray | None]]:
        """What `stream` makes of pictures that `try_prepare` gave, in their order, at most `most` of them together."""
        for group in alike(pictures, self.engine.meta, most):
            yield from [(group, None)] if isinstance(group, CountResult) else self.try_count(group, regions)

    def try_prepare(self, x: Any, roi: Any = None, scale: float = 1.0) -> Picture | CountResult:
        """As `prepare`; of what cannot be read, its result. Safe to call from several threads."""
        try:
            return self.prepare(x, roi, scale)
        except Exception as error:
            return self.failed(x, error)

    def try_count(self, pictures: list[Picture], regions: tuple[Region, ...]) -> list[tuple[CountResult, Any]]:
        try:
            return list(zip(self.count_alike(pictures, regions), (p.image for p in pictures), strict=True))
        except Exception as error:  # of the model, or a region that is outside of this picture
            if len(pictures) > 1:  # the others of its batch are well
                return [pair for picture in pictures for pair in self.try_count([picture], regions)]
            return [(self.failed(pictures[0].x, error), None)]

    def prepare(self, x: Any, roi: Any = None, scale: float = 1.0) -> Picture:
        """Read a picture and make of it what the model is to see. Raises ValueError, as `count`."""
        image = as_image(x.image if isinstance(x, Frame) else x, self.max_pixels)  # (H,W,3)
        began = time.perf_counter()
        inside = None if roi is None else polygon_mask(roi, *image.shape[:2])
        seen = image if inside is None else image * inside[:, :, None]
        seen = enlarge_to(resize(seen, scale), self.engine.meta.min_side)
        return Picture(x, image, seen, inside, time.perf_counter() - began)

    def count_alike(self, pictures: list[Picture], regions: tuple[Region, ...]) -> Iterator[CountResult]:
        """The results of pictures that have one padded size."""
        began = time.perf_counter()
        maps = tiles.run(self.engine, [picture.seen for picture in pictures], self.max_tile)
        each = (time.perf_counter() - began) / len(pictures)
        for picture, (density, mask) in zip(pictures, maps, strict=True):
            began = time.perf_counter()
            result = self.result(picture, density, mask, regions)
            yield replace(result, seconds=picture.seconds + each + time.perf_counter() - began)

    def result(
        self, picture: Picture, density: np.ndarray, mask: np.ndarray, regions: tuple[Region, ...]
    ) -> CountResult:
        """What the density and mask (h,w) of a picture say."""
        meta, (height, width) = self.engine.meta, picture.image.shape[:2]
        stride = meta.stride * width / picture.seen.shape[1]  # pixels of the picture per cell
        if picture.inside is not None:
            cells = at_cells(picture.inside, density.shape[0], density.shape[1], stride)
            density, mask = density * cells, mask * cells
        people = float(density.sum(dtype=np.float64))
        low, high = interval(people, meta.interval)
        warning = smaller_than_known(density, stride, meta)
        return CountResult(
            count=people,
            density=density,
            mask=mask,
            width=width,
            height=height,
            stride=stride,
            seconds=0.0,
            model=meta.name,
            path=path_of(picture.x),
            low=low,
            high=high,
            warning=warning or larger_than_known(self.engine, picture.seen, density, self.max_tile),
            time=picture.x.time if isinstance(picture.x, Frame) else None,
            regions=count_regions(regions, density, stride, width, height) if regions else (),
        )

    def failed(self, x: Any, error: Exception) -> CountResult:
        """The result of an input that could not be counted."""
        reason = " ".join(str(error).split()) or type(error).__name__
        nothing = np.zeros((0, 0), np.float32)
        meta = self.engine.meta
        return CountResult(math.nan, nothing, nothing, 0, 0, meta.stride, 0.0, meta.name, path_of(x), reason)


def alike(
    pictures: Iterable[Picture | CountResult], meta: ModelMeta, most: int
) -> Iterator[list[Picture] | CountResult]:
    """Pictures in their order: those of one padded size that follow each other together, `most` of them at most, and
    each that could not be read by itself."""
    group: list[Picture] = []
    size: tuple[int, int] | None = None
    for picture in pictures:
        wanted = tiles.padded_size(picture.seen.shape, meta) if isinstance(picture, Picture) else None
        if group and wanted != size:
            yield group
            group = []
        if isinstance(picture, CountResult):
            yield picture
            continue
        group, size = [*group, picture], wanted
        if len(group) == most:  # at once: the next picture may be long in coming
            yield group
            group = []
    if group:
        yield group


def load(model: str | Path | None = None, engine: str = "auto", precision: str = "auto") -> Counter:
    """Open a model for counting.

    Args:
        model: an .onnx file, a checkpoint folder, a published MCNN .h5 file, or the name of a model that comes with
            headcount; None takes its default.
        engine: auto, openvino, onnxruntime or torch.
        precision: auto, fp32, fp16, bf16 or int8.

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


def larger_than_known(engine: Engine, image: np.ndarray, density: np.ndarray, max_tile: int | None) -> str | None:
    """A warning where many fewer people are there when the picture (H,W,3) is looked at from twice as far: parts of
    large heads are then counted as people. Crowds of small heads, which are lost from afar, are not looked at."""
    if not engine.meta.spacing or not head_spacing(density, engine.meta.stride) > WIDE:
        return None
    [(from_afar, _)] = tiles.run(engine, [resize(image, 0.5)], max_tile)
    near, far = float(density.sum()), float(from_afar.sum())
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

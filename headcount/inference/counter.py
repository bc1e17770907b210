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

from headcount.geometry import at_cells, enlarge_to, polygon_mask, resize
from headcount.inference import tiling
from headcount.inference.engines import Engine, ModelMeta, open_engine
from headcount.inference.prefetch import prefetch
from headcount.inference.pretrained import find_model
from headcount.inference.reliability import interval, larger_than_known, smaller_than_known
from headcount.inference.result import CountResult
from headcount.io.images import MAX_PIXELS, as_image
from headcount.io.video import Frame, probe, read_frames
from headcount.io.video_source import public_name
from headcount.regions.counting import count_regions
from headcount.regions.region import Region

AHEAD = 1  # pictures that wait, read, while one is counted; a batch each


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
            pictures = prefetch(pictures, AHEAD * self.engine.batch)
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
        maps = tiling.run(self.engine, [picture.seen for picture in pictures], self.max_tile)
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
        wanted = tiling.padded_size(picture.seen.shape, meta) if isinstance(picture, Picture) else None
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


def path_of(x: Any) -> str | None:
    return os.fspath(x) if isinstance(x, (str, os.PathLike)) else None

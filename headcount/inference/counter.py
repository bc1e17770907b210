"""Counter: an image of any size to a CountResult.

The inference rule is the model's own: small images are enlarged to its `min_side`, scale.py chooses the scale of large
ones, and tiling.py cuts them into windows. It is the same for one image, a folder and a video. For several images, the
next ones are read while one is counted.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from headcount.geometry import at_cells, enlarge_to, polygon_mask, resize
from headcount.inference import tiling
from headcount.inference.engines import Engine, Maps, ModelMeta, open_engine
from headcount.inference.prefetch import prefetch
from headcount.inference.pretrained import find_model
from headcount.inference.reliability import (
    first_of_several,
    interval,
    larger_than_known,
    relative_uncertainty,
    smaller_than_known,
    unfamiliar,
)
from headcount.inference.result import CountResult, ImageInput
from headcount.inference.scale import VideoScale, check_pixels, finds_more, scales
from headcount.io.files import single_line
from headcount.io.images import MAX_PIXELS, as_image
from headcount.io.video import Frame, probe, read_frames
from headcount.io.video_source import public_name
from headcount.regions.counting import CellWeights, count_regions
from headcount.regions.region import Region

AHEAD = 1  # batches of images that are read and wait while one is counted


@dataclass(frozen=True)
class PreparedImage:
    """An image that is ready to be counted.

    Attributes:
        source: what was given to `Counter.count`.
        image: uint8 (H,W,3), read from it.
        model_input: uint8 (H',W',3), what the model sees.
        roi_mask: uint8 (H,W), 1 inside the region of interest; None without one.
        scale: of the model's input against the image, before small images are enlarged.
        finer: scales to try next if they find more people.
        warning: how the file differs from a photo, in one line, or None.
        seconds: that preparing took, after reading.
    """

    source: ImageInput
    image: np.ndarray
    model_input: np.ndarray
    roi_mask: np.ndarray | None
    scale: float
    finer: tuple[float, ...]
    warning: str | None
    seconds: float


@dataclass(frozen=True)
class Counter:
    """Counts with one open model.

    Attributes:
        engine: runs the model.
        max_tile: images with more pixels are cut into windows of at most this many. None is the largest window that
            keeps the process below 1.5 GB.
        max_pixels: files with more pixels are refused before they are decoded, and scales that give more.
    """

    engine: Engine
    max_tile: int | None = None
    max_pixels: int = MAX_PIXELS

    def count(
        self,
        image: ImageInput,
        roi: ArrayLike | None = None,
        scale: float | None = None,
        regions: Iterable[Region] = (),
    ) -> CountResult:
        """Count the people in one image.

        Args:
            image: a path, the bytes of a file, a Pillow image, a uint8 array (H,W), (H,W,3) RGB or (H,W,4), or a video
                Frame.
            roi: region of interest, a polygon (P,2) with x then y in pixels of the image. Everything outside is
                blackened, and cells whose centre is outside are not counted.
            scale: the image is first resized by this factor, 0.05 to 8. None counts photos above 1.5 megapixels at the
                scale that finds most of the people (inference/scale.py), and others as they are.
            regions: from `headcount.regions.read_regions`; each is counted in the same density.

        Returns:
            The count with its density.

        Raises:
            ValueError: the image cannot be read, or the polygon, the scale or a region does not fit; one line.
        """
        prepared = self.prepare(image, roi, scale)
        return next(self.count_batch([prepared], tuple(regions)))

    def count_many(
        self,
        images: Iterable[ImageInput],
        roi: ArrayLike | None = None,
        scale: float | None = None,
        regions: Iterable[Region] = (),
    ) -> Iterator[CountResult]:
        """Count images one after another, lazily. The next images are read while one is counted.

        Args:
            images: anything that `count` takes, mixed, of any sizes. A single path, file content or array is one image.
            roi: as in `count`, for every image.
            scale: as in `count`, for every image.
            regions: as in `count`, for every image.

        Yields:
            A result for each image, in order. For an image that cannot be counted, `error` is set and the count is nan.
        """
        for result, _ in self.stream(images, roi, scale, regions):
            yield result

    def count_video(
        self,
        source: str | Path | int,
        every: str | int = "1s",
        roi: ArrayLike | None = None,
        scale: float | None = None,
        regions: Iterable[Region] = (),
    ) -> Iterator[CountResult]:
        """Count frames of a video, lazily.

        Args:
            source: a video file, the address of a stream or the number of a camera.
            every: how often a frame is counted: a time ("1s", "0.2s") or a number of frames ("10f").
            roi: as in `count`, for every frame.
            scale: as in `count`, for every frame.
            regions: as in `count`, for every frame.

        Yields:
            A result for each counted frame, with its `time`.

        Raises:
            MediaError: there is no such video, or `every` is not valid.
        """
        path = public_name(source)
        with contextlib.closing(read_frames(source, every)) as frames:
            for result, _ in self.stream(frames, roi, scale, regions, live=probe(source).live):
                yield replace(result, path=path)

    def stream(
        self,
        images: Iterable[ImageInput],
        roi: ArrayLike | None = None,
        scale: float | None = None,
        regions: Iterable[Region] = (),
        live: bool = False,
    ) -> Generator[tuple[CountResult, np.ndarray | None], None, None]:
        """Like `count_many`, with the pixels of each image.

        Args:
            images: as in `count_many`.
            roi: as in `count`.
            scale: as in `count`.
            regions: as in `count`.
            live: count each image as soon as it is read and read none ahead, since it would be old by then.

        Yields:
            The result, and the image, uint8 (H,W,3), or None if it could not be read.
        """
        if isinstance(images, (str, os.PathLike, bytes, np.ndarray)):
            images = [images]
        video = VideoScale(scale)
        prepared: Generator[PreparedImage | CountResult, None, None]
        prepared = (self.try_prepare(image, roi, video.scale) for image in images)
        if not live:
            prepared = prefetch(prepared, AHEAD * self.engine.batch)
        with contextlib.closing(prepared):
            for result, pixels in self.count_prepared(prepared, tuple(regions), 1 if live else self.engine.batch):
                if result.time is not None:
                    video.observe(result.count, result.scale)
                yield result, pixels

    def count_prepared(
        self, prepared: Iterable[PreparedImage | CountResult], regions: tuple[Region, ...], batch_size: int
    ) -> Iterator[tuple[CountResult, np.ndarray | None]]:
        """Count what `try_prepare` returned, in order.

        Args:
            prepared: images, or the results of those that could not be read.
            regions: are counted in every image.
            batch_size: how many images are counted together at most.

        Yields:
            As `stream`.
        """
        for group in group_by_size(prepared, self.engine.meta, batch_size):
            if isinstance(group, CountResult):
                yield group, None
            else:
                yield from self.try_count(group, regions)

    def prepare(self, image: ImageInput, roi: ArrayLike | None = None, scale: float | None = None) -> PreparedImage:
        """Read an image and make the model's input from it. Arguments and errors are those of `count`."""
        pixels = as_image(image.image if isinstance(image, Frame) else image, self.max_pixels)  # (H,W,3)
        warning = first_of_several(image)
        began = time.perf_counter()
        height, width = pixels.shape[:2]
        check_pixels(height, width, scale, self.max_pixels)
        roi_mask = None if roi is None else polygon_mask(roi, height, width)
        first, *finer = scales(height, width) if scale is None else (scale,)
        model_input = self.model_input(pixels, roi_mask, first)
        seconds = time.perf_counter() - began
        return PreparedImage(image, pixels, model_input, roi_mask, first, tuple(finer), warning, seconds)

    def model_input(self, pixels: np.ndarray, roi_mask: np.ndarray | None, scale: float) -> np.ndarray:
        """What the model sees of an image (H,W,3): uint8 (H',W',3)."""
        inside = pixels if roi_mask is None else pixels * roi_mask[:, :, None]
        return enlarge_to(resize(inside, scale), self.engine.meta.min_side)

    def try_prepare(
        self, image: ImageInput, roi: ArrayLike | None = None, scale: float | None = None
    ) -> PreparedImage | CountResult:
        """Like `prepare`; an image that cannot be read gives its result. Safe to call from several threads."""
        try:
            return self.prepare(image, roi, scale)
        except Exception as error:
            return self.failed(image, error)

    def try_count(
        self, batch: list[PreparedImage], regions: tuple[Region, ...]
    ) -> list[tuple[CountResult, np.ndarray | None]]:
        """Like `count_batch`, with the images. One that fails does not affect the others of its batch."""
        try:
            results = list(self.count_batch(batch, regions))
        except Exception as error:  # from the model, or for a region that is outside this image
            if len(batch) > 1:
                return [pair for prepared in batch for pair in self.try_count([prepared], regions)]
            return [(self.failed(batch[0].source, error), None)]
        return [(result, prepared.image) for result, prepared in zip(results, batch, strict=True)]

    def count_batch(self, batch: list[PreparedImage], regions: tuple[Region, ...]) -> Iterator[CountResult]:
        """Count images that have one padded size, in one run of the engine."""
        began = time.perf_counter()
        counted = tiling.run(self.engine, [prepared.model_input for prepared in batch], self.max_tile)
        seconds_each = (time.perf_counter() - began) / len(batch)
        for prepared, maps in zip(batch, counted, strict=True):
            began = time.perf_counter()
            result = self.result(*self.refine(prepared, maps), regions)
            yield replace(result, seconds=prepared.seconds + seconds_each + time.perf_counter() - began)

    def refine(self, prepared: PreparedImage, maps: Maps) -> tuple[PreparedImage, Maps]:
        """Count an image at its finer scales, as long as they find more people. The arguments where none does."""
        for scale in prepared.finer:
            finer = replace(
                prepared, model_input=self.model_input(prepared.image, prepared.roi_mask, scale), scale=scale
            )
            [finer_maps] = tiling.run(self.engine, [finer.model_input], self.max_tile)
            if not finds_more(float(maps.density.sum()), float(finer_maps.density.sum())):
                break
            prepared, maps = finer, finer_maps
        return prepared, maps

    def result(self, prepared: PreparedImage, maps: Maps, regions: tuple[Region, ...]) -> CountResult:
        """The result of an image whose maps, (h,w) each, are known."""
        meta, (height, width) = self.engine.meta, prepared.image.shape[:2]
        stride = meta.stride * width / prepared.model_input.shape[1]  # pixels of the image per cell
        if prepared.roi_mask is not None:
            cells = at_cells(prepared.roi_mask, maps.density.shape[0], maps.density.shape[1], stride)
            maps = maps._replace(density=maps.density * cells, mask=maps.mask * cells)
        density = maps.density
        people = float(density.sum(dtype=np.float64))
        uncertainty = relative_uncertainty(maps)
        low, high = interval(people, meta.interval, uncertainty)
        warning = prepared.warning or smaller_than_known(density, stride, meta)
        warning = warning or larger_than_known(self.engine, prepared.model_input, density, self.max_tile)

        def bounds(count: float, cells: CellWeights) -> tuple[float, float]:
            part = maps.part(cells.rows, cells.columns)
            return interval(count, meta.interval, relative_uncertainty(part, cells.weights))

        return CountResult(
            count=people,
            density=density,
            mask=maps.mask,
            width=width,
            height=height,
            stride=stride,
            scale=prepared.scale,
            unit=meta.unit,
            seconds=0.0,
            model=meta.name,
            path=path_of(prepared.source),
            low=low,
            high=high,
            uncertainty=uncertainty,
            warning=warning or unfamiliar(prepared.model_input, uncertainty, meta),
            time=prepared.source.time if isinstance(prepared.source, Frame) else None,
            regions=count_regions(regions, density, stride, width, height, bounds) if regions else (),
        )

    def failed(self, image: object, error: Exception) -> CountResult:
        """The result of an input that could not be counted."""
        empty = np.zeros((0, 0), np.float32)
        return CountResult(
            count=math.nan,
            density=empty,
            mask=empty,
            width=0,
            height=0,
            stride=self.engine.meta.stride,
            seconds=0.0,
            model=self.engine.meta.name,
            path=path_of(image),
            error=single_line(error),
        )


def group_by_size(
    prepared: Iterable[PreparedImage | CountResult], meta: ModelMeta, batch_size: int
) -> Iterator[list[PreparedImage] | CountResult]:
    """Group consecutive images of one padded size, keeping the order.

    Args:
        prepared: images, or the results of those that could not be read, which are passed on as they are.
        meta: of the model that will count them.
        batch_size: how many images a group has at most.
    """
    group: list[PreparedImage] = []
    group_size: tuple[int, int] | None = None
    for one in prepared:
        size = tiling.padded_size(one.model_input.shape, meta) if isinstance(one, PreparedImage) else None
        if group and size != group_size:
            yield group
            group = []
        if isinstance(one, CountResult):
            yield one
            continue
        group, group_size = [*group, one], size
        if len(group) == batch_size:  # yield at once: the next image may take long to arrive
            yield group
            group = []
    if group:
        yield group


def load(model: str | Path | None = None, engine: str = "auto", precision: str = "auto") -> Counter:
    """Open a model for counting.

    Args:
        model: an .onnx file, a checkpoint folder, a published MCNN .h5 file, or the name of a bundled
            model; None is the default model.
        engine: auto, openvino, onnxruntime or torch.
        precision: auto, fp32, fp16, bf16 or int8.

    Raises:
        ValueError: there is no such model, it is not a model, or there is no such engine or runtime; one line.
    """
    return Counter(open_engine(find_model(model), engine, precision))


def path_of(image: object) -> str | None:
    """The path of an image that was given as one."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else None

"""Training images: annotated images that are decoded when they are needed, or stay decoded while memory allows.

A decoded image takes ten times as much memory as its file. Those that crops are cut from most often stay decoded, up to
a limit; all others are decoded anew for each crop, which `dataset.loader` does ahead of the network. Which images stay
decoded changes the speed of a run and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch

from headcount.datasets.sample import Sample
from headcount.geometry import polygon_mask
from headcount.io.images import encode_png, read_image
from headcount.synthetic import scenes
from headcount.training.config import DataConfig
from headcount.training.targets import adaptive_sigma

DECODED_AHEAD = 64  # images


class TrainingImage(NamedTuple):
    """A decoded image with its heads.

    Attributes:
        image: uint8 (H,W,3) RGB, black outside the region of interest.
        points: float32 (N,2), x then y in pixels.
        sigma: float32 (N,), standard deviation of each head's kernel in pixels. 0 if the recipe fixes it.
        name: Path of the image, for messages.
        roi: uint8 (H,W), 1 inside the region of interest, or None if the set has none.
    """

    image: np.ndarray
    points: np.ndarray
    sigma: np.ndarray
    name: str
    roi: np.ndarray | None = None


class ImageList(Protocol):
    """Decoded images by number: a list of them, or `Images` and `RenderedScenes`, which decode them when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> TrainingImage: ...

    def __iter__(self) -> Iterator[TrainingImage]: ...


class Images:
    """The images of annotated samples, decoded when they are asked for.

    Args:
        samples: Annotated images.
        config: Says whether the kernels are adaptive.

    Attributes:
        samples: The samples, in the order of the images.
        kept_bytes: Memory of the pixels that stay decoded.
    """

    def __init__(self, samples: Sequence[Sample], config: DataConfig):
        self.samples, self.config, self.kept_bytes = list(samples), config, 0
        self._kept: list[TrainingImage] = []  # the first images

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> TrainingImage:
        if 0 <= index < len(self._kept):
            return self._kept[index]
        return open_image(self.samples[index], self.config)

    def __iter__(self) -> Iterator[TrainingImage]:
        return (self[i] for i in range(len(self)))

    def decode(self, max_bytes: int) -> None:
        """Decode every image once, so that a damaged one is found now, and keep the first ones that fit.

        Args:
            max_bytes: Memory for the pixels that are kept.

        Raises:
            MediaError: An image cannot be decoded.
        """
        full = False
        for image in self._decoded_in_threads():
            size = image.image.nbytes + (0 if image.roi is None else image.roi.nbytes)
            full = full or self.kept_bytes + size > max_bytes
            if not full:
                self._kept.append(image)
                self.kept_bytes += size

    def _decoded_in_threads(self) -> Iterator[TrainingImage]:
        """All images in order. Few are decoded ahead, so that few are in memory at once."""
        with ThreadPoolExecutor() as pool:
            for first in range(0, len(self.samples), DECODED_AHEAD):
                samples = self.samples[first : first + DECODED_AHEAD]
                yield from pool.map(open_image, samples, [self.config] * len(samples))


def decode_all(groups: Sequence[tuple[float, Images]], max_bytes: int) -> None:
    """Decode every image once, and keep those that are drawn most often.

    Args:
        groups: Sets of images, each with its share of the crops.
        max_bytes: Memory for the pixels that are kept, of all sets.
    """
    for _, images in sorted(groups, key=lambda group: group[0] / len(group[1]), reverse=True):
        images.decode(max_bytes)
        max_bytes -= images.kept_bytes


def open_image(sample: Sample, config: DataConfig) -> TrainingImage:
    """Decode a sample. Outside a region of interest, pixels become black and points are dropped."""
    pixels, roi = read_image(sample.image), None
    if sample.roi is not None:
        roi = polygon_mask(sample.roi, *pixels.shape[:2])  # (H,W)
        pixels = pixels * roi[..., None]
    return make_training_image(pixels, sample.points_in_roi, config, str(sample.image))._replace(roi=roi)


def make_training_image(image: np.ndarray, heads: np.ndarray, config: DataConfig, name: str) -> TrainingImage:
    """A TrainingImage from pixels (H,W,3) and heads (N,2), with the kernels' sigma if it is adaptive."""
    heads = np.asarray(heads, np.float32).reshape(-1, 2)
    fixed = np.zeros(len(heads), np.float32)
    sigma = fixed if config.sigma else adaptive_sigma(torch.from_numpy(heads)).numpy()
    return TrainingImage(image, heads, sigma, name)


class RenderedScenes:
    """Rendered scenes, kept as PNG files, half of the memory of their pixels. Decoding one takes 18 ms, rendering 250.

    Args:
        config: The number of scenes, and the share without people. Those are spread evenly among the others.
        seed: Seed of the scenes.
        workers: Processes that render. 0 renders in this one.

    Attributes:
        kept_bytes: Memory of the files.
    """

    def __init__(self, config: DataConfig, seed: int, workers: int = 0):
        numbers = range(config.rendered_scenes)
        empty = [int((i + 1) * config.people_free) > int(i * config.people_free) for i in numbers]
        jobs = [seed * 100_003 + i for i in numbers], [0 if free else None for free in empty]
        if workers:
            with ProcessPoolExecutor(workers) as pool:
                self._files = list(pool.map(_render_file, *jobs, chunksize=4))
        else:
            self._files = [_render_file(number, people) for number, people in zip(*jobs, strict=True)]
        self.config, self.kept_bytes = config, sum(len(png) for png, _ in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> TrainingImage:
        png, points = self._files[index]
        return make_training_image(read_image(png), points, self.config, f"rendered scene {index}")

    def __iter__(self) -> Iterator[TrainingImage]:
        return (self[i] for i in range(len(self)))


def _render_file(seed: int, people: int | None) -> tuple[bytes, np.ndarray]:
    """A rendered scene as a PNG file, and its heads (N,2)."""
    scene = scenes.render(seed, people)
    return encode_png(scene.image), scene.points

"""Fitting how unsure a network is of an image, from the errors that it made and the features that it saw.

The features that a network counts from also tell how hard an image is. A ridge regression learns the logarithm of the
error from them. It is linear, so it becomes one 1x1 convolution of the exported model (`models.uncertainty`), whose map
can be averaged over an image, a window or a region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headcount.datasets.sample import Sample
from headcount.inference.counter import Counter
from headcount.inference.engines import Maps, TorchEngine
from headcount.inference.reliability import UNCERTAINTY, brightness, head_spacing, sharpness
from headcount.inference.tiling import padded_size
from headcount.io.images import read_image
from headcount.synthetic.scenes import render

OFFSET = 10.0  # people added to both counts, so that an error of a few people in a small count does not weigh too much
LEAST_ERROR = 0.05  # added to errors before their logarithm: an image that was counted exactly was also lucky
RIDGE = 300.0  # strength of the regression's prior; of 30, 100 and 300 it found the worst tenth of the lists best
LEAST_IMAGES = 200  # fewer do not tell which features announce an error


@dataclass(frozen=True)
class Measured:
    """An annotated image and how it was counted.

    Attributes:
        name: Name of its data set.
        path: Path of the image.
        true: True count, in people.
        count: Predicted count, in people.
        pooled: float64 (C+1,), sums over the cells of the features and of 1, weighted by the mask and divided by the
            mask's sum plus 1. Empty for a network without a head.
        spacing: Pixels between heads; nan without people.
        brightness: As `reliability.brightness` gives it.
        sharpness: As `reliability.sharpness` gives it.
        error: |log((true + OFFSET) / (count + OFFSET))|, or that of an equal network that did not learn the image.
    """

    name: str
    path: str
    true: float
    count: float
    pooled: np.ndarray
    spacing: float
    brightness: float
    sharpness: float
    error: float


class PoolingEngine(TorchEngine):
    """A TorchEngine that keeps the pooled features of the last image of each size."""

    pooled: dict[tuple[int, int], np.ndarray]

    def run(self, images: np.ndarray) -> Maps:
        output = self.output(images)
        maps = self.maps(output)
        self.pooled[images.shape[1], images.shape[2]] = pool(maps.mask, output.features)
        return maps

    def measure(self, name: str, sample: Sample) -> Measured:
        """Count an annotated image as a Counter does."""
        pixels = read_image(sample.image)
        return self.measure_pixels(name, str(sample.image), pixels, len(sample.points_in_roi), sample.roi)

    def measure_scene(self, seed: int) -> Measured:
        """Count a rendered scene with people."""
        scene = render(seed)
        return self.measure_pixels("rendered", f"scene {seed}", scene.image, len(scene.points), None)

    def measure_pixels(self, name: str, path: str, pixels: np.ndarray, true: int, roi: np.ndarray | None) -> Measured:
        """Count the pixels (H,W,3) of an image whose true count is known."""
        self.pooled = {}
        counter = Counter(self)
        result = counter.count(pixels, roi)
        seen = counter.prepare(pixels, roi, result.scale).model_input
        return Measured(
            name,
            path,
            true,
            result.count,
            self.pooled[padded_size(seen.shape, self.meta)],
            head_spacing(result.density, result.stride),
            brightness(seen),
            sharpness(seen),
            log_error(true, result.count),
        )


def pool(mask: np.ndarray, features: object) -> np.ndarray:
    """`Measured.pooled` of the first image of a batch.

    Args:
        mask: (N,h,w).
        features: torch tensor (N,C,h,w), or None.
    """
    if features is None:
        return np.zeros(0)
    first, weight = features[0].float().cpu().numpy(), mask[0]  # type: ignore[index]
    sums = np.append((first * weight).sum((1, 2), dtype=np.float64), weight.sum(dtype=np.float64))
    return sums / (1.0 + sums[-1])


def log_ratio(true: ArrayLike, count: ArrayLike) -> np.ndarray:
    """Logarithm of the ratio of true and predicted counts, with OFFSET added to both."""
    return np.log((np.asarray(true, float) + OFFSET) / (np.maximum(count, 0.0) + OFFSET))


def log_error(true: float, count: float) -> float:
    """|log_ratio| of one image."""
    return abs(float(log_ratio(true, count)))


def out_of_sample(
    training: Sequence[Measured], lists: Sequence[Measured], held_out: Mapping[str, float]
) -> list[Measured]:
    """Training images with the errors to expect on images like them that the network did not learn.

    The errors of a set that cross-validation held out are those of its folds' networks, times the ratio of this
    network's errors on the set's list to theirs, since they learned less. The errors of other sets are the network's
    own, times the ratio of those on its list to those on its training images, if it is above 1.

    Args:
        training: Images that the network learned.
        lists: Images of the validation lists.
        held_out: Errors of the folds' networks by path of the image.

    Returns:
        The training images whose errors are known.
    """
    found = []
    for name in dict.fromkeys(one.name for one in training):
        own = [one for one in training if one.name == name]
        listed = [one for one in lists if one.name == name]
        both = [one for one in listed if one.path in held_out]
        known = [one for one in own if one.path in held_out]
        if known and both:
            ratio = mean([one.error for one in both]) / mean([held_out[one.path] for one in both])
            found += [replace(one, error=ratio * held_out[one.path]) for one in known]
        else:
            ratio = mean([one.error for one in listed]) / mean([one.error for one in own])
            found += [replace(one, error=max(ratio, 1.0) * one.error) for one in own]
    return found


def mean(errors: Sequence[float]) -> float:
    return max(float(np.mean(errors)), 1e-6)


def fit(images: Sequence[Measured]) -> dict[str, Any]:
    """The weights that predict the logarithm of the error, relative to the mean of the sets.

    Args:
        images: Images with out-of-sample errors. Every set has the same weight.

    Returns:
        The arguments of `models.uncertainty.UncertaintyHead`; empty for a network without features or too few images.
    """
    if len(images) < LEAST_IMAGES or not len(images[0].pooled):
        return {}
    names = [one.name for one in images]
    weight = np.array([1.0 / names.count(name) for name in names])
    weight *= len(weight) / weight.sum()
    pooled = np.array([one.pooled for one in images])
    wanted = np.log(np.array([one.error for one in images]) + LEAST_ERROR)
    wanted -= np.average(wanted, weights=weight)
    middle, spread = pooled.mean(0), pooled.std(0) + 1e-9
    spread[-1] = 1.0  # the constant
    design = (pooled - middle) / spread
    design[:, -1] = 1.0
    prior = RIDGE * np.eye(design.shape[1])
    prior[-1, -1] = 0.0
    slopes = np.linalg.solve(design.T @ (weight[:, None] * design) + prior, design.T @ (weight * wanted))
    weights = slopes[:-1] / spread[:-1]
    bias = float(slopes[-1] - weights @ middle[:-1])
    return {"weights": [round(float(w), 6) for w in weights], "bias": round(bias, 6)}


def relative(image: Measured, head: dict[str, Any]) -> float:
    """What `reliability.relative_uncertainty` gives for an image."""
    if not head:
        return 1.0
    log = float(image.pooled @ np.append(head["weights"], head["bias"]))
    return float(np.clip(np.exp(log), *UNCERTAINTY))


def read_held_out(paths: Sequence[Path]) -> dict[str, float]:
    """The errors of images by path, from files that `headcount evaluate --csv` wrote.

    Raises:
        ValueError: A file is not one of those.
    """
    import csv

    errors = {}
    for path in paths:
        try:
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    errors[row["path"]] = log_error(float(row["true"]), float(row["predicted"]))
        except (KeyError, TypeError, ValueError, UnicodeDecodeError):
            raise ValueError(f"{path}: not a table of headcount evaluate --csv; make it again") from None
    return errors

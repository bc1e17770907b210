"""Calibration: how far a model's counts can be trusted, measured on images that it did not learn from.

The interval is conformal. No distribution is assumed; it is as wide as it must be to hold the true counts of the
validation lists. The reported coverage is that of each image by the interval that is fitted to the others. The result
is written beside the checkpoint as calibration.json, and `headcount export` copies it into the model file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from headcount.datasets.readers import read
from headcount.datasets.sample import Sample
from headcount.inference.counter import Counter, load
from headcount.inference.engines import CALIBRATION
from headcount.inference.reliability import head_spacing, interval
from headcount.io.files import atomic_write
from headcount.provenance import provenance

COVERAGE = 0.9
OFFSET = 10.0  # people added to both counts, so that an error of a few people in a small count does not weigh too much
RARE = 0.01  # share of the images whose head spacing is below the spacing that is warned about


@dataclass(frozen=True)
class Calibration:
    """How far counts can be trusted.

    Attributes:
        interval: Parameters of the interval, as `reliability.interval` takes them.
        spacing: Pixels between heads. Almost no image had a smaller spacing (see `reliability.head_spacing`).
        measured: Share of the images whose true count is in the interval that is fitted to the others.
        sets: The same share for each data set.
        width: Median of (high - low) / count.
        images: Number of images.
        about: Date, version, commit and CPU of the calibration.
    """

    interval: dict[str, float]
    spacing: float
    measured: float
    sets: dict[str, float]
    width: float
    images: int
    about: dict[str, object]


def validation(run: str | Path, data: str | Path) -> list[tuple[str, Sample]]:
    """The images of the validation lists on which a run chose its checkpoint.

    Lists without people are left out, because they do not show how far counts of people are off.

    Args:
        run: the folder of a run, with run.json and best/.
        data: the folder that holds the data sets of its recipe.

    Returns:
        (data set, sample) for each image.

    Raises:
        ValueError: the folder is not a run's, or the run has fewer than two validation images.
    """
    try:
        sets = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["config"]["sets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run}: not the folder of a run, which holds run.json and best ({error})") from error
    with_people = {name: s for name, s in sets.items() if s["val"] and s["format"] != "people_free"}
    lists = {name: (Path(data) / s["folder"], s["format"], s["val"]) for name, s in with_people.items()}
    samples = [(name, sample) for name, where in lists.items() for sample in read(*where)]
    if len(samples) < 2:
        raise ValueError(f"{run}: its run has no validation images to calibrate on")
    return samples


def calibrate(run: str | Path, data: str | Path, progress: Callable[[int, int], None] | None = None) -> Calibration:
    """Calibrate the checkpoint RUN/best on its validation lists, and write calibration.json beside it.

    Args:
        run: as in `validation`.
        data: as in `validation`.
        progress: called with (images done, images in all) after each image.

    Raises:
        ValueError: as `validation`, or the checkpoint or an image cannot be read.
    """
    samples = validation(run, data)
    counter = load(Path(run) / "best")
    measured: list[tuple[float, float, float]] = []
    for _, sample in samples:
        measured.append(measure(sample, counter))
        if progress:
            progress(len(measured), len(samples))
    true, predicted, spacing = np.array(measured).T
    names = np.array([name for name, _ in samples])
    calibration = summarize(true, predicted, spacing, names)
    with atomic_write(Path(run) / "best" / CALIBRATION) as file:
        file.write(json.dumps(asdict(calibration), indent=2) + "\n")
    return calibration


def measure(sample: Sample, counter: Counter) -> tuple[float, float, float]:
    """The true count, the predicted count and the head spacing of an image."""
    result = counter.count(sample.image, sample.roi)
    return len(sample.points_in_roi), result.count, head_spacing(result.density, result.stride)


def summarize(true: np.ndarray, predicted: np.ndarray, spacing: np.ndarray, names: np.ndarray) -> Calibration:
    """The calibration from true counts, predicted counts, head spacings and data sets, (N,) each."""
    ranges = fit_interval(true, predicted)
    bounds = np.array([interval(n, ranges) for n in predicted])  # (N,2)
    held = held_by_others(true, predicted)
    return Calibration(
        interval=ranges,
        spacing=round(float(np.nanquantile(spacing, RARE)), 2),
        measured=round(float(held.mean()), 3),
        sets={name: round(float(held[names == name].mean()), 3) for name in dict.fromkeys(names.tolist())},
        width=round(float(np.median((bounds[:, 1] - bounds[:, 0]) / np.maximum(predicted, 1))), 3),
        images=len(true),
        about=provenance(),
    )


def fit_interval(true: ArrayLike, predicted: ArrayLike, coverage: float = COVERAGE) -> dict[str, float]:
    """What `reliability.interval` needs to hold a share of the true counts on images like these.

    The score of an image is the ratio of its true count to its predicted count, with OFFSET added to both. The bounds
    are conformal quantiles of the scores that leave out (1 - coverage) / 2 at each end, or the extremes if N is small.

    Args:
        true: (N,) people, N >= 1.
        predicted: (N,) people.
        coverage: the share.

    Returns:
        coverage, offset, low and high.
    """
    ratios = np.sort((np.asarray(true, float) + OFFSET) / (np.maximum(predicted, 0.0) + OFFSET))
    rank = max(int((len(ratios) + 1) * (1 - coverage) / 2 + 1e-9), 1)  # of the bound from its end; 1 is the extreme
    bounds = {"low": min(ratios[rank - 1], 1.0), "high": max(ratios[-rank], 1.0)}  # the count itself is always inside
    return {"coverage": coverage, "offset": OFFSET, **{k: round(float(v), 4) for k, v in bounds.items()}}


def held_by_others(true: np.ndarray, predicted: np.ndarray, coverage: float = COVERAGE) -> np.ndarray:
    """bool (N,): whether each true count is inside the interval that is fitted to the other images."""
    held = np.zeros(len(true), bool)
    for i in range(len(true)):
        others = np.arange(len(true)) != i
        low, high = interval(predicted[i], fit_interval(true[others], predicted[others], coverage))
        held[i] = low <= true[i] <= high
    return held

"""Calibration: how far a model's counts can be trusted, measured on images that it did not learn from.

Two things are fitted. `evaluation.uncertainty` learns from which features the network's error can be foreseen. The
interval is then conformal: no distribution is assumed, and it is as wide as it must be to hold the true counts of every
data set, relative to the uncertainty of each image. The reported coverage of each list's image is by the interval that
is fitted without it. The result is written beside the checkpoint as calibration.json, and `headcount export` copies it
into the model file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headcount.datasets.readers import read
from headcount.datasets.sample import Sample
from headcount.evaluation.uncertainty import (
    OFFSET,
    Measured,
    PoolingEngine,
    fit,
    log_ratio,
    out_of_sample,
    read_held_out,
    relative,
)
from headcount.inference.counter import Counter
from headcount.inference.engines import CALIBRATION
from headcount.inference.reliability import interval
from headcount.io.files import atomic_write
from headcount.provenance import provenance

COVERAGE = 0.9
RARE = 0.01  # share of the images whose head spacing, brightness or sharpness is below what is warned about
UNSURE = 0.95  # share of the images whose uncertainty is below what is warned about
PER_SET = 250  # training images that are measured of each set at most
SCENES, FIRST_SEED = 100, 800_000_000  # rendered scenes, of seeds that no training draws
SHARPER = 1.0, 1.25, 1.5, 1.75, 2.0, 2.5  # factors that `sharpen` tries
LEVELS = 0.5, 0.6, 0.7, 0.8, 0.9, 0.95
LEAST_PHOTOS = 10  # of a place
LEAST_IN_SET = 20  # images that a set must have to decide the interval, unless no set has as many


@dataclass(frozen=True)
class Calibration:
    """How far counts can be trusted.

    Attributes:
        interval: Parameters of the interval, as `reliability.interval` takes them.
        spacing: Pixels between heads. Almost no image had a smaller spacing (see `reliability.head_spacing`).
        limits: Brightness and sharpness that almost no image was below, and an uncertainty that few were above, as
            `reliability.unfamiliar` takes them.
        uncertainty: The arguments of `models.uncertainty.UncertaintyHead`; empty if it was not fitted.
        levels: The same interval for other shares of the true counts, by share.
        measured: Share of the images whose true count is in the interval that is fitted to the others.
        sets: The same share for each data set.
        width: Median of (high - low) / count.
        images: Number of images in the lists.
        about: Date, version, commit and CPU of the calibration.
    """

    interval: dict[str, float]
    spacing: float
    limits: dict[str, float]
    uncertainty: dict[str, Any]
    levels: dict[str, dict[str, float]]
    measured: float
    sets: dict[str, float]
    width: float
    images: int
    about: dict[str, object]


def recipe_samples(run: str | Path, data: str | Path) -> tuple[list[tuple[str, Sample]], list[tuple[str, Sample]]]:
    """The images of a run: those of its validation lists, and some that it learned, of the sets with a list.

    Sets without people are left out, because they do not show how far counts of people are off.

    Args:
        run: the folder of a run, with run.json and best/.
        data: the folder that holds the data sets of its recipe.

    Returns:
        (data set, sample) for each image of the lists, and for at most PER_SET training images of each of their sets.

    Raises:
        ValueError: the folder is not a run's, or the run has fewer than two validation images.
    """
    try:
        sets = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["config"]["sets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run}: not the folder of a run, which holds run.json and best ({error})") from error
    with_people = {name: s for name, s in sets.items() if s["val"] and s["format"] != "people_free"}

    def samples(name: str, split: str) -> list[Sample]:
        return read(Path(data) / with_people[name]["folder"], with_people[name]["format"], with_people[name][split])

    lists = [(name, sample) for name in with_people for sample in samples(name, "val")]
    if len(lists) < 2:
        raise ValueError(f"{run}: its run has no validation images to calibrate on")
    learned = [(name, sample) for name in with_people for sample in some(samples(name, "train"), PER_SET)]
    return lists, learned


def some(samples: list[Sample], most: int) -> list[Sample]:
    """At most so many samples, evenly spread over the list."""
    return [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))]


def calibrate(
    run: str | Path,
    data: str | Path,
    held_out: Sequence[str | Path] = (),
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Calibrate the checkpoint RUN/best, and write calibration.json beside it.

    Args:
        run: as in `recipe_samples`.
        data: as in `recipe_samples`.
        held_out: tables of `headcount evaluate --csv` with the counts of networks that had not learned these images.
            Without them, how much larger errors are on such images is taken from the lists.
        precision: that torch computes in: auto, fp32, fp16 or bf16.
        progress: called with (images done, images in all) after each image.

    Raises:
        ValueError: as `recipe_samples`, or the checkpoint or an image cannot be read.
    """
    errors = read_held_out([Path(path) for path in held_out])
    lists, learned = recipe_samples(run, data)
    engine = PoolingEngine(Path(run) / "best", precision)
    measured: list[Measured] = []
    for name, sample in [*lists, *learned]:
        measured.append(engine.measure(name, sample))
        if progress:
            progress(len(measured), len(lists) + len(learned))
    scenes = [engine.measure_scene(FIRST_SEED + i) for i in range(SCENES)] if renders(run) else []
    calibration = summarize(measured[: len(lists)], measured[len(lists) :], errors, scenes)
    with atomic_write(Path(run) / "best" / CALIBRATION) as file:
        file.write(json.dumps(asdict(calibration), indent=2) + "\n")
    return calibration


def renders(run: str | Path) -> bool:
    """Whether a run also learned from rendered scenes."""
    config = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["config"]
    return config.get("data", {}).get("rendered", 0) > 0


def summarize(
    lists: Sequence[Measured],
    learned: Sequence[Measured],
    held_out: Mapping[str, float],
    scenes: Sequence[Measured] = (),
) -> Calibration:
    """The calibration.

    Args:
        lists: images of the validation lists.
        learned: training images.
        held_out: errors on training images of networks that had not learned them, by path.
        scenes: rendered scenes that were not learned.
    """
    known = [*out_of_sample(learned, lists, held_out), *scenes]
    scored = [one for one in known if one.path in held_out]
    decided = {one.name for one in scored}
    deciding = [*scored, *scenes, *(one for one in lists if one.name not in decided)]
    head = sharpen(fit(known), deciding)
    ranges = fit_sets(deciding, head)
    widths: list[float] = []
    held: dict[str, list[bool]] = {one.name: [] for one in lists}
    for one in lists:
        low, high = interval(one.count, ranges, relative(one, head))
        widths.append((high - low) / max(one.count, 1.0))
        others = fit_sets([other for other in deciding if other is not one], head)
        low, high = interval(one.count, others, relative(one, head))
        held[one.name].append(low <= one.true <= high)
    images = [*lists, *learned]
    return Calibration(
        interval=ranges,
        spacing=round(float(np.nanquantile([one.spacing for one in lists], RARE)), 2),
        limits={
            "brightness": round(float(np.quantile([one.brightness for one in images], RARE)), 2),
            "sharpness": round(float(np.quantile([one.sharpness for one in images], RARE)), 2),
            "uncertainty": round(float(np.quantile([relative(one, head) for one in lists], UNSURE)), 3),
        },
        uncertainty=head,
        levels={f"{level:g}": fit_sets(deciding, head, level) for level in LEVELS},
        measured=round(float(np.mean(sum(held.values(), []))), 3),
        sets={name: round(float(np.mean(inside)), 3) for name, inside in held.items()},
        width=round(float(np.median(widths)), 3),
        images=len(lists),
        about=provenance(),
    )


def sharpen(head: dict[str, Any], images: Sequence[Measured]) -> dict[str, Any]:
    """The head times the factor for which the intervals that hold in every data set are narrowest.

    A ridge regression says too little of what it is unsure about, so the factor is mostly above 1.
    """
    if not head:
        return head

    def times(factor: float) -> dict[str, Any]:
        return {"weights": [factor * weight for weight in head["weights"]], "bias": factor * head["bias"]}

    def width(candidate: dict[str, Any]) -> float:
        ranges = fit_sets(images, candidate)
        relatives = np.array([relative(one, candidate) for one in images])
        names = [one.name for one in images]
        share = np.array([1.0 / names.count(name) for name in names])  # every set has the same weight
        return float(np.average(ranges["high"] ** relatives - ranges["low"] ** relatives, weights=share))

    return min((times(factor) for factor in SHARPER), key=width)


@dataclass(frozen=True)
class PlaceCalibration:
    """How far the counts of one place can be trusted.

    Attributes:
        interval: Parameters of the interval, as `reliability.interval` takes them.
        promised: The share of the true counts that so few photos can promise to hold, at most COVERAGE.
        measured: Share of the photos whose true count is in the interval that is fitted to the others.
        bias: Sum of the counts / sum of the true counts.
        images: Number of photos.
    """

    interval: dict[str, float]
    promised: float
    measured: float
    bias: float
    images: int


def calibrate_place(counter: Counter, samples: Sequence[Sample]) -> PlaceCalibration:
    """Fit the interval to photos of one place. Counts stay as they are.

    A model that always counts too few there gets an interval that lies mostly above its counts.

    Args:
        counter: counts with the model.
        samples: annotated photos, which the model has not learned.

    Raises:
        ValueError: there are fewer than LEAST_PHOTOS, or one cannot be read.
    """
    if len(samples) < LEAST_PHOTOS:
        raise ValueError(f"{len(samples)} marked photos are too few to fit an interval; mark at least {LEAST_PHOTOS}")
    results = [counter.count(sample.image, sample.roi) for sample in samples]
    true = np.array([len(sample.points_in_roi) for sample in samples], float)
    counts = np.array([result.count for result in results])
    unsure = np.array([result.uncertainty for result in results])
    held = held_by_others(true, counts, uncertainty=unsure)
    promised = min(COVERAGE, (len(samples) - 1) / (len(samples) + 1))
    ranges = fit_interval(true, counts, uncertainty=unsure) | {"coverage": round(promised, 2)}
    bias = float(counts.sum() / max(true.sum(), 1.0))
    return PlaceCalibration(ranges, promised, float(held.mean()), bias, len(samples))


def fit_sets(images: Sequence[Measured], head: dict[str, Any], coverage: float = COVERAGE) -> dict[str, float]:
    """The narrowest interval that holds a share of the true counts of every data set.

    Sets of fewer than LEAST_IN_SET images are too few to decide alone, and are put together.
    """
    sets: dict[str, list[float]] = {}
    for one in images:
        error = math.copysign(one.error, one.true - one.count) / relative(one, head)
        sets.setdefault(one.name, []).append(error)
    large = [errors for errors in sets.values() if len(errors) >= LEAST_IN_SET]
    others = [error for errors in sets.values() if len(errors) < LEAST_IN_SET for error in errors]
    fitted = [fit_ratios(errors, coverage) for errors in [*large, others] if errors]
    return {**fitted[0], "low": min(one["low"] for one in fitted), "high": max(one["high"] for one in fitted)}


def fit_interval(
    true: ArrayLike, predicted: ArrayLike, coverage: float = COVERAGE, uncertainty: ArrayLike = 1.0
) -> dict[str, float]:
    """What `reliability.interval` needs to hold a share of the true counts on images like these.

    Args:
        true: (N,) people, N >= 1.
        predicted: (N,) people.
        coverage: the share.
        uncertainty: of each image, (N,), as `reliability.relative_uncertainty` gives it.

    Returns:
        coverage, offset, low and high.
    """
    return fit_ratios(log_ratio(true, predicted) / uncertainty, coverage)


def fit_ratios(errors: ArrayLike, coverage: float) -> dict[str, float]:
    """`fit_interval` from the logarithms of the ratios, (N,), each divided by the image's uncertainty.

    The bounds are conformal quantiles that leave out (1 - coverage) / 2 at each end, or the extremes if N is small.
    """
    ratios = np.exp(np.sort(np.asarray(errors, float)))
    rank = max(int((len(ratios) + 1) * (1 - coverage) / 2 + 1e-9), 1)  # of the bound from its end; 1 is the extreme
    bounds = {"low": min(ratios[rank - 1], 1.0), "high": max(ratios[-rank], 1.0)}  # the count itself is always inside
    return {"coverage": coverage, "offset": OFFSET, **{k: round(float(v), 4) for k, v in bounds.items()}}


def held_by_others(
    true: np.ndarray, predicted: np.ndarray, coverage: float = COVERAGE, uncertainty: ArrayLike = 1.0
) -> np.ndarray:
    """bool (N,): whether each true count is inside the interval that is fitted to the other images."""
    held, unsure = np.zeros(len(true), bool), np.broadcast_to(uncertainty, len(true))
    for i in range(len(true)):
        others = np.arange(len(true)) != i
        ranges = fit_interval(true[others], predicted[others], coverage, unsure[others])
        low, high = interval(predicted[i], ranges, unsure[i])
        held[i] = low <= true[i] <= high
    return held

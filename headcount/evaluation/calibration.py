"""Calibration: how far a model's counts may be trusted, measured on pictures that it did not learn from.

What is unusual: the interval is conformal. No distribution is assumed; its width is what it takes to hold the true
counts of the validation lists, and the coverage reported is that of each picture by the interval made from the others.
The result lies beside the checkpoint as calibration.json, and `headcount export` takes it into the model file.
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
from headcount.geometry import inside
from headcount.inference.counter import load
from headcount.inference.engines import CALIBRATION
from headcount.inference.reliability import head_spacing, interval
from headcount.provenance import provenance

COVERAGE = 0.9
OFFSET = 10.0  # people added to both counts, so that an error of a few among few is not taken for a large one
RARE = 0.01  # spacings below that of all but this share of the pictures are warned of


@dataclass(frozen=True)
class Calibration:
    """interval: what `counter.interval` makes an interval of. spacing: pixels from head to head below which nearly no
    picture was (see `counter.head_spacing`). measured: the share of pictures whose true count is held by the interval
    made from the others; sets: the same by set. width: the median of (high - low) / count. pictures: how many. about:
    date, version, commit, cpu."""

    interval: dict[str, float]
    spacing: float
    measured: float
    sets: dict[str, float]
    width: float
    pictures: int
    about: dict[str, str | None]


def validation(run: str | Path, data: str | Path) -> list[tuple[str, Sample]]:
    """(set, sample) of every picture of the validation lists that a run chose its checkpoint on. Lists without people
    are left out: nothing is learned there of how far counts of people are off.

    run: the folder of a run, with run.json and best/. data: the folder that holds the data sets of its recipe.

    Raises:
        ValueError: for a folder that is not a run's, or a run without at least two validation pictures.
    """
    try:
        sets = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["config"]["sets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run}: not the folder of a run, which holds run.json and best ({error})") from error
    shown = {name: s for name, s in sets.items() if s["val"] and s["format"] != "people_free"}
    lists = {name: (Path(data) / s["folder"], s["format"], s["val"]) for name, s in shown.items()}
    samples = [(name, sample) for name, where in lists.items() for sample in read(*where)]
    if len(samples) < 2:
        raise ValueError(f"{run}: its run has no validation pictures to calibrate on")
    return samples


def calibrate(run: str | Path, data: str | Path, progress: Callable[[int, int], None] | None = None) -> Calibration:
    """Calibrate the checkpoint RUN/best on its validation lists (see `validation`), and keep that beside it.

    progress: called with (pictures done, pictures in all) after each. Raises what `validation` does.
    """
    samples = validation(run, data)
    counter = load(Path(run) / "best")
    found: list[tuple[float, float, float]] = []  # true, predicted, spacing
    for _, sample in samples:
        result = counter.count(sample.image, sample.roi)
        heads = sample.points if sample.roi is None else sample.points[inside(sample.points, sample.roi)]
        found.append((len(heads), result.count, head_spacing(result.density, result.stride)))
        if progress:
            progress(len(found), len(samples))
    true, predicted, spacing = np.array(found).T
    names = np.array([name for name, _ in samples])
    ranges = fit_interval(true, predicted)
    bounds = np.array([interval(n, ranges) for n in predicted])  # (N,2)
    held = held_by_others(true, predicted)
    calibration = Calibration(
        interval=ranges,
        spacing=round(float(np.nanquantile(spacing, RARE)), 2),
        measured=round(float(held.mean()), 3),
        sets={name: round(float(held[names == name].mean()), 3) for name in dict.fromkeys(names.tolist())},
        width=round(float(np.median((bounds[:, 1] - bounds[:, 0]) / np.maximum(predicted, 1))), 3),
        pictures=len(found),
        about=provenance(),
    )
    (Path(run) / "best" / CALIBRATION).write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")
    return calibration


def fit_interval(true: ArrayLike, predicted: ArrayLike, coverage: float = COVERAGE) -> dict[str, float]:
    """What `counter.interval` needs to hold `coverage` of the true counts (N,), N >= 1, on pictures like these.

    The score of a picture is the ratio of its true to its predicted count, OFFSET added to both; the bounds are
    conformal quantiles of the scores, (1 - coverage) / 2 left out at each end, or the extremes where N is too small.
    """
    ratios = np.sort((np.asarray(true, float) + OFFSET) / (np.maximum(predicted, 0.0) + OFFSET))
    place = int((len(ratios) + 1) * (1 - coverage) / 2 + 1e-9)  # of the bound from its end, 1 being the extreme
    low, high = ratios[max(place, 1) - 1], ratios[-max(place, 1)]
    bounds = {"low": min(low, 1.0), "high": max(high, 1.0)}  # the count itself is always inside
    return {"coverage": coverage, "offset": OFFSET, **{k: round(float(v), 4) for k, v in bounds.items()}}


def held_by_others(true: np.ndarray, predicted: np.ndarray, coverage: float = COVERAGE) -> np.ndarray:
    """bool (N,): whether each true count is inside the interval made from the other pictures."""
    held = np.zeros(len(true), bool)
    for i in range(len(true)):
        others = np.arange(len(true)) != i
        low, high = interval(predicted[i], fit_interval(true[others], predicted[others], coverage))
        held[i] = low <= true[i] <= high
    return held

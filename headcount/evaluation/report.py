"""A data set through a counter: a row per image, the metrics, and what is needed to repeat the measurement.

`evaluate` calls the same `Counter.count` as the command line, so the measured figures include the inference rule, the
tiles and the precision. Anything with a `count` method can be measured, and nothing here imports torch.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import LEVELS, METRICS, CountMetrics, Localization, game, localize
from headcount.geometry import inside
from headcount.inference.result import CountResult
from headcount.io.files import atomic_write, single_line
from headcount.provenance import provenance

GAME_LEVELS = (1, 2, 3)


class CountsImages(Protocol):
    """What can be measured: a `headcount.Counter`, or anything with this method."""

    def count(self, image: Path, roi: np.ndarray | None = None) -> CountResult:
        """Count the people in an image, inside a polygon (P,2) if one is given."""


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        name: Name of the image.
        path: Path of the image file.
        scene: Name of the camera; "" if the data set has none.
        true: True number of people.
        predicted: Predicted number of people.
        error: Predicted minus true number of people.
        seconds: Time to read and count the image, in seconds.
        game1: GAME at level 1, in people.
        game2: GAME at level 2, in people.
        game3: GAME at level 3, in people.
    """

    name: str
    path: str
    scene: str
    true: int
    predicted: float
    error: float
    seconds: float
    game1: float
    game2: float
    game3: float


@dataclass(frozen=True)
class Report:
    """What `evaluate` found.

    Attributes:
        rows: One row for each image that was counted, in the order given.
        metrics: Metrics over these images.
        errors: Reason for each image that was not counted, by its path.
        about: Origin of the figures: model, engine, precision, data, format, split, date, version, commit, cpu.
        localization: Localization of the positions that `CountResult.points` gives, at each radius that was requested.
    """

    rows: list[Row]
    metrics: CountMetrics
    errors: dict[str, str] = field(default_factory=dict)
    about: dict[str, object] = field(default_factory=dict)
    localization: tuple[Localization, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON: n, mae, rmse, nae, bias, game and intervals first."""
        return {
            **self.metrics.to_dict(),
            "about": self.about,
            "levels": {name: part.to_dict() for name, part in self.metrics.by_level().items()},
            "scenes": {name: part.to_dict() for name, part in self.metrics.by_scene().items()},
            "scene_mae": round(self.metrics.scene_mae, 4),
            "localization": [found.to_dict() for found in self.localization],
            "errors": self.errors,
            "images": [asdict(row) for row in self.rows],
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write a line per image that was counted, with the fields of `Row` as columns."""
        with atomic_write(path) as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)

    def table(self) -> str:
        """The metrics as lines of at most 80 characters, with 95 % intervals for the whole."""
        lines = [
            " ".join(str(self.about[key]) for key in ("model", "engine", "precision") if self.about.get(key)),
            *self._metric_lines(),
            "GAME 0-3: " + ", ".join(f"{value:.2f}" for value in self.metrics.game),
        ]
        for found in self.localization:
            figures = f"precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}"
            lines.append(f"positions within {found.radius:g} px: {figures}")
        for path, reason in self.errors.items():  # most reasons name the file
            lines.append(f"failed: {reason}" if path in reason else f"failed: {path}: {reason}")
        return "\n".join(_cut(line, 80) for line in lines if line)

    def _metric_lines(self) -> list[str]:
        """A line for all images, its intervals, and a line for each level and scene."""
        levels, scenes = self.metrics.by_level(), self.metrics.by_scene()
        lows, highs = zip(*(self.metrics.interval(name) for name in METRICS), strict=True)
        parts = {f"{name} ({LEVELS[name].label})": part for name, part in levels.items()}
        parts |= {f"scene {scene}": part for scene, part in scenes.items()}
        lines = [
            f"{'':22}{'images':>7}{'MAE':>10}{'RMSE':>10}{'NAE':>9}{'bias':>10}",
            _line("all", len(self.metrics), *(getattr(self.metrics, name) for name in METRICS)),
            _line("  95 % interval, from", "", *lows),
            _line("  to", "", *highs),
            *(_line(label, len(part), *(getattr(part, name) for name in METRICS)) for label, part in parts.items()),
        ]
        if scenes:
            lines.append(f"{'mean of the scenes':22}{len(scenes):>7}{self.metrics.scene_mae:10.2f}")
        return lines


def evaluate(
    samples: Iterable[Sample],
    counter: CountsImages,
    progress: Callable[[int, int], None] | None = None,
    *,
    data: str | Path | None = None,
    format: str | None = None,
    split: str | None = None,
    radii: Iterable[float] = (),
) -> Report:
    """Count every sample and compare with its points.

    Args:
        samples: from `headcount.datasets.read`. If a sample has a roi, the counter counts inside it, and only the
            points inside it are true.
        counter: a `headcount.Counter`, or anything with its `count`.
        progress: called with (images done, images in all) after each image.
        data: what was read, for the report.
        format: how it was read, for the report.
        split: which part was read, for the report.
        radii: pixels within which an estimated position counts as a head's; each gives precision, recall and F1.

    Returns:
        The report. An image that cannot be counted is in its `errors`; the others are counted all the same.

    Raises:
        ValueError: there are no samples, none could be counted, or `localize` does not take a radius.
    """
    samples = list(samples)
    if not samples:
        raise ValueError("evaluate: no images to count; check the data and the split")
    rows, errors = [], {}
    nobody = np.zeros((0, 2), np.float32)
    found = [
        localize(nobody, nobody, radius) for radius in radii
    ]  # a bad radius is reported before anything is counted
    for done, sample in enumerate(samples, start=1):
        try:
            row, matches = measure(sample, counter, [pooled.radius for pooled in found])
            rows.append(row)
            found = [pooled + match for pooled, match in zip(found, matches, strict=True)]
        except Exception as error:  # one image, whatever is wrong with it, must not lose the others
            errors[str(sample.image)] = single_line(error)
        if progress:
            progress(done, len(samples))
    if not rows:
        path, reason = next(iter(errors.items()))
        raise ValueError(f"evaluate: none of {len(samples)} images could be counted; {path}: {reason}")
    metrics = CountMetrics(
        true=[row.true for row in rows],
        predicted=[row.predicted for row in rows],
        names=[row.name for row in rows],
        scenes=[row.scene for row in rows] if any(row.scene for row in rows) else None,
        games=[[row.game1, row.game2, row.game3] for row in rows],
    )
    given = {"data": None if data is None else str(data), "format": format, "split": split}
    return Report(rows, metrics, errors, {**describe(counter), **given, **provenance()}, tuple(found))


def measure(sample: Sample, counter: CountsImages, radii: Sequence[float] = ()) -> tuple[Row, list[Localization]]:
    """Count one sample, and match its estimated positions with its heads at each radius."""
    points = sample.points_in_roi
    began = time.perf_counter()
    result = counter.count(sample.image, roi=sample.roi)
    seconds = time.perf_counter() - began  # including reading the image
    if getattr(result, "error", None):
        raise ValueError(result.error)
    if not math.isfinite(result.count):
        raise ValueError(f"counted {result.count}; the model's weights are not finite numbers")
    grid = (result.stride, result.width, result.height)
    row = Row(
        name=sample.name,
        path=str(sample.image),
        scene=sample.scene,
        true=len(points),
        predicted=float(result.count),
        error=float(result.count) - len(points),
        seconds=round(seconds, 4),
        **{f"game{level}": game(result.density, points, level, *grid) for level in GAME_LEVELS},
    )
    if not radii:
        return row, []
    estimates = result.points()
    if sample.roi is not None:  # a position in the last cell inside may be just outside
        estimates = estimates[inside(estimates, sample.roi)]
    return row, [localize(points, estimates, radius) for radius in radii]


def describe(counter: CountsImages) -> dict[str, object]:
    """Which model was measured, and how, as far as the counter tells."""
    engine = getattr(counter, "engine", None)
    meta = getattr(engine, "meta", None)
    return {
        "model": getattr(meta, "name", type(counter).__name__),
        "engine": getattr(engine, "name", None),
        "precision": getattr(engine, "precision", None),
        "min_side": getattr(meta, "min_side", None),
        "max_tile": getattr(counter, "max_tile", None),
    }


def _line(label: str, images: int | str, mae: float, rmse: float, nae: float, bias: float) -> str:
    relative = "-" if math.isnan(nae) else f"{nae:.3f}"
    return f"{_cut(label, 21):22}{images:>7}{mae:10.2f}{rmse:10.2f}{relative:>9}{bias:+10.2f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."

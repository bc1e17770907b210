"""A data set through a counter: a row per image, the metrics, and what it takes to measure the same again.

Unusual: what is measured is what users run. `evaluate` calls the same `Counter.count` as the command line
does, so the test-time rule, the tiles and the precision are inside the number. Whatever has a `count` can be
measured, and nothing here imports torch.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import LEVEL_RANGES, CountMetrics, Localisation, game, localise
from headcount.geometry import inside
from headcount.io.files import atomic_write
from headcount.provenance import provenance

GAME_LEVELS = (1, 2, 3)


class Counts(Protocol):
    """What can be measured: a `headcount.Counter`, or anything with this method."""

    def count(self, x: Any, roi: Any = None) -> Any:
        """A `CountResult`, or an object with its count, density, stride, width and height, and points() for radii."""


@dataclass(frozen=True)
class Row:
    """One image. true, predicted, error: people, error = predicted - true. seconds: to count it.
    game1..3: GAME at levels 1 to 3, people."""

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

    rows: of the images that were counted, in the order given. errors: path -> reason, of those that were not.
    localisation: of the dots that `CountResult.points` gives, at each radius that was asked for.
    about: the figures' origin: model, engine, precision, data, format, split, date, version, commit, cpu.
    """

    rows: list[Row]
    metrics: CountMetrics
    errors: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    localisation: tuple[Localisation, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: n, mae, rmse, nae, bias, game and intervals first."""
        return {
            **self.metrics.to_dict(),
            "about": self.about,
            "levels": {name: part.to_dict() for name, part in self.metrics.by_level().items()},
            "scenes": {name: part.to_dict() for name, part in self.metrics.by_scene().items()},
            "scene_mae": round(self.metrics.scene_mae, 4),
            "localisation": [found.to_dict() for found in self.localisation],
            "errors": self.errors,
            "images": [asdict(row) for row in self.rows],
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write a line per image that was counted, its columns the fields of Row."""
        with atomic_write(path) as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)

    def table(self) -> str:
        """The metrics as lines of at most 80 characters, with 95 % intervals for the whole."""
        all_images = self.metrics
        names = ("mae", "rmse", "nae", "bias")
        levels, scenes = all_images.by_level(), all_images.by_scene()
        lows, highs = zip(*(all_images.interval(name) for name in names), strict=True)
        lines = [
            " ".join(str(self.about[key]) for key in ("model", "engine", "precision") if self.about.get(key)),
            f"{'':22}{'images':>7}{'MAE':>10}{'RMSE':>10}{'NAE':>9}{'bias':>10}",
            _line("all", len(all_images), *(getattr(all_images, name) for name in names)),
            _line("  95 % interval, from", "", *lows),
            _line("  to", "", *highs),
        ]
        parts = {f"{level} ({LEVEL_RANGES[level]})": part for level, part in levels.items()}
        parts |= {f"scene {scene}": part for scene, part in scenes.items()}
        for label, part in parts.items():
            lines.append(_line(label, len(part), *(getattr(part, name) for name in names)))
        if scenes:
            lines.append(f"{'mean of the scenes':22}{len(scenes):>7}{all_images.scene_mae:10.2f}")
        lines.append("GAME 0-3: " + ", ".join(f"{value:.2f}" for value in all_images.game))
        for found in self.localisation:
            figures = f"precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}"
            lines.append(f"dots within {found.radius:g} px: {figures}")
        for path, reason in self.errors.items():  # most reasons name the file
            lines.append(f"failed: {reason}" if path in reason else f"failed: {path}: {reason}")
        return "\n".join(_cut(line, 80) for line in lines if line)


def evaluate(
    samples: Iterable[Sample],
    counter: Counts,
    progress: Callable[[int, int], None] | None = None,
    *,
    data: str | Path | None = None,
    format: str | None = None,
    split: str | None = None,
    radii: Iterable[float] = (),
) -> Report:
    """Count every sample and compare with its points.

    Args:
        samples: what `headcount.points.read` gives. Where a sample has a roi, the counter counts inside it,
            and only the points inside it are true.
        counter: a `headcount.Counter`, or anything with its `count`.
        progress: called with (images done, images in all) after each image.
        data, format, split: what was read, for the report.
        radii: pixels within which an estimated dot counts as a head's; each gives precision, recall and F1.

    A file that cannot be counted goes to `Report.errors`, and the rest go on.

    Raises:
        ValueError: for no samples, when not one could be counted, or for radii that `localise` does not take.
    """
    samples = list(samples)
    if not samples:
        raise ValueError("evaluate: no images to count; check the data and the split")
    rows, errors = [], {}
    nobody = np.zeros((0, 2), np.float32)
    found = [localise(nobody, nobody, radius) for radius in radii]  # what it lacks is said before anything is counted
    for done, sample in enumerate(samples, start=1):
        try:
            row, dots = measure(sample, counter, [one.radius for one in found])
            rows.append(row)
            found = [one + other for one, other in zip(found, dots, strict=True)]
        except Exception as error:  # whatever it was, it must not lose the other images
            errors[str(sample.image)] = " ".join(str(error).split()) or type(error).__name__
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


def measure(sample: Sample, counter: Counts, radii: Sequence[float] = ()) -> tuple[Row, list[Localisation]]:
    """Count one sample, and match its dots with its heads at each radius."""
    points = sample.points if sample.roi is None else sample.points[inside(sample.points, sample.roi)]
    began = time.perf_counter()
    result = counter.count(sample.image, roi=sample.roi)
    seconds = time.perf_counter() - began  # reading the picture included
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
    dots = result.points()
    if sample.roi is not None:  # a dot of the last cell inside may stand just outside
        dots = dots[inside(dots, sample.roi)]
    return row, [localise(points, dots, radius) for radius in radii]


def describe(counter: Counts) -> dict[str, Any]:
    """Which model ran, and how, as far as the counter says."""
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

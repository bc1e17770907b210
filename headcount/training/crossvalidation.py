"""Cross-validation: what a recipe reaches on images that its network never saw, without choosing anything.

One data set is split into folds. For each fold a network is trained for the full length of the recipe on the other
folds and on the recipe's other sets. Its last averaged weights count the fold. So every image of the set is counted
once, which decides between recipes better than one list of thirty images does.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headcount.datasets import readers
from headcount.training.config import TrainConfig, TrainError
from headcount.training.trainer import train

NEVER = 1 << 62  # steps between validations; the last step of a run validates whatever this is


@dataclass(frozen=True)
class CrossValidation:
    """The errors of a recipe.

    Attributes:
        recipe: Name of the recipe.
        folds: Name of the set that is split into folds.
        sizes: Images in each fold.
        rows: For each fold, the mean absolute error in people of the fold and of the validation list of each other set.
    """

    recipe: str
    folds: str
    sizes: tuple[int, ...]
    rows: tuple[dict[str, float], ...]

    @property
    def mae(self) -> float:
        """Mean absolute error over all images of the folds."""
        return float(np.average([row[self.folds] for row in self.rows], weights=self.sizes))

    def line(self) -> str:
        """All errors in one line: of all folds, of each fold, and of the other sets' lists as means over the folds."""
        each = ", ".join(f"{row[self.folds]:.1f}" for row in self.rows)
        others = [name for name in self.rows[0] if name != self.folds]
        means = [f"{name} {np.mean([row[name] for row in self.rows]):.2f}" for name in others]
        return "; ".join([f"{self.recipe}: {self.folds} {self.mae:.1f} ({each})", *means])


def crossvalidate(
    config: TrainConfig,
    data: str | Path,
    out: str | Path,
    folds: str,
    without: Sequence[str] = (),
    count: int = 5,
    backbone_weights: str | Path | None = None,
) -> CrossValidation:
    """Train and measure one network for each fold. Finished folds are not run again, and a stopped one is resumed.

    Args:
        config: The recipe.
        data: The folder that holds the data sets of the recipe.
        out: The folder of the runs: fold1, fold2, ...
        folds: The set of the recipe to split: ShanghaiTech part A, whose folds are published.
        without: Sets of the recipe to leave out, since they show images of the folds.
        count: How many of the folds to run.
        backbone_weights: A file of ImageNet weights, instead of a download.

    Raises:
        TrainError: The recipe has no such set, or a run fails or was stopped.
        PointsError: The set cannot be read, or is another part of ShanghaiTech.
    """
    unknown = [name for name in (folds, *without) if name not in config.sets]
    if unknown:
        raise TrainError(f"{config.name}: no data set {unknown[0]!r}; it has {', '.join(config.sets)}")
    if config.sets[folds].format != "shanghaitech":
        raise TrainError(f"{config.name}: set {folds!r} has no folds; only ShanghaiTech part A has them")
    if count < 1:
        raise TrainError(f"count must be at least 1, got {count}")
    numbers = range(1, count + 1)
    sizes = [_fold_size(config, Path(data), folds, number) for number in numbers]
    rows = []
    for number in numbers:
        run = Path(out) / f"fold{number}"
        row = _last_row(run)
        if row is None:
            train(fold_config(config, folds, number, without), data, run, True, backbone_weights)
            row = _last_row(run)
        if row is None:
            raise TrainError(f"{run}: stopped before its end; run the same command again to resume")
        rows.append(row)
    return CrossValidation(config.name, folds, tuple(sizes), tuple(rows))


def fold_config(config: TrainConfig, folds: str, number: int, without: Sequence[str] = ()) -> TrainConfig:
    """The recipe that holds out one fold and validates only at its end."""
    sets = {name: dataset for name, dataset in config.sets.items() if name not in without}
    sets[folds] = replace(sets[folds], train=f"fold{number}-train", val=f"fold{number}-val")
    return replace(config, sets=sets, eval_every=NEVER)


def _fold_size(config: TrainConfig, data: Path, folds: str, number: int) -> int:
    dataset = config.sets[folds]
    return len(readers.read(data / dataset.folder, dataset.format, f"fold{number}-val"))


def _last_row(run: Path) -> dict[str, float] | None:
    """The errors at the end of a run by set, or None if it has not ended."""
    try:
        with (run / "metrics.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]
    except (OSError, IndexError):
        return None
    errors = {name.removesuffix("_mae"): float(text) for name, text in last.items() if name.endswith("_mae") and text}
    errors.pop("crop", None)
    return errors or None

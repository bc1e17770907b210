"""Experiments: one training run each, of a recipe on a data set under a budget, trained and measured.

All state is in files. A finished experiment has a result.json in its folder and is never trained again.
"""

from __future__ import annotations

import csv
import filecmp
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.evaluation.report import Report, evaluate
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.io.files import atomic_write
from headcount.models.complexity import multiply_adds, parameter_count
from headcount.models.counting_model import CountingModel
from headcount.models.serialization import load_single
from headcount.provenance import provenance
from headcount.reproduction.diagnostics import gradient_norms, mask_iou
from headcount.reproduction.paper import DATASETS, RECIPES, DataSet, Row
from headcount.reproduction.results import ImageResult, Result, SplitResult
from headcount.training import checkpoint
from headcount.training.config import (
    SetConfig,
    TrainConfig,
    TrainError,
    check_same,
    load_recipe,
    override,
)
from headcount.training.dataset import Crops
from headcount.training.images import ImageList, Images
from headcount.training.trainer import train

SIZE = (576, 768)  # height and width of the image for which multiply-adds are stated

# Budget -> backbone ("" for any) -> settings that it changes, the same for every row of a table.
BUDGETS: dict[str, dict[str, list[str]]] = {
    "smoke": {  # runs everything, learns nothing
        "": [
            "steps=2", "batch=2", "warmup=0", "eval_every=2", "save_every=2", "precision=fp32", "imagenet=false",
            "freeze=0", "data.crop=[32, 32]", "data.scale=[1.0, 1.0]", "data.min_side=0", "model.width=8",
        ],
    },
    "short": {  # Table I in three hours on two cores
        "multiscale": ["steps=400", "eval_every=200"],
        "mcnn": ["steps=6000", "eval_every=1500"],
        "vgg16": ["steps=1200"],
        "csrnet": ["steps=1200"],
    },
    "long": {  # Table I from scratch: five minutes on one GPU, or six hours on two cores
        "multiscale": [
            "steps=1500", "batch=32", "lr=6e-4", "warmup=100", "ema=0.998", "eval_every=500", "save_every=500",
        ],
    },
    "full": {  # the paper's: 200 crops per image and epoch, and twice the 20 epochs after which its rate falls
        "multiscale": ["epochs=40"],
        "mcnn": ["epochs=40"],
    },
}  # fmt: skip
# Budget -> settings that it changes for a fold of a cross validation.
FOLD_CHANGES = {"short": ["steps=60", "eval_every=30", "lr=5e-5", "lr_pretrained=2e-5"]}


class Interrupted(Exception):
    """Training stopped at the user's request after it had saved its state."""


@dataclass(frozen=True)
class Experiment:
    """One training run.

    Attributes:
        recipe: A key of `paper.RECIPES`.
        dataset: A key of `paper.DATASETS`.
        seed: Seed of the run.
        fold: Fold of the cross validation, from 1; 0 for a data set without folds.
    """

    recipe: str
    dataset: str
    seed: int = 1
    fold: int = 0

    @property
    def name(self) -> str:
        """Unique within a budget, and the path of its folder."""
        fold = f"-fold{self.fold}" if self.fold else ""
        return f"{self.recipe}/{self.dataset}{fold}-{self.seed}"

    def split(self, name: str) -> str:
        """The reader's name of the split train, val or test."""
        return f"fold{self.fold}-{name}" if self.fold else name


@dataclass(frozen=True)
class InitialCheckpoint:
    """The trained weights that an experiment starts from: `part` ("all" or "backbone") of another experiment's."""

    experiment: Experiment
    part: str


@dataclass(frozen=True)
class Workspace:
    """Where the data are and where results go.

    Attributes:
        data: Folder that holds the data sets.
        budget: A key of `BUDGETS`.
        out: Folder of runs and reports. Runs record it, so one folder must always have one spelling.
        backbone_weights: A file of VGG16's ImageNet weights; None to download them.
        seeds: Seeds of the runs behind each row.
    """

    data: Path
    budget: str
    out: Path
    backbone_weights: Path | None = None
    seeds: tuple[int, ...] = (1,)

    def folder(self, experiment: Experiment) -> Path:
        return self.out / self.budget / experiment.name

    def data_folder(self, dataset: str) -> Path:
        return self.data / DATASETS[dataset].folder

    def result(self, experiment: Experiment) -> Result | None:
        """What was measured of a finished experiment; None for an unfinished one."""
        file = self.folder(experiment) / "result.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def experiments_of(row: Row, dataset: str, seeds: Sequence[int]) -> list[Experiment]:
    """The experiments behind a row's figure on a data set: one per seed and fold."""
    if row.recipe is None:
        return []
    folds = range(1, DATASETS[dataset].folds + 1) if DATASETS[dataset].folds else (0,)
    return [Experiment(row.recipe.name, dataset, seed, fold) for seed in seeds for fold in folds]


def initial_checkpoint(experiment: Experiment, budget: str) -> InitialCheckpoint | None:
    """What the experiment starts from under a budget; None for the recipe's own initialization.

    In the short budget, rows of the light backbone share one backbone, which was trained from scratch in baseline 1.
    Each row adds a new head, so that the minutes go into telling the fusions apart and not into learning edges. A
    fold of UCF_CC_50 has 36 images, so it starts from the same row's run on Part A.
    """
    recipe = RECIPES[experiment.recipe]
    start = (recipe.fold_starts if experiment.fold else recipe.starts).get(budget)
    if start is None:
        return None
    return InitialCheckpoint(Experiment(start.recipe, start.dataset or experiment.dataset, experiment.seed), start.part)


def configure(experiment: Experiment, workspace: Workspace) -> TrainConfig:
    """The experiment's recipe under the budget of the workspace, on its data set."""
    recipe, dataset = RECIPES[experiment.recipe], DATASETS[experiment.dataset]
    config = load_recipe(experiment.recipe)
    config = override(config, budget_changes(experiment, workspace.budget, config.model.backbone))
    splits = SetConfig(dataset.folder, dataset.format, experiment.split("train"), experiment.split("val"))
    config = replace(config, seed=experiment.seed, sets={experiment.dataset: splits})
    if recipe.crops_by_dataset:
        config = replace(config, crops_per_image=dataset.crops_per_image)
    start = initial_checkpoint(experiment, workspace.budget)
    if start:
        path = workspace.folder(start.experiment) / "best"
        config = replace(config, start=str(path), start_part=start.part)
    return config


def budget_changes(experiment: Experiment, budget: str, backbone: str) -> list[str]:
    """The settings of the recipe that a budget changes, as key=value."""
    by_backbone = BUDGETS[budget]
    changes: list[str] = []
    if budget not in RECIPES[experiment.recipe].own_length:
        changes += by_backbone.get(backbone, by_backbone.get("", []))
    if experiment.fold:
        changes += FOLD_CHANGES.get(budget, [])
    return changes


def run(experiment: Experiment, workspace: Workspace) -> Result:
    """Train and measure an experiment, resuming it if it was stopped. A finished one is not run again.

    Raises:
        TrainError: The folder holds a run with other settings, or training fails.
        PointsError: The data set is missing or damaged.
        Interrupted: Training was stopped and has saved its state.
    """
    config, folder = configure(experiment, workspace), workspace.folder(experiment)
    check_same(config, folder)
    finished = workspace.result(experiment)
    if finished is not None:
        return finished
    start = initial_checkpoint(experiment, workspace.budget)
    if start:
        run(start.experiment, workspace)
    print(f"{workspace.budget}: {experiment.name}", file=sys.stderr, flush=True)
    train(config, workspace.data, folder, resume=True, backbone_weights=workspace.backbone_weights)
    numbers, _, _ = checkpoint.read(folder)
    if numbers["step"] < numbers["total"]:
        raise Interrupted(f"{experiment.name}: interrupted; run again to resume")
    result = measure(experiment, config, workspace)
    with atomic_write(folder / "result.json") as file:
        file.write(json.dumps(result, indent=1) + "\n")
    checkpoint.delete(folder)  # only resuming needs it, and it is the largest file
    return result


def measure(experiment: Experiment, config: TrainConfig, workspace: Workspace) -> Result:
    """Measure the chosen checkpoint on the validation list, and the chosen and the last one on the test split."""
    folder, dataset = workspace.folder(experiment), DATASETS[experiment.dataset]
    log = training_log(folder)
    model = load_single(folder / "best")
    counter = Counter(TorchEngine(model, precision_of(config)))
    test_split, test = test_samples(experiment, workspace)
    val = readers.read(workspace.data_folder(experiment.dataset), dataset.format, experiment.split("val"))
    chosen = to_split_result(evaluate(test, counter))
    last = chosen
    if not filecmp.cmp(folder / "best" / "model.safetensors", folder / "last" / "model.safetensors", shallow=False):
        last_counter = Counter(TorchEngine(load_single(folder / "last"), precision_of(config)))
        last = to_split_result(evaluate(test, last_counter))
    images = Images(val, config.data)
    crops = Crops([(1.0, images)], config.data, model.stride, config.seed)
    environment = provenance()
    return Result(
        experiment=asdict(experiment),
        config=asdict(config),
        budget=workspace.budget,
        steps=int(log[-1]["step"]),
        crops=int(log[-1]["step"]) * config.batch,
        seconds=log[-1]["seconds"],
        chosen_step=int(min((row for row in log if "score" in row), key=lambda row: row["score"])["step"]),
        parameters=parameter_count(model),
        multiply_adds=multiply_adds(model, *SIZE),
        test_split=test_split,
        val=to_split_result(evaluate(val, counter)),
        test=chosen,
        test_last=last,
        mask_iou=mask_overlap(model, images, config),
        gradient_norms=gradient_norms(model, default_collate([crops[i] for i in range(4)]), config.loss),
        versions=environment["versions"],
        commit=environment["commit"],
        device=environment["device"],
    )


def test_samples(experiment: Experiment, workspace: Workspace) -> tuple[str, list[Sample]]:
    """The test split, as ("test", samples); for a copy of a data set that has none, ("val", the validation list).

    Raises:
        PointsError: The split exists, but cannot be read.
    """
    dataset, folder = DATASETS[experiment.dataset], workspace.data_folder(experiment.dataset)
    split = "test" if has_test_split(dataset, folder) else "val"
    return split, readers.read(folder, dataset.format, experiment.split(split))


def has_test_split(dataset: DataSet, folder: Path) -> bool:
    """Whether this copy of a data set has a test split, complete or not. Its root is `folder` or a folder inside."""
    if dataset.folds:
        return True
    return any(any(folder.glob(f"{depth}{name}")) for name in dataset.test_folders for depth in ("", "*/"))


def precision_of(config: TrainConfig) -> str:
    return "auto" if torch.cuda.is_available() else config.precision


def to_split_result(report: Report) -> SplitResult:
    """A report without paths.

    Raises:
        TrainError: An image could not be counted; a figure must cover the whole split.
    """
    if report.errors:
        path, reason = next(iter(report.errors.items()))
        raise TrainError(f"{path}: {reason}; {len(report.errors)} images could not be counted")
    images = [
        ImageResult(
            name=row.name,
            scene=row.scene,
            true=row.true,
            predicted=row.predicted,
            game1=row.game1,
            game2=row.game2,
            game3=row.game3,
        )
        for row in report.rows
    ]
    return SplitResult(mae=report.metrics.mae, rmse=report.metrics.rmse, images=images)


def training_log(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, without their empty cells."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def mask_overlap(model: CountingModel, images: ImageList, config: TrainConfig) -> float | None:
    """`mask_iou` in the precision of training; None for a network without a mask."""
    with torch.autocast(model.mean.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        overlap = mask_iou(model, images, config.data)
    return float(overlap) if np.isfinite(overlap) else None

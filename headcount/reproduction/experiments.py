"""One training run of the paper's: its recipe under a budget, trained from wherever it stands, and measured.

Unusual: files are the only state. A job's folder is OUT/BUDGET/RECIPE/SET-SEED; once measured, it holds a result.json
and is never trained again. Nothing is chosen on a test split: the last checkpoint is measured beside the chosen one,
and the customary protocol's figure is the lower of the two.
"""

from __future__ import annotations

import csv
import filecmp
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from headcount.datasets import readers
from headcount.datasets.annotations import PointsError
from headcount.datasets.sample import Sample
from headcount.evaluation.evaluate import Report, evaluate
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.models.complexity import multiply_adds, parameter_count
from headcount.models.counting_model import CountingModel
from headcount.models.serialization import load_single
from headcount.provenance import provenance
from headcount.reproduction.diagnostics import gradient_norms, mask_iou
from headcount.reproduction.paper import SETS, Row
from headcount.training import checkpoint
from headcount.training.config import (
    SetConfig,
    TrainConfig,
    TrainError,
    check_same,
    load_recipe,
    override,
)
from headcount.training.dataset import Crops, TrainingImage, open_images
from headcount.training.trainer import train

SIZE = (576, 768)  # at which multiply-adds are stated

# What a budget changes in the recipes, by backbone, the same for every row of a table.
BUDGETS: dict[str, dict[str, list[str]]] = {
    "smoke": {  # everything runs, nothing is learned
        "": [
            "steps=2", "batch=2", "warmup=0", "eval_every=2", "save_every=2", "precision=fp32", "imagenet=false",
            "freeze=0", "data.crop=[32, 32]", "data.scale=[1.0, 1.0]", "data.min_side=0", "model.width=8",
        ],
    },
    "short": {  # table I in three hours on two cores
        "multiscale": ["steps=400", "eval_every=200"],
        "mcnn": ["steps=6000", "eval_every=1500"],
        "vgg16": ["steps=1200"],
        "csrnet": ["steps=1200"],
    },
    "full": {  # the paper's: 200 crops an image and epoch, twice the 20 epochs after which its rate falls; for a GPU
        "multiscale": ["epochs=40"],
        "mcnn": ["epochs=40"],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training run: a recipe on a set (with its fold, or 0) and a seed."""

    recipe: str
    set: str
    seed: int = 1
    fold: int = 0

    @property
    def folder(self) -> str:
        fold = f"-fold{self.fold}" if self.fold else ""
        return f"{self.recipe}/{self.set}{fold}-{self.seed}"

    def split(self, name: str) -> str:
        return f"fold{self.fold}-{name}" if self.fold else name


@dataclass(frozen=True)
class Lab:
    """Where the data are, what may be spent, and where it goes."""

    data: Path
    budget: str
    out: Path
    backbone_weights: Path | None = None
    seeds: tuple[int, ...] = (1,)

    def run(self, job: Job) -> Path:
        return self.out / self.budget / job.folder

    def result(self, job: Job) -> dict[str, Any] | None:
        """What was measured of a finished job; None where it is not finished."""
        file = self.run(job) / "result.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def jobs_of(row: Row, set: str, seeds: Sequence[int]) -> list[Job]:
    """The runs behind one cell: one a seed and fold."""
    folds = range(1, SETS[set].folds + 1) if SETS[set].folds else (0,)
    return [Job(row.recipe, set, seed, fold) for seed in seeds for fold in folds]


def beginning(job: Job, budget: str) -> tuple[Job, str] | None:
    """The job whose weights a job of the short budget begins with, and which of them; None: from its recipe's own.

    Rows of the light backbone share one, trained from scratch in baseline 1, and take fresh heads: the minutes are for
    telling fusions apart, not for learning edges. A fold of UCF_CC_50 has 36 pictures, and begins with its row's run on
    Part A.
    """
    backbone = load_recipe(job.recipe).model.backbone
    if job.recipe == "model-csr-long":
        return replace(job, recipe="model-csr"), "all"
    if budget != "short" or job.recipe in ("light-start", "solution-5-printed"):
        return None
    if job.set == "ucf_cc_50":
        recipe = "model-csr-long" if job.recipe == "model-csr" else job.recipe
        return Job(recipe, "part_A", job.seed), "all"
    return (Job("light-start", job.set, job.seed), "backbone") if backbone == "multiscale" else None


def configure(job: Job, lab: Lab) -> TrainConfig:
    """The job's recipe under the lab's budget, on its set."""
    config, data = load_recipe(job.recipe), SETS[job.set]
    budget = BUDGETS[lab.budget]
    changes = budget.get(config.model.backbone, budget.get("", []))
    if job.recipe in ("light-start", "model-csr-long") and lab.budget == "short":
        changes = []  # recipes of that budget alone
    if job.set == "ucf_cc_50" and lab.budget == "short":
        changes = [*changes, "steps=60", "eval_every=30", "lr=5e-5", "lr_pretrained=2e-5"]
    config = override(config, changes)
    sets = {job.set: SetConfig(data.folder, data.format, job.split("train"), job.split("val"))}
    config = replace(config, seed=job.seed, sets=sets)
    if config.crops_per_image == 200:
        config = replace(config, crops_per_image=data.crops)
    start = beginning(job, lab.budget)
    if start:
        config = replace(config, start=str(lab.run(start[0]) / "best"), start_part=start[1])
    return config


def perform(job: Job, lab: Lab) -> dict[str, Any]:
    """Train and measure a job, from wherever it stands; returns its result.

    Raises:
        TrainError: its folder holds a run of other settings; points.PointsError: the set is not there.
    """
    config, run = configure(job, lab), lab.run(job)
    check_same(config, run)
    done = lab.result(job)
    if done is not None:
        return done
    start = beginning(job, lab.budget)
    if start:
        perform(start[0], lab)
    print(f"{lab.budget}: {job.folder}", file=sys.stderr, flush=True)
    train(config, lab.data, run, resume=True, backbone_weights=lab.backbone_weights)
    numbers, _, _ = checkpoint.read(run)
    if numbers["step"] < numbers["total"]:  # Ctrl-C: the run saved itself, and is no row yet
        raise KeyboardInterrupt
    result = measure(job, config, lab)
    draft = run / "result.json.new"
    draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draft.replace(run / "result.json")
    checkpoint.delete(run)  # a finished run has no use for it, and it is the largest file
    return result


def measure(job: Job, config: TrainConfig, lab: Lab) -> dict[str, Any]:
    """The checkpoint chosen on validation on the validation list and in test; the last one in test, as is customary."""
    run, data = lab.run(job), SETS[job.set]
    history = training_log(run)
    best = load_single(run / "best")
    test_split, test = test_samples(lab.data / data.folder, job)
    val = readers.read(lab.data / data.folder, data.format, job.split("val"))
    counters = {"best": Counter(TorchEngine(best, precision_of(config)))}
    if not filecmp.cmp(run / "best" / "model.safetensors", run / "last" / "model.safetensors", shallow=False):
        counters["last"] = Counter(TorchEngine(load_single(run / "last"), precision_of(config)))
    reports = {name: slim(evaluate(test, counter)) for name, counter in counters.items()}
    pictures = open_images(val, config.data)
    crops = Crops([(1.0, pictures)], config.data, best.stride, config.seed)
    return {
        "job": asdict(job),
        "config": asdict(config),
        "budget": lab.budget,
        "steps": int(history[-1]["step"]),
        "crops": int(history[-1]["step"]) * config.batch,
        "seconds": history[-1].get("seconds") or config.batch * history[-1]["step"] / history[-1]["crops_per_second"],
        "chosen_step": int(min((r for r in history if "score" in r), key=lambda r: r["score"])["step"]),
        "parameters": parameter_count(best),
        "multiply_adds": multiply_adds(best, *SIZE),
        "test_split": test_split,
        "val": slim(evaluate(val, counters["best"])),
        "test": reports["best"],
        "test_last": reports.get("last", reports["best"]),
        "mask_iou": finite(masks(best, pictures, config)),
        "gradient_norms": gradient_norms(best, default_collate([crops[i] for i in range(4)]), config.loss),
        **provenance(),
    }


def test_samples(folder: Path, job: Job) -> tuple[str, list[Sample]]:
    """The test split; where a copy of the set has none, the validation list, under its own name."""
    try:
        return "test", readers.read(folder, SETS[job.set].format, job.split("test"))
    except PointsError:
        return "val", readers.read(folder, SETS[job.set].format, job.split("val"))


def precision_of(config: TrainConfig) -> str:
    return "auto" if torch.cuda.is_available() else config.precision


def slim(report: Report) -> dict[str, Any]:
    """A report without its paths; failures in it are an error, since a row must cover its whole split."""
    if report.errors:
        path, reason = next(iter(report.errors.items()))
        raise TrainError(f"{path}: {reason}; {len(report.errors)} pictures could not be counted")
    kept = report.to_dict()
    names = ("name", "scene", "true", "predicted", "game1", "game2", "game3")
    kept["images"] = [{k: image[k] for k in names} for image in kept["images"]]
    return kept


def training_log(run: Path) -> list[dict[str, float]]:
    """metrics.csv, without its empty cells."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def masks(model: CountingModel, pictures: list[TrainingImage], config: TrainConfig) -> float:
    """mask_iou in the precision that the network trained in."""
    with torch.autocast(model.mean.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        return mask_iou(model, pictures, config.data)


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

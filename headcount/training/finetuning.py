"""Fine-tuning: train a model further, for some minutes, on images like those that it will count.

A few steps and the first validation show how long each takes; the length of the run and the number of validations
follow from the time that is left. The initial model is the first checkpoint of its own run, so the result is never
worse than it on the images that choose. The split is written as files, so that every figure can be measured again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import CountMetrics
from headcount.evaluation.report import evaluate
from headcount.inference.counter import Counter, load
from headcount.inference.engines import TorchEngine
from headcount.inference.pretrained import find_model
from headcount.io.allocator import keep_freed_memory
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.from_onnx import restore
from headcount.models.serialization import load as load_checkpoint
from headcount.models.serialization import save
from headcount.training.config import (
    RECIPES,
    SetConfig,
    TrainConfig,
    TrainError,
    load_recipe,
    override,
    parse_config,
)
from headcount.training.dataset import Batch, loader
from headcount.training.holdout import split
from headcount.training.run_record import Row
from headcount.training.schedule import cosine, warmup
from headcount.training.trainer import Trainer

VALIDATIONS = 20  # in a run
PATIENCE = 10  # validations without a better one end the run; with small steps, the best often come last
TRAIN_SHARE = 4  # training takes at least this many times as long as validating
VALIDATION_ERROR = "own_mae"  # the column of the set that `finetune_config` names
MIN_GAIN = 0.1  # of the MAE; the best of a dozen checkpoints gains about this on ten images by chance
SURE = 2.0  # standard errors; a mean gain above it is not chance, 19 times of 20
LARGE_ERROR = 0.25  # of the mean count; a model with a larger error does not know what it sees
FREEZE = {"lite0": 5, "lite2": 7, "vgg16": 3}  # blocks that find edges and textures, which cost the most time
NO_LIMIT = 1_000_000  # steps

clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class FinetuneReport:
    """What fine-tuning did.

    Attributes:
        before: Metrics of the initial model on the images that choose the checkpoint.
        after: Metrics of the best checkpoint on the same images.
        check_before: Metrics of the initial model on images that choose nothing. None if there are too few images.
        check_after: The same of the best checkpoint.
        improved: Whether the best checkpoint was kept. Otherwise the initial model was.
        checkpoint: Folder of the model that was kept.
        photos: Number of images in "train", "val" and "check".
        steps: Number of training steps.
        seconds: Duration of training and validating.
        start: The initial model.
    """

    before: CountMetrics
    after: CountMetrics
    check_before: CountMetrics | None
    check_after: CountMetrics | None
    improved: bool
    checkpoint: Path
    photos: dict[str, int]
    steps: int
    seconds: float
    start: str

    def table(self) -> str:
        """The errors before and after as lines of at most 80 characters, then the verdict."""
        rows = [("held out, before", self.before), ("held out, after", self.after)]
        if self.check_before and self.check_after:
            rows += [("unseen, before", self.check_before), ("unseen, after", self.check_after)]
        lines = [f"{'':22}{'images':>7}{'MAE':>10}{'RMSE':>10}{'bias':>10}"]
        lines += [f"{name:22}{len(m):>7}{m.mae:10.2f}{m.rmse:10.2f}{m.bias:+10.2f}" for name, m in rows]
        return "\n".join([*lines, *self.verdict()])

    def verdict(self) -> list[str]:
        """What the errors mean, in two or three lines."""
        effort = f"{self.photos['train']} images, {self.steps} steps, {self.seconds / 60:.1f} minutes"
        if not self.improved:
            return [f"your images did not improve it ({effort}):", f"{self.checkpoint} is {self.start}, unchanged"]
        lines = [f"trained on {effort};", "the held-out images chose the model, so their error is optimistic"]
        return [*lines, *self.doubts()]

    def doubts(self) -> list[str]:
        """Why the gain may be chance: at most one line."""
        if not (self.check_before and self.check_after):
            return ["there are too few images to keep some unseen: mark more before you trust it"]
        errors = [np.abs(metrics.predicted - metrics.true) for metrics in (self.check_before, self.check_after)]
        gains = errors[0] - errors[1]  # (N,) people
        number, mean = len(gains), gains.mean()
        if mean <= 0:
            return ["on the unseen images it is no better: mark more images before you trust it"]
        if number == 1:
            return ["one unseen image cannot tell the gain from chance: mark more before you trust it"]
        error = gains.std(ddof=1) / math.sqrt(number)
        if mean > SURE * error:
            return []
        enough = math.ceil(number * (SURE * error / mean) ** 2)
        return [f"{number} unseen images are too few to tell the gain from chance; {enough} might do"]


def finetune(
    data: str | Path,
    out: str | Path,
    start: str | Path = "headcount-small",
    minutes: float = 10,
    format: str = "auto",
    settings: Sequence[str] = (),
) -> FinetuneReport:
    """Train a model further on your own images: people, or anything else that is marked by one point each.

    If the data marks no validation images, some are held out automatically. Images of a test split are not read.

    Args:
        data: A folder that `headcount annotate` marked, an annotation file, or a data set. It takes at least 8 images,
            better 20 to 200.
        out: The folder of the run. best/ becomes the model that is kept, start/ the initial one, photos/ the split.
        start: The name of a bundled model, an exported .onnx file, or a checkpoint folder.
        minutes: Time for training and validating. Ctrl-C ends it earlier and keeps the best checkpoint so far.
        format: A format that `headcount.datasets.read` knows; "auto" detects it.
        settings: Changed settings as `override` takes them, such as "steps=100".

    Returns:
        The errors before and after, and the checkpoint.

    Raises:
        ValueError: One line: too few images, a model that cannot be trained further, or `out` holds a run.
    """
    out = Path(out)
    if (out / "run.json").exists() or (out / "best").exists():
        raise TrainError(f"{out}: there is already a run; choose another folder, or remove it")
    if not minutes > 0:
        raise TrainError(f"minutes must be above 0, got {minutes:g}")
    parts = split(Path(data).expanduser(), format)
    model, recipe = open_start(start)
    before = evaluate(parts["val"], Counter(TorchEngine(model))).metrics
    config = override(finetune_config(model, recipe, out, before), settings)
    for name, samples in parts.items():
        if samples:
            readers.write(samples, out / "photos" / f"{name}.json", "json")
    save(model, out / "start")
    torch.manual_seed(config.seed)
    keep_freed_memory()
    trainer = FinetuneTrainer(config, out, minutes)
    trainer.fit()
    return trainer.report(parts, before, start)


def open_start(start: str | Path) -> tuple[CountingModel, TrainConfig]:
    """Open the model to train further.

    Args:
        start: The name of a bundled model, an exported .onnx file, or a checkpoint folder.

    Returns:
        The model, and the recipe that it or a similar model was trained by.

    Raises:
        ValueError: There is no such model, or it is an ensemble.
    """
    path = find_model(start)
    if not path.exists():
        raise TrainError(f"{start}: no such model; give headcount-small, an .onnx file or a checkpoint folder")
    model = restore(path) if path.suffix.lower() == ".onnx" else load_checkpoint(path)
    if isinstance(model, Ensemble):
        raise TrainError(f"{start}: is an ensemble; only single networks can be trained, such as headcount-small")
    record, recipe = path.parent / "run.json", RECIPES / f"{model.config.name}.toml"
    if path.is_dir() and record.is_file():
        return model, parse_config(json.loads(record.read_text(encoding="utf-8"))["config"], str(record))
    if recipe.is_file():
        return model, load_recipe(model.config.name)
    return model, load_recipe("headcount-small" if model.config.fusion.endswith("_zip") else "tuned-light")


def finetune_config(model: CountingModel, recipe: TrainConfig, out: Path, before: CountMetrics) -> TrainConfig:
    """The recipe of a fine-tuning run.

    Crops and losses are those that the model was trained with. The learning rate is lower if the model already counts
    the images well: larger steps would then lose more than a few images teach.

    Args:
        model: The initial model.
        recipe: The recipe that it was trained by.
        out: The folder of the run.
        before: Metrics of the model on the images that choose the checkpoint.
    """
    large_error = before.mae > LARGE_ERROR * max(1.0, before.true.mean())
    return replace(
        recipe,
        name=out.name,
        steps=0,  # as many as there is time for
        optimizer="adamw",
        schedule="cosine",
        warmup=20,
        lr=3e-5 if large_error else 1e-5,
        freeze=FREEZE.get(model.config.backbone, 0),
        imagenet=False,
        start=str(out / "start"),
        start_part="all",
        teacher="",  # it knows the images of the earlier training, not these
        ema=0.99,
        precision="bf16" if computes_bf16() else "fp32",
        save_every=NO_LIMIT,
        model=replace(model.config, name=out.name),
        data=replace(recipe.data, min_side=model.config.min_side, rendered=0.0),
        loss=replace(recipe.loss, teacher=0.0),
        sets={"own": SetConfig("photos", "json")},
    )


def computes_bf16() -> bool:
    """Whether bf16 is the faster precision here. Processors without it take several times as long."""
    return torch.cuda.is_available() or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


class FinetuneTrainer(Trainer):
    """A run of some minutes. It ends early when it stops improving, and its first checkpoint is the initial model.

    Args:
        config: The recipe. steps = 0 trains as long as there is time.
        out: The run folder, which holds the split.
        minutes: Time for training and validating.
    """

    def __init__(self, config: TrainConfig, out: Path, minutes: float):
        super().__init__(replace(config, steps=config.steps or NO_LIMIT), out, out)
        self.opened, self.budget = clock(), minutes * 60  # seconds
        self.validations_since_best = 0
        self.error_before = math.nan

    def fit(self, stop_after: int | None = None) -> Path:
        """Validate the initial model, measure how long a step takes, and train."""
        self._set_length()
        return super().fit(stop_after)

    def _set_length(self) -> None:
        """Validate once and take three steps, then fit the length of the run to the time that is left."""
        self.model.train()
        self.error_before = self.validate()[VALIDATION_ERROR]
        validation_seconds, times = clock() - self.opened, [clock()]
        progress = self.progress
        indices = range(min(3, progress.total) * self.config.batch)
        for batch in loader(self.data.crops, indices, self.config.batch, 0):
            progress.pending.append(self.train_step(batch))
            times.append(clock())
        step_seconds = max(1e-3, times[-1] - times[-2])  # the first step is slower
        left = self.opened + self.budget - times[-1]
        affordable = max(1, int(left / (step_seconds * (1 + 1 / TRAIN_SHARE))))
        progress.total = min(progress.total, progress.step + affordable)
        eval_every = max(1, progress.total // VALIDATIONS, math.ceil(TRAIN_SHARE * validation_seconds / step_seconds))
        self.config = replace(self.config, steps=progress.total, eval_every=eval_every)

    def rate_factor(self) -> float:
        """A cosine that ends with the time, even if steps take longer than at first."""
        done = max(self.progress.step / self.progress.total, (clock() - self.opened) / self.budget)
        return warmup(self.progress.step, self.config.warmup) * cosine(done)

    def train_step(self, batch: Batch) -> Row:
        """Do one optimizer step, the last one if the time is over."""
        terms = super().train_step(batch)
        if clock() - self.opened >= self.budget:
            self.request_stop()
        return terms

    def validate(self) -> Row:
        """Validate, and end the run after PATIENCE validations without a better one."""
        best = self.progress.best
        row = super().validate()
        self.validations_since_best = 0 if self.progress.best < best else self.validations_since_best + 1
        if self.validations_since_best >= PATIENCE:
            self.request_stop()
        return row

    def describe(self, row: Row) -> str:
        """How far the run is: metrics.csv has the rest."""
        left = max(0.0, self.opened + self.budget - clock())
        line = f"{int(left) // 60}:{int(left) % 60:02d} left, step {self.progress.step} of {self.progress.total}"
        if VALIDATION_ERROR not in row:
            return line
        return f"{line}: {row[VALIDATION_ERROR]:.2f} people off on the held-out images, {self.error_before:.2f} before"

    def save_state(self) -> None:
        """Save nothing: a run of minutes is repeated rather than resumed."""

    def report(self, parts: dict[str, list[Sample]], before: CountMetrics, start: str | Path) -> FinetuneReport:
        """Evaluate the best checkpoint and keep the better of it and the initial model.

        Both are evaluated in torch, since runtimes differ by more than some runs gain.

        Args:
            parts: The samples in "train", "val" and "check".
            before: Metrics of the initial model on "val".
            start: The initial model as the user named it.
        """
        if self.progress.pending:  # steps since the last validation
            self.log_step(True)
        seconds, best = clock() - self.opened, self.out / "best"
        initial, found = load(self.out / "start"), load(best)
        after = evaluate(parts["val"], found).metrics
        check_before = check_after = None
        if parts["check"]:
            check_before, check_after = (evaluate(parts["check"], counter).metrics for counter in (initial, found))
        improved = after.mae < (1 - MIN_GAIN) * before.mae
        if not improved:
            save(load_checkpoint(self.out / "start"), best)
        return FinetuneReport(
            before=before,
            after=after,
            check_before=check_before,
            check_after=check_after,
            improved=improved,
            checkpoint=best,
            photos={name: len(samples) for name, samples in parts.items()},
            steps=self.progress.step,
            seconds=seconds,
            start=str(start),
        )

"""Fine-tuning: a trained model and photos of one's own -> a model that counts such photos better, in minutes.

What is unusual: the clock is the budget. A few steps and the first validation say how long each takes here; the length
of the run and how often it validates follow from that. The model begun with is the first checkpoint of its own run, so
that what is kept is never worse than it on the photos that choose. The split is written down as files, from which every
figure can be measured again. For all else it is a run of train.py's.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from headcount.datasets import readers, splits
from headcount.datasets.annotation_project import TABLE
from headcount.datasets.sample import Sample
from headcount.evaluation.evaluate import evaluate
from headcount.evaluation.metrics import CountMetrics
from headcount.inference.counter import Counter, load
from headcount.inference.engines import TorchEngine
from headcount.inference.pretrained import find_model
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.from_onnx import restore
from headcount.models.serialization import load as load_checkpoint
from headcount.models.serialization import save
from headcount.training.config import RECIPES, SetConfig, TrainConfig, TrainError, from_dict, load_recipe, override
from headcount.training.dataset import loader
from headcount.training.trainer import Run

FEWEST = 8  # photos to fine-tune on, those held back among them
LEAST = 3  # photos held back
CHECKED = 30  # photos from which on some are held back that choose nothing
VALIDATIONS = 20  # in a run
PATIENCE = 10  # validations without a better one end it; the best often come last, when steps are small
SHARE = 4  # times as long is learned, at least, as validated
MARGIN = 0.1  # of the MAE: about what the best of a dozen checkpoints gains on ten photos by chance
FAR = 0.25  # of the mean count: a model that is so far off does not know what it sees
FREEZE = {"lite0": 5, "lite2": 7, "vgg16": 3}  # blocks: edges and textures are found already, and cost most

clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class FinetuneReport:
    """What fine-tuning did.

    before, after: of the model begun with, and of the best one found, on the photos that were held back and chose it.
    check_before, check_after: the same on photos that chose nothing; None where there were too few. improved: whether
    the new model was kept. checkpoint: the folder of the model that was kept. photos: how many are in train, val and
    check. steps, seconds: of training. start: what it began with.
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
        """Before and after as lines of at most 80 characters, and what to think of them."""
        rows = [("held back, before", self.before), ("held back, after", self.after)]
        if self.check_before and self.check_after:
            rows += [("chose nothing, before", self.check_before), ("chose nothing, after", self.check_after)]
        lines = [f"{'':22}{'photos':>7}{'MAE':>10}{'RMSE':>10}{'bias':>10}"]
        lines += [f"{name:22}{len(m):>7}{m.mae:10.2f}{m.rmse:10.2f}{m.bias:+10.2f}" for name, m in rows]
        return "\n".join([*lines, *self.verdict()])

    def verdict(self) -> list[str]:
        learned = f"{self.photos['train']} photos, {self.steps} steps, {self.seconds / 60:.1f} minutes"
        if not self.improved:
            return [f"your photos did not improve it ({learned}):", f"{self.checkpoint} is {self.start} as it was"]
        lines = [f"learned from {learned}; those held back chose the model, which flatters it there"]
        if self.check_before and self.check_after and self.check_after.mae >= self.check_before.mae:
            lines.append("on the photos that chose nothing it is no better: mark more before you trust it")
        return lines


def finetune(
    data: str | Path,
    out: str | Path,
    start: str | Path = "headcount-small",
    minutes: float = 10,
    format: str = "auto",
    settings: Sequence[str] = (),
) -> FinetuneReport:
    """Train a model further on photos of one's own: people, or anything else that is marked by a point each.

    Args:
        data: a folder that `headcount annotate` marked, an annotation file, or a data set; 8 photos at least, better
            20 to 200.
        out: the folder of the run, new: best/ is the model that was kept, start/ the one begun with, photos/ the split.
        start: the name of a model that comes with headcount, an exported .onnx file, or a checkpoint folder.
        minutes: of training and validating. Ctrl-C ends it sooner, and keeps the best until then.
        format: a format that `headcount.points.read` knows; "auto" looks.
        settings: changes as `override` takes them, "steps=100".

    Where data marks no validation photos, a fifth is held back (3 at least, up to 10; a tenth of many) and, of 30 or
    more, another tenth that chooses nothing. Photos marked as test are not read.

    Raises:
        ValueError: one line: too few photos, a model that cannot be trained further, a run that is there already.
    """
    out = Path(out)
    if (out / "run.json").exists() or (out / "best").exists():
        raise TrainError(f"{out}: a run is there already; choose another folder, or remove it")
    if not minutes > 0:
        raise TrainError(f"minutes is {minutes:g}; give it a few")
    parts = split(Path(data).expanduser(), format)
    model, recipe = open_start(start)
    before = evaluate(parts["val"], Counter(TorchEngine(model))).metrics
    config = override(settings_of(model, recipe, out, before), list(settings))
    for name, samples in parts.items():
        if samples:
            readers.write(samples, out / "photos" / f"{name}.json", "json")
    save(model, out / "start")
    run = FineTuning(config, out, minutes)
    run.go(None)
    return run.report_on(parts, before, start)


# Which photos, and what for


def split(data: Path, format: str) -> dict[str, list[Sample]]:
    """{"train", "val", "check"}: samples to learn from, that choose the checkpoint, and that choose nothing."""
    data, format = find(data, format)
    train, val = readers.read(data, format, "train"), readers.read(data, format, "val")
    total = len(train) + len(val)
    if total < FEWEST:
        raise TrainError(f"{data}: {total} marked photos are too few to learn from; mark {FEWEST}, better 20 or more")
    free = not chosen_by_hand(train, val, data if data.is_dir() else data.parent)
    train, more = hold_back(train, max(LEAST, min(10, total // 5) if free else 0) - len(val))
    train, check = hold_back(train, max(LEAST, round(total / 10)) if free and total >= CHECKED else 0)
    if not any(len(sample.points) for sample in train):
        raise TrainError(f"{data}: nothing is marked on the photos to learn from; mark what is to be counted")
    return {"train": train, "val": val + more, "check": check}


def chosen_by_hand(train: list[Sample], val: list[Sample], home: Path) -> bool:
    """Whether the validation photos are others than those that `points.held_out` takes where none are marked."""

    def names(samples: list[Sample]) -> set[str]:
        paths = [sample.image for sample in samples]
        return {(path.relative_to(home) if path.is_relative_to(home) else path).as_posix() for path in paths}

    return names(val) != splits.held_out(names(train) | names(val))


def hold_back(samples: list[Sample], count: int) -> tuple[list[Sample], list[Sample]]:
    """(the others, `count` of them): those of the smallest SHA-256, as `points.held_out` has it."""
    ranked = sorted(samples, key=lambda sample: hashlib.sha256(sample.image.name.encode()).hexdigest())
    held = {sample.image for sample in ranked[: max(0, count)]}
    return [s for s in samples if s.image not in held], [s for s in samples if s.image in held]


def find(data: Path, format: str) -> tuple[Path, str]:
    """The annotations and their format: of a folder that `headcount annotate` marked, its table."""
    if format in ("auto", "csv") and (data / TABLE).is_file():
        return data / TABLE, "csv"
    return data, format


# With what


def open_start(start: str | Path) -> tuple[CountingModel, TrainConfig]:
    """A model, and the recipe that it, or one like it, was trained by. Raises ValueError."""
    path = find_model(start)
    if not path.exists():
        raise TrainError(f"{start}: no such model; give headcount-small, an .onnx file or a checkpoint folder")
    model = restore(path) if path.suffix.lower() == ".onnx" else load_checkpoint(path)
    if isinstance(model, Ensemble):
        raise TrainError(f"{start}: is several networks, which are not trained together; take headcount-small")
    record, recipe = path.parent / "run.json", RECIPES / f"{model.config.name}.toml"
    if path.is_dir() and record.is_file():
        return model, from_dict(TrainConfig, json.loads(record.read_text(encoding="utf-8"))["config"], str(record))
    if recipe.is_file():
        return model, load_recipe(model.config.name)
    return model, load_recipe("headcount-small" if model.config.fusion.endswith("_zip") else "tuned-light")


def settings_of(model: CountingModel, recipe: TrainConfig, out: Path, before: CountMetrics) -> TrainConfig:
    """Crops and losses as the model was trained with, from its weights, on these photos alone; steps are smaller where
    it counts them well already, since larger ones lose more than such photos teach."""
    data = replace(recipe.data, min_side=model.config.min_side, rendered=0.0)
    far = before.mae > FAR * max(1.0, before.true.mean())
    return replace(
        recipe,
        name=out.name,
        steps=0,  # as many as there is time for
        optimizer="adamw",
        schedule="cosine",
        warmup=20,
        lr=3e-5 if far else 1e-5,
        freeze=FREEZE.get(model.config.backbone, 0),
        imagenet=False,
        start=str(out / "start"),
        start_part="all",
        teacher="",  # it knows the pictures of before, not these
        ema=0.99,
        precision="bf16" if computes_bf16() else "fp32",
        save_every=1_000_000,
        model=replace(model.config, name=out.name),
        data=data,
        loss=replace(recipe.loss, teacher=0.0),
        sets={"own": SetConfig("photos", "json")},
    )


def computes_bf16() -> bool:
    """Whether bf16 is the quicker here; processors without it take several times as long."""
    return torch.cuda.is_available() or getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


# The run


class FineTuning(Run):
    """A run that lasts `minutes`, ends when it gets no better, and whose first checkpoint is what it began with."""

    def __init__(self, config: TrainConfig, out: Path, minutes: float):
        config = replace(config, steps=config.steps or 1_000_000)
        super().__init__(config, out, out, None)
        self.opened, self.budget = clock(), minutes * 60
        self.worse = 0  # validations since the best
        self.pace()

    def pace(self) -> None:
        """Validate what it begins with and take three steps; as long as these take, so many fit the time."""
        self.model.train()
        self.validate()
        validating, times = clock() - self.opened, [clock()]
        numbers = range(min(3, self.total) * self.config.batch)
        for batch in loader(self.crops, numbers, self.config.batch, 0):
            self.learned.append(self.learn(batch))
            times.append(clock())
        a_step = max(1e-3, times[-1] - times[-2])  # the first is slower
        left = self.opened + self.budget - times[-1]
        self.total = min(self.total, self.step + max(1, int(left / (a_step * (1 + 1 / SHARE)))))
        self.config.steps = self.total
        self.config.eval_every = max(1, self.total // VALIDATIONS, math.ceil(SHARE * validating / a_step))

    def rate(self) -> float:
        """The cosine ends with the time, though steps take longer than they took at first."""
        done = max(self.step / self.total, (clock() - self.opened) / self.budget)
        return min(1.0, (self.step + 1) / max(1, self.config.warmup)) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def learn(self, batch):
        terms = super().learn(batch)
        self.stopping |= clock() - self.opened >= self.budget
        return terms

    def validate(self) -> dict[str, float]:
        best = self.best
        row = super().validate()
        self.worse = 0 if self.best < best else self.worse + 1
        self.stopping |= self.worse >= PATIENCE
        return row

    def save_state(self) -> None:
        """Nothing: a run of minutes is begun anew rather than resumed."""

    def report_on(self, parts: dict[str, list[Sample]], before: CountMetrics, start: str | Path) -> FinetuneReport:
        """Count the photos held back by the best model found, as `before` counted them with the one begun with, and
        keep the better: both in torch, since runtimes differ by more than some runs gain."""
        if self.learned:  # steps since the last validation
            self.report(True)
        seconds, best = clock() - self.opened, self.out / "best"
        begun, found = load(self.out / "start"), load(best)
        after = evaluate(parts["val"], found).metrics
        checked = [evaluate(parts["check"], counter).metrics for counter in (begun, found) if parts["check"]]
        check_before, check_after = checked or (None, None)
        improved = after.mae < (1 - MARGIN) * before.mae
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
            steps=self.step,
            seconds=seconds,
            start=str(start),
        )

"""Training: a recipe (config.py) and a data folder -> a run folder that can be resumed, repeated and exported.

A run folder holds run.json (the resolved config, seed, versions, commit, data fingerprint), metrics.csv, best/ (the
checkpoint chosen on the validation lists, averaged weights), last/ (likewise, newest) and state.* (all that resuming
needs, and the same of the save before). Crops depend on the seed and their number alone, so a resumed run continues as
if it had never stopped. Under torchrun several processes do this together (group.py). No test split is read here.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import CountMetrics
from headcount.geometry import at_cells
from headcount.inference import tiling
from headcount.inference.engines import TorchEngine
from headcount.io.files import atomic_write
from headcount.models.counting_model import CountingModel
from headcount.models.serialization import save
from headcount.training import checkpoint
from headcount.training.config import TrainConfig, TrainError, check_same, load_recipe, run_environment
from headcount.training.dataset import (
    Batch,
    Crops,
    Picture,
    fingerprint,
    loader,
    open_pictures,
    rendered_pictures,
    whole,
)
from headcount.training.ddp import ProcessGroup
from headcount.training.initialization import (
    freeze,
    keep_freed_memory,
    load_imagenet,
    make_optimizer,
    open_teacher,
    start_from,
    with_prefix,
)
from headcount.training.losses import CountLoss

__all__ = ["Run", "TrainConfig", "TrainError", "load_recipe", "train"]


def train(
    recipe: str | Path | TrainConfig,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    backbone_weights: str | Path | None = None,
    stop_after: int | None = None,
    force: bool = False,
) -> Path:
    """Train `recipe` on the data sets under the folder `data`; returns the folder of the best checkpoint.

    resume: go on from out/state.*, if it is there. backbone_weights: a file of ImageNet weights instead of a download.
    stop_after: save and stop after so many steps in all, for a run in pieces. force: resume on data that changed.

    Raises:
        TrainError: bad recipe or data, an existing run without `resume`, a loss that is not finite, no memory, a disk
            that cannot be written, or a saved state that cannot be read.
    """
    out = Path(out)
    with ProcessGroup() as group, contextlib.ExitStack() as held:
        with group.fail_together():
            config = recipe if isinstance(recipe, TrainConfig) else load_recipe(recipe)
            begun = checkpoint.exists(out)
            if begun and not resume:
                raise TrainError(f"{out}: a run is there already; resume it with --resume, or choose another folder")
            if begun:
                check_same(config, out)
            run = Run(config, Path(data), out, backbone_weights, group)
            if group.writes:
                with checkpoint.disk_errors(out):
                    held.enter_context(checkpoint.alone(out))
            if begun:
                run.load_state(force)
        run.check_agreement()
        return run.go(stop_after)


class Run:
    """The state of a run and its loop."""

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        out: Path,
        backbone_weights: str | Path | None = None,
        group: ProcessGroup | None = None,
    ):
        if config.data.crop == (0, 0) and config.batch != 1:
            raise TrainError(f"crop (0, 0) takes whole pictures, whose sizes differ: set batch = 1, not {config.batch}")
        self.config, self.out, self.group = config, out, group or ProcessGroup()
        self.device = self.group.device
        if config.batch % self.group.size:
            raise TrainError(
                f"batch = {config.batch} cannot be shared by {self.group.size} processes:"
                f" set batch to a multiple of {self.group.size}, or start another number of them"
            )
        torch.manual_seed(config.seed)
        keep_freed_memory()
        config.model.min_side = config.data.min_side  # the test-time rule is the training rule
        self.model = CountingModel(config.model)
        if config.imagenet and not (config.start and config.start_part == "all"):
            load_imagenet(self.model, backbone_weights)
        if config.start:
            start_from(self.model, config)
        if config.freeze:
            freeze(self.model, config.freeze)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = open_teacher(self.model, config)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.parallel: nn.Module = self.model  # the same with gradients averaged over the processes, once they run
        self.loss = CountLoss(config.loss)
        self.read_data(data)
        self.total = config.steps or config.epochs * self.epoch_steps
        if min(self.total, config.batch, config.eval_every, config.save_every, config.step_epochs) < 1:
            raise TrainError("steps or epochs, batch, eval_every, save_every and step_epochs must be at least 1")
        if config.precision not in ("fp32", "bf16"):
            raise TrainError(f"unknown precision {config.precision!r}: fp32 or bf16")
        self.step, self.best, self.lr = 0, math.inf, 0.0
        self.seconds = 0.0  # spent before this process took the run up
        self.optimizer = self.make_optimizer()
        self.learned: list[dict[str, float]] = []  # the terms of each step since the last row
        self.rows: list[dict[str, float]] = []
        self.stopping = False
        self.damaged = False  # the newest state on disk

    def read_data(self, data: Path) -> None:
        """Read and decode the training and validation splits of every set, and no other split."""
        config = self.config
        samples: list[Sample] = []
        groups: list[tuple[float, list[Picture]]] = []
        self.validation: dict[str, list[Picture]] = {}
        for name, one in config.sets.items():
            for split in (one.train, one.val):
                if split == "test" or split.endswith("-test"):
                    raise TrainError(f"set {name!r} names the split {split!r}: training never reads a test split")
            part = readers.read(data / one.folder, one.format, one.train)
            samples += part
            groups.append((one.share * (1 - config.data.rendered), open_pictures(part, config.data)))
            if one.val:
                held = readers.read(data / one.folder, one.format, one.val)
                self.validation[name] = open_pictures(held, config.data)
        self.images, self.fingerprint = len(samples), fingerprint(samples)
        if config.data.rendered:
            drawn = rendered_pictures(config.data, config.seed)
            share = sum(one.share for one in config.sets.values()) or 1.0
            groups.append((config.data.rendered * share, drawn))
            self.images += len(drawn)
        self.crops = Crops(groups, config.data, self.model.stride, config.seed)
        self.epoch_steps = max(1, self.images * config.crops_per_image // config.batch)

    # ---- optimisation

    def make_optimizer(self) -> torch.optim.Optimizer:
        kind = self.config.optimizer
        if kind == "adam_to_sgd":
            kind = "adam" if self.now_adam() else "sgd"
        return make_optimizer(self.model, self.config, kind)

    def now_adam(self) -> bool:
        return self.step < self.config.adam_epochs * self.epoch_steps

    def rate(self) -> float:
        """The factor on the learning rates at this step."""
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup) if config.warmup else 1.0
        if config.schedule == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.total)))
        if config.schedule == "step":
            return warm * 0.1 ** (self.step // (config.step_epochs * self.epoch_steps))
        if config.schedule == "constant":
            return warm
        raise TrainError(f"unknown schedule {config.schedule!r}: cosine, step or constant")

    def learn(self, batch: Batch) -> dict[str, float]:
        """One optimiser step."""
        config, factor = self.config, self.rate()
        self.lr = config.lr * factor
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        batch = Batch(*[t.to(self.device, non_blocking=True) for t in batch])
        image = batch.image.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            output = self.parallel(image, batch.mask)
            with torch.no_grad():
                taught = self.teacher(image).density if self.teacher is not None else None
        terms = self.loss(output, batch.density, batch.mask, batch.counts, taught)
        mean_error = (output.density.sum((1, 2)) - batch.counts.sum((1, 2))).abs().mean()
        means = self.means({**terms, "crop_mae": mean_error}, batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self.average()
        if config.optimizer == "adam_to_sgd" and self.step == config.adam_epochs * self.epoch_steps:
            self.optimizer = self.make_optimizer()  # SGD from the next step on
        return means

    def means(self, terms: dict[str, Tensor], batch: Batch) -> dict[str, float]:
        """The terms as numbers, each the mean over all processes.

        Raises:
            TrainError: the loss is not finite: in the process that has such crops, which ends the others.
        """
        own = {name: float(value.detach()) for name, value in terms.items()}
        sums = self.group.sums(list(own.values()))
        means = {name: value / self.group.size for name, value in zip(own, sums, strict=True)}
        if math.isfinite(means["loss"]):
            return means
        with self.group.fail_together():
            if not math.isfinite(own["loss"]):
                names = sorted({self.crops.describe(i) for i in batch.number.tolist()})
                raise TrainError(
                    f"step {self.step}: the loss is {own['loss']} on crops of {', '.join(names)};"
                    " lower the learning rate or set clip, or look at these pictures"
                )
        return means

    @torch.no_grad()
    def average(self) -> None:
        """Exponential moving average of the weights; its decay rises with the steps: early weights are forgotten."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for kept, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            kept.copy_(current)

    # ---- the loop

    def go(self, stop_after: int | None) -> Path:
        config, writes = self.config, self.group.writes
        if writes:
            with checkpoint.disk_errors(self.out):
                self.out.mkdir(parents=True, exist_ok=True)
                self.write_record()
        self.board = open_tensorboard(self.out) if config.tensorboard and writes else None
        self.model.train()
        self.parallel = self.group.wrap(self.model)
        self.began, self.first = time.time(), self.step
        end = min(self.total, stop_after or self.total)
        handled = (signal.SIGINT, signal.SIGTERM) if on_main_thread() else ()
        previous = {number: signal.signal(number, self.stop) for number in handled}
        try:
            numbers, share = self.group.numbers(self.step, end, config.batch), config.batch // self.group.size
            with self.memory_errors(), progress_bar(config.name, self.total, self.step, writes) as tick:
                for batch in loader(self.crops, numbers, share, config.workers):
                    self.learned.append(self.learn(batch))
                    tick(self.step)
                    evaluates = self.step % config.eval_every == 0 or self.step == self.total
                    saves = evaluates or self.step % config.save_every == 0
                    with checkpoint.disk_errors(self.out):
                        if saves:
                            self.report(evaluates)
                        stops = self.group.any(self.stopping)  # together, at the same step
                        if writes and (saves or stops or self.step == end):
                            self.save_state()
                    if stops:
                        break
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self.board is not None:
                self.board.close()
        self.group.wait()  # what the first of them writes is there when any of them returns
        return self.out / "best"

    @contextlib.contextmanager
    def memory_errors(self) -> Iterator[None]:
        """Running out of memory, as a TrainError that says what to try."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not out_of_memory(error):
                raise
            batch, crop, pad, share = self.config.batch, self.config.data.crop, self.model.pad, self.group.size
            what = f"a batch of {batch} crops of {crop[0]}x{crop[1]}" if any(crop) else "a whole picture"
            fewer = max(batch // 2 // share, 1) * share
            smaller = [max((side or 1024) // 2 // pad, 1) * pad for side in crop]
            tries = [f"--set batch={fewer}"] * (fewer < batch) + [f"--set 'data.crop={smaller}'"]
            raise TrainError(f"step {self.step}: no memory for {what}; try {' or '.join(tries)}") from error

    def report(self, evaluates: bool) -> None:
        """One row of metrics.csv: the means of what was learned since the last one, and the validation if it is due."""
        row: dict[str, float] = {"step": self.step, "lr": self.lr}
        row |= {name: sum(terms[name] for terms in self.learned) / len(self.learned) for name in self.learned[0]}
        row["crops_per_second"] = self.config.batch * (self.step - self.first) / (time.time() - self.began)
        self.learned = []
        if evaluates:
            row |= self.validate()
        row["seconds"] = self.spent()
        self.rows.append(row)
        if self.group.writes:
            self.log(row)

    def spent(self) -> float:
        """Seconds of training and validating so far, those before a resume among them."""
        return self.seconds + time.time() - self.began

    def stop(self, *_: object) -> None:
        """Ctrl-C or SIGTERM: finish this step, save, leave."""
        self.stopping = True

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """MAE and RMSE of the averaged weights on each validation list; keeps the best checkpoint.

        The score is the mean over the lists of MAE / mean true count, so that no set outweighs another. A list
        without people has no such count: what is counted there is set against the mean of the other lists.
        """
        results: dict[str, float] = {}
        means = {name: sum(len(p.points) for p in held) / len(held) for name, held in self.validation.items()}
        peopled = [mean for mean in means.values() if mean] or [1.0]
        usual = sum(peopled) / len(peopled)
        scores = []
        for name, pictures in self.validation.items():
            true = [len(p.points) for p in pictures]
            metrics = CountMetrics(true, self.predict_all(pictures), [p.name for p in pictures])
            results |= {f"{name}_mae": metrics.mae, f"{name}_rmse": metrics.rmse, f"{name}_bias": metrics.bias}
            scores.append(metrics.mae / (max(1.0, means[name]) if means[name] else usual))
        score = sum(scores) / len(scores) if scores else 0.0
        better = score < self.best or not scores
        self.best = score if better else self.best
        for name, wanted in (("last", True), ("best", better)):
            if wanted and self.group.writes:
                save(self.averaged, self.out / name)
        return {**results, "score": score}

    def predict_all(self, pictures: list[Picture]) -> list[float]:
        """People in each picture; every process counts its share of them."""
        mine = [i % self.group.size == self.group.rank for i in range(len(pictures))]
        return self.group.sums([self.predict(p) if own else 0.0 for p, own in zip(pictures, mine, strict=True)])

    def predict(self, picture: Picture) -> float:
        """People in a picture, by the averaged weights, as a Counter counts them."""
        image, _, _ = whole(picture, self.config.data)
        [(density, _)] = tiling.run(TorchEngine(self.averaged, self.config.precision), [image])
        if picture.inside is not None:
            stride = self.model.stride * picture.image.shape[1] / image.shape[1]
            density = density * at_cells(picture.inside, density.shape[0], density.shape[1], stride)
        return float(density.sum())

    # ---- what is kept

    def log(self, row: dict[str, float]) -> None:
        columns = list(dict.fromkeys(k for r in self.rows for k in r))
        with atomic_write(self.out / "metrics.csv") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in r.items()} for r in self.rows)
        if self.board is not None:
            for name, value in row.items():
                self.board.add_scalar(name, value, self.step)
        print(" ".join(f"{k}={v:.4g}" for k, v in row.items()), file=sys.stderr, flush=True)

    def write_record(self) -> None:
        record = {
            "config": asdict(self.config),
            "data": {"fingerprint": self.fingerprint, "training_images": self.images},
            **run_environment(),
        }
        with atomic_write(self.out / "run.json") as file:
            file.write(json.dumps(record, indent=2) + "\n")

    def save_state(self) -> None:
        """All that resuming needs."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
        numbers = {
            "step": self.step,
            "total": self.total,
            "best": self.best,
            "rows": self.rows,
            "learned": self.learned,
            "seconds": self.spent(),
            "fingerprint": self.fingerprint,
        }
        checkpoint.write(self.out, tensors, numbers)

    def load_state(self, force: bool = False) -> None:
        """Go back to the saved step.

        Raises:
            TrainError: no state can be read, the network is another one now, or, unless `force`, the data is.
        """
        numbers, tensors, wrong = checkpoint.read(self.out)
        self.damaged = bool(wrong)
        if wrong and self.group.writes:
            print(f"{wrong}; going on from the state before it, of step {numbers['step']}", file=sys.stderr)
        if numbers["fingerprint"] != self.fingerprint and not force:
            raise TrainError(
                f"{self.out}: the data changed since this run began; start a new run in another folder,"
                " or go on all the same with --force"
            )
        try:
            self.restore(numbers, tensors)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainError(
                f"{self.out}: its state is of another network or optimizer; resume with the recipe it began with"
            ) from error

    def check_agreement(self) -> None:
        """All processes must be at one step of one run; and all have read its state now.

        Raises:
            TrainError: their folders are not the same.
        """
        agreed = self.group.agree(self.step) and self.group.agree(int(self.fingerprint[:12], 16))
        with self.group.fail_together():
            if not agreed:
                raise TrainError(
                    f"{self.out} or the data are not the same for all {self.group.size} processes (this one is at"
                    f" step {self.step}); they need the same folders, on a disk that they share"
                )
        if self.damaged and self.group.writes:
            checkpoint.set_aside(self.out)

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.step, self.best, self.rows = numbers["step"], numbers["best"], numbers["rows"]
        self.learned, self.seconds = numbers["learned"], numbers.get("seconds", 0.0)
        self.model.load_state_dict(with_prefix(tensors, "model."))
        self.averaged.load_state_dict(with_prefix(tensors, "averaged."))
        self.optimizer = self.make_optimizer()  # of the kind that this step wants
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix(tensors, "optimizer.").items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def out_of_memory(error: BaseException) -> bool:
    """torch has an error of its own for a GPU's memory, and none for the computer's."""
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in said or "bad_alloc" in said


def on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class progress_bar:
    """A bar on a terminal, silence elsewhere: `with progress_bar(...) as tick: tick(step)`."""

    def __init__(self, name: str, total: int, done: int, shown: bool):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not (shown and console.is_terminal))
        self.task = self.bar.add_task(name, total=total, completed=done)

    def __enter__(self) -> Callable[[int], None]:
        self.bar.start()
        return lambda step: self.bar.update(self.task, completed=step)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def open_tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainError(f"tensorboard is not installed: {install_hint('tensorboard')}") from error
    return SummaryWriter(out / "tensorboard")

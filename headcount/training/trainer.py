"""Training: a recipe and a data folder become a run folder that can be resumed, repeated and exported.

A run folder holds run.json (settings, versions, commit and data fingerprint), metrics.csv, best/ (the checkpoint with
the lowest validation score), last/ (the newest checkpoint) and state.* (what resuming needs). Both checkpoints hold
averaged weights. A resumed run continues exactly as if it had never stopped. No test split is read here.
"""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from headcount.io.allocator import keep_freed_memory, release_freed_memory
from headcount.io.progress import progress_bar
from headcount.models.serialization import save
from headcount.training import checkpoint
from headcount.training.batch_norm import adopt_statistics
from headcount.training.config import TrainConfig, TrainError, check_same, check_settings, load_recipe, with_min_side
from headcount.training.dataset import Batch, loader, read_training_data
from headcount.training.ddp import ProcessGroup
from headcount.training.initialization import build_model, make_optimizer, open_teacher
from headcount.training.losses import CountLoss
from headcount.training.memory import image_memory, memory_errors
from headcount.training.run_record import (
    MetricsLog,
    Progress,
    Row,
    check_fingerprint,
    read_progress,
    restore_tensors,
    save_state,
    write_run_json,
)
from headcount.training.schedule import rate_factor
from headcount.training.validation import Validation

NORM_CROPS = 640  # crops that batch norms take their first statistics from


def train(
    recipe: str | Path | TrainConfig,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    backbone_weights: str | Path | None = None,
    stop_after: int | None = None,
    force: bool = False,
) -> Path:
    """Train a recipe.

    Args:
        recipe: The settings, a TOML file, or the name of a bundled recipe.
        data: The folder that holds the data sets of the recipe.
        out: The run folder.
        resume: Whether to continue from the state in `out`, if there is one.
        backbone_weights: A file of ImageNet weights, instead of a download.
        stop_after: Save and stop after this many steps in total, to train in pieces.
        force: Whether to resume even if the data changed.

    Returns:
        The folder of the best checkpoint.

    Raises:
        TrainError: The recipe or data cannot be used, `out` holds a run and `resume` is not set, the loss is not
            finite, memory or disk space is missing, or the saved state cannot be read.
    """
    out = Path(out)
    with ProcessGroup() as group, contextlib.ExitStack() as held:
        with group.fail_together():
            config = recipe if isinstance(recipe, TrainConfig) else load_recipe(recipe)
            resumes = checkpoint.exists(out)
            if resumes and not resume:
                raise TrainError(f"{out}: there is already a run; resume it with --resume, or choose another folder")
            if resumes:
                check_same(config, out)
            torch.manual_seed(config.seed)
            keep_freed_memory()
            trainer = Trainer(config, Path(data), out, backbone_weights, group)
            if group.is_main:
                with checkpoint.disk_errors(out):
                    held.enter_context(checkpoint.locked(out))
            if resumes:
                trainer.load_state(force)
        trainer.check_agreement()
        return trainer.fit(stop_after)


class Trainer:
    """A run: its network, its data and the training loop.

    Args:
        config: The recipe.
        data: The folder that holds the data sets of the recipe.
        out: The run folder.
        backbone_weights: A file of ImageNet weights, instead of a download.
        group: The processes that train together. None for this process alone.

    Raises:
        TrainError: The recipe or the data cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        out: Path,
        backbone_weights: str | Path | None = None,
        group: ProcessGroup | None = None,
    ):
        self.group = group or ProcessGroup()
        check_settings(config, self.group.size)
        self.config, self.out, self.device = with_min_side(config), out, self.group.device
        self.model = build_model(self.config, backbone_weights, self.device)
        self.teacher = open_teacher(self.model, self.config)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.parallel: nn.Module = self.model  # wrapped by `fit`, so that gradients are averaged over processes
        self.loss = CountLoss(config.loss)
        self.data = read_training_data(
            self.config, data, self.model.stride, image_memory(config, self.group.local_size)
        )
        self.validation = Validation(self.data.validation, config.data, config.precision, self.group)
        self.steps_per_epoch = max(1, self.data.image_count * config.crops_per_image // config.batch)
        self.progress = Progress(step=0, total=config.steps or config.epochs * self.steps_per_epoch)
        if self.progress.total < 1:
            raise TrainError("steps or epochs must be at least 1")
        self.optimizer = self.make_optimizer()
        self.lr = 0.0
        self.stopping = False  # whether to end after this step
        self.newest_is_damaged = False  # the newest state on disk
        self.began, self.first_step = time.time(), 0  # of this process
        self.log: MetricsLog | None = None

    # Optimization

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that the recipe uses at this step."""
        kind = self.config.optimizer
        if kind == "adam_to_sgd":
            adam_steps = self.config.adam_epochs * self.steps_per_epoch
            kind = "adam" if self.progress.step < adam_steps else "sgd"
        return make_optimizer(self.model, self.config, kind)

    def rate_factor(self) -> float:
        """The factor on the learning rates at this step."""
        return rate_factor(self.config, self.progress.step, self.progress.total, self.steps_per_epoch)

    def train_step(self, batch: Batch) -> Row:
        """Do one optimizer step.

        Returns:
            The loss terms and the mean absolute error of the crops' counts, averaged over all processes.

        Raises:
            TrainError: The loss is not finite.
        """
        config, factor = self.config, self.rate_factor()
        self.lr = config.lr * factor
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        batch = Batch(*[tensor.to(self.device, non_blocking=True) for tensor in batch])
        terms = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        means = self._mean_terms(terms, batch)  # waits for the device once, when the whole step has been queued
        if config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.progress.step += 1
        self.update_ema()
        if config.optimizer == "adam_to_sgd" and self.progress.step == config.adam_epochs * self.steps_per_epoch:
            self.optimizer = self.make_optimizer()  # SGD from the next step on
        return means

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of a batch, and `crop_mae`."""
        image = batch.image.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output = self.parallel(image, batch.mask)
            with torch.no_grad():
                teacher_density = self.teacher(image).density if self.teacher is not None else None
        terms: dict[str, Tensor] = self.loss(output, batch.density, batch.mask, batch.counts, teacher_density)
        crop_mae = (output.density.sum((1, 2)) - batch.counts.sum((1, 2))).abs().mean()
        return {**terms, "crop_mae": crop_mae}

    def _mean_terms(self, terms: dict[str, Tensor], batch: Batch) -> Row:
        """The terms as numbers, averaged over all processes.

        Raises:
            TrainError: The loss is not finite. It is raised in the process with such crops, which ends the others.
        """
        own = dict(zip(terms, torch.stack([value.detach() for value in terms.values()]).tolist(), strict=True))
        sums = self.group.sum(list(own.values()))
        means = {name: value / self.group.size for name, value in zip(own, sums, strict=True)}
        if math.isfinite(means["loss"]):
            return means
        with self.group.fail_together():
            if not math.isfinite(own["loss"]):
                names = sorted({self.data.crops.describe(i) for i in batch.indices.tolist()})
                raise TrainError(
                    f"step {self.progress.step}: the loss is {own['loss']} on crops of {', '.join(names)};"
                    " lower the learning rate, set clip, or check these images"
                )
        return means

    @torch.no_grad()
    def update_ema(self) -> None:
        """Update the averaged weights. Their decay rises with the steps, so that early weights are forgotten."""
        decay = min(self.config.ema, (1 + self.progress.step) / (10 + self.progress.step))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)
        torch._foreach_copy_(list(self.averaged.buffers()), list(self.model.buffers()))

    # The loop

    def fit(self, stop_after: int | None = None) -> Path:
        """Train until the end, or until `stop_after` steps in total.

        Returns:
            The folder of the best checkpoint.

        Raises:
            TrainError: The loss is not finite, or memory or disk space is missing.
        """
        if self.group.is_main:
            with checkpoint.disk_errors(self.out):
                self.out.mkdir(parents=True, exist_ok=True)
                write_run_json(self.out, self.config, self.data)
            self.log = MetricsLog(self.out, self.config.tensorboard, self.describe)
        if self.progress.step == 0 and self.config.start and self.config.batch_norm == "trained":
            self.adopt_statistics()
        self.model.train()
        self.parallel = self.group.wrap(self.model)
        self.began, self.first_step = time.time(), self.progress.step
        end = min(self.progress.total, stop_after or self.progress.total)
        with self._signals(), memory_errors(self.config, self.progress, self.model.pad, self.group.size):
            try:
                self._loop(end)
            finally:
                if self.log is not None:
                    self.log.close()
        self.group.barrier()  # the files of the main process are there when any process returns
        return self.out / "best"

    def adopt_statistics(self) -> None:
        """Move the batch norms of a checkpoint to the statistics of the first crops. Every process sees the same."""
        batches = loader(self.data.crops, range(NORM_CROPS), self.config.batch, self.config.workers)
        adopt_statistics(self.model, (batch.image.to(self.device) for batch in batches))
        self.averaged.load_state_dict(self.model.state_dict())

    def _loop(self, end: int) -> None:
        """Train, log, validate and save up to step `end`."""
        config, progress, is_main = self.config, self.progress, self.group.is_main
        indices = self.group.crop_indices(progress.step, end, config.batch)
        prepared = loader(self.data.crops, indices, config.batch // self.group.size, config.workers)
        bar = progress_bar(progress.total, config.name, progress.step, shown=is_main)
        with contextlib.closing(prepared) as batches, bar as tick:
            for batch in batches:
                progress.pending.append(self.train_step(batch))
                tick()
                validates = progress.step % config.eval_every == 0 or progress.step == progress.total
                logs = validates or progress.step % config.save_every == 0
                with checkpoint.disk_errors(self.out):
                    if logs:
                        self.log_step(validates)
                    stops = self.group.any(self.stopping)  # all processes stop at the same step
                    if is_main and (logs or stops or progress.step == end):
                        self.save_state()
                if stops:
                    break

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the run after the current step. Only the main thread can handle signals."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        handled = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
        previous = {number: signal.signal(number, self.request_stop) for number in handled}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def request_stop(self, *_: object) -> None:
        """End after this step and save. A signal handler."""
        self.stopping = True

    def log_step(self, validates: bool) -> None:
        """Add a row to metrics.csv: the means of the steps since the last row, and a validation if it is due."""
        release_freed_memory()
        progress = self.progress
        row: Row = {"step": progress.step, "lr": self.lr}
        for name in progress.pending[0]:
            row[name] = sum(terms[name] for terms in progress.pending) / len(progress.pending)
        steps = progress.step - self.first_step
        row["crops_per_second"] = self.config.batch * steps / (time.time() - self.began)
        progress.pending = []
        if validates:
            row |= self.validate()
        row["seconds"] = self.seconds()
        progress.rows.append(row)
        if self.log is not None:
            self.log.write(progress.rows, progress.step)

    def describe(self, row: Row) -> str:
        """The line that is printed of a row of metrics.csv."""
        return " ".join(f"{name}={value:.4g}" for name, value in row.items())

    def seconds(self) -> float:
        """Seconds of training and validating so far, including those before a resume."""
        return self.progress.seconds + time.time() - self.began

    @torch.no_grad()
    def validate(self) -> Row:
        """Measure the averaged weights on the validation images, and keep them as the best checkpoint if they are."""
        row = self.validation.measure(self.averaged)
        release_freed_memory()
        better = row["score"] < self.progress.best or not self.validation.images
        if better:
            self.progress.best = row["score"]
        if self.group.is_main:
            save(self.averaged, self.out / "last")
            if better:
                save(self.averaged, self.out / "best")
        return row

    # The state on disk

    def save_state(self) -> None:
        """Save everything that resuming needs."""
        now = replace(self.progress, seconds=self.seconds())
        save_state(self.out, self.model, self.averaged, self.optimizer, now, self.data.fingerprint)

    def load_state(self, force: bool = False) -> None:
        """Return to the saved step.

        Args:
            force: Whether to accept data that changed.

        Raises:
            TrainError: No state can be read, it is of another network, or the data changed.
        """
        numbers, tensors, problem = checkpoint.read(self.out)
        self.newest_is_damaged = bool(problem)
        if problem and self.group.is_main:
            print(f"{problem}; resuming from the previous state, of step {numbers['step']}", file=sys.stderr)
        if not force:
            check_fingerprint(self.out, numbers, self.data.fingerprint)
        try:
            self.progress = read_progress(numbers, self.progress.total)
            self.optimizer = self.make_optimizer()  # of the kind that this step uses
            restore_tensors(tensors, self.model, self.averaged, self.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainError(
                f"{self.out}: its state is of another network or optimizer; resume with the recipe it began with"
            ) from error

    def check_agreement(self) -> None:
        """Check that all processes are at one step of one run.

        Raises:
            TrainError: Their folders are not the same.
        """
        group, step = self.group, self.progress.step
        same = group.same_in_all(step) and group.same_in_all(int(self.data.fingerprint[:12], 16))
        with group.fail_together():
            if not same:
                raise TrainError(
                    f"{self.out} or the data are not the same for all {group.size} processes (this one is at step"
                    f" {step}); they need the same folders, on a shared disk"
                )
        if self.newest_is_damaged and group.is_main:  # all processes have read it
            checkpoint.set_aside(self.out)

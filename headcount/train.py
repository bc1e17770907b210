"""Training: a recipe (TOML of TrainConfig) and a data folder -> a run folder that can be resumed, repeated and exported.

A run folder holds run.json (the resolved config, seed, versions, commit, data fingerprint), metrics.csv, best/ (the
checkpoint chosen on the validation lists, averaged weights), last/ (likewise, newest) and state.* (all that resuming
needs). Crops depend on the seed and their number alone, so a resumed run continues as if it had never stopped. The test
split is never read here.
"""

from __future__ import annotations

import copy
import csv
import ctypes
import json
import math
import platform
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from . import __version__, points
from .backbones import read_backbone_weights
from .data import (
    Batch, Crops, DataConfig, Picture, fingerprint, loader, open_pictures, rendered_pictures, whole,
)  # fmt: skip
from .losses import CountLoss, LossConfig
from .metrics import CountMetrics
from .model import CountingModel, ModelConfig, save

RECIPES = Path(__file__).parent / "recipes"


@dataclass
class SetConfig:
    """One data set of a recipe: `folder` under the data folder, its format, the splits, its share of the crops."""

    folder: str = "."
    format: str = "shanghaitech"
    train: str = "train"
    val: str = "val"
    share: float = 1.0


@dataclass
class TrainConfig:
    """A training run. Lengths are in optimiser steps; an epoch is `crops_per_image` crops of every training picture.

    steps: length of the run; 0 takes `epochs`.
    optimizer: adamw, adam, sgd, or adam_to_sgd (the paper's: Adam for `adam_epochs`, then SGD).
    schedule: cosine (after `warmup` steps), step (the paper's: x0.1 every `step_epochs` epochs) or constant.
    lr, lr_pretrained: learning rates of new and of pre-trained layers. freeze: first blocks of the backbone kept as
    they are. ema: decay of the averaged weights, which are those validated and kept (0: none).
    precision: fp32 or bf16 (autocast). clip: gradient norm. eval_every, save_every: in steps.
    """

    name: str = "headcount"
    seed: int = 1
    steps: int = 0
    epochs: int = 1
    crops_per_image: int = 1
    batch: int = 8
    optimizer: str = "adamw"
    schedule: str = "cosine"
    adam_epochs: int = 10
    step_epochs: int = 20
    warmup: int = 100
    lr: float = 2e-4
    lr_pretrained: float = 5e-5
    weight_decay: float = 1e-4
    momentum: float = 0.9
    freeze: int = 0
    imagenet: bool = False
    ema: float = 0.998
    clip: float = 0.0
    precision: str = "bf16"
    eval_every: int = 500
    save_every: int = 100
    workers: int = 0
    tensorboard: bool = False
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sets: dict[str, SetConfig] = field(default_factory=dict)


class TrainError(ValueError):
    """A run that cannot start or go on; its message is one line that says why and what to do."""


# ---------------------------------------------------------------------------------------------- recipes


def load_recipe(recipe: str | Path) -> TrainConfig:
    """A TrainConfig from a TOML file, or from the name of a recipe that headcount ships."""
    path = Path(recipe)
    if not path.suffix:
        path = RECIPES / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise TrainError(f"{recipe}: no such recipe; give a TOML file or one of: {names}")
    try:
        return from_dict(TrainConfig, tomllib.loads(path.read_text()), str(path))
    except tomllib.TOMLDecodeError as error:
        raise TrainError(f"{path}: not valid TOML: {error}") from error


def from_dict(kind: type, values: dict[str, Any], where: str) -> Any:
    """The dataclass `kind` from nested dicts; an unknown key is a TrainError that names it."""
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise TrainError(f"{where}: unknown setting {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    hints, made = get_type_hints(kind), {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{where} [{name}]")
        elif name == "sets":
            value = {k: from_dict(SetConfig, v, f"{where} [sets.{k}]") for k, v in value.items()}
        made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def override(config: TrainConfig, assignments: list[str]) -> TrainConfig:
    """Apply `key=value` (`model.fusion=plain`), each value in TOML or a bare word."""
    values = asdict(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *path, name = key.strip().split(".")
        place = values
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or name not in place:
            raise TrainError(f"--set {assignment}: no such setting; write key=value, for example steps=1000")
        try:
            place[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            place[name] = text.strip()
    return from_dict(TrainConfig, values, "--set")


# ---------------------------------------------------------------------------------------------- the run


def train(
    recipe: str | Path | TrainConfig,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    backbone_weights: str | Path | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train `recipe` on the data sets under the folder `data`; returns the folder of the best checkpoint.

    resume: go on from out/state.*, if it is there. backbone_weights: a file of ImageNet weights instead of a download.
    stop_after: save and stop after so many steps in all, for a run in pieces.

    Raises:
        TrainError: bad recipe or data, an existing run without `resume`, or a loss that is not finite.
    """
    config = recipe if isinstance(recipe, TrainConfig) else load_recipe(recipe)
    out = Path(out)
    if (out / "state.json").exists() and not resume:
        raise TrainError(f"{out}: a run is there already; resume it with --resume, or choose another folder")
    run = Run(config, Path(data), out, backbone_weights)
    if (out / "state.json").exists():
        run.load_state()
    return run.go(stop_after)


class Run:
    """The state of a run and its loop."""

    def __init__(self, config: TrainConfig, data: Path, out: Path, backbone_weights: str | Path | None):
        self.config, self.out = config, out
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        keep_freed_memory()
        config.model.min_side = config.data.min_side  # the test-time rule is the training rule
        self.model = CountingModel(config.model)
        if config.imagenet:
            load_imagenet(self.model, backbone_weights)
        if config.freeze:
            self.model.backbone.freeze(config.freeze)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.loss = CountLoss(config.loss)
        self.read_data(data)
        self.total = config.steps or config.epochs * self.epoch_steps
        self.optimizer = self.make_optimizer()
        self.step, self.best = 0, math.inf
        self.rows: list[dict[str, float]] = []
        self.stopping = False

    def read_data(self, data: Path) -> None:
        config, samples = self.config, []
        groups: list[tuple[float, list[Picture]]] = []
        self.validation: dict[str, list[Picture]] = {}
        for name, one in config.sets.items():
            part = points.read(data / one.folder, one.format, one.train)
            samples += part
            groups.append((one.share * (1 - config.data.rendered), open_pictures(part, config.data)))
            if one.val:
                held = points.read(data / one.folder, one.format, one.val)
                self.validation[name] = open_pictures(held, config.data)
        self.images, self.fingerprint = len(samples), fingerprint(samples)
        if config.data.rendered:
            drawn = rendered_pictures(config.data.rendered_scenes, config.data, config.seed)
            share = sum(one.share for one in config.sets.values()) or 1.0
            groups.append((config.data.rendered * share, drawn))
            self.images += len(drawn)
        self.crops = Crops(groups, config.data, self.model.stride, config.seed)
        self.epoch_steps = max(1, self.images * config.crops_per_image // config.batch)

    # ---- optimisation

    def make_optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        prefixes = getattr(self.model.backbone, "pretrained", ()) if config.imagenet else ()
        old, new = [], []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                pretrained = name.startswith(tuple(f"backbone.{p}" for p in prefixes))
                (old if pretrained else new).append(parameter)
        groups = [
            {"params": new, "lr": config.lr, "base": config.lr},
            {"params": old, "lr": config.lr_pretrained, "base": config.lr_pretrained},
        ]
        groups = [g for g in groups if g["params"]]
        kind = config.optimizer
        if kind == "adam_to_sgd":
            kind = "adam" if self.now_adam() else "sgd"
        if kind == "adamw":
            return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        if kind == "adam":
            return torch.optim.Adam(groups, weight_decay=config.weight_decay)
        if kind == "sgd":
            return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        raise TrainError(f"unknown optimizer {config.optimizer!r}: adamw, adam, sgd or adam_to_sgd")

    def now_adam(self) -> bool:
        return getattr(self, "step", 0) < self.config.adam_epochs * self.epoch_steps

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
        if self.config.optimizer == "adam_to_sgd" and not self.now_adam():
            if isinstance(self.optimizer, torch.optim.Adam):
                self.optimizer = self.make_optimizer()
        factor = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        batch = Batch(*[t.to(self.device, non_blocking=True) for t in batch])
        image = batch.image.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output = self.model(image, batch.mask)
        terms = self.loss(output, batch.density, batch.mask, batch.counts)
        if not torch.isfinite(terms["loss"]):
            names = sorted({self.crops.describe(i) for i in batch.index.tolist()})
            raise TrainError(
                f"step {self.step}: the loss is {float(terms['loss'].detach())} on crops of {', '.join(names)};"
                " lower the learning rate or set clip, or look at these pictures"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.step += 1
        self.average()
        mean_error = (output.density.sum((1, 2)) - batch.counts.sum((1, 2))).abs().mean()
        return {**{k: float(v.detach()) for k, v in terms.items()}, "crop_mae": float(mean_error.detach())}

    @torch.no_grad()
    def average(self) -> None:
        """Exponential moving average of the weights; its decay rises with the steps, so that early weights are forgotten."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for mean, now in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mean.copy_(now)

    # ---- the loop

    def go(self, stop_after: int | None) -> Path:
        config = self.config
        self.out.mkdir(parents=True, exist_ok=True)
        self.write_record()
        board = open_tensorboard(self.out) if config.tensorboard else None
        self.model.train()
        end = min(self.total, stop_after or self.total)
        began, first = time.time(), self.step
        sums: dict[str, float] = {}
        previous = {s: signal.signal(s, self.stop) for s in (signal.SIGINT, signal.SIGTERM)} if on_main_thread() else {}
        try:
            with progress_bar(config.name, self.total, self.step) as tick:
                for batch in loader(self.crops, config.batch, self.step, end, config.workers):
                    for name, value in self.learn(batch).items():
                        sums[name] = sums.get(name, 0.0) + value
                    tick(self.step)
                    evaluates = self.step % config.eval_every == 0 or self.step == self.total
                    if evaluates or self.step % config.save_every == 0:
                        since = self.step % config.save_every or config.save_every
                        row: dict[str, float] = {"step": self.step, "lr": config.lr * self.rate()}
                        row |= {k: v / min(since, self.step - first) for k, v in sums.items()}
                        row["crops_per_second"] = config.batch * (self.step - first) / (time.time() - began)
                        sums = {}
                        if evaluates:
                            row |= self.validate()
                        self.log(row, board)
                        self.save_state()
                    if self.stopping:
                        self.save_state()
                        break
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self.step == end and self.step % config.save_every:
            self.save_state()
        return self.out / "best"

    def stop(self, *_: object) -> None:
        """Ctrl-C or SIGTERM: finish this step, save, leave."""
        self.stopping = True

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """MAE and RMSE of the averaged weights on each validation list; keeps the best checkpoint.

        The score is the mean over the lists of MAE / mean true count, so that no set outweighs another.
        """
        results, scores = {}, []
        for name, pictures in self.validation.items():
            true = [len(p.points) for p in pictures]
            metrics = CountMetrics(true, [self.predict(p) for p in pictures], [p.name for p in pictures])
            results |= {f"{name}_mae": metrics.mae, f"{name}_rmse": metrics.rmse, f"{name}_bias": metrics.bias}
            scores.append(metrics.mae / max(1.0, sum(true) / len(true)))
        score = sum(scores) / len(scores) if scores else 0.0
        save(self.averaged, self.out / "last")
        if score < self.best or not scores:
            self.best = score
            save(self.averaged, self.out / "best")
        return {**results, "score": score}

    def predict(self, picture: Picture) -> float:
        image, _, _ = whole(picture, self.config.data)
        tensor = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return float(self.averaged(tensor).density.sum())

    # ---- what is kept

    def log(self, row: dict[str, float], board: Any) -> None:
        self.rows.append(row)
        columns = list(dict.fromkeys(k for r in self.rows for k in r))
        with (self.out / "metrics.csv.new").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in r.items()} for r in self.rows)
        (self.out / "metrics.csv.new").replace(self.out / "metrics.csv")
        if board is not None:
            for name, value in row.items():
                board.add_scalar(name, value, self.step)
        print(" ".join(f"{k}={v:.4g}" for k, v in row.items()), file=sys.stderr, flush=True)

    def write_record(self) -> None:
        record = {
            "config": asdict(self.config),
            "data": {"fingerprint": self.fingerprint, "training_images": self.images},
            "versions": {"headcount": __version__, "torch": torch.__version__, "python": platform.python_version()},
            "commit": git_commit(),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else cpu_name(),
        }
        (self.out / "run.json").write_text(json.dumps(record, indent=2) + "\n")

    def save_state(self) -> None:
        """All that resuming needs: weights, averages and optimiser moments in one file, numbers in another."""
        from safetensors.torch import save_file

        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, self.out / "state.safetensors.new")
        numbers = {"step": self.step, "best": self.best, "rows": self.rows, "fingerprint": self.fingerprint}
        (self.out / "state.json.new").write_text(json.dumps(numbers))
        for name in ("state.safetensors", "state.json"):
            (self.out / f"{name}.new").replace(self.out / name)

    def load_state(self) -> None:
        from safetensors.torch import load_file

        numbers = json.loads((self.out / "state.json").read_text())
        if numbers["fingerprint"] != self.fingerprint:
            raise TrainError(f"{self.out}: the data changed since this run began; start a new run in another folder")
        tensors = load_file(self.out / "state.safetensors")
        self.step, self.best, self.rows = numbers["step"], numbers["best"], numbers["rows"]
        self.model.load_state_dict(with_prefix(tensors, "model."))
        self.averaged.load_state_dict(with_prefix(tensors, "averaged."))
        self.optimizer = self.make_optimizer()  # of the kind that this step wants
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in with_prefix(tensors, "optimizer.").items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_imagenet(model: CountingModel, file: str | Path | None) -> None:
    name = model.config.backbone
    if not hasattr(model.backbone, "load_imagenet"):
        raise TrainError(f"backbone {name!r} trains from scratch: set imagenet = false")
    model.backbone.load_imagenet(read_backbone_weights(name, file))


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks: activations are then not paged in again at every step (1.1x here)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def on_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


class progress_bar:
    """A bar on a terminal, silence elsewhere: `with progress_bar(...) as tick: tick(step)`."""

    def __init__(self, name: str, total: int, done: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task(name, total=total, completed=done)

    def __enter__(self):
        self.bar.start()
        return lambda step: self.bar.update(self.task, completed=step)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def open_tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainError("tensorboard is not installed: pip install 'headcount[tensorboard]'") from error
    return SummaryWriter(out / "tensorboard")


def git_commit() -> str:
    """The commit of the code that runs, with '+' when it was changed since; '' outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

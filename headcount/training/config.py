"""Configurations: a recipe is a TOML file of a TrainConfig, and any setting of it can be overridden by name; beside
them, what a run records of its run_environment.

What is unusual: the dataclasses are the schema. Tables are nested dataclasses, a key that is not a field is refused by
name, and so is a value of another type.
"""

from __future__ import annotations

import json
import platform
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import cv2
import numpy as np
import torch

from headcount import __version__
from headcount.models.counting_model import ModelConfig, without_density_scale
from headcount.provenance import cpu_name, git_commit
from headcount.training.losses import LossConfig

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass
class DataConfig:
    """What is cut from the pictures, and the targets made of it.

    crop: (height, width) in pixels, multiples of the model's pad; (0, 0) takes whole pictures (batch 1, no jitter).
    scale: range of the scale jitter, log-uniform, on top of the enlargement to min_side.
    min_side: pictures with a shorter short side are enlarged to it before the jitter, in training and in test.
    mirror, grey, jitter: probabilities of mirroring, of dropping colour, of other contrast, brightness and gamma.
    degrade: probability of a worse picture: blurred, noisy, or compressed.
    cutmix: probability that a rectangle of the crop shows another picture: heads must be known by themselves, not by
    the scene around them, which a small set lets a network learn by heart (CutMix, Yun et al., ICCV 2019).
    sigma: of the density's Gaussian in pixels of the crop; 0 is geometry-adaptive.
    radius: a head's foreground reaches so far, in pixels; 0 is the kernel's support, TRUNCATE sigma.
    rendered: share of crops that come from rendered scenes; rendered_scenes: how many are drawn; people_free: the share
    of them without people.
    """

    crop: tuple[int, int] = (256, 256)
    scale: tuple[float, float] = (1.0, 1.0)
    min_side: int = 0
    mirror: float = 0.5
    grey: float = 0.0
    jitter: float = 0.0
    degrade: float = 0.0
    cutmix: float = 0.0
    sigma: float = 4.0
    radius: float = 0.0
    rendered: float = 0.0
    rendered_scenes: int = 40
    people_free: float = 0.5


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
    start: a checkpoint folder whose weights are begun with; start_part: "all", or "backbone", its heads being fresh.
    teacher: a checkpoint folder whose densities are learned beside the marked heads, at the weight loss.teacher.
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
    start: str = ""
    start_part: str = "all"
    teacher: str = ""
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


def load_recipe(recipe: str | Path) -> TrainConfig:
    """A TrainConfig from a TOML file, or from the name of a recipe that headcount ships.

    A recipe with `base = "NAME"` is that recipe with its own settings on top: rows of one table then differ in
    what is written, and in nothing else.

    Raises:
        TrainError: no such recipe, not TOML, an unknown setting, or a value of the wrong type.
    """
    values, path = read_recipe(recipe)
    return from_dict(TrainConfig, values, str(path))


def read_recipe(recipe: str | Path, depth: int = 0) -> tuple[dict[str, Any], Path]:
    """The settings of a recipe on top of those of its base, and the file."""
    path = Path(recipe)
    if not path.suffix:
        path = RECIPES / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise TrainError(f"{recipe}: no such recipe; give a TOML file or one of: {names}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("base", None)
    if base is None:
        return values, path
    if not isinstance(base, str) or depth > 4:
        raise TrainError(f"{path}: base is {base!r}; it takes the name of a recipe that is not based on this one")
    beside = path.parent / base
    found, _ = read_recipe(beside if beside.suffix else beside.with_suffix(".toml"), depth + 1)
    return on_top(found, values), path


def on_top(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in their place, table by table; the data sets of `changes` replace them all."""
    merged = dict(values)
    for name, value in changes.items():
        tables = isinstance(value, dict) and isinstance(merged.get(name), dict) and name != "sets"
        merged[name] = on_top(merged[name], value) if tables else value
    return merged


def override(config: TrainConfig, assignments: list[str]) -> TrainConfig:
    """A copy with `key=value` (`model.fusion=plain`) applied, each value in TOML or a bare word.

    Raises:
        TrainError: no such setting, or a value of the wrong type.
    """
    values = asdict(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *path, name = key.strip().split(".")
        place = values
        for part in path:
            place = place[part] if isinstance(place.get(part), dict) else {}
        if not equals or name not in place:
            raise TrainError(f"--set {assignment}: no such setting; write key=value, for example steps=1000")
        try:
            place[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            place[name] = text.strip()
    return from_dict(TrainConfig, values, "--set")


def from_dict(kind: type, values: Any, where: str) -> Any:
    """The dataclass `kind` from nested dicts, lists as tuples."""
    if not isinstance(values, dict):
        raise TrainError(f"{where}: is {values!r}, where a table of settings belongs")
    if kind is ModelConfig:
        values = without_density_scale(values)
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise TrainError(f"{where}: unknown setting {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    hints, made = get_type_hints(kind), {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{where} [{name}]")
        elif name == "sets":
            tables = value if isinstance(value, dict) else {"": value}
            value = {k: from_dict(SetConfig, v, f"{where} [sets.{k}]") for k, v in tables.items()}
        elif not fits(value, hints[name]):
            raise TrainError(f"{where}: {name} is {value!r}; it takes {getattr(hints[name], '__name__', hints[name])}")
        made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value may stand where `hint` is; a whole number is a float too, but True is no number."""
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, str, bool):
        return type(value) is hint
    return value is None or isinstance(value, list | tuple)  # crop, scale, ...; mean and std may be None


def check_same(config: TrainConfig, out: Path) -> None:
    """Refuse a run folder that other settings made; what only says how often it saves, or how it is fed, may differ.

    Raises:
        TrainError: naming the settings that differ.
    """
    try:
        before = json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError):  # no run, or none that says what it was
        return
    config.model.min_side = config.data.min_side  # as a run does
    before = asdict(from_dict(TrainConfig, before, str(out / "run.json")))  # settings newer than the run: as by default
    now = asdict(from_dict(TrainConfig, json.loads(json.dumps(asdict(config))), "the recipe"))
    free = {"save_every", "workers", "tensorboard"}
    different = [key for key in before if before[key] != now.get(key) and key not in free]
    if different:
        names = ", ".join(different)
        raise TrainError(
            f"{out}: was run with other settings ({names}); take those, remove it, or choose another folder"
        )


def run_environment() -> dict[str, Any]:
    """What else a run depends on: versions, commit and processor."""
    return {
        "versions": {
            "headcount": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
        "commit": git_commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
    }

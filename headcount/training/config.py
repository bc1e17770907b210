"""Recipes: the settings of a training run, read from TOML files and changed by name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from headcount._settings import SettingsError, read_settings
from headcount.models.counting_model import ModelConfig, without_density_scale
from headcount.training.augmentation import AugmentationConfig
from headcount.training.losses import LossConfig

RECIPES = Path(__file__).parents[1] / "recipes"
DEPTH = 4  # recipes that may stand below each other by `base`
MAY_DIFFER = {"save_every", "workers", "image_memory", "tensorboard"}  # settings that do not change what a run computes


class TrainError(ValueError):
    """A run that cannot start or continue. The message is one line that says why and what to do."""


@dataclass(frozen=True)
class DataConfig(AugmentationConfig):
    """How crops are cut from the images, and which targets are made for them.

    The augmentations are settings of the same table; AugmentationConfig documents them.

    Attributes:
        crop: Height and width in pixels, multiples of the model's `pad`. (0, 0) takes whole images, which needs
            batch = 1 and has no scale jitter.
        scale: Range of the scale jitter, log-uniform. It comes on top of the enlargement to `min_side`.
        unscaled: Share of the crops without scale jitter, 0 to 1. Their pixels are those of the file, as when a photo
            is counted, with the sharpness and the JPEG blocks that resizing removes.
        min_side: Images with a shorter short side, in pixels, are enlarged to it before the jitter. The model does
            the same when it counts.
        sigma: Standard deviation of the density's Gaussian in pixels of the crop. 0 makes it geometry-adaptive.
        radius: Distance in pixels up to which a head's surroundings are foreground. 0 takes the support of the
            kernel, TRUNCATE x sigma.
        rendered: Share of the crops that are cut from rendered scenes, 0 to 1.
        rendered_scenes: Number of scenes to render.
        people_free: Share of the rendered scenes that show no people, 0 to 1.
    """

    crop: tuple[int, int] = (256, 256)
    scale: tuple[float, float] = (1.0, 1.0)
    unscaled: float = 0.0
    min_side: int = 0
    sigma: float = 4.0
    radius: float = 0.0
    rendered: float = 0.0
    rendered_scenes: int = 40
    people_free: float = 0.5


@dataclass(frozen=True)
class SetConfig:
    """One data set of a recipe.

    Attributes:
        folder: Path under the data folder.
        format: A format that `headcount.datasets.read` knows.
        train: Split to train on.
        val: Split to validate on. An empty text leaves the set out of the validation.
        share: Weight of the set when crops are drawn, relative to the other sets.
    """

    folder: str = "."
    format: str = "shanghaitech"
    train: str = "train"
    val: str = "val"
    share: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run. An epoch is `crops_per_image` crops of every training image.

    Attributes:
        name: Name of the run.
        unit: What the model counts, for results and overlays.
        seed: Seed of the initial weights, the crops and the rendered scenes.
        steps: Length of the run in optimizer steps. 0 takes `epochs`.
        epochs: Length of the run in epochs; used when `steps` is 0.
        crops_per_image: Crops of each training image per epoch.
        batch: Crops per step, over all processes.
        optimizer: "adamw", "adam", "sgd", or "adam_to_sgd": the paper's Adam for `adam_epochs` epochs, then SGD.
        schedule: "cosine", "step" (the paper's: x0.1 every `step_epochs` epochs), "constant", or "tail": constant,
            with a linear fall to a fifth over the last fifth of the run.
        adam_epochs: Epochs of Adam before "adam_to_sgd" switches to SGD.
        step_epochs: Epochs between two drops of the "step" schedule.
        warmup: Steps over which the learning rate rises linearly from zero.
        lr: Learning rate of new layers.
        lr_pretrained: Learning rate of pre-trained layers.
        weight_decay: Weight decay.
        momentum: Momentum of SGD.
        freeze: Number of first blocks of the backbone that are not trained.
        batch_norm: "fixed" keeps the means and variances of pre-trained batch norms, "trained" learns them too, which
            needs a batch of 16 or more.
        imagenet: Whether the backbone begins with ImageNet weights.
        start: Checkpoint folder whose weights the run begins with. An empty text begins with fresh weights.
        start_part: Which weights of `start` to take: "all", or "backbone" under fresh heads.
        teacher: Checkpoint folder of a network whose density is learned too, with the weight loss.teacher.
        ema: Decay of the averaged weights. These are validated and kept. 0 averages nothing.
        clip: Largest norm of the gradient. 0 does not clip.
        precision: "fp32", or "bf16" for autocast.
        eval_every: Steps between validations.
        save_every: Steps between saves of the training state.
        workers: Processes that prepare crops. 0 prepares them in a thread of the training process.
        image_memory: GiB of images that stay decoded, on each machine. The others are decoded anew for each crop.
            A negative number takes a quarter of the machine's memory.
        tensorboard: Whether metrics are also written for TensorBoard.
        model: The network.
        data: Crops, augmentations and targets.
        loss: Weights of the loss terms.
        sets: Data sets by name.
    """

    name: str = "headcount"
    unit: str = "people"
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
    batch_norm: str = "fixed"
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
    image_memory: float = -1.0
    tensorboard: bool = False
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sets: dict[str, SetConfig] = field(default_factory=dict)


def load_recipe(recipe: str | Path) -> TrainConfig:
    """Read a recipe.

    A recipe with `base = "NAME"` takes all settings of that recipe and changes those it names. A table of recipes
    that share a base therefore differs only in what is written.

    Args:
        recipe: A TOML file, or the name of a bundled recipe.

    Raises:
        TrainError: There is no such recipe, it is not TOML, a setting is unknown, or a value has the wrong type.
    """
    values, path = _read_recipe(recipe)
    return parse_config(values, str(path))


def parse_config(values: object, where: str) -> TrainConfig:
    """Build a TrainConfig from parsed TOML or JSON.

    Args:
        values: The tables of a recipe, or the config of a run.json.
        where: The file that the values come from, for error messages.

    Raises:
        TrainError: A setting is unknown or has a value of the wrong type.
    """
    try:
        if isinstance(values, Mapping) and "model" in values:
            values = {**values, "model": without_density_scale(values["model"], where)}
        return read_settings(TrainConfig, values, where)
    except SettingsError as error:
        raise TrainError(str(error)) from None


def override(config: TrainConfig, assignments: Sequence[str]) -> TrainConfig:
    """Return a copy with some settings changed.

    Args:
        config: The settings to start from.
        assignments: Texts such as "steps=1000" or "model.fusion=plain". A value is TOML or a bare word.

    Raises:
        TrainError: There is no such setting, or a value has the wrong type.
    """
    values = asdict(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *path, name = key.strip().split(".")
        table = values
        for part in path:
            table = table[part] if isinstance(table.get(part), dict) else {}
        if not equals:
            raise TrainError(f"--set {assignment}: write key=value, for example steps=1000")
        if name not in table:
            known = f"; known: {', '.join(sorted(table))}" if table else ""
            raise TrainError(f"--set {assignment}: no such setting{known}")
        try:
            table[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            table[name] = text.strip()
    return parse_config(values, "--set")


def with_min_side(config: TrainConfig) -> TrainConfig:
    """Return a copy whose model enlarges small images as the training data does."""
    return replace(config, model=replace(config.model, min_side=config.data.min_side))


def check_settings(config: TrainConfig, processes: int) -> None:
    """Check what can be checked without data.

    Args:
        config: The settings.
        processes: Number of processes that share each batch.

    Raises:
        TrainError: A setting is out of range, or settings do not go together.
    """
    if config.data.crop == (0, 0) and config.batch != 1:
        raise TrainError(f"crop (0, 0) takes whole images, whose sizes differ: set batch = 1, not {config.batch}")
    if config.batch % processes:
        raise TrainError(
            f"batch = {config.batch} cannot be shared by {processes} processes:"
            f" set batch to a multiple of {processes}, or start another number of them"
        )
    if min(config.batch, config.eval_every, config.save_every, config.step_epochs) < 1:
        raise TrainError("batch, eval_every, save_every and step_epochs must be at least 1")
    if config.batch_norm not in ("fixed", "trained"):
        raise TrainError(f"unknown batch_norm {config.batch_norm!r}: fixed or trained")
    if config.precision not in ("fp32", "bf16"):
        raise TrainError(f"unknown precision {config.precision!r}: fp32 or bf16")


def check_same(config: TrainConfig, out: Path) -> None:
    """Refuse to resume a run with other settings. Settings that do not change the result may differ.

    Settings that a recorded run does not name count as their defaults, and paths are compared as resolved.

    Args:
        config: The settings to resume with.
        out: The folder of the run. Nothing is checked if it has no readable run.json.

    Raises:
        TrainError: Settings differ; the message names them.
    """
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError):
        return
    before = _comparable(parse_config(record, str(out / "run.json")))
    now = _comparable(with_min_side(config))
    different = [key for key in before if before[key] != now[key] and key not in MAY_DIFFER]
    if different:
        names = ", ".join(different)
        raise TrainError(
            f"{out}: was run with other settings ({names}); use the same settings, remove the folder, or choose another"
        )


def _comparable(config: TrainConfig) -> dict[str, object]:
    """The settings as plain values, with paths resolved."""
    values = asdict(config)
    for key in ("start", "teacher"):
        if values[key]:
            values[key] = str(Path(values[key]).resolve())
    return values


def _read_recipe(recipe: str | Path, depth: int = 0) -> tuple[dict[str, object], Path]:
    """The settings of a recipe on top of those of its base, and the file."""
    path = Path(recipe)
    if not path.suffix:
        path = RECIPES / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise TrainError(f"{recipe}: no such recipe; give a TOML file or one of: {names}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("base", None)
    if base is None:
        return values, path
    if not isinstance(base, str) or depth > DEPTH:
        raise TrainError(f"{path}: base must be the name of a recipe that is not based on this one, got {base!r}")
    sibling = path.parent / base
    inherited, _ = _read_recipe(sibling if sibling.suffix else sibling.with_suffix(".toml"), depth + 1)
    return _merge(inherited, values), path


def _merge(values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`values` with `changes` on top, table by table. The data sets of `changes` replace all others."""
    merged = dict(values)
    for name, value in changes.items():
        base = merged.get(name)
        if isinstance(value, dict) and isinstance(base, dict) and name != "sets":
            value = _merge(base, value)
        merged[name] = value
    return merged

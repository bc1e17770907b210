"""What a training run begins with: the network with its first weights, a teacher, and the optimizer."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from headcount.io.files import single_line
from headcount.models.backbones import read_backbone_weights
from headcount.models.backbones.base import Freezable, Normalized, Pretrained
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.serialization import load, load_single
from headcount.training.config import TrainConfig, TrainError

MAX_MESSAGE = 300  # characters; torch lists every tensor that does not fit


def build_model(config: TrainConfig, backbone_weights: str | Path | None, device: torch.device) -> CountingModel:
    """Build the network of a recipe, with the weights it begins with.

    Args:
        config: The recipe.
        backbone_weights: File of ImageNet weights. None downloads them if the recipe needs them.
        device: Where the network is to be trained.

    Raises:
        TrainError: The weights do not fit the network, or its backbone has none, no blocks to freeze or no norms.
    """
    model = CountingModel(config.model)
    if config.imagenet and not (config.start and config.start_part == "all"):
        load_imagenet(model, backbone_weights)
    if config.start:
        load_start(model, config)
    if config.freeze:
        freeze(model, config.freeze)
    if config.batch_norm != "fixed":
        train_statistics(model)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def load_imagenet(model: CountingModel, file: str | Path | None) -> None:
    """Load ImageNet weights into the backbone.

    Raises:
        TrainError: The backbone has no such weights.
    """
    name = model.config.backbone
    if not isinstance(model.backbone, Pretrained):
        raise TrainError(f"backbone {name!r} trains from scratch: set imagenet = false")
    model.backbone.load_imagenet(read_backbone_weights(name, file))


def load_start(model: CountingModel, config: TrainConfig) -> None:
    """Load the weights of the checkpoint `config.start`: all of them, or those of the backbone.

    Raises:
        TrainError: The checkpoint cannot be read or does not fit.
    """
    if config.start_part not in ("all", "backbone"):
        raise TrainError(f"unknown start_part {config.start_part!r}: all or backbone")
    try:
        weights = load_single(config.start).state_dict()
        if config.start_part == "backbone":
            model.backbone.load_state_dict(with_prefix(weights, "backbone."))
        else:
            model.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        raise TrainError(f"start {config.start}: {single_line(error)[:MAX_MESSAGE]}") from error


def open_teacher(model: CountingModel, config: TrainConfig) -> CountingModel | Ensemble | None:
    """Load the network whose density is learned, on the device of `model`.

    Returns:
        The teacher, or None if the recipe names none.

    Raises:
        TrainError: The teacher or its weight is missing, or its cells differ in size.
    """
    if bool(config.teacher) != bool(config.loss.teacher):
        raise TrainError("a teacher needs both: teacher = a checkpoint folder, and loss.teacher = its weight")
    if not config.teacher:
        return None
    try:
        teacher = load(config.teacher).requires_grad_(False)
    except ValueError as error:
        raise TrainError(f"teacher {config.teacher}: {error}") from error
    if teacher.stride != model.stride:
        raise TrainError(
            f"teacher {config.teacher}: its cells are {teacher.stride} pixels, this network's {model.stride}"
        )
    device = next(model.parameters()).device
    return teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def freeze(model: CountingModel, blocks: int) -> None:
    """Exclude the first blocks of the backbone from training.

    Raises:
        TrainError: The backbone has no blocks to freeze.
    """
    if not isinstance(model.backbone, Freezable):
        raise TrainError(f"backbone {model.config.backbone!r} has no blocks to freeze: set freeze = 0")
    model.backbone.freeze(blocks)


def train_statistics(model: CountingModel) -> None:
    """Let the batch norms of the backbone learn their means and variances.

    Raises:
        TrainError: The backbone has no batch norms.
    """
    if not isinstance(model.backbone, Normalized):
        raise TrainError(f'backbone {model.config.backbone!r} has no batch norms: set batch_norm = "fixed"')
    model.backbone.fixed_statistics = False


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def make_optimizer(model: CountingModel, config: TrainConfig, kind: str) -> torch.optim.Optimizer:
    """Build an optimizer over the parameters that are not frozen.

    New layers train at `lr`, pre-trained ones at `lr_pretrained`. The item `base` of a parameter group is its rate
    before the schedule.

    Args:
        model: The network.
        config: Rates, weight decay and momentum.
        kind: "adamw", "adam" or "sgd".

    Raises:
        TrainError: The optimizer is unknown.
    """
    prefixes = getattr(model.backbone, "pretrained", ()) if config.imagenet else ()
    pretrained: list[nn.Parameter] = []
    new: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_pretrained = name.startswith(tuple(f"backbone.{prefix}" for prefix in prefixes))
            (pretrained if is_pretrained else new).append(parameter)
    both = ((new, config.lr), (pretrained, config.lr_pretrained))
    groups = [{"params": parameters, "lr": lr, "base": lr} for parameters, lr in both if parameters]
    if kind == "adamw":
        on_gpu = next(model.parameters()).is_cuda
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True if on_gpu else None)
    if kind == "adam":
        return torch.optim.Adam(groups, weight_decay=config.weight_decay)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    raise TrainError(f"unknown optimizer {config.optimizer!r}: adamw, adam, sgd or adam_to_sgd")

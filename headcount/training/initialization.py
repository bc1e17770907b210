"""What a training run begins with: its weights, those of them that stay as they are, and its optimizer."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from headcount.models.backbones import read_backbone_weights
from headcount.models.backbones.base import Freezable, Pretrained
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble
from headcount.models.serialization import load, load_single
from headcount.training.config import TrainConfig, TrainError


def load_imagenet(model: CountingModel, file: str | Path | None) -> None:
    name = model.config.backbone
    if not isinstance(model.backbone, Pretrained):
        raise TrainError(f"backbone {name!r} trains from scratch: set imagenet = false")
    model.backbone.load_imagenet(read_backbone_weights(name, file))


def start_from(model: CountingModel, config: TrainConfig) -> None:
    """The weights of the checkpoint `config.start`, all of them or the backbone's."""
    if config.start_part not in ("all", "backbone"):
        raise TrainError(f"unknown start_part {config.start_part!r}: all or backbone")
    try:
        given = load_single(config.start).state_dict()
        if config.start_part == "backbone":
            model.backbone.load_state_dict(with_prefix(given, "backbone."))
        else:
            model.load_state_dict(given)
    except (ValueError, RuntimeError) as error:
        raise TrainError(f"start {config.start}: {' '.join(str(error).split())[:300]}") from error


def open_teacher(model: CountingModel, config: TrainConfig) -> CountingModel | Ensemble | None:
    """The network at `config.teacher`, which is not trained, where `model` is. Raises TrainError."""
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
    return teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def freeze(model: CountingModel, blocks: int) -> None:
    if not isinstance(model.backbone, Freezable):
        raise TrainError(f"backbone {model.config.backbone!r} has no blocks to freeze: set freeze = 0")
    model.backbone.freeze(blocks)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def make_optimizer(model: CountingModel, config: TrainConfig, kind: str) -> torch.optim.Optimizer:
    """adamw, adam or sgd over what is not frozen, in two groups: new layers at lr, pre-trained ones at lr_pretrained. A
    group's `base` is its rate before the schedule. Raises TrainError."""
    prefixes = getattr(model.backbone, "pretrained", ()) if config.imagenet else ()
    old: list[nn.Parameter] = []
    new: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pretrained = name.startswith(tuple(f"backbone.{p}" for p in prefixes))
            (old if pretrained else new).append(parameter)
    both = ((new, config.lr), (old, config.lr_pretrained))
    groups = [{"params": parameters, "lr": lr, "base": lr} for parameters, lr in both if parameters]
    if kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    if kind == "adam":
        return torch.optim.Adam(groups, weight_decay=config.weight_decay)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    raise TrainError(f"unknown optimizer {config.optimizer!r}: adamw, adam, sgd or adam_to_sgd")


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks: activations are then not paged in again at every step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD

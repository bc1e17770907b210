"""A training run of six steps, and comparisons of runs."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from headcount.models.counting_model import ModelConfig
from headcount.training.config import DataConfig, SetConfig, TrainConfig


def tiny(**settings) -> TrainConfig:
    """Six steps of two crops on a network with narrow heads. It is validated at 3 and 6, and saved at 2, 4 and 6."""
    settings.setdefault("model", ModelConfig(fusion="feature_posterior", width=8))
    settings.setdefault("data", DataConfig(crop=(32, 32), scale=(0.75, 1.5), jitter=0.5))
    sets = {"set": SetConfig(folder="set")}
    defaults = {"steps": 6, "batch": 2, "warmup": 2, "lr": 1e-3, "ema": 0.9, "precision": "fp32", "sets": sets}
    return TrainConfig(**{**defaults, "eval_every": 3, "save_every": 2, **settings})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint folder."""
    return load_file(folder / "model.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    """All tensors are equal bit for bit."""
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different, different


def assert_same_runs(one: Path, two: Path) -> None:
    """Weights, averaged weights, optimizer moments and the chosen checkpoint are equal bit for bit."""
    assert_same(load_file(one / "state.safetensors"), load_file(two / "state.safetensors"))
    assert_same(weights(one / "best"), weights(two / "best"))

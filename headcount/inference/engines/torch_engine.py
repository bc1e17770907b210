"""The engine that runs checkpoints, and networks that are being trained, with torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headcount.inference.engines.base import GPU_BATCH, TO_INT8, Maps, import_runtime, is_exported
from headcount.inference.engines.metadata import EngineError, describe, uncertainty_weights

if TYPE_CHECKING:
    from torch import nn

    from headcount.models.counting_model import CountingModel, Output
    from headcount.models.ensemble import Ensemble
    from headcount.models.uncertainty import UncertaintyHead


class TorchEngine:
    """A checkpoint folder, a published MCNN .h5 file, or a network in memory.

    "auto" is fp16 on CUDA and fp32 elsewhere.

    A network in memory is used as it is, not copied: it is moved to the device once, and each `run` computes with its
    current weights. So one engine serves every validation of a training run. The network may be in training mode; it
    counts in eval mode, and `run` restores its mode.
    """

    def __init__(self, model: str | Path | CountingModel | Ensemble, precision: str = "auto"):
        if precision == "int8":
            raise EngineError(f"precision int8: torch does not run it here; {TO_INT8}")
        given_path = isinstance(model, (str, Path))
        torch = import_runtime("torch", "train", model if given_path else type(model).__name__)
        from headcount.models import serialization

        folder = Path(model) if isinstance(model, (str, Path)) else None
        network = serialization.load(model) if isinstance(model, (str, Path)) else model
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.meta = describe(self.model, folder)
        self.uncertainty = uncertainty_head(folder, device)
        self.torch, self.device, self.name = torch, device, f"torch ({device})"
        self.precision = {"cuda": "fp16", "cpu": "fp32"}[device] if precision == "auto" else precision
        self.batch = GPU_BATCH if device == "cuda" else 1

    @staticmethod
    def reads(path: Path) -> bool:
        return not is_exported(path)

    def run(self, images: np.ndarray) -> Maps:
        return self.maps(self.output(images))

    def output(self, images: np.ndarray) -> Output:
        """What the network gives for images (N,H,W,3)."""
        torch = self.torch
        image = torch.tensor(images, device=self.device).permute(0, 3, 1, 2)  # (N,3,H,W)
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        autocast = torch.autocast(self.device, dtype=half, enabled=half is not None)
        with evaluation_mode(self.model), torch.inference_mode(), autocast:
            return self.model(image)

    def maps(self, output: Output) -> Maps:
        """The maps of a network's output, as arrays."""
        density = output.density.float()
        logits, features = output.mask_logits, output.features
        mask = self.torch.ones_like(density) if logits is None else logits.float().sigmoid()
        unsure = None
        if self.uncertainty is not None and features is not None:
            with self.torch.inference_mode():
                unsure = self.uncertainty(features.float()).cpu().numpy()
        return Maps(density.cpu().numpy(), mask.cpu().numpy(), unsure)


def uncertainty_head(folder: Path | None, device: str = "cpu") -> UncertaintyHead | None:
    """The fitted head of a checkpoint folder; None without a folder, or if the checkpoint was not calibrated."""
    from headcount.models.uncertainty import UncertaintyHead

    weights = uncertainty_weights(folder)
    return UncertaintyHead(**weights).to(device).eval() if weights else None


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A network in eval mode, and in training mode again afterwards if it was."""
    if not model.training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()

"""The files of a run: its settings, its metrics, and the state from which it can be resumed."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from headcount._extras import install_hint
from headcount.io.files import atomic_write
from headcount.provenance import provenance
from headcount.training import checkpoint
from headcount.training.config import TrainConfig, TrainError
from headcount.training.dataset import TrainingData
from headcount.training.initialization import with_prefix

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]


@dataclass
class Progress:
    """How far a run has come. It is saved with the weights.

    Attributes:
        step: Steps done.
        total: Steps of the whole run.
        best: The lowest score of a validation so far.
        rows: Rows of metrics.csv.
        pending: Loss terms of each step since the last row.
        seconds: Seconds of training and validating before this process resumed the run.
    """

    step: int
    total: int
    best: float = math.inf
    rows: list[Row] = field(default_factory=list)
    pending: list[Row] = field(default_factory=list)
    seconds: float = 0.0


class MetricsLog:
    """Writes metrics.csv, and the same for TensorBoard.

    Args:
        out: The run folder.
        tensorboard: Whether to write for TensorBoard.
        describe: Makes the line that is printed of a row.

    Raises:
        TrainError: TensorBoard is not installed.
    """

    def __init__(self, out: Path, tensorboard: bool, describe: Callable[[Row], str]):
        self.out, self.describe = out, describe
        self.board = open_tensorboard(out) if tensorboard else None

    def write(self, rows: list[Row], step: int) -> None:
        """Write all rows to metrics.csv and print the last one."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_write(self.out / "metrics.csv") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
        last = rows[-1]
        if self.board is not None:
            for name, value in last.items():
                self.board.add_scalar(name, value, step)
        print(self.describe(last), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self.board is not None:
            self.board.close()


def open_tensorboard(out: Path) -> SummaryWriter:
    """A writer into the run folder.

    Raises:
        TrainError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainError(f"tensorboard is not installed: {install_hint('tensorboard')}") from error
    return SummaryWriter(out / "tensorboard")


def write_run_json(out: Path, config: TrainConfig, data: TrainingData) -> None:
    """Write run.json: the settings, the data, and the versions and hardware that the run depends on."""
    record = {
        "config": asdict(config),
        "data": {"fingerprint": data.fingerprint, "training_images": data.image_count},
        **provenance(),
    }
    with atomic_write(out / "run.json") as file:
        file.write(json.dumps(record, indent=2) + "\n")


def save_state(
    out: Path,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    fingerprint: str,
) -> None:
    """Save everything that resuming needs.

    Args:
        out: The run folder.
        model: The network that is trained.
        averaged: The same with averaged weights.
        optimizer: Its moments are saved.
        progress: Where the run is.
        fingerprint: Hash of the training samples.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in moments.items() if isinstance(v, Tensor)}
    numbers = {
        "step": progress.step,
        "total": progress.total,
        "best": progress.best,
        "rows": progress.rows,
        "learned": progress.pending,
        "seconds": progress.seconds,
        "fingerprint": fingerprint,
    }
    checkpoint.write(out, tensors, numbers)


def read_progress(numbers: checkpoint.Numbers, total: int) -> Progress:
    """The progress that a state was saved at.

    Args:
        numbers: The numbers of the state.
        total: Steps of the whole run.
    """
    return Progress(
        step=numbers["step"],
        total=total,
        best=numbers["best"],
        rows=numbers["rows"],
        pending=numbers["learned"],
        seconds=numbers["seconds"],
    )


def check_fingerprint(out: Path, numbers: checkpoint.Numbers, fingerprint: str) -> None:
    """Refuse to resume on other data than the state was saved on.

    Raises:
        TrainError: The data changed.
    """
    if numbers["fingerprint"] != fingerprint:
        raise TrainError(
            f"{out}: the data changed since this run began; start a new run in another folder, or resume anyway with"
            " --force"
        )


def restore_tensors(
    tensors: dict[str, Tensor], model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Load what `save_state` saved into the networks and the optimizer.

    Raises:
        RuntimeError, ValueError, KeyError: The state is of another network or optimizer.
    """
    model.load_state_dict(with_prefix(tensors, "model."))
    averaged.load_state_dict(with_prefix(tensors, "averaged."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in with_prefix(tensors, "optimizer.").items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})

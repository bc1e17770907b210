"""What every engine is, and what engines share."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np

from headcount._extras import install_hint
from headcount.inference.engines.metadata import EngineError, ModelMeta

THREADS = "HEADCOUNT_THREADS"  # environment: threads of an engine, when other processes count on the same machine
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's limit: microseconds per period of microseconds, or max
GPU_BATCH = 8
TO_INT8 = "make an int8 file with: headcount export CHECKPOINT OUT.onnx --precision int8 --calibrate PHOTOS"
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")


class Maps(NamedTuple):
    """What a model says about each cell of N images, float32 (N,h,w) each; of one image, (h,w).

    Attributes:
        density: People.
        mask: Probability 0..1 that people are there.
        uncertainty: Logarithm of the expected error relative to that of a typical image; None if it was not fitted.
    """

    density: np.ndarray
    mask: np.ndarray
    uncertainty: np.ndarray | None = None

    def part(self, *index: int | slice) -> Maps:
        """The same cells of each map."""
        unsure = None if self.uncertainty is None else self.uncertainty[index]
        return Maps(self.density[index], self.mask[index], unsure)


class Engine(Protocol):
    """Runs one open model.

    Attributes:
        name: the runtime and its device, for people to read.
        precision: fp32, fp16, bf16 or int8: what it computes in, once "auto" is settled.
        batch: how many images of one size are counted faster together; 1 on a CPU.
        meta: what the model says about itself.
    """

    name: str
    precision: str
    batch: int
    meta: ModelMeta

    def run(self, images: np.ndarray) -> Maps:
        """Count images; safe to call from several threads.

        Args:
            images: uint8 RGB (N,H,W,3), any N, H and W.

        Returns:
            Maps (N,h,w), h = ceil(H / stride).
        """


class EngineType(Protocol):
    """A class of engines, as `ENGINES` holds it."""

    def __call__(self, path: Path, precision: str, /) -> Engine:
        """Open a model. Raises EngineError where the file or the precision does not fit."""

    def reads(self, path: Path) -> bool:
        """Whether engines of this class run this kind of file."""


def is_exported(path: Path) -> bool:
    """Whether a model is an exported .onnx file and not a checkpoint."""
    return path.suffix.lower() == ".onnx"


def check_int8(precision: str, meta: ModelMeta, path: Path) -> None:
    """Raises EngineError if int8 is requested of a file that is not quantized."""
    if precision == "int8" and meta.weights != "int8":
        raise EngineError(f"{path}: is not quantized; {TO_INT8}")


def usable_cores() -> int:
    """The number of cores that this process may use.

    These are the cores it is bound to, or fewer if a container's quota is smaller. More threads would only wait for
    each other. The environment variable HEADCOUNT_THREADS overrides it.
    """
    if (told := os.environ.get(THREADS, "")).isdecimal() and int(told):
        return int(told)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def import_runtime(name: str, extra: str, path: object) -> ModuleType:
    """Import the package of a runtime. Raises EngineError, naming the model, if it is not installed."""
    if "openvino" not in sys.modules:  # without its telemetry package, OpenVINO does not report each start
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError:
        raise EngineError(f"{path}: running it needs {name}; {install_hint(extra)}") from None


def join_choices(*choices: str) -> str:
    """'a', 'a or b', 'a, b or c'."""
    return ", ".join(choices[:-1]) + f" or {choices[-1]}" if len(choices) > 1 else choices[0]


def last_line(error: Exception) -> str:
    """The last line of a runtime's message, which says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

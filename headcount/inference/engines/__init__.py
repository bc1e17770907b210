"""Engines run a model: OpenVINO or ONNX Runtime for an exported .onnx file, torch for a checkpoint.

Each runtime is imported by the engine that needs it, so counting starts quickly and needs only one of them. A new
engine is a class with `name`, `precision`, `batch`, `meta`, `run` and `reads` (see `base.Engine` and `base.EngineType`)
in a file of its own, and a line in `ENGINES`, whose key is also the name of the runtime's package. The tests in
tests/inference/test_engines.py compare every entry that reads .onnx files with torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from headcount.inference.engines.base import (
    PRECISIONS,
    THREADS,
    Engine,
    EngineType,
    Maps,
    is_exported,
    join_choices,
    last_line,
    usable_cores,
)
from headcount.inference.engines.checksum import CHECKSUM_FIELD, verify_checksum
from headcount.inference.engines.metadata import CALIBRATION, EngineError, ModelMeta, describe
from headcount.inference.engines.onnxruntime_engine import ONNXRuntimeEngine
from headcount.inference.engines.openvino_engine import OpenVINOEngine
from headcount.inference.engines.torch_engine import TorchEngine
from headcount.inference.pretrained import bundled_models

__all__ = [
    "CALIBRATION",
    "CHECKSUM_FIELD",
    "ENGINES",
    "PRECISIONS",
    "THREADS",
    "Engine",
    "EngineError",
    "Maps",
    "ModelMeta",
    "ONNXRuntimeEngine",
    "OpenVINOEngine",
    "TorchEngine",
    "choose",
    "describe",
    "installed",
    "open_engine",
    "usable_cores",
]

# In the order in which "auto" tries them.
ENGINES: dict[str, EngineType] = {
    "openvino": OpenVINOEngine,
    "onnxruntime": ONNXRuntimeEngine,
    "torch": TorchEngine,
}


def open_engine(path: str | Path, engine: str = "auto", precision: str = "auto") -> Engine:
    """Open a model for counting.

    Args:
        path: an .onnx file, a checkpoint folder (config.json and model.safetensors) or a published MCNN .h5 file.
        engine: a key of `ENGINES`, or auto: torch for a checkpoint; for an .onnx file OpenVINO, or ONNX Runtime if only
            that is installed.
        precision: auto, fp32, fp16, bf16 or int8. auto is the engine's own choice for this processor. A quantized
            file always computes in int8, except for the layers that it keeps in higher precision.

    Raises:
        EngineError: an unknown choice, a missing or damaged file, or a runtime that is not installed.
    """
    path = Path(path)
    if engine != "auto" and engine not in ENGINES:
        raise EngineError(f"unknown engine {engine!r}: use {join_choices('auto', *ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}: use {join_choices(*PRECISIONS)}")
    check_model(path)
    if engine == "auto":
        engine = choose(path)
    if not ENGINES[engine].reads(path):
        advice = join_choices(*readers(path)) + ("" if is_exported(path) else " (or headcount export it first)")
        raise EngineError(f"{path}: {engine} does not run this kind of model; use {advice}")
    try:
        return ENGINES[engine](path, precision)
    except EngineError:
        raise
    except ValueError as error:  # a checkpoint that cannot be loaded
        raise EngineError(last_line(error)) from None


def check_model(path: Path) -> None:
    """Raises EngineError if `path` is no model, or an .onnx file that has changed since it was exported."""
    if not path.exists():
        names = ", ".join(bundled_models())
        raise EngineError(f"{path}: no such model; give an .onnx file, a checkpoint folder or one of {names}")
    if not is_exported(path) and path.suffix != ".h5" and not (path / "config.json").is_file():
        raise EngineError(f"{path}: not a model; give an .onnx file or a checkpoint folder (with config.json)")
    if is_exported(path) and path.is_file():
        verify_checksum(path)


def choose(path: Path) -> str:
    """The engine that "auto" takes for this model: the first installed one that reads it."""
    able = readers(path)
    return next((name for name in able if installed(name)), able[0])


def readers(path: Path) -> list[str]:
    """The names of the engines that run this kind of file, installed or not."""
    return [name for name, engine in ENGINES.items() if engine.reads(path)]


def installed(name: str) -> bool:
    """Whether the runtime of this engine is installed; nothing is imported."""
    return find_spec(name) is not None

"""Runs a model: OpenVINO or ONNX Runtime for an exported .onnx file, torch for a checkpoint folder.

What is unusual: every runtime is imported inside the engine that needs it, so counting starts fast and needs
one of them only, and the .onnx file says all that a caller must know of the model (`ModelMeta`) in its own
metadata. An engine is any class with `run`, `name`, `precision` and `meta`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headcount._extras import install_hint

CACHE = "HEADCOUNT_CACHE"  # environment: a folder where OpenVINO keeps compiled models between starts
THREADS = "HEADCOUNT_THREADS"  # environment: how many an engine computes in, where other processes count beside it
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds in each so many, or max
GPU_BATCH = 8
TO_INT8 = "make an int8 file with: headcount export CHECKPOINT OUT.onnx --precision int8 --calibrate PHOTOS"
# The last field of an exported file: the metadata entry sha256, of all that stands before it (field 14 of a ModelProto)
SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
SEALED = len(SEAL) + 64
CALIBRATION = "calibration.json"  # beside a checkpoint's weights; headcount calibrate writes it
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")


class EngineError(ValueError):
    """A model cannot be opened: names the model or the choice, and what to do, in one line."""


@dataclass(frozen=True)
class ModelMeta:
    """What a model says of itself.

    name: of the model. stride: pixels per density cell. pad: tile starts are multiples of it. halo: pixels of
    context that make a tile exact. min_side: pictures with a shorter short side are enlarged to it (0:
    never). mask: whether the mask is predicted (if not it is all ones). data: what it was trained on.
    metrics: name -> value. version: of headcount, when exported. parameters: how many. interval, spacing: as in
    calibrate.Calibration; empty and 0 where the model was not calibrated. blank: the RGB colour, 0..255, that the model
    itself pads with; empty where it does not pad. weights: int8 where the file is quantised. config: the fields of
    its model.ModelConfig, from which restore.py builds it again; empty in files that older versions exported.
    """

    name: str
    stride: int
    pad: int
    halo: int
    min_side: int = 0
    mask: bool = True
    data: str = ""
    metrics: dict = field(default_factory=dict)
    version: str = ""
    parameters: int = 0
    interval: dict = field(default_factory=dict)
    spacing: float = 0.0
    blank: tuple[int, ...] = ()
    weights: str = ""
    config: dict = field(default_factory=dict)

    def to_strings(self) -> dict[str, str]:
        """Text for an .onnx file's metadata: `name` and `data` as they are, the rest as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}

    @classmethod
    def from_strings(cls, strings: dict[str, str], path: Path) -> ModelMeta:
        """The inverse of `to_strings`. Raises EngineError where `path` was not made by `headcount export`."""
        try:
            texts = {"name", "data", "version", "weights"}
            known = {f.name for f in fields(cls)} & set(strings)
            values: dict[str, Any] = {k: strings[k] if k in texts else json.loads(strings[k]) for k in known}
            meta = cls(**values | {"blank": tuple(values.get("blank", ()))})
            if not all(type(n) is int and n > 0 for n in (meta.stride, meta.pad)) or len(meta.blank) not in (0, 3):
                raise ValueError
            return meta
        except (TypeError, ValueError):
            raise EngineError(
                f"{path}: its metadata is not a headcount model's; make it with: headcount export"
            ) from None


class Engine(Protocol):
    name: str  # which runtime, for people to read
    precision: str  # fp32, fp16, bf16 or int8: what it computes in, once "auto" is settled
    batch: int  # pictures of one size that are counted faster together; on a CPU one is as good
    meta: ModelMeta

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 RGB (N,H,W,3), any N, H, W -> density, people per cell, and mask, 0..1: both float32 (N,h,w),
        h = ceil(H / stride). Safe to call from several threads."""


@lru_cache
def _core_of(openvino: Any) -> Any:
    """OpenVINO's core, one for all engines and never freed. Each core installs a stack for signals and puts back, when
    it goes, the one it found: of two cores that end in the order they began, the second would put back freed memory,
    and the next signal (Ctrl-C, a child that ended) would kill this process."""
    return openvino.Core()


class OpenVINOEngine:
    """An .onnx file on the CPU. "auto" takes fp16 where the CPU computes in it, else bf16, else fp32."""

    HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}

    def __init__(self, path: Path, precision: str = "auto"):
        core = _core_of(_import("openvino", "openvino", path))
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        half = [p for p in ("fp16", "bf16") if p.upper() in able]
        asked = precision
        if precision in ("auto", "int8"):
            precision = [*half, "fp32"][0]
        elif precision != "fp32" and precision not in half:
            raise EngineError(f"precision {precision}: this CPU has no {precision}; use {_or('auto', 'fp32', *half)}")
        try:
            model = core.read_model(path)
            strings = {}
            for key in (f.name for f in fields(ModelMeta)):
                if model.has_rt_info(["framework", key]):  # where OpenVINO keeps an .onnx file's metadata_props
                    strings[key] = str(model.get_rt_info(["framework", key]).value)
            self.meta = ModelMeta.from_strings(strings, path)
            check_int8(asked, self.meta, path)
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": self.HINTS[precision],
                "INFERENCE_NUM_THREADS": usable_cores(),
            }
            if cache := os.environ.get(CACHE):  # saves 0.1 s of a start, for twice the model's size on disk
                settings["CACHE_DIR"] = cache
            self.compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot read it: {_last_line(error)}") from None
        self.name, self.precision, self.batch = "openvino", self.meta.weights or precision, 1
        self.lock = threading.Lock()  # one inference at a time uses every core, and the request's buffers are shared

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self.lock:
            outputs = self.compiled(images)  # copies: the next call does not overwrite them
        return outputs["density"], outputs["mask"]


class ONNXRuntimeEngine:
    """An .onnx file on CUDA, CoreML or the CPU, whichever the installed ONNX Runtime has first; fp32."""

    PROVIDERS = {"CUDAExecutionProvider": "cuda", "CoreMLExecutionProvider": "coreml", "CPUExecutionProvider": "cpu"}

    def __init__(self, path: Path, precision: str = "auto"):
        runtime = _import("onnxruntime", "onnxruntime", path)
        if precision not in ("auto", "fp32", "int8"):
            raise EngineError(f"precision {precision}: ONNX Runtime computes in fp32 here; use auto or fp32")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 3  # errors; a missing GPU driver shows in `name`, not as pages of warnings
        providers = [p for p in self.PROVIDERS if p in runtime.get_available_providers()]
        try:
            self.session = runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(f"{path}: ONNX Runtime cannot read it: {_last_line(error)}") from None
        self.meta = ModelMeta.from_strings(self.session.get_modelmeta().custom_metadata_map, path)
        check_int8(precision, self.meta, path)
        device = self.PROVIDERS[self.session.get_providers()[0]]
        self.name, self.precision = f"onnxruntime ({device})", self.meta.weights or "fp32"
        self.batch = GPU_BATCH if device == "cuda" else 1

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        density, mask = self.session.run(["density", "mask"], {"image": images})
        return density, mask


class TorchEngine:
    """A checkpoint folder, a published MCNN .h5 file, or a CountingModel. "auto" is fp16 on CUDA, fp32 elsewhere."""

    def __init__(self, path, precision: str = "auto"):
        if precision == "int8":
            raise EngineError(f"precision int8: torch does not run it here; {TO_INT8}")
        torch = _import("torch", "train", path)
        from headcount.models import serialization

        device = "cuda" if torch.cuda.is_available() else "cpu"
        network: Any = serialization.load(path) if isinstance(path, (str, Path)) else path.eval()
        self.model = network.to(device).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            self.meta = describe(self.model, Path(path) if isinstance(path, (str, Path)) else None)
        self.torch, self.device, self.name = torch, device, f"torch ({device})"
        self.precision = {"cuda": "fp16", "cpu": "fp32"}[device] if precision == "auto" else precision
        self.batch = GPU_BATCH if device == "cuda" else 1

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch = self.torch
        image = torch.tensor(images, device=self.device).permute(0, 3, 1, 2)  # (N,3,H,W)
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        with torch.inference_mode(), torch.autocast(self.device, dtype=half, enabled=half is not None):
            output = self.model(image)
        density = output.density.float()
        logits = output.mask_logits
        mask = torch.ones_like(density) if logits is None else logits.float().sigmoid()
        return density.cpu().numpy(), mask.cpu().numpy()


ENGINES: dict[str, Callable[[Path, str], Engine]] = {
    "openvino": OpenVINOEngine,
    "onnxruntime": ONNXRuntimeEngine,
    "torch": TorchEngine,
}


def open_engine(path: str | Path, engine: str = "auto", precision: str = "auto") -> Engine:
    """Open a model for counting.

    Args:
        path: an .onnx file, a checkpoint folder (config.json and model.safetensors) or a published MCNN .h5 file.
        engine: openvino, onnxruntime, torch or auto: torch for a checkpoint; for an .onnx file OpenVINO, or
            ONNX Runtime where that is the one installed.
        precision: auto, fp32, fp16, bf16 or int8; auto is half precision where the hardware computes in it. A quantised
            file computes in int8 whatever is asked for, but for the layers it keeps.

    Raises:
        EngineError: for an unknown choice, a missing or broken file, or a runtime that is not installed.
    """
    path = Path(path)
    if engine != "auto" and engine not in ENGINES:
        raise EngineError(f"unknown engine {engine!r}: use {_or('auto', *ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}: use {_or(*PRECISIONS)}")
    if not path.exists():
        raise EngineError(f"{path}: no such model; give an .onnx file or a checkpoint folder")
    exported = path.suffix.lower() == ".onnx"
    if not exported and path.suffix != ".h5" and not (path / "config.json").is_file():
        raise EngineError(f"{path}: not a model; give an .onnx file or a checkpoint folder (with config.json)")
    if exported and path.is_file():
        check_seal(path)
    if engine == "auto":
        engine = choose(path)
    if exported == (engine == "torch"):
        advice = "openvino or onnxruntime" if exported else "torch (or headcount export it first)"
        raise EngineError(f"{path}: {engine} does not run this kind of model; use {advice}")
    try:
        return ENGINES[engine](path, precision)
    except ValueError as error:  # a model file that torch's side refuses
        raise error if isinstance(error, EngineError) else EngineError(_last_line(error)) from None


def check_seal(path: Path) -> None:
    """Compare an .onnx file with the checksum at its end, where it has one.

    Raises:
        EngineError: the file is not as it was exported.
    """
    content = memoryview(path.read_bytes())
    body, end = content[:-SEALED], content[-SEALED:]
    if end[: len(SEAL)] == SEAL and end[len(SEAL) :] != hashlib.sha256(body).hexdigest().encode():
        raise EngineError(
            f"{path}: is damaged, or was changed after its export (its checksum differs);"
            " install headcount again, or export the model again"
        )


def choose(path: Path) -> str:
    """The engine that "auto" takes for this model."""
    if path.suffix.lower() != ".onnx":
        return "torch"
    return "openvino" if installed("openvino") or not installed("onnxruntime") else "onnxruntime"


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, less where a container's quota is smaller. More threads
    than that only wait for each other. THREADS says otherwise."""
    if (told := os.environ.get(THREADS, "")).isdecimal() and int(told):
        return int(told)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def installed(name: str) -> bool:
    """Whether the runtime of this engine is installed; nothing is imported."""
    return find_spec(name) is not None


def describe(model, folder: Path | None = None) -> ModelMeta:
    """The ModelMeta of a CountingModel. Its training data is named by the run.json beside its checkpoint
    folder, its calibration by the calibration.json in it."""
    from headcount import __version__
    from headcount.models.complexity import parameter_count

    predicted = model(model.luma.new_zeros(1, 3, model.pad, model.pad)).mask_logits
    sets = read_json(folder.parent / "run.json").get("config", {}).get("sets", {}) if folder else {}
    calibration = read_json(folder / CALIBRATION) if folder else {}
    return ModelMeta(
        name=model.config.name,
        stride=model.stride,
        pad=model.pad,
        halo=model.halo,
        min_side=model.config.min_side,
        mask=predicted is not None,
        data=", ".join(sets),
        version=__version__,
        parameters=parameter_count(model),
        blank=blank(model),
        interval=calibration.get("interval", {}),
        spacing=calibration.get("spacing", 0.0),
        config=asdict(model.config),
    )


def check_int8(precision: str, meta: ModelMeta, path: Path) -> None:
    if precision == "int8" and meta.weights != "int8":
        raise EngineError(f"{path}: is not quantised; {TO_INT8}")


def blank(model) -> tuple[int, ...]:
    """The RGB colour that `model` pads with: the zero of its normalisation. Nothing for one that shrinks instead."""
    if model.config.shrink:
        return ()
    mean = [round(float(value)) for value in model.mean.flatten()]
    return tuple(mean if len(mean) == 3 else mean * 3)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _import(name: str, extra: str, path):
    if "openvino" not in sys.modules:  # it would tell its maker of each start; without this package it keeps silent
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return __import__(name)
    except ImportError:
        raise EngineError(f"{path}: running it needs {name}: {install_hint(extra)}") from None


def _or(*choices: str) -> str:
    return ", ".join(choices[:-1]) + f" or {choices[-1]}" if len(choices) > 1 else choices[0]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""The engine that runs .onnx files with OpenVINO."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from headcount.inference.engines.base import (
    Maps,
    check_int8,
    import_runtime,
    is_exported,
    join_choices,
    last_line,
    usable_cores,
)
from headcount.inference.engines.metadata import EngineError, ModelMeta

if TYPE_CHECKING:
    from openvino import Core, Model

MAX_CHANGE = 0.01  # of the mean count; "auto" takes no precision that moves a model's counts by more
CACHE = "HEADCOUNT_CACHE"  # environment: a folder where OpenVINO keeps compiled models between starts


class OpenVINOEngine:
    """An .onnx file on the CPU. "auto" is what OpenVINO chooses for this processor, or fp32 where that moves counts."""

    HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}

    def __init__(self, path: Path, precision: str = "auto"):
        core = shared_core(import_runtime("openvino", "openvino", path))
        try:
            model = core.read_model(path)
            self.meta = ModelMeta.from_strings(metadata_of(model), path)
            check_int8(precision, self.meta, path)
            computes_in = choose_precision(core, precision, self.meta.precision_change)
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": self.HINTS[computes_in],
                "INFERENCE_NUM_THREADS": usable_cores(),
            }
            if cache := os.environ.get(CACHE):  # saves 0.1 s of a start, for twice the model's size on disk
                settings["CACHE_DIR"] = cache
            self.compiled = core.compile_model(model, "CPU", settings)
            known = {name for output in self.compiled.outputs for name in output.get_names()}
            self.outputs = [name for name in Maps._fields if name in known]
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot read it: {last_line(error)}") from None
        self.name, self.precision, self.batch = "openvino", self.meta.weights or computes_in, 1
        self.lock = threading.Lock()  # one inference at a time uses every core, and the request's buffers are shared

    @staticmethod
    def reads(path: Path) -> bool:
        return is_exported(path)

    def run(self, images: np.ndarray) -> Maps:
        with self.lock:
            outputs = self.compiled(images)  # copies: the next call does not overwrite them
        return Maps(*(outputs[name] for name in self.outputs))


@lru_cache
def shared_core(openvino: ModuleType) -> Core:
    """OpenVINO's core, one for all engines, which is never freed.

    Each core installs a stack for signals, and restores the previous one when it is freed. If two cores ended in the
    order in which they began, the second would restore freed memory. The next signal (Ctrl-C, a child that ended) would
    then kill this process.
    """
    return openvino.Core()


def choose_precision(core: Core, precision: str, changes: Mapping[str, float]) -> str:
    """fp32, fp16 or bf16 for a choice of precision.

    "auto" follows OpenVINO, which knows in which precision a processor is fastest: that is not always the lowest that
    it computes in.

    Args:
        core: OpenVINO's core.
        precision: auto, fp32, fp16, bf16 or int8.
        changes: how far each precision moves the model's counts, as in ModelMeta.

    Raises:
        EngineError: the CPU does not compute in this precision.
    """
    if precision in ("auto", "int8"):
        own = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
        fastest = {"f16": "fp16", "bf16": "bf16"}.get(own, "fp32")
        return fastest if changes.get(fastest, 0.0) <= MAX_CHANGE else "fp32"
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    half = [p for p in ("fp16", "bf16") if p.upper() in able]
    if precision != "fp32" and precision not in half:
        raise EngineError(
            f"precision {precision}: this CPU has no {precision}; use {join_choices('auto', 'fp32', *half)}"
        )
    return precision


def metadata_of(model: Model) -> dict[str, str]:
    """The entries of an .onnx file's metadata_props that ModelMeta knows, from where OpenVINO keeps them."""
    strings = {}
    for key in ModelMeta.stored_keys():
        if model.has_rt_info(["framework", key]):
            strings[key] = str(model.get_rt_info(["framework", key]).value)
    return strings

"""The engine that runs .onnx files with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headcount.inference.engines.base import (
    GPU_BATCH,
    Maps,
    check_int8,
    import_runtime,
    is_exported,
    last_line,
    usable_cores,
)
from headcount.inference.engines.metadata import EngineError, ModelMeta


class ONNXRuntimeEngine:
    """An .onnx file on CUDA, CoreML or the CPU, whichever the installed ONNX Runtime has first, in fp32."""

    PROVIDERS = {"CUDAExecutionProvider": "cuda", "CoreMLExecutionProvider": "coreml", "CPUExecutionProvider": "cpu"}

    def __init__(self, path: Path, precision: str = "auto"):
        runtime = import_runtime("onnxruntime", "onnxruntime", path)
        if precision not in ("auto", "fp32", "int8"):
            raise EngineError(f"precision {precision}: ONNX Runtime computes in fp32 here; use auto or fp32")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 3  # errors; a missing GPU driver shows in `name`, not as pages of warnings
        providers = [p for p in self.PROVIDERS if p in runtime.get_available_providers()]
        try:
            self.session = runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its exceptions have no common base class
            raise EngineError(f"{path}: ONNX Runtime cannot read it: {last_line(error)}") from None
        known = {output.name for output in self.session.get_outputs()}
        self.outputs = [name for name in Maps._fields if name in known]
        self.meta = ModelMeta.from_strings(self.session.get_modelmeta().custom_metadata_map, path)
        check_int8(precision, self.meta, path)
        device = self.PROVIDERS[self.session.get_providers()[0]]
        self.name, self.precision = f"onnxruntime ({device})", self.meta.weights or "fp32"
        self.batch = GPU_BATCH if device == "cuda" else 1

    @staticmethod
    def reads(path: Path) -> bool:
        return is_exported(path)

    def run(self, images: np.ndarray) -> Maps:
        return Maps(*self.session.run(self.outputs, {"image": images}))

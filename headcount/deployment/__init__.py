"""Exporting a trained network to ONNX, in full precision or quantized to int8."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.deployment.onnx_export import ExportError, export

__all__ = ["ExportError", "export"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExportError": "headcount.deployment.onnx_export",
        "export": "headcount.deployment.onnx_export",
    },
)

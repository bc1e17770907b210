"""Measuring a model on annotated images: metrics, reports, and the interval around a count."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.evaluation.calibration import calibrate
    from headcount.evaluation.metrics import CountMetrics
    from headcount.evaluation.report import Report, evaluate

__all__ = ["CountMetrics", "Report", "calibrate", "evaluate"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CountMetrics": "headcount.evaluation.metrics",
        "Report": "headcount.evaluation.report",
        "calibrate": "headcount.evaluation.calibration",
        "evaluate": "headcount.evaluation.report",
    },
)

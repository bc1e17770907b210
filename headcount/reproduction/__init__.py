"""The paper's tables and figures, reproduced: experiments, reports, figures and diagnostics."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.reproduction.diagnostics import feature_maps, gradient_norms, mask_iou
    from headcount.reproduction.experiments import Experiment, Interrupted, Workspace
    from headcount.reproduction.pipeline import reproduce

__all__ = ["Experiment", "Interrupted", "Workspace", "feature_maps", "gradient_norms", "mask_iou", "reproduce"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Experiment": "headcount.reproduction.experiments",
        "Interrupted": "headcount.reproduction.experiments",
        "Workspace": "headcount.reproduction.experiments",
        "feature_maps": "headcount.reproduction.diagnostics",
        "gradient_norms": "headcount.reproduction.diagnostics",
        "mask_iou": "headcount.reproduction.diagnostics",
        "reproduce": "headcount.reproduction.pipeline",
    },
)

"""The networks: backbones, the five ways to fuse a mask, the baselines, ensembles, and their files."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.models.counting_model import CountingModel, ModelConfig, Output
    from headcount.models.ensemble import Ensemble
    from headcount.models.serialization import load, save

__all__ = ["CountingModel", "Ensemble", "ModelConfig", "Output", "load", "save"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CountingModel": "headcount.models.counting_model",
        "Ensemble": "headcount.models.ensemble",
        "ModelConfig": "headcount.models.counting_model",
        "Output": "headcount.models.counting_model",
        "load": "headcount.models.serialization",
        "save": "headcount.models.serialization",
    },
)

"""The networks: backbones, fusion heads, published baselines and ensembles, and reading and writing them.

To add a backbone, write a subclass of `backbones.base.Backbone` in a new file of `backbones/` and name it in
`backbones.BACKBONES`. To add a fusion, write a subclass of `fusion.Fusion` and name it in `fusion.FUSIONS`. To add a
complete published network, write a subclass of `backbones.base.ImageNetwork` that returns the density and name it in
`counting_model.BASELINES`. An engine is a class with a line in `headcount.inference.engines.ENGINES`. The tests in
tests/models and tests/inference run over these registries: they check shapes, receptive fields and the mask of every
entry, and the row of a new fusion in tests/models/test_fusion.py says whether the density loss reaches its mask branch.
"""

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

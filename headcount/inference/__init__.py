"""Counting with a trained model: engines that run it, tiling for large images, and `Counter`.

`Counter` turns an image of any size into a `CountResult` with the count, the density and, if the model was calibrated,
an interval. `load` opens a model by its path or by the name of a bundled one.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.inference.counter import Counter, load
    from headcount.inference.engines import open_engine
    from headcount.inference.result import CountResult

__all__ = ["CountResult", "Counter", "load", "open_engine"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CountResult": "headcount.inference.result",
        "Counter": "headcount.inference.counter",
        "load": "headcount.inference.counter",
        "open_engine": "headcount.inference.engines",
    },
)

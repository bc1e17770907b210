"""Counting with a trained model: engines, tiling, and `Counter`, which turns an image into a `CountResult`."""

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

"""Rendered crowds whose count is known exactly, and rendered scenes without people, for training, tests and demos."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.synthetic.scenes import Scene, render

__all__ = ["Scene", "render"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Scene": "headcount.synthetic.scenes",
        "render": "headcount.synthetic.scenes",
    },
)

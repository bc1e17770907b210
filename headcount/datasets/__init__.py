"""Annotated images: one `Sample` per image, readers for twenty formats, writers for three, and checks.

`read` gives the samples of one split; `convert` writes them in another format; `check` reports what is wrong with them.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.datasets.annotations import PointsError
    from headcount.datasets.convert import convert
    from headcount.datasets.detect_format import detect
    from headcount.datasets.readers import read, write
    from headcount.datasets.sample import Sample
    from headcount.datasets.validation import check

__all__ = ["PointsError", "Sample", "check", "convert", "detect", "read", "write"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PointsError": "headcount.datasets.annotations",
        "Sample": "headcount.datasets.sample",
        "check": "headcount.datasets.validation",
        "convert": "headcount.datasets.convert",
        "detect": "headcount.datasets.detect_format",
        "read": "headcount.datasets.readers",
        "write": "headcount.datasets.readers",
    },
)

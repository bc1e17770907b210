"""Annotated images: reading and writing them in 21 formats, converting and checking data sets.

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from headcount.datasets import Sample, check, convert, detect, read, write
    >>> from headcount.io import write_image
    >>> folder = Path(mkdtemp())
    >>> write_image(folder / "gate.png", np.full((240, 320, 3), 128, np.uint8))
    >>> write([Sample(folder / "gate.png", np.array([[10, 20.5], [30, 40]]))], folder / "points.csv", "csv")
    >>> detect(folder)
    ('csv', 'this looks like csv: a .csv with the columns image,x,y')
    >>> (sample,) = read(folder, "auto", "all")
    >>> sample.name, sample.points.tolist()
    ('gate', [[10.0, 20.5], [30.0, 40.0]])
    >>> convert(folder, folder / "coco.json", to="coco").points
    2
    >>> check(folder / "coco.json").errors
    0

A `Sample` is one image with a point for each person. `read` gives the samples of one split of a data set, and `write`
writes samples to one file. `convert` does both. `detect` names the format of a folder. `check` reports what is wrong
with a data set. An annotation that cannot be used is a `PointsError`, whose message is one line.

To add a format:

1. Write a module in `headcount/datasets/published` or `headcount/datasets/labeling_tools`. Its docstring says how the
   format is laid out on disk. It has a parser, which yields an `AnnotationRecord` for each image of all splits, and a
   `FORMAT`: a `RecordFormat` of the parser and of the sign by which the format is recognized.
2. Add one line to the dict in `headcount/datasets/registry.py`.
3. Add a function that writes a small data set of the format, and its line in `FAKES`, to
   `tests/helpers/dataset_factory.py`. The tests of all formats then cover the new one.
"""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.datasets.annotations import PointsError
    from headcount.datasets.conversion import convert
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
        "convert": "headcount.datasets.conversion",
        "detect": "headcount.datasets.detect_format",
        "read": "headcount.datasets.readers",
        "write": "headcount.datasets.readers",
    },
)

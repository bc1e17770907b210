"""CARPK and PUCPR+, cars in car parks seen from above.

Citation:
    Hsieh, Lin, Hsu: "Drone-based Object Counting by Spatially Regularized Regional Proposal Networks", ICCV 2017.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    `[data/]Images/*.png`, `[data/]Annotations/*.txt` with one line per car: `x1 y1 x2 y2 class`, and
    `[data/]ImageSets/train.txt` and `test.txt`. The centre of each car is its point.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import read_numbers
from headcount.datasets.annotations import AnnotationRecord, Annotations
from headcount.datasets.folders import ImageIndex, child_folder, find_home, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.published.image_lists import listed_splits
from headcount.datasets.signs import first_row, numbers_of


def parse_carpk(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each annotated image; see the module for the layout."""
    data = child_folder(root, "data")
    home = find_home(data if data and child_folder(data, "Annotations") else root, "Annotations")
    images = ImageIndex(home)
    splits = listed_splits(child_folder(home, "ImageSets") or home, [("train", "train"), ("test", "test")])
    for file in list_files(child_folder(home, "Annotations") or home, (".txt",)):
        image = images.find(f"{file.stem}.png", file)
        yield AnnotationRecord(image, partial(_load, file), splits.get(file.stem, ""))


def _load(file: Path) -> Annotations:
    return Annotations(boxes=read_numbers(file, 4, "x1 y1 x2 y2 class"))


FORMAT = RecordFormat(
    sign="Annotations/*.txt of x1 y1 x2 y2 class",
    matches=first_row(
        lambda parts: len(parts) == 5 and numbers_of(parts) is not None,
        *("Annotations/*.txt", "data/Annotations/*.txt", "*/data/Annotations/*.txt", "*/Annotations/*.txt"),
    ),
    parse=parse_carpk,
)

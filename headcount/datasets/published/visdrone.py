"""VisDrone-DET, photos from drones with boxes of ten classes.

Citation:
    Zhu, Wen, Du, Bian, Fan, Hu, Ling: "Detection and Tracking Meet Drones Challenge", IEEE TPAMI 2021.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    `[VisDrone2019-DET-{train,val,test-dev}/]images/*.jpg` and `annotations/*.txt` with one line per box:
    `left,top,width,height,score,category,truncation,occlusion`. The categories pedestrian (standing, walking) and
    people (sitting, riding) are persons. A box of score 0 or of category 0 is a region that the set ignores. It is
    skipped, and people in it are not counted.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_numbers
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError, annotations_of
from headcount.datasets.folders import child_folder, list_files, match_pairs
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import first_row, numbers_of
from headcount.io.images import IMAGE_SUFFIXES

CATEGORIES = (
    *("ignored", "pedestrian", "people", "bicycle", "car", "van"),
    *("truck", "tricycle", "awning-tricycle", "bus", "motor", "others"),
)


def parse_visdrone(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image; see the module for the layout."""
    for folder in (root, *sorted(root.glob("*"))):
        annotations = child_folder(folder, "annotations") if folder.is_dir() else None
        if annotations is None:
            continue
        named = re.search(r"train|val|test", folder.name.lower()) if folder != root else None
        split = named.group() if named else ""
        images = {path.stem: path for path in list_files(folder / "images", IMAGE_SUFFIXES)}
        labels = {path.stem: path for path in list_files(annotations, (".txt",))}
        pairs, errors = match_pairs(images, labels)
        yield from errors
        yield from (AnnotationRecord(image, partial(_load, label), split) for image, label in pairs)


def _load(file: Path) -> Annotations:
    rows = read_numbers(file, 6, "left,top,width,height,score,category")
    if len(rows) and not np.isin(rows[:, 5], range(len(CATEGORIES))).all():
        raise PointsError(f"{file}: a category is not a number from 0 to {len(CATEGORIES) - 1}; correct it")
    kept = rows[(rows[:, 4] > 0) & (rows[:, 5] > 0)]
    return annotations_of(
        ((CATEGORIES[int(category)], (x, y, x + width, y + height)) for x, y, width, height, _, category in kept), file
    )


FORMAT = RecordFormat(
    sign="annotations/*.txt of 8 numbers",
    matches=first_row(
        lambda parts: len(parts) == 8 and numbers_of(parts) is not None, "annotations/*.txt", "*/annotations/*.txt"
    ),
    parse=parse_visdrone,
)

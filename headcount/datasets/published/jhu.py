"""JHU-CROWD++.

Citation:
    Sindagi, Yasarla, Patel: "JHU-CROWD++: Large-Scale Crowd Counting Dataset and A Benchmark Method", IEEE TPAMI 2022.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    `{train,val,test}/images/0001.jpg` and `{train,val,test}/gt/0001.txt` with one line per head: `x y w h o b`. x, y is
    the centre of the head, w, h its rough size, o its occlusion and b its blur. x, y is read, and boxes="centre" takes
    the centres of the boxes, clipped to the image. The file image_labels.txt, which has the weather and the kind of
    scene, is not read.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_numbers
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError
from headcount.datasets.folders import child_folder, find_home, list_files, match_pairs
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import holds
from headcount.io.images import IMAGE_SUFFIXES

SPLITS = ("train", "val", "test")


def parse_jhu(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image; see the module for the layout."""
    home = find_home(root, *SPLITS)
    for split in SPLITS:
        folder = child_folder(home, split)
        if folder is None:
            continue
        images = {path.stem: path for path in list_files(folder / "images", IMAGE_SUFFIXES)}
        labels = {path.stem: path for path in list_files(folder / "gt", (".txt",))}
        pairs, errors = match_pairs(images, labels)
        yield from errors
        yield from (AnnotationRecord(image, partial(_load, label), split) for image, label in pairs)


def _load(file: Path) -> Annotations:
    heads = read_numbers(file, 4, "x y w h o b")
    centres, half = heads[:, :2], heads[:, 2:] / 2
    return Annotations(centres, np.hstack([centres - half, centres + half]))


FORMAT = RecordFormat(
    sign="train/gt/*.txt",
    matches=holds(*(f"{split}/gt/*.txt" for split in SPLITS)),
    parse=parse_jhu,
)

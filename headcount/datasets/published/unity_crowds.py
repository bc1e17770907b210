"""Crowds rendered in the game engine Unity: scanned people on a grey floor, with the exact place of each head.

Source:
    The folder SyntheticDataset/train_data of <https://github.com/MassimoClementi/CV-Crowd-Counting>, 232 images with
    97,399 heads.

Licence:
    Public domain (Unlicense).

Layout:
    `images/IMG_1.jpg` and `ground_truth_txt/IMG_1.txt` with one line `x y` per person. It has no splits: a tenth of the
    images is held out, as in any set without marks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import read_numbers
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError
from headcount.datasets.folders import find_home, list_files, match_pairs
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import holds
from headcount.io.images import IMAGE_SUFFIXES

LABELS = "ground_truth_txt"


def parse_unity_crowds(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image; see the module for the layout."""
    home = find_home(root, LABELS)
    images = {path.stem: path for path in list_files(home / "images", IMAGE_SUFFIXES)}
    labels = {path.stem: path for path in list_files(home / LABELS, (".txt",))}
    pairs, errors = match_pairs(images, labels)
    yield from errors
    yield from (AnnotationRecord(image, partial(_load, label)) for image, label in pairs)


def _load(file: Path) -> Annotations:
    return Annotations(read_numbers(file, 2, "x y"))


FORMAT = RecordFormat(sign=f"{LABELS}/*.txt", matches=holds(f"{LABELS}/*.txt"), parse=parse_unity_crowds)

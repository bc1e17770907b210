"""TRANCOS, cars in traffic jams.

Citation:
    Guerrero-Gomez-Olmedo, Torre-Jimenez, Lopez-Sastre, Maldonado-Bascon, Onoro-Rubio: "Extremely Overlapping Vehicle
    Counting", IbPRIA 2015.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    ::

        images/image-1-000001.jpg
        images/image-1-000001.txt           x y per car, or else
        images/image-1-000001dots.png       red dots on black
        images/image-1-000001mask.mat       `BW`, the region of interest
        image_sets/training.txt, validation.txt, test.txt

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import extract, mask_polygon, read_mat, read_numbers
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError
from headcount.datasets.folders import find_home, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.published.image_lists import listed_splits
from headcount.datasets.signs import holds
from headcount.io.images import MediaError, read_image

LISTS = (("training", "train"), ("validation", "val"), ("test", "test"))


def parse_trancos(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each image; see the module for the layout."""
    home = find_home(root, "image_sets")
    splits = listed_splits(home / "image_sets", LISTS)
    for image in list_files(home / "images", (".jpg",)):
        yield AnnotationRecord(image, partial(_load, image), splits.get(image.stem, ""))


def _load(image: Path) -> Annotations:
    table, dots = image.with_suffix(".txt"), image.with_name(f"{image.stem}dots.png")
    mask = image.with_name(f"{image.stem}mask.mat")
    roi = None
    if mask.is_file():
        roi = mask_polygon(extract(mask, read_mat(mask), lambda variables: variables["BW"]), mask)
    if table.is_file():
        return Annotations(read_numbers(table, 2, "x y"), roi=roi)
    if not dots.is_file():
        raise PointsError(f"{image}: has no annotation, {table.name} or {dots.name}; unpack the data set again")
    return Annotations(_dots(dots), roi=roi)


def _dots(file: Path) -> np.ndarray:
    """The centres of the red pixels of an image, float64 (N, 2)."""
    try:
        red = read_image(file)[:, :, 0]
    except MediaError as error:  # its message names the file and the cure
        raise PointsError(str(error)) from None
    return np.argwhere(red > 127)[:, ::-1] + 0.5


FORMAT = RecordFormat(sign="image_sets and images", matches=holds("image_sets/t*.txt"), parse=parse_trancos)

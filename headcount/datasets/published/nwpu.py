"""NWPU-Crowd.

Citation:
    Wang, Gao, Lin, Li: "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", IEEE TPAMI 2021.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    ::

        images_part1/ .. images_part5/ (or images/)     0001.jpg
        jsons/0001.json                                 or mats/0001.mat
        train.txt, val.txt, test.txt

    A line of a list is the number of an image, then two labels that are not read. A JSON file has `points`
    [[x, y], ...] and `boxes` [[x1, y1, x2, y2], ...] of heads; a .mat file has `annPoints` and `annBoxes`. The points
    are read, and boxes="centre" takes the centres of the head boxes instead. The annotations of `test` are not
    published, so those images are left out.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import extract, read_json, read_mat
from headcount.datasets.annotations import AnnotationRecord, Annotations, as_points, as_rows
from headcount.datasets.folders import ImageIndex, child_folder, find_home, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.published.image_lists import listed_names
from headcount.datasets.signs import holds


def parse_nwpu(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each image with annotations; see the module for the layout."""
    home = find_home(root, "jsons", "mats")
    images = ImageIndex(home)
    labels: dict[str, Path] = {}
    for name, suffix in (("mats", ".mat"), ("jsons", ".json")):  # of two files for an image the JSON file is read
        if folder := child_folder(home, name):
            labels |= {path.stem: path for path in list_files(folder, (suffix,))}
    for name, split in _names_and_splits(home) or [(name, "") for name in labels]:
        if name in labels:
            file = labels[name]
            yield AnnotationRecord(images.find(f"{name}.jpg", file), partial(_load, file), split)


def _names_and_splits(home: Path) -> list[tuple[str, str]]:
    lists = {split: home / f"{split}.txt" for split in ("train", "val", "test")}
    return [(name, split) for split, file in lists.items() if file.is_file() for name in listed_names(file)]


def _load(file: Path) -> Annotations:
    if file.suffix == ".mat":
        variables = read_mat(file)
        points, boxes = extract(file, variables, lambda found: (found["annPoints"], found.get("annBoxes", ())))
    else:
        data = read_json(file)
        points, boxes = extract(file, data, lambda found: (found["points"], found.get("boxes", ())))
    return Annotations(
        as_points(points, file), as_rows(boxes, 4, file, "rows of four finite numbers, two corners of a box")
    )


FORMAT = RecordFormat(
    sign="jsons or mats, and images",
    matches=holds("jsons/[0-9]*.json", "mats/[0-9]*.mat"),
    parse=parse_nwpu,
)

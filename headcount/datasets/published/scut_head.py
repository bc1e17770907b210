"""SCUT-HEAD: students in lecture halls (Part A) and people in photos from the web (Part B), with a box for each head.

Citation:
    Peng, Sun, Chen, Cai, Xie, Jin: "Detecting Heads using Feature Refine Net and Cascaded Multi-scale Architecture",
    ICPR 2018.

Licence:
    None is stated at <https://github.com/HCIILAB/SCUT-HEAD-Dataset-Release>. Treat it as research data.

Layout:
    `Annotations/PartA_00000.xml` (Pascal VOC) and `JPEGImages/PartA_00000.jpg`, with one folder for each part or one
    for both. A head counts at the centre of its box. The size in the .xml files is not read: 62 files say 0 x 0.

Splits of headcount, because the official ones show the same halls in training and in testing:
    Part A: `test` is the 790 images of hall 1-403, `val` every eighth of the 978 images of hall 1-401, in the order of
    their names, and `train` the 232 images of other halls. The other images of hall 1-401, which looks like 1-403,
    belong to no split. headcount/splits/scut_head_halls.txt names the hall of each image.
    Part B: in the order of names, every eighth image is `test`, every 40th from the second on is `val`, and the others
    are `train`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_xml
from headcount.datasets.annotations import ErrorHandler, PointsError
from headcount.datasets.folders import list_files
from headcount.datasets.format import PointFormat
from headcount.datasets.labeling_tools.voc import read_objects
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.splits import OFFICIAL_SPLITS, check_split, split_list

PARTS = ("part_A", "part_B")
KINDS = (*OFFICIAL_SPLITS, "all")
NAME = re.compile(r"Part[AB]_\d+")
TEST_HALL, VAL_HALL = "1-403", "1-401"


def read_scut_head(root: Path, split: str, on_error: ErrorHandler) -> list[Sample]:
    """Read `train`, `val`, `trainval`, `test` or `all` of both parts, or of one part: `part_A-train`, `part_B-test`."""
    check_split(root, split, (*KINDS, *(f"{part}-{kind}" for part in PARTS for kind in KINDS)))
    part, _, kind = split.rpartition("-")
    kinds = {"trainval": {"train", "val"}, "all": {"train", "val", "test", ""}}.get(kind, {kind})
    files = {file.stem: file for file in list_files(root, (".xml",), "**/*") if NAME.fullmatch(file.stem)}
    if not files:
        raise PointsError(f"{root}: holds no Annotations/PartA_*.xml or PartB_*.xml; give the folder of SCUT-HEAD")
    parts, halls = {part} if part else set(PARTS), _hall_splits()
    samples = []
    for name, file in files.items():
        if _part(name) in parts and _split_of(name, halls) in kinds:
            try:
                samples.append(_read_sample(file, on_error))
            except PointsError as error:
                on_error(error)
    return samples


def _read_sample(file: Path, on_error: ErrorHandler) -> Sample:
    boxes = read_objects(read_xml(file), file).boxes  # (N,4)
    centres = np.column_stack([boxes[:, 0::2].mean(axis=1), boxes[:, 1::2].mean(axis=1)])
    return make_sample(file.parent.parent / "JPEGImages" / f"{file.stem}.jpg", centres, on_error=on_error)


def _part(name: str) -> str:
    return "part_" + name[len("Part")]


def _split_of(name: str, halls: dict[str, str]) -> str:
    """The split of an image, by its name without suffix: train, val, test, or '' for none."""
    if _part(name) == "part_A":
        return halls.get(name, "")
    number = int(name.rpartition("_")[2])
    return "test" if number % 8 == 0 else "val" if number % 40 == 1 else "train"


def _hall_splits() -> dict[str, str]:
    """The split of each image of Part A."""
    halls = dict(line.split() for line in split_list("scut_head_halls"))  # {"PartA_00000": "1-401", ...}
    like_test = [name for name, hall in halls.items() if hall == VAL_HALL]
    no_split = dict.fromkeys(like_test, "")
    splits = {name: "test" if hall == TEST_HALL else "train" for name, hall in halls.items()}
    return splits | no_split | dict.fromkeys(like_test[::8], "val")


def _no_marks(root: Path) -> set[str]:
    """Nothing in the files marks these splits."""
    return set()


FORMAT = PointFormat(read_split=read_scut_head, list_splits=_no_marks)  # detected as voc, which it also is

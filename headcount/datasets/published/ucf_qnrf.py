"""UCF-QNRF.

Citation:
    Idrees, Tayyab, Athrey, Zhang, Al-Maadeed, Rajpoot, Shah: "Composition Loss for Counting, Density Map Estimation and
    Localization in Dense Crowds", ECCV 2018.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    `Train/img_0001.jpg` with `Train/img_0001_ann.mat` beside it, and `Test/` likewise. `annPoints` (N, 2) holds the
    points. There is no official validation split.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import read_mat_points
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError
from headcount.datasets.folders import child_folder, find_home, list_files, match_pairs
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import holds
from headcount.io.images import IMAGE_SUFFIXES


def parse_ucf_qnrf(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image; see the module for the layout."""
    home = find_home(root, "Train", "Test")
    for split in ("train", "test"):
        folder = child_folder(home, split)
        if folder is None:
            continue
        images = {path.stem: path for path in list_files(folder, IMAGE_SUFFIXES)}
        mats = {path.stem.removesuffix("_ann"): path for path in list_files(folder, (".mat",))}
        pairs, errors = match_pairs(images, mats)
        yield from errors
        yield from (AnnotationRecord(image, partial(_load, mat), split) for image, mat in pairs)


def _load(file: Path) -> Annotations:
    return Annotations(read_mat_points(file, lambda variables: variables["annPoints"]))


FORMAT = RecordFormat(
    sign="Train or Test with img_0001_ann.mat",
    matches=holds("[Tt]rain/*_ann.mat", "[Tt]est/*_ann.mat"),
    parse=parse_ucf_qnrf,
)

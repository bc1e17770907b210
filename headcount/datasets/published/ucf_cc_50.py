"""UCF_CC_50, fifty grey images of extremely dense crowds.

Citation:
    Idrees, Saleemi, Seibert, Shah: "Multi-Source Multi-Scale Counting in Extremely Dense Crowd Images", CVPR 2013.

Licence:
    None is stated at <https://www.crcv.ucf.edu/data/ucf-cc-50/>. The photos are from the web.

Layout:
    `1.jpg` to `50.jpg` and `1_ann.mat` to `50_ann.mat` in one folder. `annPoints` (N, 2) holds the points.

The set is evaluated by five-fold cross-validation, and papers do not print their folds. The folds used here are listed
in headcount/splits/ucf_cc_50_folds.txt.
"""

from __future__ import annotations

from pathlib import Path

from headcount.datasets.annotation_files import read_mat_points
from headcount.datasets.annotations import ErrorHandler
from headcount.datasets.folders import list_files, match_pairs
from headcount.datasets.format import PointFormat
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.signs import holds_directly
from headcount.datasets.splits import OFFICIAL_SPLITS, check_split, held_out, split_list
from headcount.io.images import IMAGE_SUFFIXES


def read_ucf_cc_50(root: Path, split: str, on_error: ErrorHandler) -> list[Sample]:
    """Read `all` images, `train`, or a split of one fold: `fold1-train`, `fold1-val`, ... `fold5-test`.

    `train` is meant for training together with ShanghaiTech part A. It leaves out the images that part A shows in its
    test and validation splits.
    """
    folds = [line.split() for line in split_list("ucf_cc_50_folds")]  # [["fold1", "12"], ...]
    known = sorted({f"{fold}-{kind}" for fold, _ in folds for kind in OFFICIAL_SPLITS})
    check_split(root, split, ("all", "train", *known))
    images = {path.stem: path for path in list_files(root, IMAGE_SUFFIXES)}
    mats = {path.stem.removesuffix("_ann"): path for path in list_files(root, (".mat",))}
    pairs, errors = match_pairs(images, mats)
    for error in errors:
        on_error(error)
    names = _names_of(split, {image.stem for image, _ in pairs}, folds)
    return [
        make_sample(image, read_mat_points(mat, lambda variables: variables["annPoints"]), on_error=on_error)
        for image, mat in pairs
        if image.stem in names
    ]


def _names_of(split: str, names: set[str], folds: list[list[str]]) -> set[str]:
    if split == "all":
        return names
    if split == "train":
        return names - set(split_list("ucf_cc_50_excluded"))
    fold, kind = split.split("-")
    test = {name for label, name in folds if label == fold}
    val = held_out(names - test)
    return {"test": test, "val": val, "train": names - test - val, "trainval": names - test}[kind]


def _no_marks(root: Path) -> set[str]:
    """The folds overlap, so there are no official splits that are apart from each other."""
    return set()


FORMAT = PointFormat(
    sign="n.jpg and n_ann.mat in one folder",
    matches=holds_directly("[0-9]*_ann.mat"),
    read_split=read_ucf_cc_50,
    list_splits=_no_marks,
)

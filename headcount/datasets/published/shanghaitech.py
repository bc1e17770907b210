"""ShanghaiTech, part A or part B.

Citation:
    Zhang, Zhou, Chen, Gao, Ma: "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016.

Licence:
    BSD 2-Clause in the repository of the release, <https://github.com/desenzhou/ShanghaiTechDataset>. The photos of
    part A are from the web, and their rights stay with their owners.

Layout:
    ::

        part_A/
            train_data/images/IMG_1.jpg
            train_data/ground-truth/GT_IMG_1.mat    (or ground_truth)
            test_data/...

    `image_info{1,1}.location` (N, 2) holds the points. The root is the folder of one part, or a folder that contains
    only one part.

The release has 241,275 heads in part A, where the paper prints 241,677. The annotations of part B have known faults, as
reported in the repository: in training IMG_108 (wrong dots), 202, 296 and 396 (people without a dot) and 217 (several
dots per person). They are used as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headcount.datasets.annotation_files import read_mat_points
from headcount.datasets.annotations import ErrorHandler, PointsError
from headcount.datasets.folders import find_home, list_files, match_pairs
from headcount.datasets.format import PointFormat
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.signs import holds
from headcount.datasets.splits import OFFICIAL_SPLITS, check_split, held_out, split_list
from headcount.io.images import IMAGE_SUFFIXES

PART_A_IMAGES = 300  # in the official training split
FOLDERS = {"train": "train_data", "test": "test_data"}


def read_shanghaitech(root: Path, split: str, on_error: ErrorHandler) -> list[Sample]:
    """Read a split of one part: `train`, `val`, `trainval` or `test`, or a fold of part A.

    `trainval` is the official training split. `val` is a fixed list of its images. `train` is the rest, without the
    images of part A that show photos of its test split. `fold1-val` to `fold5-val` share out part A's `train` and
    `val`, and `fold1-train` is all of them but `fold1-val`.
    """
    folds = _folds()
    check_split(root, split, (*OFFICIAL_SPLITS, *(f"{fold}-{kind}" for fold in folds for kind in ("train", "val"))))
    folder = _part(root) / FOLDERS["test" if split == "test" else "train"]
    labels = next(iter(sorted(folder.glob("ground[-_]truth"))), folder / "ground-truth")
    images = {path.stem: path for path in list_files(folder / "images", IMAGE_SUFFIXES)}
    mats = {path.stem.removeprefix("GT_"): path for path in list_files(labels, (".mat",))}
    pairs, errors = match_pairs(images, mats)
    for error in errors:
        on_error(error)
    names = {image.stem for image, _ in pairs}
    if split in ("train", "val"):
        val, excluded = _lists(names)
        names = val if split == "val" else names - val - excluded
    elif split.startswith("fold"):
        names = _fold_names(root, split, names, folds)
    return [
        make_sample(
            image, read_mat_points(mat, lambda variables: variables["image_info"][0, 0][0, 0][0]), on_error=on_error
        )
        for image, mat in pairs
        if image.stem in names
    ]


def _part(root: Path) -> Path:
    """The folder that holds train_data or test_data: `root` itself, or its only child that does."""
    candidates = (root, *sorted(root.glob("*")))
    parts = [path for path in candidates if any((path / folder).is_dir() for folder in FOLDERS.values())]
    if not parts:
        raise PointsError(f"{root}: no train_data or test_data folder in it; give the folder of part A or B")
    if parts[0] != root and len(parts) > 1:
        raise PointsError(f"{root}: holds {', '.join(part.name for part in parts)}; give the path of one")
    return parts[0]


def _lists(names: Iterable[str]) -> tuple[set[str], set[str]]:
    """(validation, excluded) images. 300 images are part A, 400 are part B; in any other set a tenth is held out."""
    names = set(names)
    if names == {f"IMG_{number}" for number in range(1, PART_A_IMAGES + 1)}:
        return set(split_list("shanghaitech_part_A_val")), set(split_list("shanghaitech_part_A_excluded"))
    if names == {f"IMG_{number}" for number in range(1, 401)}:
        return set(split_list("shanghaitech_part_B_val")), set()
    return held_out(names), set()


def _folds() -> dict[str, set[str]]:
    """The images of each fold of part A."""
    folds: dict[str, set[str]] = {}
    for line in split_list("shanghaitech_part_A_folds"):
        fold, name = line.split()
        folds.setdefault(fold, set()).add(name)
    return folds


def _fold_names(root: Path, split: str, names: set[str], folds: dict[str, set[str]]) -> set[str]:
    """The images of a split like `fold1-train`."""
    everything = set().union(*folds.values())
    if not everything <= names or len(names) != PART_A_IMAGES:
        raise PointsError(f"{root}: only part A has folds, and it has {PART_A_IMAGES} training images")
    fold, kind = split.split("-")
    return folds[fold] if kind == "val" else everything - folds[fold]


def _marked_splits(root: Path) -> set[str]:
    home = find_home(root, *FOLDERS.values())
    return {split for split, folder in FOLDERS.items() if (home / folder).is_dir()}


FORMAT = PointFormat(
    sign="train_data or test_data",
    matches=holds("train_data/images", "test_data/images"),
    read_split=read_shanghaitech,
    list_splits=_marked_splits,
)

"""WorldExpo'10, frames of surveillance cameras with a region of interest for each camera.

Citation:
    Zhang, Li, Wang, Yang: "Cross-scene Crowd Counting via Deep Convolutional Neural Networks", CVPR 2015.

Licence:
    For research, on request: <https://www.ee.cuhk.edu.hk/~xgwang/expo.html>.

Layout:
    ::

        train_frame/<frame>.jpg             test_frame/<scene>/<frame>.jpg
        train_label/<scene>/<frame>.mat     test_label/<scene>/<frame>.mat
        train_label/<scene>/roi.mat         test_label/<scene>/roi.mat

    The scene is the first six characters of the name of a frame. `point_position` (N, 2) holds the points. An empty one
    is a frame without people. `maskVerticesXCoordinates` and `maskVerticesYCoordinates` (P, 1) are the polygon in which
    people are counted. Points outside it are kept, since some labels are there by mistake. Some copies of the set are
    MATLAB 7.3 files, which need h5py.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_mat_points
from headcount.datasets.annotations import ErrorHandler
from headcount.datasets.folders import find_home, list_files
from headcount.datasets.format import PointFormat
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.signs import holds
from headcount.datasets.splits import OFFICIAL_SPLITS, check_split, held_out
from headcount.io.images import IMAGE_SUFFIXES


def read_worldexpo(root: Path, split: str, on_error: ErrorHandler) -> list[Sample]:
    """Read `train`, `val`, `trainval` or `test`. `val` is a tenth of the training scenes, so no camera is in both.

    The release lacks a few annotations (no file, or a file of 0 bytes). Such frames are left out with a warning.
    """
    check_split(root, split, OFFICIAL_SPLITS)
    official = "test" if split == "test" else "train"
    labels = root / f"{official}_label"
    images = list_files(root / f"{official}_frame", IMAGE_SUFFIXES, "**/*")
    if split in ("train", "val"):
        val = held_out(_scene(image) for image in images)
        images = [image for image in images if (_scene(image) in val) == (split == "val")]
    rois = {scene: _roi(labels / scene / "roi.mat") for scene in {_scene(image) for image in images}}
    samples, missing = [], []
    for image in images:
        scene = _scene(image)
        mat = labels / scene / f"{image.stem}.mat"
        if mat.is_file() and mat.stat().st_size:
            points = read_mat_points(mat, lambda variables: variables["point_position"])
            samples.append(make_sample(image, points, rois[scene], scene, on_error=on_error))
        else:
            missing.append(mat)
    if missing:
        note = f"left out {len(missing)} frames without annotation (first: {missing[0]})"
        warnings.warn(f"{root}: {note}", stacklevel=4)  # the caller of headcount.datasets.read
    return samples


def _scene(image: Path) -> str:
    return image.name[:6]


def _roi(path: Path) -> np.ndarray:
    """float64 (P, 2)."""
    axes = ("maskVerticesXCoordinates", "maskVerticesYCoordinates")  # (P, 1) each
    return read_mat_points(path, lambda variables: np.column_stack([variables[axis].ravel() for axis in axes]))


def _marked_splits(root: Path) -> set[str]:
    home = find_home(root, "train_label", "test_label")
    return {split for split in ("train", "test") if (home / f"{split}_label").is_dir()}


FORMAT = PointFormat(
    sign="train_label or test_label",
    matches=holds("train_label", "test_label"),
    read_split=read_worldexpo,
    list_splits=_marked_splits,
)

"""The published data sets that points.py does not read itself: how each lies on disk, as entries.

Unusual: a parser is a function (root) -> entries of every split; points.py chooses among them. Coordinates are taken as
the files have them; several sets were annotated in MATLAB, which counts pixels from 1. What is unsure of a layout is
said in its docstring. Archives unpack into a folder of their own: root may be that folder, or the one around it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import (
    AnnotationRecord,
    Annotations,
    Images,
    PointsError,
    annotations_of,
    check_pairs,
    child,
    files,
    home,
    inside,
    load_json,
    mask_polygon,
    mat,
    mat_points,
    numbers,
    pairs,
    rows_of,
    taken,
    text,
)
from headcount.datasets.sample import Sample, _sample
from headcount.datasets.splits import OFFICIAL_SPLITS, _check_split, held_out, split_list
from headcount.io.images import IMAGE_SUFFIXES

CORNERS = "rows of four finite numbers, two corners of a box"


def ucf_qnrf(root: Path) -> list[AnnotationRecord]:
    """{Train,Test}/img_0001.jpg and img_0001_ann.mat beside it, `annPoints` (N,2). Without an official val."""
    root = home(root, "Train", "Test")
    entries = []
    for split in ("train", "test"):
        if folder := child(root, split):
            images = {path.stem: path for path in files(folder, IMAGE_SUFFIXES)}
            mats = {path.stem.removesuffix("_ann"): path for path in files(folder, (".mat",))}
            check_pairs(images, mats)
            entries += [AnnotationRecord(images[name], partial(_ann_points, mats[name]), split) for name in images]
    return entries


def _ann_points(file: Path) -> Annotations:
    return Annotations(mat_points(file, lambda variables: variables["annPoints"]))


def nwpu(root: Path) -> list[AnnotationRecord]:
    """images_part1 .. images_part5 (or images), jsons/0001.json or mats/0001.mat, and train.txt, val.txt, test.txt.

    A list's line is the image's number, then two labels that are not read. A json has `points` [[x, y], ..] and `boxes`
    [[x1, y1, x2, y2], ..] of heads, a .mat annPoints and annBoxes. The points are read; boxes="centre" takes the middle
    of the head boxes. The annotation of `test` is not published: those images are left out.
    """
    root = home(root, "jsons", "mats")
    images = Images(root)
    jsons, mats = child(root, "jsons"), child(root, "mats")
    labels = {path.stem: path for path in files(mats, (".mat",))} if mats else {}
    labels |= {path.stem: path for path in files(jsons, (".json",))} if jsons else {}
    lists = {split: _listed(root / f"{split}.txt") for split in ("train", "val", "test") if _lists(root, split)}
    named = [(name, split) for split, names in lists.items() for name in names] or [(name, "") for name in labels]
    return [
        AnnotationRecord(images.find(f"{name}.jpg", labels[name]), partial(_nwpu_marks, labels[name]), split)
        for name, split in named
        if name in labels
    ]


def _nwpu_marks(file: Path) -> Annotations:
    if file.suffix == ".mat":
        variables = mat(file)
        points, boxes = taken(file, variables, lambda v: (v["annPoints"], v.get("annBoxes", ())))
    else:
        data = load_json(file)
        points, boxes = taken(file, data, lambda d: (d["points"], d.get("boxes", ())))
    return Annotations(pairs(points, file), rows_of(boxes, 4, file, CORNERS))


def _lists(root: Path, name: str) -> bool:
    return (root / f"{name}.txt").is_file()


def _listed(file: Path) -> list[str]:
    """The first word of each line, less the suffix of a picture."""
    words = [line.split()[0] for line in text(file).splitlines() if line.strip()]
    return [Path(word).stem if Path(word).suffix.lower() in IMAGE_SUFFIXES else word for word in words]


def jhu(root: Path) -> list[AnnotationRecord]:
    """JHU-CROWD++: {train,val,test}/images/0001.jpg and gt/0001.txt, a line a head: x y w h o b.

    x, y is the head's centre, w, h its rough size, o how hidden, b how blurred it is. x, y is read. image_labels.txt,
    the weather and the scene's kind, is not read.
    """
    root = home(root, "train", "val", "test")
    entries = []
    for split in ("train", "val", "test"):
        if folder := child(root, split):
            images = {path.stem: path for path in files(folder / "images", IMAGE_SUFFIXES)}
            labels = {path.stem: path for path in files(folder / "gt", (".txt",))}
            check_pairs(images, labels)
            entries += [AnnotationRecord(images[name], partial(_jhu_marks, labels[name]), split) for name in images]
    return entries


def _jhu_marks(file: Path) -> Annotations:
    heads = numbers(file, 4, "x y w h o b")
    half = heads[:, 2:] / 2
    return Annotations(heads[:, :2], np.hstack([heads[:, :2] - half, heads[:, :2] + half]))


def mall(root: Path) -> list[AnnotationRecord]:
    """frames/seq_000001.jpg .. seq_002000.jpg, mall_gt.mat, perspective_roi.mat. Frames 1-800 train, the others test.

    `frame` is a cell (1,2000) of structs with `loc` (N,2). The roi is the outline of `roi.mask`; without that file the
    whole frame is counted.
    """
    root = home(root, "mall_gt.mat")
    truth = root / "mall_gt.mat"
    cells = taken(truth, mat(truth), lambda variables: variables["frame"].ravel())
    roi_file = root / "perspective_roi.mat"
    roi = None
    if roi_file.is_file():
        roi = mask_polygon(taken(roi_file, mat(roi_file), lambda variables: variables["roi"]["mask"][0, 0]), roi_file)
    frames = {int(path.stem.rsplit("_", 1)[-1]): path for path in files(root / "frames", IMAGE_SUFFIXES, "seq_*")}
    return [
        AnnotationRecord(_frame(frames, n, truth), partial(_located, truth, cells[n - 1], roi), _mall_split(n), "mall")
        for n in range(1, len(cells) + 1)
    ]


def _mall_split(number: int) -> str:
    return "train" if number <= 800 else "test"


def _frame(frames: dict[int, Path], number: int, where: Path) -> Path:
    if number not in frames:
        raise PointsError(f"{where}: frame {number} has no picture; unpack the frames of the data set again")
    return frames[number]


def _located(file: Path, cell: np.ndarray, roi: np.ndarray | None) -> Annotations:
    """`loc` of one frame: (N,2), and in UCSD a third column that is not a coordinate; nobody is (0,0)."""
    location = np.asarray(taken(file, cell, lambda cell: cell["loc"][0, 0]))  # type: ignore[arg-type]
    return Annotations(pairs(location[:, :2] if location.ndim == 2 else location, file), roi=roi)


def ucsd(root: Path) -> list[AnnotationRecord]:
    """UCSD: vidf/vidf1_33_000.y/vidf1_33_000_f001.png .. f200.png and vidf-cvpr/vidf1_33_000_frame_full.mat.

    The ten clips 000 .. 009 of 200 frames that are annotated; the folders may lie anywhere below root. `frame` is a
    cell (1,200) of structs with `loc` (N,3), x, y and a third value. The roi is the polygon xi, yi of
    vidf1_33_roi_mainwalkway.mat, where it is there. Frames 601-1400 (clips 003 .. 006) are train, the others test.
    Only the frames as PNG are read, not a video.
    """
    clips = files(root, (".mat",), "**/*_frame_full.mat")
    if not clips:
        raise PointsError(f"{root}: holds no vidf1_33_000_frame_full.mat; unpack vidf-cvpr.zip there")
    roi_file = next(iter(files(root, (".mat",), "**/vidf1_33_roi_mainwalkway.mat")), None)
    roi = mat_points(roi_file, _walkway) if roi_file else None
    entries = []
    for file in clips:
        clip = file.name.removesuffix("_frame_full.mat")  # vidf1_33_000
        frames = {int(path.stem[-3:]): path for path in files(root, IMAGE_SUFFIXES, f"**/{clip}_f*")}
        cells = taken(file, mat(file), lambda variables: variables["frame"].ravel())
        split = "train" if clip[-3:] in ("003", "004", "005", "006") else "test"
        entries += [
            AnnotationRecord(_frame(frames, n, file), partial(_located, file, cells[n - 1], roi), split, "ucsd")
            for n in range(1, len(cells) + 1)
        ]
    return entries


def _walkway(variables: dict) -> np.ndarray:
    return np.column_stack([variables["roi"][axis][0, 0].ravel() for axis in ("xi", "yi")])


def carpk(root: Path) -> list[AnnotationRecord]:
    """CARPK and PUCPR+: [data/]Images/*.png, Annotations/*.txt, a line a car: x1 y1 x2 y2 class; ImageSets/train.txt,
    test.txt. The centre of each car is its point."""
    inner = child(root, "data") or root
    root = home(inner if child(inner, "Annotations") else root, "Annotations")
    images = Images(root)
    labels = {path.stem: path for path in files(child(root, "Annotations") or root, (".txt",))}
    splits = _image_sets(child(root, "ImageSets") or root, {"train": "train", "test": "test"})
    return [
        AnnotationRecord(images.find(f"{name}.png", file), partial(_corner_marks, file), splits.get(name, ""))
        for name, file in labels.items()
    ]


def _corner_marks(file: Path) -> Annotations:
    return Annotations(boxes=numbers(file, 4, "x1 y1 x2 y2 class"))


def trancos(root: Path) -> list[AnnotationRecord]:
    """TRANCOS: images/image-1-000001.jpg, of cars; image-1-000001.txt, a line a car: x y, or else ..dots.png, red dots
    on black; image-1-000001mask.mat, its roi as `BW`; image_sets/training.txt, validation.txt, test.txt."""
    root = home(root, "image_sets")
    splits = _image_sets(root / "image_sets", {"training": "train", "validation": "val", "test": "test"})
    images = files(root / "images", (".jpg",))
    return [AnnotationRecord(image, partial(_trancos_marks, image), splits.get(image.stem, "")) for image in images]


def _trancos_marks(image: Path) -> Annotations:
    table, dots = image.with_suffix(".txt"), image.with_name(f"{image.stem}dots.png")
    region = image.with_name(f"{image.stem}mask.mat")
    roi = mask_polygon(taken(region, mat(region), lambda v: v["BW"]), region) if region.is_file() else None
    if table.is_file():
        return Annotations(numbers(table, 2, "x y"), roi=roi)
    if not dots.is_file():
        raise PointsError(f"{image}: has no annotation, {table.name} or {dots.name}; unpack the data set again")
    return Annotations(_dots(dots), roi=roi)


def _dots(file: Path) -> np.ndarray:
    """The centres of the lit pixels of a picture, float64 (N,2)."""
    from headcount.io.images import MediaError, read_image

    try:
        red = read_image(file)[:, :, 0]
    except MediaError as error:
        raise PointsError(f"{error}") from None
    return np.argwhere(red > 127)[:, ::-1] + 0.5


def _image_sets(folder: Path, lists: dict[str, str]) -> dict[str, str]:
    """{image name: split} of the lists there are."""
    return {name: lists[key] for key in lists if _lists(folder, key) for name in _listed(folder / f"{key}.txt")}


VISDRONE = (
    *("ignored", "pedestrian", "people", "bicycle", "car", "van"),
    *("truck", "tricycle", "awning-tricycle", "bus", "motor", "others"),
)


def visdrone(root: Path) -> list[AnnotationRecord]:
    """VisDrone-DET: [VisDrone2019-DET-{train,val,test-dev}/]images/*.jpg and annotations/*.txt, a line a box:
    left,top,width,height,score,category,truncation,occlusion.

    Categories pedestrian (standing, walking) and people (sitting, riding) are persons. A box of score 0 or of category
    0 is a region that the set ignores: it is passed over, and whoever is there is not counted.
    """
    folders = [folder for folder in (root, *sorted(root.glob("*"))) if folder.is_dir() and child(folder, "annotations")]
    entries = []
    for folder in folders:
        named = re.search(r"train|val|test", folder.name.lower()) if folder != root else None
        images = {path.stem: path for path in files(folder / "images", IMAGE_SUFFIXES)}
        labels = {path.stem: path for path in files(child(folder, "annotations") or folder, (".txt",))}
        check_pairs(images, labels)
        entries += [
            AnnotationRecord(images[name], partial(_visdrone_marks, labels[name]), named.group() if named else "")
            for name in images
        ]
    return entries


def _visdrone_marks(file: Path) -> Annotations:
    rows = numbers(file, 6, "left,top,width,height,score,category")
    if len(rows) and not np.isin(rows[:, 5], range(len(VISDRONE))).all():
        raise PointsError(f"{file}: a category is not a number from 0 to {len(VISDRONE) - 1}; correct it")
    kept = rows[(rows[:, 4] > 0) & (rows[:, 5] > 0)]
    return annotations_of([(VISDRONE[int(r[5])], (r[0], r[1], r[0] + r[2], r[1] + r[3])) for r in kept], file)


def p2pnet(root: Path) -> list[AnnotationRecord]:
    """P2PNet's lists: train.list, val.list, test.list (or *train.list), a line an image: its path and that of a text
    file with a line `x y` a person. Paths start at the folder of the list."""
    lists = [root] if root.is_file() else files(root, (".list",))
    folder = root.parent if root.is_file() else root
    entries = []
    for file in lists:
        named = re.search(r"train|val|test", file.stem.lower())
        for line, content in enumerate(text(file).splitlines(), start=1):
            if content.strip():
                where = f"{file}, line {line}"
                paths = re.split(r"[\s,]+", content.strip())
                if len(paths) != 2:
                    raise PointsError(f"{where}: '{content[:40]}' must be two paths, image and points; correct it")
                image, points = (inside(folder, where, path, folder) for path in paths)
                entries.append(AnnotationRecord(image, partial(_listed_points, points), named.group() if named else ""))
    return entries


def _listed_points(file: Path) -> Annotations:
    return Annotations(numbers(file, 2, "x y"))


LAYOUTS: dict[str, Callable[[Path], list[AnnotationRecord]]] = {
    "ucf_qnrf": ucf_qnrf,
    "nwpu": nwpu,
    "jhu": jhu,
    "mall": mall,
    "ucsd": ucsd,
    "carpk": carpk,
    "trancos": trancos,
    "visdrone": visdrone,
    "p2pnet": p2pnet,
}


# Published data sets


def read_shanghaitech(root: Path, split: str) -> list[Sample]:
    """Part A or B: {train,test}_data/images/IMG_n.jpg and ground-truth/GT_IMG_n.mat (or ground_truth)."""
    _check_split(root, split, OFFICIAL_SPLITS)
    part = _shanghaitech_part(root)
    folder = part / ("test_data" if split == "test" else "train_data")
    labels = next((path for path in sorted(folder.glob("ground[-_]truth"))), folder / "ground-truth")
    images = {path.stem: path for path in files(folder / "images", IMAGE_SUFFIXES)}
    mats = {path.stem.removeprefix("GT_"): path for path in files(labels, (".mat",))}
    check_pairs(images, mats)
    names = set(images)
    if split in ("train", "val"):
        val, excluded = _shanghaitech_lists(names)
        names = val if split == "val" else names - val - excluded
    return [
        _sample(images[name], mat_points(mats[name], lambda mat: mat["image_info"][0, 0][0, 0][0]))
        for name in images
        if name in names
    ]


def _shanghaitech_part(root: Path) -> Path:
    """The folder that holds train_data and test_data: root itself, or its only child that does."""
    parts = [
        folder
        for folder in (root, *sorted(root.glob("*")))
        if (folder / "train_data").is_dir() or (folder / "test_data").is_dir()
    ]
    if not parts:
        raise PointsError(f"{root}: no train_data or test_data folder in it; give the folder of part A or B")
    if parts[0] != root and len(parts) > 1:
        raise PointsError(f"{root}: holds {', '.join(part.name for part in parts)}; give the path of one")
    return parts[0]


def _shanghaitech_lists(names: Iterable[str]) -> tuple[set[str], set[str]]:
    """(validation, excluded). A part is known by its names: IMG_1 .. 300 is A, .. 400 is B; else a hash."""
    names = set(names)
    if names == {f"IMG_{n}" for n in range(1, 301)}:
        return set(split_list("shanghaitech_part_A_val")), set(split_list("shanghaitech_part_A_excluded"))
    if names == {f"IMG_{n}" for n in range(1, 401)}:
        return set(split_list("shanghaitech_part_B_val")), set()
    return held_out(names), set()


def read_ucf_cc_50(root: Path, split: str) -> list[Sample]:
    """n.jpg and n_ann.mat in one folder. The folds are ours: splits/ucf_cc_50_folds.txt. `train`, for training beside
    ShanghaiTech, is all but what Part A's test and validation pictures show too."""
    folds = [line.split() for line in split_list("ucf_cc_50_folds")]  # [["fold1", "12"], ...]
    known = sorted({f"{fold}-{kind}" for fold, _ in folds for kind in OFFICIAL_SPLITS})
    _check_split(root, split, ("all", "train", *known))
    images = {path.stem: path for path in files(root, IMAGE_SUFFIXES)}
    mats = {path.stem.removesuffix("_ann"): path for path in files(root, (".mat",))}
    check_pairs(images, mats)
    names = set(images)
    if split == "train":
        names -= set(split_list("ucf_cc_50_excluded"))
    elif split != "all":
        fold, kind = split.split("-")
        test = {name for label, name in folds if label == fold}
        val = held_out(names - test)
        names = {"test": test, "val": val, "train": names - test - val, "trainval": names - test}[kind]
    return [
        _sample(images[name], mat_points(mats[name], lambda mat: mat["annPoints"])) for name in images if name in names
    ]


def read_worldexpo(root: Path, split: str) -> list[Sample]:
    """train_frame/<frame>.jpg, test_frame/<scene>/<frame>.jpg, {train,test}_label/<scene>/<frame>.mat.

    A scene is the first six letters of a frame's name; its roi is <scene>/roi.mat. `val` is a tenth of the
    training scenes, whole, so that no camera is in both. The release lacks a few annotations (no file, or one
    of 0 bytes): such frames are left out with a warning. An empty `point_position` is a frame without people.
    """
    _check_split(root, split, OFFICIAL_SPLITS)
    kind = "test" if split == "test" else "train"
    labels = root / f"{kind}_label"
    images = files(root / f"{kind}_frame", IMAGE_SUFFIXES, "**/*")
    if split in ("train", "val"):
        val = held_out(image.name[:6] for image in images)
        images = [image for image in images if (image.name[:6] in val) == (split == "val")]
    scenes = {image.name[:6] for image in images}
    rois = {scene: _worldexpo_roi(labels / scene / "roi.mat") for scene in scenes}
    samples, bare = [], []
    for image in images:
        scene = image.name[:6]
        mat = labels / scene / f"{image.stem}.mat"
        if mat.is_file() and mat.stat().st_size:
            points = mat_points(mat, lambda mat: mat["point_position"])
            samples.append(_sample(image, points, rois[scene], scene))
        else:
            bare.append(mat)
    if bare:
        note = f"left out {len(bare)} frames without annotation (first: {bare[0]})"
        warnings.warn(f"{root}: {note}", stacklevel=3)
    return samples


def _worldexpo_roi(path: Path) -> np.ndarray:
    axes = ("maskVerticesXCoordinates", "maskVerticesYCoordinates")  # (P,1) each
    polygon = mat_points(path, lambda mat: np.column_stack([mat[axis].ravel() for axis in axes]))
    return polygon.astype(np.float32)  # (P,2)

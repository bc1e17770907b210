"""Where the people are: one `Sample` an image, read from each annotation format and written in three of them.

Unusual: a reader is a function (root, split) -> samples in the dict READERS, a writer one in WRITERS.
Coordinates are continuous (pixel i covers [i, i+1)) and taken as the files have them. No checkpoint is chosen
on a test split: `train` always leaves out a fixed tenth, which is `val`; `trainval` is both.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from . import labels, layouts, tables
from .entries import (
    RULES,
    Entry,
    Marks,
    PointsError,  # defined below, part of this module's interface
    check_pairs,
    choose,
    fault,
    files,
    mat_points,
    natural,
    pairs,
    size,
    to_points,
)
from .media import IMAGE_SUFFIXES, MediaError

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    image: path of the picture. points: float32 (N,2), x then y in pixels, all in [0, width) x [0, height).
    roi: float32 (P,2), the polygon in which the data set counts, or None for the whole image; points outside
    it are kept. scene: the camera, where the set names one. dropped: annotated points outside the image. rule: how
    boxes became points, '' where none did.
    """

    image: Path
    points: np.ndarray
    roi: np.ndarray | None = None
    scene: str = ""
    dropped: int = 0
    rule: str = ""

    @property
    def name(self) -> str:
        return self.image.stem


def read(
    root: str | Path, format: str, split: str, boxes: str | None = None, classes: Sequence[str] = ()
) -> list[Sample]:
    """Read one split of a data set, in natural order (IMG_2 before IMG_10).

    format: a key of READERS, or `auto`. split: `train` (official train less the validation list), `val`, `trainval`,
    `test`; in ucf_cc_50 `all`, `train` and `fold1-train` .. `fold5-test`; in all but shanghaitech and worldexpo also
    `all`, and in csv, json, coco names of their own. boxes: where a box's point lies, `head` or `centre`, None for what
    suits its class (entries.box_points). classes: what is counted, where a format names classes; else heads or people.
    Points outside their image are dropped, with one warning for them all. Raises PointsError.
    """
    root = Path(root).expanduser()
    if format != "auto" and format not in READERS:
        raise PointsError(f"{root}: unknown format '{format}'; choose one of {', '.join(READERS)}, or auto")
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    if format == "auto":
        from .formats import detect

        format, _ = detect(root)
    options = _box_options(root, format, boxes, classes)
    samples = READERS[format](root, split, **options)
    if not samples:
        raise PointsError(f"{root}: no images in split '{split}'; check the path and the split")
    outside = [sample for sample in samples if sample.dropped]
    if outside:
        total, first = sum(sample.dropped for sample in outside), outside[0].image.name
        note = f"dropped {total} points outside their image, in {len(outside)} images (first: {first})"
        warnings.warn(f"{root}: {note}", stacklevel=2)
    return samples


def write(samples: Iterable[Sample], path: str | Path, format: str) -> None:
    """Write samples as `csv`, `json` or `coco`; read back, they have the same points, rois and scenes.

    An image's path is written relative to the file where it lies below the file's folder, else absolute.
    Raises PointsError: unknown format, a roi in a csv (no place for one), a file that cannot be written.
    """
    path = Path(path).expanduser()
    if format not in WRITERS:
        raise PointsError(f"{path}: cannot write format '{format}'; choose one of {', '.join(WRITERS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[format](list(samples), path)
    except OSError as error:
        raise PointsError(f"{path}: cannot be written ({error.strerror or error})") from None
    except MediaError as error:  # coco wants the size of each image
        raise PointsError(str(error)) from None


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


# Formats of one's own


def read_csv(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".csv", tables.parse_csv)


def read_json(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".json", tables.parse_json)


def _read_table(root: Path, split: str, suffix: str, parse: Callable[[Path], list[dict]]) -> list[Sample]:
    """root is the file, or a folder with <split><suffix>, which is taken whole, or with one such file."""
    if root.is_file():
        return _table_samples(root, _of_split(root, parse(root), split))
    own, train = root / f"{split}{suffix}", root / f"train{suffix}"
    if split in ("train", "val") and train.is_file() and not (root / f"val{suffix}").is_file():
        unmarked = [{**entry, "split": None} for entry in parse(train)]
        return _table_samples(train, _of_split(train, unmarked, split))  # a tenth of it is val
    if own.is_file():
        return _table_samples(own, parse(own))
    found = files(root, (suffix,))
    if len(found) != 1:
        raise PointsError(f"{root}: {len(found)} {suffix} files, none is {own.name}; give the file itself")
    return _table_samples(found[0], _of_split(found[0], parse(found[0]), split))


def _of_split(file: Path, entries: list[dict], split: str) -> list[dict]:
    """The entries of one split. Where a file marks no val, a tenth of train (or of all) is held out."""
    labels = {entry.get("split") or "" for entry in entries}
    if split == "all":
        return entries
    hold_out = split in ("train", "val") and "val" not in labels
    wanted = ("train", "val") if hold_out or split == "trainval" else (split,)
    if labels != {""} or split not in ("train", "val", "trainval"):  # unmarked: all training
        entries = [entry for entry in entries if entry.get("split") in wanted]
    if hold_out:
        val = held_out(entry["image"] for entry in entries)
        entries = [entry for entry in entries if (entry["image"] in val) == (split == "val")]
    if not entries:
        marked = ", ".join(sorted(labels - {""})) or "none"
        raise PointsError(f"{file}: no images in split '{split}' (marked: {marked}); choose another, or all")
    return entries


def _table_samples(file: Path, entries: list[dict]) -> list[Sample]:
    samples = []
    for entry in sorted(entries, key=lambda entry: natural(entry["image"])):
        where = f"{file}, {entry['image']}"
        image, scene = file.parent / entry["image"], str(entry.get("scene") or "")
        try:
            roi = None if entry.get("roi") is None else pairs(entry["roi"], where).astype(np.float32)
            points = pairs(entry["points"], where)
        except PointsError as error:
            fault(error)
            continue
        samples.append(_sample(image, points, roi, scene))
    return samples


# Layouts and labelling tools


def read_layout(
    parse: Callable[[Path], list[Entry]],
    root: Path,
    split: str,
    boxes: str | None = None,
    classes: Sequence[str] = (),
) -> list[Sample]:
    """One split of what `parse` lists; `all` is every image. The classes are chosen over all splits, so that each split
    counts the same things."""
    entries = sorted(parse(root), key=lambda entry: natural(str(entry.image)))
    if not entries:
        raise PointsError(f"{root}: holds no annotations of this format; check the path, or try the format auto")
    home = root if root.is_dir() else root.parent
    listed = [{"image": _relative(entry.image, home), "split": entry.split, "entry": entry} for entry in entries]
    wanted = [item["entry"] for item in _of_split(root, listed, split)]
    loaded = [(entry, marks) for entry in wanted if (marks := _marks(entry)) is not None]
    named = {label for _, marks in loaded for label in marks.labels}
    if named:
        ours = {id(entry) for entry in wanted}
        named |= {label for entry in entries if id(entry) not in ours for label in _labels(entry)}
    if classes and not named:
        raise PointsError(f"{root}: this format has no classes; leave out --classes")
    if boxes and loaded and not any(len(marks.boxes) for _, marks in loaded):
        raise PointsError(f"{root}: has points and no boxes; leave out --boxes")
    chosen = choose(named, classes, root)
    samples = []
    for entry, marks in loaded:
        try:
            points, rule = to_points(marks, boxes, chosen, *size(entry.image))
        except PointsError as error:
            fault(error)
            continue
        roi = None if marks.roi is None else marks.roi.astype(np.float32)
        samples.append(_sample(entry.image, points, roi, entry.scene, rule))
    return samples


def _marks(entry: Entry) -> Marks | None:
    try:
        return entry.load()
    except PointsError as error:
        fault(error)
        return None


def _labels(entry: Entry) -> tuple[str, ...]:
    """The classes in an image of another split, whose faults are not ours."""
    try:
        return entry.load().labels
    except PointsError:
        return ()


def _relative(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()


def _box_options(root: Path, format: str, boxes: str | None, classes: Sequence[str]) -> dict:
    """What a reader is given beside root and split. Raises PointsError where the format has no boxes or classes."""
    if boxes is not None and boxes not in RULES:
        raise PointsError(f"{root}: boxes is '{boxes}'; choose head or centre")
    options = {"boxes": boxes, "classes": tuple(classes)} if boxes or classes else {}
    if options and format in POINTS_ONLY:
        raise PointsError(f"{root}: {format} has points, no boxes and no classes; leave out boxes and classes")
    return options


PARSERS = layouts.LAYOUTS | labels.LABELS | {"coco": tables.coco}  # (root) -> the entries of every split
READERS: dict[str, Callable[..., list[Sample]]] = {  # (root, split), and where there are boxes (.., boxes, classes)
    "shanghaitech": read_shanghaitech,
    "ucf_cc_50": read_ucf_cc_50,
    "worldexpo": read_worldexpo,
    "csv": read_csv,
    "json": read_json,
    **{name: partial(read_layout, parse) for name, parse in PARSERS.items()},
}
POINTS_ONLY = ("shanghaitech", "ucf_cc_50", "worldexpo", "csv", "json")
WRITERS: dict[str, Callable[[list[Sample], Path], None]] = {
    "csv": tables.write_csv,
    "json": tables.write_json,
    "coco": tables.write_coco,
}


# Splits


def held_out(keys: Iterable[str]) -> set[str]:
    """The validation tenth, at least one, where no list is published: the names of smallest SHA-256."""
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    return set(ranked[: max(1, round(len(ranked) / 10))])


def split_list(name: str) -> list[str]:
    lines = (Path(__file__).parent / "splits" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _check_split(root: Path, split: str, known: Iterable[str]) -> None:
    if split not in known:
        raise PointsError(f"{root}: no split '{split}'; choose one of {', '.join(known)}")


# Small parts


def _sample(image: Path, points: np.ndarray, roi: np.ndarray | None = None, scene: str = "", rule: str = "") -> Sample:
    """points: float64 (N,2) as annotated; those outside the image are dropped and counted."""
    try:
        extent = np.array(size(image))  # width, height
    except PointsError as error:
        fault(error)
        return Sample(image, np.zeros((0, 2), np.float32), roi, scene)
    inside = ((points >= 0) & (points < extent)).all(axis=1)  # (N,)
    # Rounding to float32 must not carry a point over the far border.
    kept = np.minimum(points[inside].astype(np.float32), np.nextafter(extent.astype(np.float32), np.float32(0)))
    return Sample(image, kept, roi, scene, int((~inside).sum()), rule)

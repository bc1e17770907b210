"""Where the people are: one `Sample` an image, read from each annotation format and written in three of them.

Unusual: a reader is a function (root, split) -> samples in the dict READERS, a writer one in WRITERS.
Coordinates are continuous (pixel i covers [i, i+1)) and taken as the files have them. No checkpoint is chosen
on a test split: `train` always leaves out a fixed tenth, which is `val`; `trainval` is both.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import tables
from .media import IMAGE_SUFFIXES, MediaError, image_size
from .tables import PointsError  # defined on the floor below, part of this module's interface

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated image.

    image: path of the picture. points: float32 (N,2), x then y in pixels, all in [0, width) x [0, height).
    roi: float32 (P,2), the polygon in which the data set counts, or None for the whole image; points outside
    it are kept. scene: the camera, where the set names one. dropped: annotated points outside the image.
    """

    image: Path
    points: np.ndarray
    roi: np.ndarray | None = None
    scene: str = ""
    dropped: int = 0

    @property
    def name(self) -> str:
        return self.image.stem


def read(root: str | Path, format: str, split: str) -> list[Sample]:
    """Read one split of a data set, in natural order (IMG_2 before IMG_10).

    format: a key of READERS. split: `train` (official train less the validation list), `val`, `trainval`,
    `test`; in ucf_cc_50 `all`, `train` and `fold1-train` .. `fold5-test`; in csv, json, coco also `all` and names of
    their own. Points outside their image are dropped, with one warning for them all. Raises PointsError.
    """
    root = Path(root).expanduser()
    if format not in READERS:
        raise PointsError(f"{root}: unknown format '{format}'; choose one of {', '.join(READERS)}")
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    samples = READERS[format](root, split)
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
    images = {path.stem: path for path in _files(folder / "images", IMAGE_SUFFIXES)}
    mats = {path.stem.removeprefix("GT_"): path for path in _files(labels, (".mat",))}
    _check_pairs(images, mats)
    names = set(images)
    if split in ("train", "val"):
        val, excluded = _shanghaitech_lists(names)
        names = val if split == "val" else names - val - excluded
    return [
        _sample(images[name], _mat_points(mats[name], lambda mat: mat["image_info"][0, 0][0, 0][0]))
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
    images = {path.stem: path for path in _files(root, IMAGE_SUFFIXES)}
    mats = {path.stem.removesuffix("_ann"): path for path in _files(root, (".mat",))}
    _check_pairs(images, mats)
    names = set(images)
    if split == "train":
        names -= set(split_list("ucf_cc_50_excluded"))
    elif split != "all":
        fold, kind = split.split("-")
        test = {name for label, name in folds if label == fold}
        val = held_out(names - test)
        names = {"test": test, "val": val, "train": names - test - val, "trainval": names - test}[kind]
    return [
        _sample(images[name], _mat_points(mats[name], lambda mat: mat["annPoints"])) for name in images if name in names
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
    images = _files(root / f"{kind}_frame", IMAGE_SUFFIXES, "**/*")
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
            points = _mat_points(mat, lambda mat: mat["point_position"])
            samples.append(_sample(image, points, rois[scene], scene))
        else:
            bare.append(mat)
    if bare:
        note = f"left out {len(bare)} frames without annotation (first: {bare[0]})"
        warnings.warn(f"{root}: {note}", stacklevel=3)
    return samples


def _worldexpo_roi(path: Path) -> np.ndarray:
    axes = ("maskVerticesXCoordinates", "maskVerticesYCoordinates")  # (P,1) each
    polygon = _mat_points(path, lambda mat: np.column_stack([mat[axis].ravel() for axis in axes]))
    return polygon.astype(np.float32)  # (P,2)


# Formats of one's own


def read_csv(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".csv", tables.parse_csv)


def read_json(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".json", tables.parse_json)


def read_coco(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".json", tables.parse_coco)


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
    files = _files(root, (suffix,))
    if len(files) != 1:
        raise PointsError(f"{root}: {len(files)} {suffix} files, none is {own.name}; give the file itself")
    return _table_samples(files[0], _of_split(files[0], parse(files[0]), split))


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
    for entry in sorted(entries, key=lambda entry: _natural(entry["image"])):
        where = f"{file}, {entry['image']}"
        roi = None if entry.get("roi") is None else _pairs(entry["roi"], where).astype(np.float32)
        points, scene = _pairs(entry["points"], where), str(entry.get("scene") or "")
        samples.append(_sample(file.parent / entry["image"], points, roi, scene))
    return samples


READERS: dict[str, Callable[[Path, str], list[Sample]]] = {
    "shanghaitech": read_shanghaitech,
    "ucf_cc_50": read_ucf_cc_50,
    "worldexpo": read_worldexpo,
    "csv": read_csv,
    "json": read_json,
    "coco": read_coco,
}
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


def _sample(image: Path, points: np.ndarray, roi: np.ndarray | None = None, scene: str = "") -> Sample:
    """points: float64 (N,2) as annotated; those outside the image are dropped and counted."""
    size = np.array(_size(image))  # width, height
    inside = ((points >= 0) & (points < size)).all(axis=1)  # (N,)
    # Rounding to float32 must not carry a point over the far border.
    kept = np.minimum(points[inside].astype(np.float32), np.nextafter(size.astype(np.float32), np.float32(0)))
    return Sample(image, kept, roi, scene, int((~inside).sum()))


def _pairs(values: object, where: str | Path) -> np.ndarray:
    """float64 (N,2); an empty array of any shape is nobody."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if array.size == 0:
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise PointsError(f"{where}: points must be rows of two finite numbers, x and y; correct them")
    return array


def _size(image: Path) -> tuple[int, int]:
    try:
        return image_size(image)
    except MediaError as error:  # it names the file
        raise PointsError(f"{error}; restore the image or remove its annotation") from None


def _mat_points(path: Path, take: Callable[[dict], np.ndarray]) -> np.ndarray:
    """What `take` finds among the variables of a .mat file, float64 (N,2)."""
    variables = _mat(path)
    try:
        values = take(variables)
    except (KeyError, IndexError, TypeError, ValueError):
        raise PointsError(f"{path}: not an annotation of this data set; unpack the set again") from None
    return _pairs(values, path)


def _mat(path: Path) -> dict:
    """The variables of a .mat file, of MATLAB 5 (scipy) or 7.3 (HDF5, h5py)."""
    if not path.is_file():
        raise PointsError(f"{path}: no such annotation; unpack the data set again")
    try:
        from scipy.io import loadmat

        try:
            return loadmat(path)
        except NotImplementedError:  # scipy's word for version 7.3
            return _mat_73(path)
    except ImportError as error:
        raise PointsError(f"{path}: reading it needs {error.name}; pip install {error.name}") from None
    except Exception as error:  # a damaged file can fail anywhere in the parser
        reason = " ".join(str(error).split())
        raise PointsError(f"{path}: damaged .mat file ({reason}); unpack the data set again") from None


def _mat_73(path: Path) -> dict:
    import h5py

    with h5py.File(path) as file:  # axes are reversed; an empty array is stored as its shape
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        return {
            name: np.zeros((0, 2)) if item.attrs.get("MATLAB_empty") else item[()].T for name, item in arrays.items()
        }


def _files(folder: Path, suffixes: Iterable[str], pattern: str = "*") -> list[Path]:
    """Files in natural order, less the dot files that archives made on a Mac leave behind."""
    if not folder.is_dir():
        raise PointsError(f"{folder}: no such folder; unpack the data set again, or check the path")
    found = [path for path in folder.glob(pattern) if path.suffix.lower() in suffixes and path.name[0] != "."]
    return sorted(found, key=lambda path: _natural(str(path)))


def _check_pairs(images: dict[str, Path], labels: dict[str, Path]) -> None:
    for name in sorted(images.keys() ^ labels.keys(), key=_natural):
        path, missing = (images[name], "annotation") if name in images else (labels[name], "image")
        raise PointsError(f"{path}: has no {missing}; unpack the data set again, or remove the file")


def _natural(text: str) -> list:
    """A sort key that takes digits as numbers; text and numbers alternate, so any two keys compare."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", text))]

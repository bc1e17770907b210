"""What an annotation file holds, opened with care: entries and marks, and how a box becomes a point.

Unusual: annotation files come from anywhere, so each is opened here and nowhere else. Its size is bounded, XML with a
document type is refused (entities can grow without end, or read other files), and no path in it leads out of the data
folder. A parser lists entries, cheap; what an image is marked with is loaded when its split is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from headcount.datasets import matlab
from headcount.io.images import IMAGE_SUFFIXES, MediaError, image_size

MAX_BYTES = 1 << 29  # 512 MB: COCO's largest table has 450
HEADS = ("head", "heads", "human head", "human_head", "person head", "person_head")
PEOPLE = ("person", "persons", "people", "pedestrian", "pedestrians", "human", "humans")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
RULES = ("head", "centre")


class PointsError(ValueError):
    """An annotation that cannot be used: which file, what is wrong, what to do; one line."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What one image is marked with. points: float64 (N,2), x then y. boxes: float64 (M,4), left, top, right, bottom.

    labels: the class of each point, then of each box; empty where the format has no classes. roi: float (P,2) or None.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    labels: tuple[str, ...] = ()
    roi: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class AnnotationRecord:
    """One annotated image, its marks not yet read; `load` raises PointsError. split: train, val, test or ''."""

    image: Path
    load: Callable[[], Annotations]
    split: str = ""
    scene: str = ""


Annotation = tuple[str, Iterable[float | str]]  # class, and x, y or left, top, right, bottom


def annotations_of(found: Iterable[Annotation], where: str | Path) -> Annotations:
    """Annotations of a list of (class, two or four numbers). Raises PointsError where they are not numbers."""
    points: list[tuple[str, list[float]]] = []
    boxes: list[tuple[str, list[float]]] = []
    for label, values in found:
        try:
            row = [float(value) for value in values]
        except (TypeError, ValueError):
            row = []
        if len(row) not in (2, 4) or not np.isfinite(row).all():
            raise PointsError(f"{where}: a mark of '{label}' has no two or four finite numbers; correct it")
        (points if len(row) == 2 else boxes).append((label, row))
    return Annotations(
        np.array([row for _, row in points], np.float64).reshape(-1, 2),
        np.array([row for _, row in boxes], np.float64).reshape(-1, 4),
        tuple(label for label, _ in (*points, *boxes)),
    )


# Faults


_faults: ContextVar[list[str] | None] = ContextVar("faults", default=None)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """While this lasts, what is wrong with one image or its annotation is kept in the list, and reading goes on."""
    faults: list[str] = []
    token = _faults.set(faults)
    try:
        yield faults
    finally:
        _faults.reset(token)


def fault(message: str | PointsError) -> None:
    """Raise PointsError, or keep the message where faults are collected."""
    faults = _faults.get()
    if faults is None:
        raise PointsError(str(message)) from None
    faults.append(str(message))


def attempt(read: Callable, *arguments: Any) -> Any:
    """What `read` gives; where it fails that is a fault, and None."""
    try:
        return read(*arguments)
    except PointsError as error:
        return fault(error)


# Classes and boxes


def choose(labels: Iterable[str], wanted: Sequence[str], where: str | Path) -> set[str]:
    """The classes that are counted: those wanted, else heads, else people, else the only one there is.

    Heads go before people: a set that boxes both has a head within each person. Upper and lower case are the same.
    """
    known = {label.strip().lower() for label in labels}
    listed = ", ".join(sorted(known)) or "none"
    if wanted:
        asked = {name.strip().lower() for name in wanted}
        if missing := sorted(asked - known):
            raise PointsError(f"{where}: has no class '{missing[0]}'; choose of {listed}")
        return asked
    for group in (HEADS, PEOPLE):
        if found := known.intersection(group):
            return found
    if len(known) > 1:
        raise PointsError(f"{where}: its classes are {listed}, and none is a person; say which to count (--classes)")
    return known


def rule_of(label: str | None) -> str:
    """`head` for the box of a whole person (a class that is only a number counts as one), else `centre`."""
    return "head" if label is not None and (label in PEOPLE or label.isdigit()) else "centre"


def box_points(boxes: np.ndarray, rules: Sequence[str], width: int, height: int) -> np.ndarray:
    """One point a box: float64 (M,4) left, top, right, bottom -> (M,2).

    A box is cut at the image's border first; one that lies outside altogether gives a point outside. `centre` is the
    centre. `head` is half a head below the middle of the top edge: min(width / 4, height / 10) of the box. A head is an
    eighth of a standing person and shoulders are two heads wide, so width / 4 is half a head for whoever faces us, cut
    off at the waist or not; height / 10 keeps arms held out from pulling the point to the chest.
    """
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    size = np.array([width, height], np.float64)
    outside = ((high < 0) | (low >= size)).any(axis=1)
    centre = (low + high) / 2
    low, high = low.clip(0, size), high.clip(0, size)
    cut, extent = (low + high) / 2, high - low
    heads = np.column_stack([cut[:, 0], low[:, 1] + np.minimum(extent[:, 0] / 4, extent[:, 1] / 10)])
    points = np.where(np.array([rule == "head" for rule in rules], bool)[:, None], heads, cut)
    inner = np.minimum(points, np.nextafter(size, 0))  # a box of no width at the border still is a person
    return np.where(outside[:, None], centre, inner)


def to_points(
    marks: Annotations, boxes: str | None, chosen: set[str], width: int, height: int
) -> tuple[np.ndarray, str]:
    """float64 (N,2), the marks of the chosen classes, and in words how boxes became points ('': none did).

    boxes: `head`, `centre`, or None for the rule of each class. Where an image has points and boxes without classes
    (NWPU, JHU) they are the same people: the points are taken, unless `boxes` asks for boxes.
    """
    if not marks.labels:
        if len(marks.boxes) and (boxes or not len(marks.points)):
            rule = boxes or "centre"
            return box_points(marks.boxes, [rule] * len(marks.boxes), width, height), f"boxes: {rule}"
        return marks.points, ""
    labels = [label.strip().lower() for label in marks.labels]
    kept = np.array([label in chosen for label in labels], bool)
    boxed = labels[len(marks.points) :]
    rules = [boxes or rule_of(label) for label in boxed]
    used = sorted({f"boxes of {b}: {rule}" for b, rule in zip(boxed, rules, strict=True) if b in chosen})
    places = np.concatenate([marks.points, box_points(marks.boxes, rules, width, height)])
    return places[kept], ", ".join(used)


# Files


def text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise PointsError(f"{file}: larger than {MAX_BYTES >> 20} MB; split it, it cannot be one annotation file")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PointsError(f"{file}: not readable as UTF-8 text ({_reason(error)}); unpack or export it again") from None


def load_json(file: Path) -> Any:
    try:
        return json.loads(text(file))
    except PointsError:
        raise
    except (ValueError, RecursionError) as error:
        raise PointsError(f"{file}: not readable as JSON ({_reason(error)}); export it again") from None


def load_xml(file: Path) -> ElementTree.Element:
    """The root element. A document type is refused: no labelling tool writes one, and its entities are an attack."""

    def refuse(*_: object) -> None:
        raise PointsError(f"{file}: declares a document type or entities, which are not read; export it again")

    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end  # type: ignore[assignment]
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text(file).encode(), True)
        return builder.close()
    except expat.ExpatError as error:
        raise PointsError(f"{file}: not readable as XML ({error}); export it again") from None


def numbers(file: Path, columns: int, what: str) -> np.ndarray:
    """A text file of numbers, one mark a line, parted by spaces or commas: float64 (N, columns), the first of each."""
    rows = []
    for line, content in enumerate(text(file).splitlines(), start=1):
        if content.strip():
            try:
                row = [float(part) for part in re.split(r"[\s,]+", content.strip().strip(","))[:columns]]
            except ValueError:
                row = []
            if len(row) < columns or not np.isfinite(row).all():
                raise PointsError(f"{file}, line {line}: '{content[:40]}' must be the numbers {what}; correct it")
            rows.append(row)
    return np.array(rows, np.float64).reshape(-1, columns)


def inside(root: Path, where: str | Path, name: str, folder: Path) -> Path:
    """The path that `name` in an annotation means, from `folder`. Raises PointsError where it leads out of `root`."""
    path = Path(os.path.normpath(folder / str(name).replace("\\", "/")))  # Windows' tools write backslashes
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise PointsError(f"{where}: '{name}' leads out of the data folder {root} and is not followed; correct it")
    return path


class Images:
    """The pictures below a folder, found by the names that annotations call them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = files(root, IMAGE_SUFFIXES, "**/*")
        self.by_name: dict[str, list[Path]] = {}
        for path in self.paths:
            self.by_name.setdefault(path.name.lower(), []).append(path)
            self.by_name.setdefault(path.stem.lower(), []).append(path)

    def find(self, name: str, where: Path, *folders: Path) -> Path:
        """`name` from one of the folders, else the one picture of that name anywhere below. Raises PointsError."""
        for folder in (*folders, self.root):
            path = inside(self.root, where, name, folder)
            if path.is_file():
                return path
        last = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
        found = self.by_name.get(last) or self.by_name.get(last.rsplit(".", 1)[0]) or []
        if len(found) == 1:
            return found[0]
        count = f"{len(found)} pictures are" if found else "no picture is"
        raise PointsError(f"{where}: {count} named '{name}' below {self.root}; put the images there")

    def stem(self, path: Path) -> Path | None:
        """The picture beside where `path` lies, or would lie, whatever its suffix."""
        found = [image for image in self.by_name.get(path.stem.lower(), ()) if image.parent == path.parent]
        return found[0] if found else None


def files(folder: Path, suffixes: Iterable[str], pattern: str = "*") -> list[Path]:
    """Files in natural order, less the dot files that archives made on a Mac leave behind."""
    if not folder.is_dir():
        raise PointsError(f"{folder}: no such folder; unpack the data set again, or check the path")
    found = [path for path in folder.glob(pattern) if path.suffix.lower() in suffixes and path.name[0] != "."]
    return sorted(found, key=lambda path: natural(str(path)))


def child(folder: Path, *names: str) -> Path | None:
    """The folder in `folder` with one of these names, in upper or lower case."""
    below = {path.name.lower(): path for path in sorted(folder.glob("*")) if path.is_dir()}
    return next((below[name.lower()] for name in names if name.lower() in below), None)


def home(root: Path, *names: str) -> Path:
    """The folder that holds one of `names`: root, or the only one in it that does. Raises PointsError."""
    wanted = {name.lower() for name in names}
    homes = [
        folder
        for folder in (root, *sorted(root.glob("*")))
        if folder.is_dir() and any(path.name.lower() in wanted for path in folder.iterdir())
    ]
    if not homes or (homes[0] != root and len(homes) > 1):
        raise PointsError(
            f"{root}: {'several folders hold' if homes else 'holds no'} {names[0]}; give the set's folder"
        )
    return homes[0]


def split_of(path: Path, root: Path) -> str:
    """The split that a folder on the way from root to path is named after, or ''."""
    return next((SPLITS[part.lower()] for part in path.relative_to(root).parts[:-1] if part.lower() in SPLITS), "")


def check_pairs(images: dict[str, Path], labels: dict[str, Path]) -> None:
    """A fault for each image without annotation, and the reverse; they are taken out of the dicts."""
    for name in sorted(images.keys() ^ labels.keys(), key=natural):
        path, missing = (images[name], "annotation") if name in images else (labels[name], "image")
        fault(f"{path}: has no {missing}; unpack the data set again, or remove the file")
        images.pop(name, None)
        labels.pop(name, None)


def natural(text: str) -> list:
    """A sort key that takes digits as numbers; text and numbers alternate, so any two keys compare."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", text))]


def size(image: Path) -> tuple[int, int]:
    """(width, height) of the upright picture. Raises PointsError."""
    try:
        return image_size(image)
    except MediaError as error:  # it names the file
        raise PointsError(f"{error}; restore the image or remove its annotation") from None


def pairs(values: object, where: str | Path) -> np.ndarray:
    """float64 (N,2); an empty array of any shape is nobody."""
    return rows_of(values, 2, where, "rows of two finite numbers, x and y")


def rows_of(values: object, columns: int, where: str | Path, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if array.size == 0:
        return np.zeros((0, columns))
    if array.ndim != 2 or array.shape[1] != columns or not np.isfinite(array).all():
        raise PointsError(f"{where}: points must be {what}; correct them")
    return array


def mat_points(path: Path, take: Callable[[dict], np.ndarray]) -> np.ndarray:
    """What `take` finds among the variables of a .mat file, float64 (N,2)."""
    return pairs(taken(path, mat(path), take), path)


def taken(path: Path, variables: dict, take: Callable[[dict], Any]) -> Any:
    try:
        return take(variables)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise PointsError(f"{path}: not an annotation of this data set; unpack the set again") from None


def mat(path: Path) -> dict:
    """The variables of a .mat file, of MATLAB 5 or 7.3 (HDF5, h5py)."""
    if not path.is_file():
        raise PointsError(f"{path}: no such annotation; unpack the data set again")
    try:
        return matlab.load(path)
    except NotImplementedError:  # version 7.3
        return _mat_73(path)
    except (OSError, ValueError) as error:
        raise PointsError(f"{path}: damaged .mat file ({_reason(error)}); unpack the data set again") from None


def _mat_73(path: Path) -> dict:
    try:
        import h5py

        with h5py.File(path) as file:  # axes are reversed; an empty array is stored as its shape
            arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return {
                name: np.zeros((0, 2)) if item.attrs.get("MATLAB_empty") else item[()].T
                for name, item in arrays.items()
            }
    except ImportError as error:
        raise PointsError(f"{path}: reading it needs {error.name}; pip install {error.name}") from None
    except Exception as error:  # a damaged file can fail anywhere in HDF5
        raise PointsError(f"{path}: damaged .mat file ({_reason(error)}); unpack the data set again") from None


def mask_polygon(mask: np.ndarray, where: Path) -> np.ndarray:
    """The outline of a mask's largest part, float64 (P,2), to within half a pixel: a roi is one polygon, and what the
    mask has beside it, or holes in it, is lost."""
    import cv2

    if mask.ndim != 2 or not mask.any():
        raise PointsError(f"{where}: its region mask is empty; unpack the data set again")
    outlines, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea).reshape(-1, 2).astype(np.float64)
    return largest + 0.5  # the contour runs through the centres of pixels


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

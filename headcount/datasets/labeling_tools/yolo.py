"""YOLO label files.

Layout:
    `images/[train/]x.jpg` and `labels/[train/]x.txt`, or `train/images` and `train/labels`, or `x.txt` beside `x.jpg`.

    A line is `class x y width height`. All but the class are fractions of the image, from 0 to 1, and x, y is the
    centre of the box. Further columns are a confidence, keypoints if data.yaml has kpt_shape, or else the corners of an
    outline, whose bounding box is taken. An image without a label file shows nobody.

    The names of the classes are those of data.yaml, classes.txt or obj.names. A class without a name is called by its
    number. Class 0 of a data set with no other class is taken for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_image_size, read_text, read_yaml
from headcount.datasets.annotations import (
    Annotation,
    AnnotationRecord,
    Annotations,
    PointsError,
    annotations_of,
    excerpt,
)
from headcount.datasets.boxes import Box, bounding_box
from headcount.datasets.folders import ImageIndex, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import first_line, first_row, numbers_of, read_start
from headcount.datasets.splits import split_from_folders
from headcount.io.images import IMAGE_SUFFIXES

LARGEST_FRACTION = 1.5  # boxes may reach a little beyond the image, but are never in pixels


@dataclass(frozen=True)
class _Classes:
    """What a data set says about its classes.

    Attributes:
        names: The names by number.
        keypoints: Whether the columns behind a box are keypoints.
    """

    names: dict[int, str] = field(default_factory=dict)
    keypoints: bool = False


def parse_yolo(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image, and an error for each label file without an image; see the module."""
    images, classes = ImageIndex(root), _read_classes(root)
    used = set()
    for image in images.paths:
        file = _label_file(image, root)
        used.add(file)
        yield AnnotationRecord(image, partial(_load, file, image, classes), split_from_folders(image, root))
    for file in list_files(root, (".txt",), "**/labels/**/*.txt"):
        if file not in used and file.name != "classes.txt":
            yield PointsError(f"{file}: has no image; put it in images, or remove the file")
    if not any(file.is_file() for file in used):
        raise PointsError(f"{root}: no image has a label file; put them in labels, beside images")


def _label_file(image: Path, root: Path) -> Path:
    """The label file of an image: in `labels` instead of the last folder called `images`, else beside the image."""
    parts = list(image.relative_to(root).parts)
    folders = parts[:-1]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        parts[last] = "labels"
    return root.joinpath(*parts).with_suffix(".txt")


def _load(file: Path, image: Path, classes: _Classes) -> Annotations:
    if not file.is_file():
        return Annotations()
    width, height = read_image_size(image)
    found: list[Annotation] = []
    for line, content in enumerate(read_text(file).splitlines(), start=1):
        if content.strip():
            number, box = _parse_line(content, f"{file}, line {line}", classes.keypoints)
            label = classes.names.get(number, str(number))
            found.append((label, np.array(box) * (width, height, width, height)))
    return annotations_of(found, file)


def _parse_line(content: str, where: str, keypoints: bool) -> tuple[int, Box]:
    """The class and the box, in fractions of the image, of one line."""
    try:
        label, *values = (float(part) for part in content.split())
        number = int(label) if label == int(label) and label >= 0 else -1
    except (ValueError, OverflowError):
        number, values = -1, []
    if number < 0 or len(values) < 4 or not np.isfinite(values).all():
        raise PointsError(f"{where}: '{excerpt(content)}' must be: class x y width height; correct it")
    if np.abs(values[:4]).max() > LARGEST_FRACTION:
        raise PointsError(f"{where}: '{excerpt(content)}' is not in fractions of the image, 0 to 1; export it again")
    if not keypoints and len(values) >= 6 and len(values) % 2 == 0:
        return number, bounding_box(np.reshape(values, (-1, 2)))
    return number, _centred_box(values)


def _centred_box(values: Sequence[float]) -> Box:
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# Classes


def _read_classes(root: Path) -> _Classes:
    above = root.parent if root.name in ("labels", "images") else root
    for folder in (root, above, root / "labels"):
        if folder.is_dir() and (classes := _classes_in(folder)):
            return classes
    return _Classes()


def _classes_in(folder: Path) -> _Classes | None:
    for file in list_files(folder, (".yaml", ".yml")):
        # Other YAML files may be there too. They need not be readable.
        if re.search(r"""^["']?names["']?\s*:""", read_text(file), re.MULTILINE):
            return _yaml_classes(file)
    for file in (*list_files(folder, (".names",)), folder / "classes.txt"):
        if file.is_file():
            return _Classes({i: name.strip() for i, name in enumerate(read_text(file).splitlines()) if name.strip()})
    return None


def _yaml_classes(file: Path) -> _Classes:
    """The classes of data.yaml: `names` is a list, or a mapping of numbers."""
    content = read_yaml(file)
    settings = content if isinstance(content, dict) else {}
    names = settings.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not names or not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise PointsError(f"{file}: its names are not understood; write names: [person, ...]")
    try:
        return _Classes({int(number): name for number, name in names.items()}, "kpt_shape" in settings)
    except ValueError:
        raise PointsError(f"{file}: its names are not understood; write names: {{0: person, ...}}") from None


# Detection


def _is_label(parts: list[str]) -> bool:
    row = numbers_of(parts)
    return (
        row is not None
        and len(row) >= 5
        and parts[0].isdigit()
        and all(abs(value) <= LARGEST_FRACTION for value in row[1:5])
    )


_in_labels_folder = first_row(_is_label, "labels/*.txt", "labels/*/*.txt", "*/labels/*.txt", "*/*/labels/*.txt")


def _matches(root: Path) -> bool:
    return root.is_dir() and (
        _in_labels_folder(root) or any(_beside_an_image(root, pattern) for pattern in ("*", "*/*"))
    )


def _beside_an_image(root: Path, pattern: str) -> bool:
    """Whether one of the first fifty text files belongs to an image beside it and has a line of labels."""
    return any(
        _is_label(re.split(r"\s+", first_line(read_start(file))))
        for file in list(root.glob(f"{pattern}.txt"))[:50]
        if any(file.with_suffix(suffix).is_file() for suffix in IMAGE_SUFFIXES)
    )


FORMAT = RecordFormat(
    sign="labels/*.txt beside images, class and fractions of the image", matches=_matches, parse=parse_yolo
)

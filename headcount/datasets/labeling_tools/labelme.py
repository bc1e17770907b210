"""labelme.

Layout:
    A .json file beside each image, with `imagePath` and `shapes`: points, rectangles, polygons and circles. Every shape
    that is not a point is taken for its bounding box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import Json, read_json
from headcount.datasets.annotations import Annotation, AnnotationRecord, Annotations, PointsError, annotations_of
from headcount.datasets.boxes import bounding_box
from headcount.datasets.folders import ImageIndex, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import split_from_folders


def parse_labelme(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each .json file with shapes; see the module for the layout."""
    images = ImageIndex(root)
    for file in list_files(root, (".json",), "**/*"):
        try:
            data = read_json(file)
            if not isinstance(data, dict) or "shapes" not in data:
                continue
            image = images.find(str(data.get("imagePath") or file.stem), file, file.parent)
        except PointsError as error:
            yield error
            continue
        yield AnnotationRecord(image, partial(_load, data["shapes"], file), split_from_folders(file, root))


def _load(shapes: Json, file: Path) -> Annotations:
    try:
        found = [_annotation(shape) for shape in shapes]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise PointsError(f"{file}: a shape has no label or no points; save it again in labelme") from None
    return annotations_of(found, file)


def _annotation(shape: Json) -> Annotation:
    corners = np.array(shape["points"], np.float64).reshape(-1, 2)
    if shape.get("shape_type") == "point" or len(corners) == 1:
        return str(shape["label"]), corners[0]
    if shape.get("shape_type") == "circle":  # given by its centre and a point on it
        radius = np.hypot(*(corners[1] - corners[0]))
        corners = np.array([corners[0] - radius, corners[0] + radius])
    return str(shape["label"]), bounding_box(corners)


FORMAT = RecordFormat(
    sign=".json files with shapes",
    matches=file_starts(
        ".json",
        lambda start: bool(re.match(r'\{[^\[]*("shapes"|"imageData")', start.lstrip())),
        *("*.json", "*/*.json"),
    ),
    parse=parse_labelme,
)

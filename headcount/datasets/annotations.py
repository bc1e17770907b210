"""Annotation records: what a parser yields for each image, and the error for an annotation that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from headcount.io.names import one_line

MAX_QUOTED = 60  # characters of a file in a message
MAX_COORDINATE = 1e9  # pixels; a point farther away is no mistake of annotating but a damaged number


class PointsError(ValueError):
    """An annotation that cannot be used.

    The message is one line: the file, what is wrong with it, and what to do.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


ErrorHandler = Callable[[PointsError], None]


def raise_error(error: PointsError) -> NoReturn:
    """The default error handler: stop at the first annotation that cannot be used."""
    raise error


def excerpt(text: str) -> str:
    """The beginning of a text from a file, on one line, to quote it in a message."""
    return " ".join(text[:MAX_QUOTED].split())


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of one image.

    Attributes:
        points: float64 (N, 2), x then y in pixels.
        boxes: float64 (M, 4), left, top, right, bottom in pixels.
        labels: The class of each point, then of each box. Empty if the format has no classes.
        roi: float64 (P, 2), the polygon in which people are counted, or None for the whole image.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    labels: tuple[str, ...] = ()
    roi: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class AnnotationRecord:
    """One annotated image whose annotations are read later, once it is known which split is wanted.

    Attributes:
        image: Path of the image.
        load: Reads the annotations of the image. Raises PointsError.
        split: `train`, `val`, `test`, a name from the file, or '' if the format marks no split.
        scene: The camera, if the format names one.
    """

    image: Path
    load: Callable[[], Annotations]
    split: str = ""
    scene: str = ""


# A parser yields a PointsError in place of an image whose record is unusable, and continues with the next image.
# It raises PointsError if nothing can be read at all.
ParsedRecords = Iterable[AnnotationRecord | PointsError]
Parser = Callable[[Path], ParsedRecords]

Annotation = tuple[str, Iterable[float | str]]  # class, and x, y or left, top, right, bottom


def usable_records(parsed: ParsedRecords, on_error: ErrorHandler) -> list[AnnotationRecord]:
    """Pass the errors of a parser to `on_error` and return the records."""
    records = []
    for item in parsed:
        if isinstance(item, PointsError):
            on_error(item)
        else:
            records.append(item)
    return records


def annotations_of(found: Iterable[Annotation], where: str | Path) -> Annotations:
    """Sort annotations of mixed kinds into points and boxes.

    Args:
        found: A class and two numbers (a point) or four numbers (a box) for each annotation.
        where: The file, for error messages.

    Raises:
        PointsError: an annotation does not have two or four finite numbers up to MAX_COORDINATE.
    """
    points: list[tuple[str, list[float]]] = []
    boxes: list[tuple[str, list[float]]] = []
    for label, values in found:
        try:
            row = [float(value) for value in values]
        except (TypeError, ValueError, OverflowError):
            row = []
        if len(row) not in (2, 4) or not usable(row):
            raise PointsError(
                f"{where}: an annotation of class '{excerpt(label)}' needs two or four finite numbers; correct it"
            )
        (points if len(row) == 2 else boxes).append((label, row))
    return Annotations(
        points=np.array([row for _, row in points], np.float64).reshape(-1, 2),
        boxes=np.array([row for _, row in boxes], np.float64).reshape(-1, 4),
        labels=tuple(label for label, _ in (*points, *boxes)),
    )


def usable(coordinates: ArrayLike) -> bool:
    """Whether coordinates are finite and not beyond what an image can have."""
    return bool((np.abs(np.asarray(coordinates, np.float64)) <= MAX_COORDINATE).all())  # nan compares as false


def as_points(values: object, where: str | Path) -> np.ndarray:
    """Check that `values` are points and return them as float64 (N, 2). An empty array of any shape means no people.

    Raises:
        PointsError: the values are not rows of two finite numbers.
    """
    return as_rows(values, 2, where, "rows of two finite numbers, x and y")


def as_rows(values: object, columns: int, where: str | Path, expected: str) -> np.ndarray:
    """Check that `values` are rows of finite numbers and return them as float64 (N, columns).

    Args:
        values: What the file holds.
        columns: How many numbers a row has.
        where: The file, for error messages.
        expected: What the rows should be, for error messages.

    Raises:
        PointsError: the values are something else.
    """
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    if array.size == 0:
        return np.zeros((0, columns))
    if array.ndim != 2 or array.shape[1] != columns or not usable(array):
        raise PointsError(f"{where}: points must be {expected}; correct them")
    return array

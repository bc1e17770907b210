"""Which classes are counted, and how the bounding box of a person becomes one point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headcount.datasets.annotations import Annotations, PointsError, excerpt

HEAD_CLASSES = ("head", "heads", "human head", "human_head", "person head", "person_head")
PERSON_CLASSES = ("person", "persons", "people", "pedestrian", "pedestrians", "human", "humans")
MAX_LISTED = 30  # classes in a message
BOX_RULES = ("head", "centre")

Box = tuple[float, float, float, float]  # left, top, right, bottom


def bounding_box(corners: npt.ArrayLike) -> Box:
    """The smallest box around points (N, 2), as left, top, right, bottom.

    Raises:
        ValueError: there are no points, or they are not numbers x, y.
    """
    array = np.asarray(corners, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError("corners must be rows of x, y")
    left, top = array.min(axis=0)
    right, bottom = array.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def choose_classes(labels: Iterable[str], wanted: Sequence[str], where: str | Path) -> set[str]:
    """Choose the classes that are counted: the wanted ones, else heads, else people, else the only class.

    Heads come before people because a data set that boxes both has a head within each person.

    Args:
        labels: All classes of the data set. Upper and lower case are the same.
        wanted: The classes the user asks for, or none.
        where: The data set, for error messages.

    Returns:
        The chosen classes in lower case.

    Raises:
        PointsError: a wanted class does not exist, or nothing says which of several classes are people.
    """
    known = {_normalized(label) for label in labels}
    listed = ", ".join(excerpt(label) for label in sorted(known)[:MAX_LISTED]) or "none"
    if len(known) > MAX_LISTED:
        listed += ", ..."
    if wanted:
        asked = {_normalized(name) for name in wanted}
        if missing := sorted(asked - known):
            raise PointsError(f"{where}: has no class '{excerpt(missing[0])}'; choose from {listed}")
        return asked
    for group in (HEAD_CLASSES, PERSON_CLASSES):
        if found := known.intersection(group):
            return found
    if len(known) > 1:
        raise PointsError(
            f"{where}: its classes are {listed}, and none is a person; choose the classes:"
            " headcount convert DATA --classes NAME --out FILE.csv"
        )
    return known


def box_rule(label: str) -> str:
    """`head` for boxes of whole people, `centre` for others. A class that is only a number counts as people."""
    return "head" if label in PERSON_CLASSES or label.isdigit() else "centre"


def box_points(boxes: np.ndarray, rules: Sequence[str], width: int, height: int) -> np.ndarray:
    """Turn each box into one point.

    A box is clipped to the image first. A box that is entirely outside the image gives a point outside the image.

    The rule `centre` gives the centre of the box. The rule `head` gives the point half a head below the middle of the
    top edge, where half a head is min(width / 4, height / 10) of the box. A head is an eighth of a standing person, and
    shoulders are two heads wide. So width / 4 is half a head for people who face the camera, even if they are cut off
    at the waist. The limit height / 10 keeps outstretched arms from moving the point down to the chest.

    Args:
        boxes: float64 (M, 4), two opposite corners of each box as x, y, x, y in pixels.
        rules: `head` or `centre` for each box.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        float64 (M, 2), x then y in pixels.
    """
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    size = np.array([width, height], np.float64)
    outside = ((high < 0) | (low >= size)).any(axis=1)
    unclipped_centre = (low + high) / 2
    low, high = low.clip(0, size), high.clip(0, size)
    centre, extent = (low + high) / 2, high - low
    half_head = np.minimum(extent[:, 0] / 4, extent[:, 1] / 10)
    heads = np.column_stack([centre[:, 0], low[:, 1] + half_head])
    points = np.where(np.array([rule == "head" for rule in rules], bool)[:, None], heads, centre)
    inside = np.minimum(points, np.nextafter(size, 0))  # a box of no width at the border is still a person
    return np.where(outside[:, None], unclipped_centre, inside)


def counted_points(
    annotations: Annotations, boxes: str | None, classes: set[str], width: int, height: int
) -> tuple[np.ndarray, str]:
    """The points of the chosen classes, boxes turned into points.

    Points and boxes without classes (NWPU, JHU) are the same people, annotated twice. Then the points are taken, unless
    `boxes` asks for the boxes.

    Args:
        annotations: The annotations of one image.
        boxes: `head` or `centre` for all boxes, or None for the rule that suits the class of each box.
        classes: The chosen classes in lower case. Not used if the annotations have no classes.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        float64 (N, 2), and a description of how boxes became points ('' if no boxes were used).
    """
    if not annotations.labels:
        if len(annotations.boxes) and (boxes or not len(annotations.points)):
            rule = boxes or "centre"
            return box_points(annotations.boxes, [rule] * len(annotations.boxes), width, height), f"boxes: {rule}"
        return annotations.points, ""
    labels = [_normalized(label) for label in annotations.labels]
    kept = np.array([label in classes for label in labels], bool)
    boxed = labels[len(annotations.points) :]
    rules = [boxes or box_rule(label) for label in boxed]
    used = sorted({f"boxes of {label}: {rule}" for label, rule in zip(boxed, rules, strict=True) if label in classes})
    points = np.concatenate([annotations.points, box_points(annotations.boxes, rules, width, height)])
    return points[kept], ", ".join(used)


def _normalized(label: str) -> str:
    return label.strip().lower()

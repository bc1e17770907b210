"""CVAT for images 1.1 and CVAT for video 1.1.

Layout:
    `annotations.xml`, with the images anywhere below its folder.

    Points are one person each. Boxes, ellipses, masks and polygons are taken for their bounding boxes. A skeleton is
    its point `head`, else `nose`, else its first point. Lines are skipped.

    A file that headcount writes has one shape for each person. The name of an image is its path below the folder that
    holds all images. CVAT puts it on the frame of that name, else on the frame of its number.

    Of a track every frame is taken that is not marked `outside`. Frame n is frame_00000n, as CVAT saves it. If no image
    has such a name, frame n is the n-th image in natural order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring  # to write; reading is defusedxml's

import numpy as np

from headcount.datasets.annotation_files import read_image_size, read_xml
from headcount.datasets.annotations import (
    Annotation,
    AnnotationRecord,
    Annotations,
    PointsError,
    annotations_of,
    excerpt,
)
from headcount.datasets.boxes import bounding_box
from headcount.datasets.folders import ImageIndex, list_files, names_below_common_folder
from headcount.datasets.format import LABEL, RecordFormat
from headcount.datasets.sample import Sample
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import SPLIT_NAMES
from headcount.datasets.tables import exact_points, refuse_rois
from headcount.io.files import atomic_write
from headcount.io.names import one_line

if TYPE_CHECKING:
    LabeledShape = tuple[str, Element]  # class, and the element of a box, points, ...


NUMBER = r"\d{1,9}"


def parse_cvat(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image or frame; see the module for the layout."""
    files = [root] if root.is_file() else list_files(root, (".xml",), "**/*")
    trees = [(file, read_xml(file)) for file in files]
    trees = [(file, tree) for file, tree in trees if tree.tag == "annotations"]
    if not trees:
        raise PointsError(f"{root}: holds no annotations.xml of CVAT; export it as CVAT 1.1")
    for file, tree in trees:
        images = ImageIndex(root if root.is_dir() else file.parent)
        yield from _image_records(file, tree, images)
        yield from _frame_records(file, tree, images)


def _image_records(file: Path, tree: Element, images: ImageIndex) -> Iterator[AnnotationRecord | PointsError]:
    for element in tree.iter("image"):
        try:
            path = images.find(element.get("name") or "", file, file.parent / "images")
        except PointsError as error:
            yield error
            continue
        shapes = [(shape.get("label") or "", shape) for shape in element]
        split = SPLIT_NAMES.get((element.get("subset") or "").lower(), "")
        yield AnnotationRecord(path, partial(_load, shapes, file), split)


def _frame_records(file: Path, tree: Element, images: ImageIndex) -> Iterator[AnnotationRecord]:
    if next(tree.iter("track"), None) is None:
        return
    shapes = _shapes_by_frame(tree)
    frames = _frames_by_number(file, images, tree.findtext(".//task/size") or "")
    if missing := sorted(shapes.keys() - frames.keys()):
        raise PointsError(f"{file}: frame {missing[0]} has no image; export it again, with its images")
    for number, path in frames.items():
        yield AnnotationRecord(path, partial(_load, shapes.get(number, []), file))


def _shapes_by_frame(tree: Element) -> dict[int, list[LabeledShape]]:
    shapes: dict[int, list[LabeledShape]] = {}
    for track in tree.iter("track"):
        for shape in track:
            number = shape.get("frame", "")
            if re.fullmatch(NUMBER, number) and shape.get("outside") != "1":
                shapes.setdefault(int(number), []).append((track.get("label") or "", shape))
    return shapes


def _frames_by_number(file: Path, images: ImageIndex, count: str) -> dict[int, Path]:
    """The images of the frames, from 0. `count` is the number of frames in the task, or ''."""
    named = {int(path.stem[6:]): path for path in images.paths if re.fullmatch(r"frame_\d+", path.stem.lower())}
    if named:
        return named
    if re.fullmatch(NUMBER, count) and int(count) != len(images.paths):
        raise PointsError(
            f"{file}: has {count} frames, but there are {len(images.paths)} images below; export it with images"
        )
    return dict(enumerate(images.paths))


def _load(shapes: list[LabeledShape], file: Path) -> Annotations:
    return annotations_of(
        (found for label, shape in shapes for found in _annotations_of_shape(label, shape, file)), file
    )


def _annotations_of_shape(label: str, shape: Element, file: Path) -> list[Annotation]:
    if shape.tag == "skeleton":
        joint = _joint(shape)
        return [] if joint is None else _annotations_of_shape(label, joint, file)
    corners = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair]
    try:
        if shape.tag == "points":
            return [(label, corner) for corner in corners]
        if shape.tag == "box":
            return [(label, _values(shape, "xtl", "ytl", "xbr", "ybr"))]
        if shape.tag == "polygon":
            return [(label, bounding_box(np.array(corners, np.float64)))]
        if shape.tag == "ellipse":
            x, y, rx, ry = map(float, _values(shape, "cx", "cy", "rx", "ry"))
            return [(label, (x - rx, y - ry, x + rx, y + ry))]
        if shape.tag == "mask":
            left, top, width, height = map(float, _values(shape, "left", "top", "width", "height"))
            return [(label, (left, top, left + width, top + height))]
    except ValueError:
        raise PointsError(f"{file}: a {shape.tag} of '{excerpt(label)}' has no coordinates; export it again") from None
    return []


def _joint(skeleton: Element) -> Element | None:
    """The point of a skeleton where the person is counted."""
    joints = {
        joint.get("label", ""): joint for joint in skeleton if joint.get("outside") != "1" and joint.get("points")
    }
    preferred = [joints[name] for name in ("head", "nose") if name in joints]
    return next(iter([*preferred, *joints.values()]), None)


def _values(shape: Element, *keys: str) -> list[str]:
    return [shape.get(key) or "" for key in keys]


def write_cvat(samples: Sequence[Sample], path: Path, splits: Sequence[str] = (), source: str = "manual") -> None:
    """Write a file of CVAT for images 1.1, in which a person is a shape of one point, labeled `head`.

    Args:
        samples: The annotated images.
        path: The file to write.
        splits: The subset of each image, or nothing.
        source: What CVAT says about who made the shapes: "manual" or "auto".

    Raises:
        PointsError: a sample has a region of interest, or the size of an image cannot be read.
    """
    refuse_rois(samples, path, "cvat")
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    _, names = names_below_common_folder([sample.image for sample in samples])
    for number, (sample, name) in enumerate(zip(samples, names, strict=True)):
        width, height = read_image_size(sample.image)
        facts = {"id": str(number), "name": one_line(name), "width": str(width), "height": str(height)}
        image = SubElement(root, "image", facts | ({"subset": splits[number]} if splits else {}))
        for x, y in exact_points(sample.points):
            shape = {"label": LABEL, "source": source, "occluded": "0", "points": f"{x},{y}", "z_order": "0"}
            SubElement(image, "points", shape)
    indent(root)
    with atomic_write(path) as stream:
        stream.write(tostring(root, encoding="unicode") + "\n")


def write_cvat_estimates(samples: Sequence[Sample], path: Path, model: str) -> None:
    """The same for the estimates of a model."""
    write_cvat(samples, path, source="auto")


FORMAT = RecordFormat(
    sign="an .xml file of <annotations>",
    matches=file_starts(".xml", lambda start: bool(re.search(r"<annotations[\s>]", start)), "*.xml", "*/*.xml"),
    parse=parse_cvat,
    write=write_cvat,
    write_estimates=write_cvat_estimates,
)

"""COCO annotation files, of keypoints or of boxes.

Layout:
    A .json file, a folder of them, or a folder of them for each split. An image may be anywhere below the root, or at
    the absolute path that the file gives, as headcount writes it.

    A person is one point: the keypoint `head`, else `nose`, else the first labeled one. A person without keypoints is a
    box. If a category has keypoints, the categories without them are not people and are skipped. A box with `iscrowd`
    holds an unknown number of people, and is skipped.

    The split of an image is its field `split`, else the name of the file or of its folder. `roi` and `scene` are fields
    of an image too, which other tools ignore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import Json, read_json
from headcount.datasets.annotations import (
    Annotation,
    AnnotationRecord,
    Annotations,
    PointsError,
    annotations_of,
    as_points,
    excerpt,
)
from headcount.datasets.folders import ImageIndex, check_path, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.sample import Sample
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import split_from_folders
from headcount.datasets.tables import exact_points, optional_fields, with_splits, written_path
from headcount.io.files import atomic_write
from headcount.io.images import image_size


def parse_coco(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each image of all files; see the module for the layout."""
    home = root if root.is_dir() else root.parent
    files = [root] if root.is_file() else list_files(root, (".json",)) or list_files(root, (".json",), "*/*")
    images = ImageIndex(home.parent if root.is_file() and home.name == "annotations" else home)
    seen: set[Path] = set()
    for file in files:
        data = read_json(file)
        if len(files) > 1 and (not isinstance(data, dict) or "categories" not in data):
            continue  # captions, and other files that do not mark people
        split = ""
        if root.is_dir():
            split = split_from_folders(file, root) or _split_from_name(file, several=len(files) > 1)
        for item in _file_records(data, file, images, split):
            if isinstance(item, AnnotationRecord):
                if item.image in seen:
                    raise PointsError(
                        f"{file}: {item.image.name} is in another file too; pass a single annotation file instead of"
                        " the folder"
                    )
                seen.add(item.image)
            yield item


def _split_from_name(file: Path, several: bool) -> str:
    named = re.search(r"(?<![a-z])(train|val|test)(?![a-z])", file.stem.lower())
    if named:
        return named.group()
    return file.stem if several else ""


def _file_records(data: Json, file: Path, images: ImageIndex, split: str) -> Iterator[AnnotationRecord | PointsError]:
    try:
        found = _annotations_by_image(data, file)
        listed = [(str(image["file_name"]), image, found[image["id"]]) for image in data["images"]]
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise PointsError(
            f"{file}: not a COCO keypoint file, nor one of boxes ({excerpt(str(error))}); export it again"
        ) from None
    for name, image, places in listed:
        try:
            path = _find_image(name, file, images)
        except PointsError as error:
            yield error
            continue
        load = partial(_load, places, image.get("roi"), f"{file}, {name}")
        yield AnnotationRecord(path, load, str(image.get("split") or split), str(image.get("scene") or ""))


def _annotations_by_image(data: Json, file: Path) -> dict[object, list[Annotation]]:
    """The annotations of each image by its id. Other content than COCO's is a KeyError, TypeError or AttributeError."""
    categories = {category["id"]: category for category in data["categories"]}
    posed = {number for number, category in categories.items() if "keypoints" in category}
    found: dict[object, list[Annotation]] = {image["id"]: [] for image in data["images"]}
    for item in data["annotations"]:
        category = categories[item["category_id"]]
        if not item.get("iscrowd") and (not posed or category["id"] in posed):
            label = "person" if posed else str(category.get("name") or category["id"])
            found[item["image_id"]].append((label, _place(item, category, file)))
    if not posed and not any("name" in category for category in categories.values()):
        raise PointsError(f"{file}: no category has keypoints, and boxes are not read without names; export names")
    return found


def _find_image(name: str, file: Path, images: ImageIndex) -> Path:
    check_path(name, file)
    path = Path(name)
    return path if path.is_absolute() and path.is_file() else images.find(name, file, file.parent)


def _load(found: list[Annotation], roi: Json, where: str) -> Annotations:
    polygon = None if roi is None else as_points(roi, where)
    return replace(annotations_of(found, where), roi=polygon)


def _place(item: Json, category: Json, file: Path) -> Iterable[float]:
    """The keypoint where a person is counted, else the box as left, top, right, bottom."""
    flat = item.get("keypoints") or []  # x, y, visibility of each keypoint; visibility 0 is not labeled
    triples = zip(category.get("keypoints", ()), flat[0::3], flat[1::3], flat[2::3], strict=False)
    joints = {name: (x, y) for name, x, y, visible in triples if visible}
    if joints:
        return joints.get("head") or joints.get("nose") or next(iter(joints.values()))
    box = item.get("bbox")
    if box is None or len(box) != 4:
        raise PointsError(
            f"{file}: annotation {excerpt(str(item.get('id')))} has no labeled keypoint and no box;"
            " add a head keypoint or a box to each person"
        )
    left, top, width, height = box
    return left, top, left + width, top + height


def write_coco(samples: Sequence[Sample], path: Path, splits: Sequence[str] = ()) -> None:
    """Write a COCO file in which a person is one keypoint, `head`, in a box of no size.

    `roi` and `scene` are extra fields of an image, and `split` too if `splits` has one for each sample.

    Raises:
        MediaError: the size of an image cannot be read.
    """
    images: list[dict[str, object]] = []
    people: list[dict[str, object]] = []
    for number, sample in enumerate(samples, start=1):
        width, height = image_size(sample.image)
        image = {"id": number, "file_name": written_path(sample.image, path), "width": width, "height": height}
        images.append({**image, **optional_fields(sample)})
        for x, y in exact_points(sample.points):
            person = {"id": len(people) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 0}
            people.append({**person, "bbox": [x, y, 0, 0], "num_keypoints": 1, "keypoints": [x, y, 2]})
    categories = [{"id": 1, "name": "person", "supercategory": "person", "keypoints": ["head"], "skeleton": []}]
    content = {"images": with_splits(images, splits), "annotations": people, "categories": categories}
    with atomic_write(path) as stream:
        stream.write(json.dumps(content))


def _matches(start: str) -> bool:
    start = start.lstrip()
    return start.startswith("{") and '"shapes"' not in start and bool(re.search(r'"(file_name|category_id)"', start))


FORMAT = RecordFormat(
    sign=".json with file_name or category_id",
    matches=file_starts(".json", _matches, "*.json", "annotations/*.json"),
    parse=parse_coco,
    write=write_coco,
)

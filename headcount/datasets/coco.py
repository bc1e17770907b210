"""COCO annotation files, read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from headcount.datasets.annotations import (
    Annotation,
    AnnotationRecord,
    Annotations,
    Images,
    PointsError,
    annotations_of,
    attempt,
    files,
    load_json,
    pairs,
    split_of,
)
from headcount.datasets.sample import Sample
from headcount.datasets.tables import _numbers, _optional, _relative
from headcount.io.images import image_size


def coco(root: Path) -> list[AnnotationRecord]:
    """COCO: keypoints where a person has them, else boxes. A file, or a folder of them, or of a folder for each split.

    A person's point is the keypoint `head`, else `nose`, else the first labelled one; without any, its box. Where a
    category has keypoints, the categories that have none are not people. A box with `iscrowd` is many people,
    uncounted, and is passed over. A split is an image's field `split`, else what the file or its folder is named after;
    `roi` and `scene` are fields of an image too. A picture lies anywhere below root, or where an absolute path says, as
    headcount writes it.
    """
    home = root if root.is_dir() else root.parent
    found = [root] if root.is_file() else files(root, (".json",)) or files(root, (".json",), "*/*")
    images = Images(home.parent if root.is_file() and home.name == "annotations" else home)
    entries: dict[Path, AnnotationRecord] = {}
    for file in found:
        data = load_json(file)
        if len(found) > 1 and (not isinstance(data, dict) or "categories" not in data):
            continue  # captions, and what else lies there
        split = "" if root.is_file() else split_of(file, root) or _stem_split(file, len(found) > 1)
        for entry in _coco_entries(data, file, images, split):
            if entry.image in entries:
                raise PointsError(f"{file}: {entry.image.name} is in another file too; give one of the files itself")
            entries[entry.image] = entry
    return list(entries.values())


def _stem_split(file: Path, several: bool) -> str:
    named = re.search(r"(?<![a-z])(train|val|test)(?![a-z])", file.stem.lower())
    return named.group() if named else file.stem if several else ""


def _coco_entries(data: Any, file: Path, images: Images, split: str) -> list[AnnotationRecord]:
    try:
        kinds = {kind["id"]: kind for kind in data["categories"]}
        posed = {number for number, kind in kinds.items() if "keypoints" in kind}
        marks: dict[Any, list[Annotation]] = {image["id"]: [] for image in data["images"]}
        for thing in data["annotations"]:
            kind = kinds[thing["category_id"]]
            if not thing.get("iscrowd") and (not posed or kind["id"] in posed):
                label = "person" if posed else str(kind.get("name") or kind["id"])
                marks[thing["image_id"]].append((label, _coco_place(thing, kind, file)))
        if not posed and not any("name" in kind for kind in kinds.values()):
            raise PointsError(f"{file}: no category has keypoints, and boxes are not read without names; export names")
        placed = [(attempt(_coco_image, str(i["file_name"]), file, images), i, marks[i["id"]]) for i in data["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise PointsError(f"{file}: not a COCO keypoint file, nor one of boxes ({error}); export it again") from None
    return [
        AnnotationRecord(p, partial(_coco_marks, m, i, file), str(i.get("split") or split), str(i.get("scene") or ""))
        for p, i, m in placed
        if p is not None
    ]


def _coco_image(name: str, file: Path, images: Images) -> Path:
    return Path(name) if Path(name).is_absolute() and Path(name).is_file() else images.find(name, file, file.parent)


def _coco_marks(found: list[Annotation], image: dict, file: Path) -> Annotations:
    where = f"{file}, {image['file_name']}"
    roi = None if image.get("roi") is None else pairs(image["roi"], where)
    return replace(annotations_of(found, where), roi=roi)


def _coco_place(thing: dict, kind: dict, file: Path) -> Iterable[float]:
    flat = thing.get("keypoints") or []  # x, y, visibility of each keypoint; visibility 0: not labelled
    triples = zip(kind.get("keypoints", ()), flat[0::3], flat[1::3], flat[2::3], strict=False)
    joints = {name: (x, y) for name, x, y, visible in triples if visible}
    if joints:
        return joints.get("head") or joints.get("nose") or next(iter(joints.values()))
    if thing.get("bbox") is None or len(thing["bbox"]) != 4:
        raise PointsError(
            f"{file}: annotation {thing.get('id')} has no labelled keypoint and no box; give each person one"
        )
    left, top, width, height = thing["bbox"]
    return left, top, left + width, top + height


def write_coco(samples: list[Sample], path: Path) -> None:
    """A person is one keypoint, `head`, in a box of no size. roi and scene are extra fields of an image."""
    images: list[dict] = []
    people: list[dict] = []
    for number, sample in enumerate(samples, start=1):
        width, height = image_size(sample.image)
        image = {"id": number, "file_name": _relative(sample.image, path), "width": width, "height": height}
        images.append({**image, **_optional(sample)})
        for x, y in _numbers(sample.points):
            person = {"id": len(people) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 0}
            people.append({**person, "bbox": [x, y, 0, 0], "num_keypoints": 1, "keypoints": [x, y, 2]})
    kinds = [{"id": 1, "name": "person", "supercategory": "person", "keypoints": ["head"], "skeleton": []}]
    tables = {"images": images, "annotations": people, "categories": kinds}
    path.write_text(json.dumps(tables), encoding="utf-8")

"""Tables of points that are easy to write by hand or by script: CSV, and JSON of the same content.

Layout of CSV:
    One row per person, with the columns `image`, `x`, `y`, and optionally `split` and `scene`. Other columns are
    ignored. An image without people is a row with empty x and y. UTF-8, with or without a byte order mark. Line breaks
    in the name of a file, and bytes that are not UTF-8, are escaped (`name_to_text`). ::

        image,x,y,split
        gate/monday.jpg,310.5,122,train
        gate/empty.jpg,,,train

Layout of JSON:
    An image may have `roi`, a polygon [[x, y], ...] within which people are counted, `scene` and `split`. ::

        {"images": [{"image": "gate/monday.jpg", "points": [[310.5, 122]], "roi": [[0, 80], [640, 80], [640, 480]]}]}

Image paths are relative to the folder of the table, and may lead anywhere, unlike those of other formats. The data set
is one file, or a folder with one file per split (train.csv, val.csv, test.csv).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_json
from headcount.datasets.annotations import ErrorHandler, PointsError, as_points, excerpt
from headcount.datasets.folders import check_path, list_files, relative_path
from headcount.datasets.format import PointFormat
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import OFFICIAL_SPLITS, SPLIT_NAMES, select_split
from headcount.io.files import atomic_write, single_line
from headcount.io.names import name_from_text, name_to_text, natural_key

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class TableImage:
    """One image of a table, as it is written there.

    Attributes:
        image: Path of the image as written.
        points: Rows of x, y. In a JSON file they may still be anything.
        split: The split, or ''.
        scene: The camera, or ''.
        roi: The polygon in which people are counted, or None. It may still be anything too.
    """

    image: str
    points: Points = field(default_factory=list)
    split: str = ""
    scene: str = ""
    roi: object = None


# Reading


def parse_csv(file: Path) -> list[TableImage]:
    """The images of a CSV table, in the order in which they first occur. Raises PointsError."""
    images: dict[str, TableImage] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:  # spreadsheets add a byte order mark
            rows = csv.DictReader(stream)
            if not {"image", "x", "y"} <= set(rows.fieldnames or ()):
                raise PointsError(f"{file}: the first line must name the columns image,x,y; add it")
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                name, split, scene, points = _parse_row(row, where)
                image = images.setdefault(name, TableImage(name, split=split, scene=scene))
                if (image.split, image.scene) != (split, scene):
                    raise PointsError(
                        f"{where}: {excerpt(name)} has another split or scene in an earlier row; keep one"
                    )
                image.points.extend(points)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PointsError(f"{file}: not a UTF-8 table ({single_line(error)}); save it as CSV UTF-8") from None
    return list(images.values())


def _parse_row(row: Mapping[str, str | None], where: str) -> tuple[str, str, str, Points]:
    """The image, split and scene of a row, and its point if it has one."""
    name = name_from_text(row.get("image") or "")  # not stripped: names that differ in outer spaces are two images
    x, y, split, scene = ((row.get(column) or "").strip() for column in ("x", "y", "split", "scene"))
    if not name.strip():
        raise PointsError(f"{where}: the column image is empty; name the image")
    if not x and not y:
        return name, split, scene, []
    try:
        return name, split, scene, [(float(x), float(y))]
    except ValueError:
        raise PointsError(
            f"{where}: x '{excerpt(x)}', y '{excerpt(y)}' must be numbers, or both empty for no people"
        ) from None


def parse_json(file: Path) -> list[TableImage]:
    """The images of a JSON table. Points and regions are not checked yet. Raises PointsError."""
    data = read_json(file)
    try:
        return [
            TableImage(
                str(item["image"]),
                item["points"],
                split=str(item.get("split") or ""),
                scene=str(item.get("scene") or ""),
                roi=item.get("roi"),
            )
            for item in data["images"]
        ]
    except (KeyError, TypeError, AttributeError):
        shape = '{"images": [{"image": path, "points": [[x, y], ...]}, ...]}'
        raise PointsError(f"{file}: must be {shape}; correct it") from None


@dataclass(frozen=True)
class _TableReader:
    """Reads tables of one suffix.

    Attributes:
        suffix: The suffix of the files.
        parse: Reads one file.
    """

    suffix: str
    parse: Callable[[Path], list[TableImage]]

    def read_split(self, root: Path, split: str, on_error: ErrorHandler) -> list[Sample]:
        """Read one split of a file, of a folder with a file per split, or of a folder with one file."""
        if root.is_file():
            return self._select(root, self.parse(root), split, on_error)
        own, train = root / f"{split}{self.suffix}", root / f"train{self.suffix}"
        if split in ("train", "val") and train.is_file() and not (root / f"val{self.suffix}").is_file():
            unmarked = [replace(image, split="") for image in self.parse(train)]
            return self._select(train, unmarked, split, on_error)  # a tenth of it is val
        if own.is_file():
            return _samples(own, self.parse(own), on_error)
        files = list_files(root, (self.suffix,))
        if len(files) != 1:
            raise PointsError(f"{root}: {len(files)} {self.suffix} files, none is {own.name}; give the file itself")
        return self._select(files[0], self.parse(files[0]), split, on_error)

    def _select(self, file: Path, images: list[TableImage], split: str, on_error: ErrorHandler) -> list[Sample]:
        return _samples(file, select_split(file, images, split, lambda image: image.image), on_error)

    def marked_splits(self, root: Path) -> set[str]:
        """The splits that images of a file are marked with, or the official splits that have a file of their own."""
        if root.is_dir():
            files = list(root.glob(f"*{self.suffix}"))
            names = {file.stem for file in files}
            if len(names) != 1 or names & set(SPLIT_NAMES):
                return names & set(OFFICIAL_SPLITS)
            root = files[0]
        return {image.split for image in self.parse(root)}


def _samples(file: Path, images: list[TableImage], on_error: ErrorHandler) -> list[Sample]:
    samples = []
    for image in sorted(images, key=lambda image: natural_key(image.image)):
        try:
            check_path(image.image, file, line_breaks=True)
            where = f"{file}, {image.image}"
            roi = None if image.roi is None else as_points(image.roi, where)
            points = as_points(image.points, where)
        except PointsError as error:
            on_error(error)
            continue
        samples.append(make_sample(file.parent / image.image, points, roi, image.scene, on_error=on_error))
    return samples


# Writing


def write_csv(samples: Sequence[Sample], path: Path, splits: Sequence[str] = ()) -> None:
    """Write a CSV table; the column `split` is written only if `splits` has one for each sample.

    Raises:
        PointsError: a sample has a region of interest, for which a CSV table has no place.
    """
    refuse_rois(samples, path, "csv")
    marks = splits or [""] * len(samples)
    images = [
        TableImage(written_path(sample.image, path), exact_points(sample.points), mark, sample.scene)
        for sample, mark in zip(samples, marks, strict=True)
    ]
    write_table(images, path)


def write_table(images: Sequence[TableImage], path: Path) -> None:
    """Write what `parse_csv` reads. The column `split` is written only if an image has a split."""
    marked = any(image.split for image in images)
    with atomic_write(path) as stream:
        table = csv.writer(stream)
        table.writerow(["image", "x", "y", "scene", *(["split"] if marked else [])])
        for image in images:
            name, more = name_to_text(image.image), [image.scene, *([image.split] if marked else [])]
            table.writerows([name, x, y, *more] for x, y in image.points)
            if not image.points:
                table.writerow([name, "", "", *more])


def write_json(samples: Sequence[Sample], path: Path, splits: Sequence[str] = ()) -> None:
    """Write a JSON table; images have the field `split` only if `splits` has one for each sample."""
    images = [
        {"image": written_path(sample.image, path), "points": exact_points(sample.points), **optional_fields(sample)}
        for sample in samples
    ]
    with atomic_write(path) as stream:
        stream.write(json.dumps({"images": with_splits(images, splits)}))


def refuse_rois(samples: Sequence[Sample], path: Path, format: str) -> None:
    """Raise PointsError if a sample has a region of interest, for which a format has no place."""
    if any(sample.roi is not None for sample in samples):
        raise PointsError(f"{path}: a file of {format} has no place for a roi; write json or coco")


def written_path(image: Path, file: Path) -> str:
    """The path of an image in a file: relative if the image is below the folder of the file, else absolute."""
    return relative_path(image.absolute(), file.parent.absolute())


def exact_points(points: np.ndarray) -> Points:
    """The shortest decimals that read back as the same float32 numbers."""
    return [(float(str(x)), float(str(y))) for x, y in np.asarray(points, np.float32)]


def optional_fields(sample: Sample) -> dict[str, object]:
    """The fields `roi` and `scene` of an image, if the sample has them."""
    fields: dict[str, object] = {}
    if sample.roi is not None and len(sample.roi):
        fields["roi"] = exact_points(sample.roi)
    if sample.scene:
        fields["scene"] = sample.scene
    return fields


def with_splits(images: list[dict[str, object]], splits: Sequence[str]) -> list[dict[str, object]]:
    """The images with the field `split`, or as they are if no splits are given."""
    if not splits:
        return images
    return [{**image, "split": split} for image, split in zip(images, splits, strict=True)]


# Formats


def _has_columns(start: str) -> bool:
    return bool(start) and {"image", "x", "y"} <= set(start.splitlines()[0].replace('"', "").split(","))


def _has_images(start: str) -> bool:
    return bool(re.match(r'\s*\{\s*"images"', start)) and '"image"' in start and '"file_name"' not in start


_csv, _json = _TableReader(".csv", parse_csv), _TableReader(".json", parse_json)

CSV_FORMAT = PointFormat(
    sign="a .csv with the columns image,x,y",
    matches=file_starts(".csv", _has_columns, "*.csv"),
    read_split=_csv.read_split,
    list_splits=_csv.marked_splits,
    write=write_csv,
)
JSON_FORMAT = PointFormat(
    sign='.json of {"images": [{"image": ..',
    matches=file_starts(".json", _has_images, "*.json"),
    read_split=_json.read_split,
    list_splits=_json.marked_splits,
    write=write_json,
)

"""Annotation files of one's own: CSV, JSON and COCO, parsed and written.

Unusual: this lies under points.py, which makes samples of what is parsed. A row of our CSV and JSON is a dict, one an
image: `image` (path as written), `points` [[x, y], ...], and where the file has them `roi`, `scene`, `split`. COCO
comes from anywhere, and is opened with the care of the other labelling tools (entries.py).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import PointsError, load_json
from headcount.datasets.sample import Sample


def parse_csv(file: Path) -> list[dict]:
    """A table with the columns image, x, y, one row a person; the columns split and scene are optional.

    An image without people is a row with empty x and y. Paths are relative to the table's folder.
    """
    entries: dict[str, dict] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:  # -sig: spreadsheets add a BOM
            rows = csv.DictReader(stream)
            if not {"image", "x", "y"} <= set(rows.fieldnames or ()):
                raise PointsError(f"{file}: the first line must name the columns image,x,y; add it")
            for row in rows:
                _add_row(entries, row, f"{file}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PointsError(f"{file}: not a UTF-8 table ({error}); save it as CSV UTF-8") from None
    return list(entries.values())


def _add_row(entries: dict[str, dict], row: dict, where: str) -> None:
    columns = ("image", "x", "y", "split", "scene")
    image, x, y, split, scene = ((row.get(column) or "").strip() for column in columns)
    if not image:
        raise PointsError(f"{where}: the column image is empty; name the image")
    entry = entries.setdefault(image, {"image": image, "points": [], "split": split, "scene": scene})
    if (entry["split"], entry["scene"]) != (split, scene):
        raise PointsError(f"{where}: {image} has another split or scene in an earlier row; keep one")
    if not x and not y:
        return
    try:
        entry["points"].append((float(x), float(y)))
    except ValueError:
        raise PointsError(f"{where}: x '{x}', y '{y}' must be numbers, or both empty for no people") from None


def parse_json(file: Path) -> list[dict]:
    """{"images": [entry, ...]}, each entry as the head of this module has it."""
    data = load_json(file)
    try:
        return [{**entry, "image": str(entry["image"]), "points": entry["points"]} for entry in data["images"]]
    except (KeyError, TypeError):
        shape = '{"images": [{"image": path, "points": [[x, y], ...]}, ...]}'
        raise PointsError(f"{file}: must be {shape}; correct it") from None


def write_csv(samples: list[Sample], path: Path) -> None:
    """The columns image, x, y, scene. Raises PointsError for a roi, which the table has no place for."""
    if any(sample.roi is not None for sample in samples):
        raise PointsError(f"{path}: a csv has no place for a roi; write json or coco")
    write_entries(
        [{"image": _relative(s.image, path), "points": _numbers(s.points), "scene": s.scene} for s in samples], path
    )


def write_entries(entries: list[dict], path: Path) -> None:
    """What `parse_csv` gives, written as it reads it; the column split is there where an entry has one."""
    columns = ["scene"] + ["split"] * any(entry.get("split") for entry in entries)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "x", "y", *columns])
        for entry in entries:
            more = [entry.get(column, "") for column in columns]
            table.writerows([entry["image"], x, y, *more] for x, y in entry["points"] or [("", "")])


def write_json(samples: list[Sample], path: Path) -> None:
    images = [
        {"image": _relative(sample.image, path), "points": _numbers(sample.points), **_optional(sample)}
        for sample in samples
    ]
    path.write_text(json.dumps({"images": images}), encoding="utf-8")


def _relative(image: Path, file: Path) -> str:
    """The image's path below the file's folder, or absolute where it lies elsewhere."""
    image, folder = image.absolute(), file.parent.absolute()
    return (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()


def _numbers(points: np.ndarray) -> list[tuple]:
    """The shortest decimals that read back as the same float32."""
    return [(float(str(x)), float(str(y))) for x, y in np.asarray(points, np.float32)]


def _optional(sample: Sample) -> dict:
    fields = {"roi": None if sample.roi is None else _numbers(sample.roi), "scene": sample.scene}
    return {key: value for key, value in fields.items() if value}

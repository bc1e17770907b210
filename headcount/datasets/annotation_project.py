"""A folder of photos whose heads are being marked: its photos, and the points in its points.csv.

What is unusual: there is no database and no format of its own. The folder is what `headcount train` takes, at any
moment: each save writes the whole table anew and then renames it, and rows that others wrote are kept.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import PointsError
from headcount.datasets.tables import parse_csv, write_entries
from headcount.io.images import image_size, list_images

TABLE = "points.csv"
MOST = 200_000  # points in one photo


class Project:
    """The photos of a folder and its table. Raises PointsError for a folder that cannot be one."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.table = self.folder / TABLE
        self.lock = threading.Lock()
        if not self.folder.is_dir():
            raise PointsError(f"{folder}: no such folder; give a folder of photos")
        if not self.photos():
            raise PointsError(f"{folder}: no photos in this folder; copy some into it")
        self.entries()

    def photos(self) -> dict[str, Path]:
        """Each photo by its path below the folder, as a table and a page name it."""
        return {path.relative_to(self.folder).as_posix(): path for path in list_images(self.folder)}

    def entries(self) -> dict[str, dict]:
        """What the table says of each image; see tables.parse_csv. Raises PointsError for a table that is damaged."""
        return {entry["image"]: entry for entry in parse_csv(self.table)} if self.table.exists() else {}

    def summary(self) -> dict:
        """name, photos [{name, points}], saved; points is None where none were saved yet."""
        entries = self.entries()
        photos = [{"name": n, "points": len(entries[n]["points"]) if n in entries else None} for n in self.photos()]
        return {
            "name": self.folder.resolve().name,
            "photos": photos,
            "saved": sum(photo["points"] is not None for photo in photos),
        }

    def points(self, name: str) -> list[tuple[float, float]] | None:
        """The saved points of a photo, pixels of it upright; None where none were saved. Raises KeyError for a photo
        that is not in this folder."""
        self.photos()[name]
        entry = self.entries().get(name)
        return entry["points"] if entry else None

    def save(self, name: str, points: list[tuple[float, float]]) -> None:
        """Replace the points of one photo. Raises PointsError for points that are not in it, KeyError for no photo."""
        width, height = image_size(self.photos()[name])
        array = np.asarray(points, np.float64).reshape(-1, 2)
        if len(array) > MOST:
            raise PointsError(f"{name}: {len(array)} points; {MOST} is the most")
        if not (np.isfinite(array) & (array >= 0) & (array < (width, height))).all():
            raise PointsError(f"{name}: a point is outside of its {width}x{height} pixels; move it")
        rounded = [
            tuple(point) for point in (np.floor(array * 100) / 100).tolist()
        ]  # a rounded one may leave the photo
        with self.lock:
            entries = self.entries()
            entries[name] = {"split": "", "scene": "", **entries.get(name, {}), "image": name, "points": rounded}
            draft = self.table.with_name(f".{TABLE}.{os.getpid()}.new")
            try:
                write_entries(list(entries.values()), draft)
                draft.replace(self.table)
            finally:
                draft.unlink(missing_ok=True)

"""A folder of photos that are being annotated: its photos, and the points in its points.csv.

There is no database and no special format. At any moment `headcount train` can read the folder. Each save writes the
whole table to a temporary file and renames it, and keeps rows that others wrote.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import PointsError
from headcount.datasets.tables import Points, TableImage, parse_csv, write_table
from headcount.io.images import MediaError, image_size, list_images
from headcount.io.names import name_from_text, name_to_text, one_line

TABLE = "points.csv"
MAX_POINTS = 200_000  # in one photo


class Project:
    """The photos of a folder and its table of points.

    Attributes:
        folder: The folder.
        table: The table of points in it. The file may not exist yet.
    """

    def __init__(self, folder: str | Path):
        """Open a folder.

        Raises:
            PointsError: the folder does not exist or has no photos, or its table is damaged.
        """
        self.folder = Path(folder)
        self.table = self.folder / TABLE
        self._lock = threading.Lock()
        if not self.folder.is_dir():
            raise PointsError(f"{folder}: no such folder; give a folder of photos")
        if not self.photos():
            raise PointsError(f"{folder}: no photos in this folder; copy some into it")
        self.images()

    def photos(self) -> dict[str, Path]:
        """Each photo by its path relative to the folder, as the table and the annotation page spell it.

        Pipes and devices are left out, and so are links that lead out of the folder.
        """
        photos = (path for path in list_images(self.folder) if self._is_inside(path))
        return {name_to_text(path.relative_to(self.folder).as_posix()): path for path in photos}

    def _is_inside(self, path: Path) -> bool:
        """Whether a path is a file of the folder, or a link to one."""
        if not path.is_symlink():
            return path.is_file()
        return path.is_file() and path.resolve().is_relative_to(self.folder.resolve())

    def images(self) -> dict[str, TableImage]:
        """What the table says about each image, by its spelled path. Raises PointsError if the table is damaged."""
        if not os.path.lexists(self.table):
            return {}
        with self.own_messages():
            if not self._is_inside(self.table):
                raise PointsError(f"{self.table}: is no file of this folder; remove it")
            return {name_to_text(image.image): image for image in parse_csv(self.table)}

    @contextlib.contextmanager
    def own_messages(self) -> Iterator[None]:
        """Let the errors of the block name files relative to the folder, since they may be shown to other people."""
        try:
            yield
        except (PointsError, MediaError) as error:
            raise type(error)(str(error).replace(one_line(f"{self.folder}{os.sep}"), "")) from None

    def summary(self) -> dict[str, object]:
        """The state of the project, for the annotation page.

        Returns:
            {"name": str, "photos": [{"name": str, "points": int | None}, ...], "saved": int}. `points` is the number of
            points in a photo, or None for a photo that was not saved yet. `saved` counts the photos that were.

        Raises:
            PointsError: the table is damaged.
        """
        images = self.images()
        photos = [{"name": n, "points": len(images[n].points) if n in images else None} for n in self.photos()]
        return {
            "name": name_to_text(self.folder.resolve().name),
            "photos": photos,
            "saved": sum(photo["points"] is not None for photo in photos),
        }

    def points(self, name: str) -> Points | None:
        """The saved points of a photo in pixels of the upright image, or None if none were saved.

        Raises:
            KeyError: the folder has no such photo.
            PointsError: the table is damaged.
        """
        if name not in self.photos():
            raise KeyError(name)
        image = self.images().get(name)
        return image.points if image else None

    def save(self, name: str, points: Points) -> None:
        """Replace the points of one photo.

        Args:
            name: The photo.
            points: x, y in pixels of the upright image. They are rounded down to hundredths.

        Raises:
            KeyError: the folder has no such photo.
            PointsError: there are too many points, or one is outside the photo.
        """
        path = self.photos()[name]
        with self.own_messages():
            width, height = image_size(path)
        array = np.asarray(points, np.float64).reshape(-1, 2)
        if len(array) > MAX_POINTS:
            raise PointsError(f"{name}: has {len(array)} points; at most {MAX_POINTS} are allowed")
        if not (np.isfinite(array) & (array >= 0) & (array < (width, height))).all():
            raise PointsError(f"{name}: a point is outside its {width}x{height} pixels; move it")
        hundredths = np.floor(array * 100) / 100  # rounding up could leave the photo
        rounded = [(float(x), float(y)) for x, y in hundredths]
        with self._lock:
            images = self.images()
            images[name] = replace(images.get(name, TableImage(name_from_text(name))), points=rounded)
            write_table(list(images.values()), self.table)

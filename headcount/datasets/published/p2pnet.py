"""The image lists of P2PNet, a layout that many crowd-counting repositories use for other data sets.

Citation:
    Song, Wang, Jiang, Wang, Tai, Wang, Li, Huang, Wu: "Rethinking Counting and Localization in Crowds: A Purely
    Point-Based Framework", ICCV 2021.

Licence:
    That of the data set in this layout.

Layout:
    `train.list`, `val.list`, `test.list` (or `*train.list`) with one line per image: the path of the image and the path
    of a text file that has one line `x y` per person. The paths start at the folder of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headcount.datasets.annotation_files import read_numbers, read_text
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError, excerpt
from headcount.datasets.folders import list_files, resolve_inside
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import file_starts, first_line


def parse_p2pnet(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each listed image; see the module for the layout."""
    lists = [root] if root.is_file() else list_files(root, (".list",))
    folder = root.parent if root.is_file() else root
    for file in lists:
        named = re.search(r"train|val|test", file.stem.lower())
        for line, content in enumerate(read_text(file).splitlines(), start=1):
            if content.strip():
                image, points = _paths(content, f"{file}, line {line}", folder)
                yield AnnotationRecord(image, partial(_load, points), named.group() if named else "")


def _paths(content: str, where: str, folder: Path) -> list[Path]:
    paths = re.split(r"[\s,]+", content.strip())
    if len(paths) != 2:
        raise PointsError(f"{where}: '{excerpt(content)}' must be two paths, image and points; correct it")
    return [resolve_inside(folder, where, path, folder) for path in paths]


def _load(file: Path) -> Annotations:
    return Annotations(read_numbers(file, 2, "x y"))


FORMAT = RecordFormat(
    sign=".list files, two paths per line",
    matches=file_starts(".list", lambda start: len(re.split(r"[\s,]+", first_line(start).strip())) == 2, "*.list"),
    parse=parse_p2pnet,
)

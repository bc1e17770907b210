"""Pascal VOC.

Layout:
    `Annotations/*.xml` of <object><name><bndbox>, `JPEGImages/*.jpg`, and `ImageSets/Main/train.txt`, `val.txt` and
    `test.txt`. Or .xml files beside their images, as labelImg and Roboflow write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headcount.datasets.annotation_files import read_text, read_xml
from headcount.datasets.annotations import AnnotationRecord, Annotations, PointsError, annotations_of
from headcount.datasets.folders import ImageIndex, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import split_from_folders

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

EDGES = ("xmin", "ymin", "xmax", "ymax")


def parse_voc(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each .xml file of annotations; see the module for the layout."""
    images, lists = ImageIndex(root), _split_lists(root)
    for file in list_files(root, (".xml",), "**/*"):
        try:
            tree = read_xml(file)
            if tree.tag != "annotation":
                continue
            image = _find_image(tree, file, images)
        except PointsError as error:
            yield error
            continue
        listed = next((split for split, stems in lists.items() if file.stem in stems), None)
        yield AnnotationRecord(image, partial(read_objects, tree, file), listed or split_from_folders(file, root))


def _split_lists(root: Path) -> dict[str, set[str]]:
    """The names of the images of each split. trainval.txt is read if there is no train.txt."""
    folder = next((path for path in root.glob("**/ImageSets/Main") if path.is_dir()), root)
    if (folder / "train.txt").is_file():
        lists = {"train": "train", "val": "val", "test": "test"}
    else:  # trainval lists the images of val too, so val is looked up first
        lists = {"val": "val", "test": "test", "train": "trainval"}
    files = {split: folder / f"{name}.txt" for split, name in lists.items()}
    return {split: set(read_text(file).split()) for split, file in files.items() if file.is_file()}


def _find_image(tree: Element, file: Path, images: ImageIndex) -> Path:
    """By the name of the .xml file, which renaming keeps in step with the image; else by <filename>."""
    folder = file.parent.parent / "JPEGImages"
    beside = images.with_stem(file) or images.with_stem(folder / file.name)
    return beside or images.find(tree.findtext("filename") or file.stem, file, folder)


def read_objects(tree: Element, file: Path) -> Annotations:
    """The boxes of an <annotation>. Raises PointsError, with `file` in the message."""
    return annotations_of(
        (
            (item.findtext("name") or "", [item.findtext(f"bndbox/{edge}") or "" for edge in EDGES])
            for item in tree.iter("object")
        ),
        file,
    )


FORMAT = RecordFormat(
    sign=".xml files of <annotation>",
    matches=file_starts(
        ".xml",
        lambda start: bool(re.search(r"<annotation[\s>]", start)),
        *("*.xml", "Annotations/*.xml", "*/*.xml", "*/Annotations/*.xml"),
    ),
    parse=parse_voc,
)

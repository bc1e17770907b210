"""Images without people, which need no annotations.

Layout:
    Any folder of images: grounds, roofs, woods, or anything else that a counter should count as zero. The format is
    never detected and must be named. Folders called train, val and test mark the splits.

A set of such images in a training recipe teaches a network what not to count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headcount.datasets.annotations import AnnotationRecord, Annotations
from headcount.datasets.folders import ImageIndex
from headcount.datasets.format import RecordFormat
from headcount.datasets.splits import split_from_folders


def parse_people_free(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record without annotations for each image below `root`."""
    for image in ImageIndex(root).paths:
        yield AnnotationRecord(image, Annotations, split_from_folders(image, root))


FORMAT = RecordFormat(parse=parse_people_free)

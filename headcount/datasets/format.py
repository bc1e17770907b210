"""What an annotation format is: how it is recognized, read and written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headcount.datasets.annotation_files import read_image_size
from headcount.datasets.annotations import (
    AnnotationRecord,
    Annotations,
    ErrorHandler,
    Parser,
    PointsError,
    usable_records,
)
from headcount.datasets.boxes import choose_classes, counted_points
from headcount.datasets.folders import relative_path
from headcount.datasets.sample import Sample, make_sample
from headcount.datasets.splits import select_split
from headcount.io.names import natural_key

# (samples, file to write, split of each sample or nothing). Raises PointsError, MediaError or OSError.
Writer = Callable[[list[Sample], Path, Sequence[str]], None]
# (samples with estimated points, file to write, name of the model). The same errors.
EstimateWriter = Callable[[list[Sample], Path, str], None]

LABEL = "head"  # what a point is in the labeling tools, which need a label


def never_matches(root: Path) -> bool:
    """For formats that are not detected."""
    return False


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """One annotation format.

    Attributes:
        sign: What identifies the format on disk, in words.
        matches: Whether a file or folder has that sign. It looks only at names and at the first lines of files.
        write: Writes samples in this format, or None if headcount only reads it.
        write_estimates: Writes the estimates of a model, for a format that tells them from annotations.
    """

    sign: str = ""
    matches: Callable[[Path], bool] = never_matches
    write: Writer | None = None
    write_estimates: EstimateWriter | None = None

    @abstractmethod
    def read(
        self, root: Path, split: str, boxes: str | None, classes: Sequence[str], on_error: ErrorHandler
    ) -> list[Sample]:
        """Read one split, in natural order; see `headcount.datasets.read` for the arguments.

        Raises:
            PointsError: nothing can be read, or `on_error` raises it.
        """

    @abstractmethod
    def marked_splits(self, root: Path) -> set[str]:
        """The splits that images are marked with, '' for images without a mark. Raises PointsError."""


@dataclass(frozen=True, kw_only=True)
class PointFormat(Format):
    """A format that has only points and chooses the images of a split itself.

    Attributes:
        read_split: Reads one split of a folder or file.
        list_splits: Gives the splits of a folder or file that are marked.
    """

    read_split: Callable[[Path, str, ErrorHandler], list[Sample]]
    list_splits: Callable[[Path], set[str]]

    def read(
        self, root: Path, split: str, boxes: str | None, classes: Sequence[str], on_error: ErrorHandler
    ) -> list[Sample]:
        if boxes or classes:
            raise PointsError(f"{root}: this format has points, no boxes and no classes; leave out boxes and classes")
        return self.read_split(root, split, on_error)

    def marked_splits(self, root: Path) -> set[str]:
        return self.list_splits(root)


@dataclass(frozen=True, kw_only=True)
class RecordFormat(Format):
    """A format whose parser yields one record per image of all splits.

    Attributes:
        parse: Yields a record for each image of a folder or file.
    """

    parse: Parser

    def read(
        self, root: Path, split: str, boxes: str | None, classes: Sequence[str], on_error: ErrorHandler
    ) -> list[Sample]:
        records = sorted(usable_records(self.parse(root), on_error), key=lambda record: natural_key(str(record.image)))
        if not records:
            raise PointsError(f"{root}: holds no annotations of this format; check the path, or try the format auto")
        folder = root if root.is_dir() else root.parent
        wanted = select_split(root, records, split, lambda record: relative_path(record.image, folder))
        loaded = _load(wanted, on_error)
        if boxes and loaded and not any(len(found.boxes) for _, found in loaded):
            raise PointsError(f"{root}: has points and no boxes; leave out boxes (headcount convert: --boxes)")
        chosen = _counted_classes(root, records, loaded, wanted, classes)
        return _samples(loaded, boxes, chosen, on_error)

    def marked_splits(self, root: Path) -> set[str]:
        # Whatever is wrong with single images is reported when they are read.
        return {item.split for item in self.parse(root) if isinstance(item, AnnotationRecord)}


Loaded = list[tuple[AnnotationRecord, Annotations]]


def _load(records: list[AnnotationRecord], on_error: ErrorHandler) -> Loaded:
    loaded = []
    for record in records:
        try:
            loaded.append((record, record.load()))
        except PointsError as error:
            on_error(error)
    return loaded


def _counted_classes(
    root: Path, records: list[AnnotationRecord], loaded: Loaded, wanted: list[AnnotationRecord], classes: Sequence[str]
) -> set[str]:
    """The classes to count, chosen over all splits so that each split counts the same things."""
    labels = {label for _, found in loaded for label in found.labels}
    if classes and not labels:
        raise PointsError(f"{root}: this format has no classes; leave out classes (headcount convert: --classes)")
    if labels:
        own = {id(record) for record in wanted}
        labels |= {label for record in records if id(record) not in own for label in _labels(record)}
    return choose_classes(labels, classes, root)


def _labels(record: AnnotationRecord) -> tuple[str, ...]:
    """The classes in an image of another split, whose errors do not matter here."""
    try:
        return record.load().labels
    except PointsError:
        return ()


def _samples(loaded: Loaded, boxes: str | None, classes: set[str], on_error: ErrorHandler) -> list[Sample]:
    samples = []
    for record, found in loaded:
        try:
            points, rule = counted_points(found, boxes, classes, *read_image_size(record.image))
        except PointsError as error:
            on_error(error)
            continue
        samples.append(make_sample(record.image, points, found.roi, record.scene, rule, on_error))
    return samples

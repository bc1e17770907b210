"""Writing a data set of any format as one file that headcount trains on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headcount.datasets.annotations import PointsError
from headcount.datasets.detect_format import detect
from headcount.datasets.readers import read, write
from headcount.datasets.registry import find_format, find_writer
from headcount.datasets.sample import Sample


def splits(root: str | Path, format: str) -> tuple[str, ...]:
    """The splits that together are the whole data set and do not overlap.

    Args:
        root: Folder of the data set, or an annotation file.
        format: The name of a format.

    Returns:
        For example ("trainval", "test") or ("train", "val", "test"); ("all",) if no image is marked.

    Raises:
        PointsError: the format is unknown, or nothing can be read.
    """
    root = Path(root).expanduser()
    marked = find_format(root, format).marked_splits(root)
    if "train" in marked and "val" not in marked:  # `train` alone would leave a tenth out
        marked = marked - {"train"} | {"trainval"}
    official = [split for split in ("train", "trainval", "val", "test") if split in marked]
    others = sorted(marked - {*official, ""})
    return (*official, *others) or ("all",)


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` wrote.

    Attributes:
        format: The format of the source.
        why: How the format was recognized, in words.
        out: The file.
        splits: The splits that were read.
        images: How many images the file has.
        points: How many people it has.
        dropped: How many points were dropped because they are outside their image.
        empty: How many images have no people.
        rule: How boxes became points, in words.
    """

    format: str
    why: str
    out: Path
    splits: tuple[str, ...]
    images: int
    points: int
    dropped: int
    empty: int
    rule: str

    def to_dict(self) -> dict[str, object]:
        """The report as JSON values."""
        return {**asdict(self), "out": str(self.out), "splits": list(self.splits)}

    def __str__(self) -> str:
        lines = [
            self.why,
            f"{self.out}: {self.images:,} images, {self.points:,} people ({', '.join(self.splits)})",
        ]
        if self.dropped:
            lines.append(f"{self.dropped:,} points outside their image were dropped")
        if self.empty:
            lines.append(f"{self.empty:,} images show nobody")
        return "\n".join([*lines, self.rule])


def convert(
    source: str | Path,
    out: str | Path,
    to: str = "csv",
    format: str = "auto",
    split: str | None = None,
    boxes: str | None = None,
    classes: Sequence[str] = (),
) -> ConvertReport:
    """Write the annotations of a data set as one file; the images stay where they are.

    The path of an image is written relative to the file if the image is below the folder of the file, else absolute.
    The file is written completely or not at all.

    Args:
        source: Folder of the data set, or an annotation file.
        out: The file to write. Its folder must exist.
        to: As the format of `write`.
        format: The format of the source, or `auto` to detect it.
        split: One split, or None for all of them. Then each image is marked with its split.
        boxes: As in `read`.
        classes: As in `read`.

    Returns:
        What was written.

    Raises:
        PointsError: the source cannot be read, or the file cannot be written.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    find_writer(out, to)
    if out.is_dir():
        raise PointsError(f"{out}: is a folder; give a file")
    if not out.parent.is_dir():
        raise PointsError(f"{out}: its folder does not exist; give a file")
    why = f"read as {format}"
    if format == "auto":
        format, why = detect(source)
    _refuse_own_input(source, out, format)
    wanted = (split,) if split else splits(source, format)
    with warnings.catch_warnings():  # the report has the same content
        warnings.simplefilter("ignore")
        groups = {name: read(source, format, name, boxes, classes) for name in wanted}
    samples = [sample for group in groups.values() for sample in group]
    _refuse_duplicates(samples, source)
    marks = [_mark(name) for name, group in groups.items() for _ in group]
    write(samples, out, to, marks if any(marks) else ())
    return ConvertReport(
        format=format,
        why=why,
        out=out,
        splits=wanted,
        images=len(samples),
        points=sum(len(sample.points) for sample in samples),
        dropped=sum(sample.dropped for sample in samples),
        empty=sum(not len(sample.points) for sample in samples),
        rule=_describe_rules(samples),
    )


def _refuse_own_input(source: Path, out: Path, format: str) -> None:
    """Raise PointsError if writing `out` would replace annotations that are read."""
    if not out.is_file():
        return
    is_source = source.is_file() and source.samefile(out)
    in_source = source.is_dir() and out.resolve().is_relative_to(source.resolve())
    if is_source or (in_source and find_format(source, format).matches(out)):
        raise PointsError(f"{out}: is read in this conversion and would be overwritten; write to another file")


def _describe_rules(samples: Iterable[Sample]) -> str:
    rules = sorted({rule for sample in samples for rule in sample.rule.split(", ") if rule})
    where = "head: half a head below the middle of the top edge; centre: the middle of the box"
    return f"{', '.join(rules)} ({where})" if rules else "points as they are annotated"


def _refuse_duplicates(samples: Iterable[Sample], source: Path) -> None:
    seen: set[Path] = set()
    for sample in samples:
        if sample.image in seen:
            raise PointsError(
                f"{sample.image}: is in two splits of {source}; convert one split at a time with --split NAME"
            )
        seen.add(sample.image)


def _mark(split: str) -> str:
    """How images of a split are marked. Reading `train` of the file holds out a tenth again if nothing is `val`."""
    return {"trainval": "train", "all": ""}.get(split, split)

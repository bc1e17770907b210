"""Which format a folder is in, and a data set of any format written as one of ours.

Unusual: a folder is known by what lies in it, and where two formats fit nobody guesses: the error names both. Only the
first lines of files are looked at.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headcount.datasets import tables
from headcount.datasets.annotations import SPLITS, PointsError, collected, home
from headcount.datasets.detect_format import detect
from headcount.datasets.readers import PARSERS, WRITERS, read
from headcount.datasets.sample import Sample
from headcount.datasets.splits import OFFICIAL_SPLITS
from headcount.io.images import MediaError


def splits(root: str | Path, format: str) -> tuple[str, ...]:
    """The splits that are apart from each other and are all there is: ("trainval", "test"), ("train", "val", "test"),
    or ("all",) where nothing is marked. Raises PointsError."""
    root = Path(root).expanduser()
    marked = _marked(root, format)
    official: list[str] = [split for split in ("train", "val", "test") if split in marked]
    if "train" in official and "val" not in official:  # else a tenth of train would be missing
        official[0] = "trainval"
    return (*official, *sorted(marked - set(official) - {"train", ""})) or ("all",)


def _marked(root: Path, format: str) -> set[str]:
    if format in ("shanghaitech", "worldexpo"):
        kind = "data" if format == "shanghaitech" else "label"
        base = home(root, f"train_{kind}", f"test_{kind}")
        return {split for split in ("train", "test") if (base / f"{split}_{kind}").is_dir()}
    if format == "ucf_cc_50":
        return set()
    if format in PARSERS:
        with collected():  # what is wrong with an image is told when it is read
            return {entry.split for entry in PARSERS[format](root)}
    if root.is_dir():  # a file for each split
        suffix = ".csv" if format == "csv" else ".json"
        named = {path.stem for path in root.glob(f"*{suffix}")}
        if len(named) != 1 or named & set(SPLITS):
            return named & set(OFFICIAL_SPLITS)
        root = next(iter(root.glob(f"*{suffix}")))
    return {entry.get("split") or "" for entry in (tables.parse_csv if format == "csv" else tables.parse_json)(root)}


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` wrote. dropped: points that lay outside their image. empty: images without people."""

    format: str
    why: str
    out: Path
    splits: tuple[str, ...]
    images: int
    points: int
    dropped: int
    empty: int
    rule: str

    def to_dict(self) -> dict:
        return {**asdict(self), "out": str(self.out), "splits": list(self.splits)}

    def __str__(self) -> str:
        lines = [
            f"{self.why}",
            f"{self.out}: {self.images:,} images, {self.points:,} people ({', '.join(self.splits)})",
        ]
        lines += [f"{self.dropped:,} points outside their image were dropped"] * bool(self.dropped)
        lines += [f"{self.empty:,} images show nobody"] * bool(self.empty)
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
    """Write a data set's annotations as one file of ours, whole or not at all; the images stay where they are.

    to: csv, json or coco. split: one split, or None for all, each image marked with its own. boxes, classes: as in
    points.read. An image's path is written relative to the file where it lies below the file's folder, else absolute.
    Raises PointsError.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if to not in WRITERS:
        raise PointsError(f"{out}: cannot write format '{to}'; choose one of {', '.join(WRITERS)}")
    if out.is_dir() or not out.parent.is_dir():
        raise PointsError(f"{out}: {'is a folder' if out.is_dir() else 'its folder does not exist'}; give a file")
    why = f"read as {format}"
    if format == "auto":
        format, why = detect(source)
    wanted = (split,) if split else splits(source, format)
    with warnings.catch_warnings():  # what it would say is in the report
        warnings.simplefilter("ignore")
        found = {name: read(source, format, name, boxes, classes) for name in wanted}
    samples = [sample for group in found.values() for sample in group]
    _refuse_twice(samples, source)
    marks = [_mark(name) for name, group in found.items() for _ in group]
    with _whole(out) as draft:
        WRITERS[to](samples, draft)
        if any(marks):
            MARKERS[to](draft, marks)
    return ConvertReport(
        format,
        why,
        out,
        wanted,
        len(samples),
        sum(len(sample.points) for sample in samples),
        sum(sample.dropped for sample in samples),
        sum(not len(sample.points) for sample in samples),
        _rule(samples),
    )


def _rule(samples: Iterable[Sample]) -> str:
    rules = sorted({rule for sample in samples for rule in sample.rule.split(", ") if rule})
    where = "head: half a head below the middle of the top edge; centre: the middle of the box"
    return f"{', '.join(rules)} ({where})" if rules else "points as they are annotated"


def _refuse_twice(samples: Iterable[Sample], source: Path) -> None:
    seen: set[Path] = set()
    for sample in samples:
        if sample.image in seen:
            raise PointsError(f"{sample.image}: is in two splits of {source}; give one with --split")
        seen.add(sample.image)


def _mark(split: str) -> str:
    """What an image is marked with in the file: reading `train` of it holds out a tenth again, if nothing is `val`."""
    return {"trainval": "train", "all": ""}.get(split, split)


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A draft in the folder of `out`, which takes its name when it is complete."""
    out = out.resolve()  # a link goes on pointing where it does
    draft = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        yield draft
        draft.replace(out)
    except MediaError as error:
        raise PointsError(str(error)) from None
    except OSError as error:
        raise PointsError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        draft.unlink(missing_ok=True)


def _mark_csv(draft: Path, marks: list[str]) -> None:
    entries = tables.parse_csv(draft)
    tables.write_entries([{**entry, "split": mark} for entry, mark in zip(entries, marks, strict=True)], draft)


def _mark_json(draft: Path, marks: list[str]) -> None:
    """The field `split` of each image: in our json and in coco the images are in the order of the samples."""
    import json

    data = json.loads(draft.read_text(encoding="utf-8"))
    data["images"] = [{**image, "split": mark} for image, mark in zip(data["images"], marks, strict=True)]
    draft.write_text(json.dumps(data), encoding="utf-8")


MARKERS: dict[str, Callable[[Path, list[str]], None]] = {"csv": _mark_csv, "json": _mark_json, "coco": _mark_json}

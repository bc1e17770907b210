"""Where the people are: one `Sample` an image, read from each annotation format and written in three of them.

Unusual: a reader is a function (root, split) -> samples in the dict READERS, a writer one in WRITERS.
Coordinates are continuous (pixel i covers [i, i+1)) and taken as the files have them. No checkpoint is chosen
on a test split: `train` always leaves out a fixed tenth, which is `val`; `trainval` is both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from headcount.datasets import coco, labeling_tools, published, tables
from headcount.datasets.annotations import (
    RULES,
    AnnotationRecord,
    Annotations,
    PointsError,
    choose,
    fault,
    files,
    natural,
    pairs,
    size,
    to_points,
)
from headcount.datasets.published import read_shanghaitech, read_ucf_cc_50, read_worldexpo
from headcount.datasets.sample import Sample, _sample
from headcount.datasets.splits import _of_split
from headcount.io.images import MediaError


def read(
    root: str | Path, format: str, split: str, boxes: str | None = None, classes: Sequence[str] = ()
) -> list[Sample]:
    """Read one split of a data set, in natural order (IMG_2 before IMG_10).

    format: a key of READERS, or `auto`. split: `train` (official train less the validation list), `val`, `trainval`,
    `test`; in ucf_cc_50 `all`, `train` and `fold1-train` .. `fold5-test`; in all but shanghaitech and worldexpo also
    `all`, and in csv, json, coco names of their own. boxes: where a box's point lies, `head` or `centre`, None for what
    suits its class (entries.box_points). classes: what is counted, where a format names classes; else heads or people.
    Points outside their image are dropped, with one warning for them all. Raises PointsError.
    """
    root = Path(root).expanduser()
    if format != "auto" and format not in READERS:
        raise PointsError(f"{root}: unknown format '{format}'; choose one of {', '.join(READERS)}, or auto")
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    if format == "auto":
        from headcount.datasets.detect_format import detect

        format, _ = detect(root)
    options = _box_options(root, format, boxes, classes)
    samples = READERS[format](root, split, **options)
    if not samples:
        raise PointsError(f"{root}: no images in split '{split}'; check the path and the split")
    outside = [sample for sample in samples if sample.dropped]
    if outside:
        total, first = sum(sample.dropped for sample in outside), outside[0].image.name
        note = f"dropped {total} points outside their image, in {len(outside)} images (first: {first})"
        warnings.warn(f"{root}: {note}", stacklevel=2)
    return samples


def write(samples: Iterable[Sample], path: str | Path, format: str) -> None:
    """Write samples as `csv`, `json` or `coco`; read back, they have the same points, rois and scenes.

    An image's path is written relative to the file where it lies below the file's folder, else absolute.
    Raises PointsError: unknown format, a roi in a csv (no place for one), a file that cannot be written.
    """
    path = Path(path).expanduser()
    if format not in WRITERS:
        raise PointsError(f"{path}: cannot write format '{format}'; choose one of {', '.join(WRITERS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[format](list(samples), path)
    except OSError as error:
        raise PointsError(f"{path}: cannot be written ({error.strerror or error})") from None
    except MediaError as error:  # coco wants the size of each image
        raise PointsError(str(error)) from None


# Formats of one's own


def read_csv(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".csv", tables.parse_csv)


def read_json(root: Path, split: str) -> list[Sample]:
    return _read_table(root, split, ".json", tables.parse_json)


def _read_table(root: Path, split: str, suffix: str, parse: Callable[[Path], list[dict]]) -> list[Sample]:
    """root is the file, or a folder with <split><suffix>, which is taken whole, or with one such file."""
    if root.is_file():
        return _table_samples(root, _of_split(root, parse(root), split))
    own, train = root / f"{split}{suffix}", root / f"train{suffix}"
    if split in ("train", "val") and train.is_file() and not (root / f"val{suffix}").is_file():
        unmarked = [{**entry, "split": None} for entry in parse(train)]
        return _table_samples(train, _of_split(train, unmarked, split))  # a tenth of it is val
    if own.is_file():
        return _table_samples(own, parse(own))
    found = files(root, (suffix,))
    if len(found) != 1:
        raise PointsError(f"{root}: {len(found)} {suffix} files, none is {own.name}; give the file itself")
    return _table_samples(found[0], _of_split(found[0], parse(found[0]), split))


def _table_samples(file: Path, entries: list[dict]) -> list[Sample]:
    samples = []
    for entry in sorted(entries, key=lambda entry: natural(entry["image"])):
        where = f"{file}, {entry['image']}"
        image, scene = file.parent / entry["image"], str(entry.get("scene") or "")
        try:
            roi = None if entry.get("roi") is None else pairs(entry["roi"], where).astype(np.float32)
            points = pairs(entry["points"], where)
        except PointsError as error:
            fault(error)
            continue
        samples.append(_sample(image, points, roi, scene))
    return samples


# Layouts and labelling tools


def read_layout(
    parse: Callable[[Path], list[AnnotationRecord]],
    root: Path,
    split: str,
    boxes: str | None = None,
    classes: Sequence[str] = (),
) -> list[Sample]:
    """One split of what `parse` lists; `all` is every image. The classes are chosen over all splits, so that each split
    counts the same things."""
    entries = sorted(parse(root), key=lambda entry: natural(str(entry.image)))
    if not entries:
        raise PointsError(f"{root}: holds no annotations of this format; check the path, or try the format auto")
    home = root if root.is_dir() else root.parent
    listed = [{"image": _relative(entry.image, home), "split": entry.split, "entry": entry} for entry in entries]
    wanted = [item["entry"] for item in _of_split(root, listed, split)]
    loaded = [(entry, marks) for entry in wanted if (marks := _annotations(entry)) is not None]
    named = {label for _, marks in loaded for label in marks.labels}
    if named:
        ours = {id(entry) for entry in wanted}
        named |= {label for entry in entries if id(entry) not in ours for label in _labels(entry)}
    if classes and not named:
        raise PointsError(f"{root}: this format has no classes; leave out --classes")
    if boxes and loaded and not any(len(marks.boxes) for _, marks in loaded):
        raise PointsError(f"{root}: has points and no boxes; leave out --boxes")
    chosen = choose(named, classes, root)
    samples = []
    for entry, marks in loaded:
        try:
            points, rule = to_points(marks, boxes, chosen, *size(entry.image))
        except PointsError as error:
            fault(error)
            continue
        roi = None if marks.roi is None else marks.roi.astype(np.float32)
        samples.append(_sample(entry.image, points, roi, entry.scene, rule))
    return samples


def _annotations(entry: AnnotationRecord) -> Annotations | None:
    try:
        return entry.load()
    except PointsError as error:
        fault(error)
        return None


def _labels(entry: AnnotationRecord) -> tuple[str, ...]:
    """The classes in an image of another split, whose faults are not ours."""
    try:
        return entry.load().labels
    except PointsError:
        return ()


def _relative(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()


def _box_options(root: Path, format: str, boxes: str | None, classes: Sequence[str]) -> dict:
    """What a reader is given beside root and split. Raises PointsError where the format has no boxes or classes."""
    if boxes is not None and boxes not in RULES:
        raise PointsError(f"{root}: boxes is '{boxes}'; choose head or centre")
    options = {"boxes": boxes, "classes": tuple(classes)} if boxes or classes else {}
    if options and format in POINTS_ONLY:
        raise PointsError(f"{root}: {format} has points, no boxes and no classes; leave out boxes and classes")
    return options


PARSERS = published.LAYOUTS | labeling_tools.LABELS | {"coco": coco.coco}  # (root) -> the entries of every split
READERS: dict[str, Callable[..., list[Sample]]] = {  # (root, split), and where there are boxes (.., boxes, classes)
    "shanghaitech": read_shanghaitech,
    "ucf_cc_50": read_ucf_cc_50,
    "worldexpo": read_worldexpo,
    "csv": read_csv,
    "json": read_json,
    **{name: partial(read_layout, parse) for name, parse in PARSERS.items()},
}
POINTS_ONLY = ("shanghaitech", "ucf_cc_50", "worldexpo", "csv", "json")
WRITERS: dict[str, Callable[[list[Sample], Path], None]] = {
    "csv": tables.write_csv,
    "json": tables.write_json,
    "coco": coco.write_coco,
}

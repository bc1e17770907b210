"""Which format a folder is in, and a data set of any format written as one of ours.

Unusual: a folder is known by what lies in it, and where two formats fit nobody guesses: the error names both. Only the
first lines of files are looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import tables
from .entries import SPLITS, collected, home
from .media import IMAGE_SUFFIXES, MediaError
from .points import OFFICIAL_SPLITS, PARSERS, WRITERS, PointsError, Sample, read

PEEK = 1 << 16  # bytes of a file that are looked at


def detect(root: str | Path) -> tuple[str, str]:
    """(format, why): the key of READERS that a folder or file is in, and by what it was known.

    Raises PointsError where no format fits, or several do: it says what was looked for, or which fit.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    found = {format: (sign, look) for format, (sign, look) in SIGNS.items() if look(root)}
    if len(found) == 1:
        format, (sign, _) = next(iter(found.items()))
        return format, f"this looks like {format}: {sign}"
    if found:
        fits = "; ".join(f"{format} ({sign})" for format, (sign, _) in found.items())
        raise PointsError(f"{root}: more than one format fits: {fits}; say which with --from, or give the file itself")
    sought = "; ".join(f"{format} ({sign})" for format, (sign, _) in SIGNS.items())
    raise PointsError(f"{root}: in no format that is known; looked for {sought}; say which with --from")


def _any(*patterns: str) -> Callable[[Path], bool]:
    """Whether, for one of the patterns, something matches it in root or in a folder of root."""
    return lambda root: root.is_dir() and any(_seen(root, p) or _seen(root, f"*/{p}") for p in patterns)


def _seen(root: Path, pattern: str) -> bool:
    return any(not path.name.startswith(".") for path in root.glob(pattern))


def _head(file: Path) -> str:
    """The beginning of a text file, '' where it cannot be read."""
    with contextlib.suppress(OSError), open(file, "rb") as stream:
        return stream.read(PEEK).decode("utf-8-sig", errors="replace")
    return ""


def _inside(root: Path, suffix: str, *patterns: str) -> Iterator[str]:
    """The beginnings of root itself, or of the first few files in it that match, the first of each folder."""
    if root.is_file():
        if root.suffix.lower() == suffix:
            yield _head(root)
        return
    folders: dict[Path, int] = {}
    for pattern in patterns or (f"*{suffix}", f"*/*{suffix}"):
        for file in sorted(root.glob(pattern)):
            folders[file.parent] = folders.get(file.parent, 0) + 1
            if folders[file.parent] <= 3 and not file.name.startswith("."):
                yield _head(file)


def _rows(*patterns: str, fits: Callable[[list[str]], bool]) -> Callable[[Path], bool]:
    """Whether a text file among the patterns has a first line whose parts fit."""

    def look(root: Path) -> bool:
        heads = (head.strip().splitlines() for head in _inside(root, "\0", *patterns))
        return root.is_dir() and any(lines and fits(re.split(r"[\s,]+", lines[0].strip(", "))) for lines in heads)

    return look


def _numeric(parts: list[str]) -> list[float] | None:
    try:
        return [float(part) for part in parts]
    except ValueError:
        return None


def _is_yolo(parts: list[str]) -> bool:
    row = _numeric(parts)
    return row is not None and len(row) >= 5 and parts[0].isdigit() and all(abs(v) <= 1.5 for v in row[1:5])


def _is_yolo_set(root: Path) -> bool:
    if not root.is_dir():
        return False
    beside = (f"{part}*.txt" for part in ("", "*/"))
    labelled = ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt", "*/*/labels/*.txt")
    return _rows(*labelled, fits=_is_yolo)(root) or any(
        _is_yolo(re.split(r"\s+", (_head(file).strip().splitlines() or [""])[0]))
        for pattern in beside
        for file in list(root.glob(pattern))[:50]
        if any(file.with_suffix(suffix).is_file() for suffix in IMAGE_SUFFIXES)
    )


def _is_list(root: Path) -> bool:
    heads = _inside(root, ".list", "*.list")
    return any(
        len(re.split(r"[\s,]+", lines[0].strip())) == 2 for head in heads if (lines := head.strip().splitlines())
    )


def _json(fits: Callable[[str], bool], *patterns: str) -> Callable[[Path], bool]:
    return lambda root: any(fits(head.lstrip()) for head in _inside(root, ".json", *patterns))


def _is_ours(head: str) -> bool:
    return bool(re.match(r'\{\s*"images"', head)) and '"image"' in head and '"file_name"' not in head


def _is_coco(head: str) -> bool:
    return head.startswith("{") and '"shapes"' not in head and bool(re.search(r'"(file_name|category_id)"', head))


def _is_tasks(head: str) -> bool:
    return head.startswith("[") and bool(re.search(r'"(annotations|completions|\w*labels)"', head))


SIGNS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "shanghaitech": ("train_data or test_data", _any("train_data/images", "test_data/images")),
    "ucf_cc_50": ("n.jpg and n_ann.mat in one folder", lambda root: root.is_dir() and _seen(root, "[0-9]*_ann.mat")),
    "worldexpo": ("train_label or test_label", _any("train_label", "test_label")),
    "ucf_qnrf": ("Train or Test with img_0001_ann.mat", _any("[Tt]rain/*_ann.mat", "[Tt]est/*_ann.mat")),
    "nwpu": ("jsons or mats, and images", _any("jsons/[0-9]*.json", "mats/[0-9]*.mat")),
    "jhu": ("train/gt/*.txt", _any("train/gt/*.txt", "val/gt/*.txt", "test/gt/*.txt")),
    "mall": ("mall_gt.mat", _any("mall_gt.mat")),
    "ucsd": ("vidf1_33_000_frame_full.mat", _any("vidf*_frame_full.mat", "*/vidf*_frame_full.mat")),
    "carpk": (
        "Annotations/*.txt of x1 y1 x2 y2 class",
        _rows(
            *("Annotations/*.txt", "data/Annotations/*.txt", "*/data/Annotations/*.txt", "*/Annotations/*.txt"),
            fits=lambda parts: len(parts) == 5 and _numeric(parts) is not None,
        ),
    ),
    "trancos": ("image_sets and images", _any("image_sets/t*.txt")),
    "visdrone": (
        "annotations/*.txt of 8 numbers",
        _rows(
            *("annotations/*.txt", "*/annotations/*.txt"),
            fits=lambda parts: len(parts) == 8 and _numeric(parts) is not None,
        ),
    ),
    "yolo": ("labels/*.txt beside images, class and parts of the image", _is_yolo_set),
    "voc": (
        ".xml files of <annotation>",
        lambda root: any(
            re.search(r"<annotation[\s>]", head)
            for head in _inside(root, ".xml", "*.xml", "Annotations/*.xml", "*/*.xml", "*/Annotations/*.xml")
        ),
    ),
    "cvat": (
        "an .xml file of <annotations>",
        lambda root: any(re.search(r"<annotations[\s>]", head) for head in _inside(root, ".xml")),
    ),
    "labelme": (".json files with shapes", _json(lambda head: bool(re.match(r'\{[^\[]*("shapes"|"imageData")', head)))),
    "labelstudio": (".json, a list of tasks", _json(_is_tasks, "*.json")),
    "coco": (".json with file_name or category_id", _json(_is_coco, "*.json", "annotations/*.json")),
    "json": ('.json of {"images": [{"image": ..', _json(_is_ours, "*.json")),
    "csv": (
        "a .csv with the columns image,x,y",
        lambda root: any(
            {"image", "x", "y"} <= set(head.splitlines()[0].replace('"', "").split(",")) if head else False
            for head in _inside(root, ".csv", "*.csv")
        ),
    ),
    "p2pnet": (".list files, two paths a line", _is_list),
}


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

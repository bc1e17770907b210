"""Detecting the annotation format of a folder or file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from headcount.datasets.annotations import PointsError
from headcount.io.images import IMAGE_SUFFIXES

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

"""Training, validation and test splits: official lists, names of folders, and the tenth that is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from headcount.datasets.annotations import PointsError, excerpt
from headcount.io.names import name_to_text

MAX_LISTED = 30  # names of splits in a message
OFFICIAL_SPLITS = ("train", "val", "trainval", "test")
# What tools and people call the splits: name in lower case -> train, val or test.
SPLIT_NAMES = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test"},
}


class _Marked(Protocol):
    """An item that may say which split it belongs to ('' if it does not)."""

    @property
    def split(self) -> str: ...


Item = TypeVar("Item", bound=_Marked)


def select_split(where: Path, items: Sequence[Item], split: str, name: Callable[[Item], str]) -> list[Item]:
    """The items of one split.

    Items that mark no split at all are all training items. If no item is marked `val`, a tenth of the training items is
    held out for validation.

    Args:
        where: The file or folder, for error messages.
        items: The items of all splits.
        split: `train`, `val`, `trainval`, `test`, `all`, or another name that items are marked with.
        name: Gives the name of an item. Which items are held out depends on the names alone.

    Raises:
        PointsError: the split is empty.
    """
    if split == "all":
        return list(items)
    marks = {item.split for item in items}
    hold_out = split in ("train", "val") and "val" not in marks
    wanted = ("train", "val") if hold_out or split == "trainval" else (split,)
    unmarked = marks == {""} and split in ("train", "val", "trainval")
    chosen = list(items) if unmarked else [item for item in items if item.split in wanted]
    if hold_out:
        validation = held_out(name(item) for item in chosen)
        chosen = [item for item in chosen if (name(item) in validation) == (split == "val")]
    if not chosen:
        listed = ", ".join(excerpt(mark) for mark in sorted(marks - {""})[:MAX_LISTED]) or "none"
        raise PointsError(f"{where}: no images in split '{split}' (marked: {listed}); choose another, or all")
    return chosen


def held_out(names: Iterable[str]) -> set[str]:
    """The tenth of the names, at least one, that validates where no list is published: those of smallest SHA-256."""
    ranked = sorted(set(names), key=lambda name: hashlib.sha256(name_to_text(name).encode()).hexdigest())
    return set(ranked[: max(1, round(len(ranked) / 10))])


def split_list(name: str) -> list[str]:
    """The lines of a list in headcount/splits, without its comments."""
    lines = (Path(__file__).parents[1] / "splits" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def check_split(root: Path, split: str, known: Iterable[str]) -> None:
    """Raise PointsError if `split` is not one of the known splits."""
    if split not in known:
        raise PointsError(f"{root}: no split '{split}'; choose one of {', '.join(known)}")


def split_from_folders(path: Path, root: Path) -> str:
    """The split that a folder between `root` and `path` is named after, or ''."""
    folders = path.relative_to(root).parts[:-1]
    return next((SPLIT_NAMES[folder.lower()] for folder in folders if folder.lower() in SPLIT_NAMES), "")

"""Train, validation and test splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from headcount.datasets.annotations import PointsError

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")


def _of_split(file: Path, entries: list[dict], split: str) -> list[dict]:
    """The entries of one split. Where a file marks no val, a tenth of train (or of all) is held out."""
    labels = {entry.get("split") or "" for entry in entries}
    if split == "all":
        return entries
    hold_out = split in ("train", "val") and "val" not in labels
    wanted = ("train", "val") if hold_out or split == "trainval" else (split,)
    if labels != {""} or split not in ("train", "val", "trainval"):  # unmarked: all training
        entries = [entry for entry in entries if entry.get("split") in wanted]
    if hold_out:
        val = held_out(entry["image"] for entry in entries)
        entries = [entry for entry in entries if (entry["image"] in val) == (split == "val")]
    if not entries:
        marked = ", ".join(sorted(labels - {""})) or "none"
        raise PointsError(f"{file}: no images in split '{split}' (marked: {marked}); choose another, or all")
    return entries


# Splits


def held_out(keys: Iterable[str]) -> set[str]:
    """The validation tenth, at least one, where no list is published: the names of smallest SHA-256."""
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    return set(ranked[: max(1, round(len(ranked) / 10))])


def split_list(name: str) -> list[str]:
    lines = (Path(__file__).parents[1] / "splits" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _check_split(root: Path, split: str, known: Iterable[str]) -> None:
    if split not in known:
        raise PointsError(f"{root}: no split '{split}'; choose one of {', '.join(known)}")

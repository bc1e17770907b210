"""Text files that list the images of a split, as several published sets have them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headcount.datasets.annotation_files import read_text
from headcount.io.images import IMAGE_SUFFIXES


def listed_names(file: Path) -> list[str]:
    """The first word of each line, without the suffix of an image."""
    words = [line.split()[0] for line in read_text(file).splitlines() if line.strip()]
    return [Path(word).stem if Path(word).suffix.lower() in IMAGE_SUFFIXES else word for word in words]


def listed_splits(folder: Path, splits: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Read the lists of a folder.

    Args:
        folder: The folder of the lists.
        splits: (name of a list without .txt, split it stands for). Lists that do not exist are skipped.

    Returns:
        The split of each listed image by name.
    """
    return {
        name: split
        for list_name, split in splits
        if (folder / f"{list_name}.txt").is_file()
        for name in listed_names(folder / f"{list_name}.txt")
    }

"""Which images fine-tuning trains on, which choose the checkpoint, and which only measure it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from headcount.datasets import readers, splits
from headcount.datasets.annotation_project import TABLE
from headcount.datasets.sample import Sample
from headcount.training.config import TrainError

MIN_IMAGES = 8  # to fine-tune on, including those that are held out
MIN_HELD_OUT = 3
MAX_HELD_OUT = 10  # unless the data set marks more
MIN_FOR_CHECK = 30  # images from which on some are held out that choose nothing


def split(data: Path, format: str) -> dict[str, list[Sample]]:
    """Split annotated images for fine-tuning. Images of a test split are not read.

    A split that the annotations mark is kept. Otherwise a fifth of the images is held out to choose the checkpoint, at
    least MIN_HELD_OUT and at most MAX_HELD_OUT (a tenth of many). From MIN_FOR_CHECK images on, another tenth is held
    out that chooses nothing.

    Args:
        data: A folder that `headcount annotate` marked, an annotation file or a data set.
        format: The format of the annotations, or "auto".

    Returns:
        "train": samples to train on; "val": samples that choose the checkpoint; "check": samples that choose nothing.

    Raises:
        TrainError: There are too few images, or no heads are marked on those to train on.
    """
    data, format = find_annotations(data, format)
    train, val = readers.read(data, format, "train"), readers.read(data, format, "val")
    total = len(train) + len(val)
    if total < MIN_IMAGES:
        raise TrainError(
            f"{data}: {total} marked images are too few to train on; mark at least {MIN_IMAGES}, better 20 or more"
        )
    free = not _marked_by_hand(train, val, data if data.is_dir() else data.parent)
    train, more = hold_out(train, max(MIN_HELD_OUT, min(MAX_HELD_OUT, total // 5) if free else 0) - len(val))
    train, check = hold_out(train, max(MIN_HELD_OUT, round(total / 10)) if free and total >= MIN_FOR_CHECK else 0)
    if not any(len(sample.points) for sample in train):
        raise TrainError(f"{data}: nothing is marked on the images to train on; mark what is to be counted")
    return {"train": train, "val": val + more, "check": check}


def hold_out(samples: list[Sample], count: int) -> tuple[list[Sample], list[Sample]]:
    """Hold out samples by the SHA-256 of their image names, the smallest first, as `splits.held_out` does.

    Args:
        samples: All samples.
        count: How many to hold out; below 1 holds out none.

    Returns:
        The remaining samples and the held-out ones, each in their original order.
    """
    ranked = sorted(samples, key=lambda sample: hashlib.sha256(sample.image.name.encode()).hexdigest())
    held = {sample.image for sample in ranked[: max(0, count)]}
    return [s for s in samples if s.image not in held], [s for s in samples if s.image in held]


def find_annotations(data: Path, format: str) -> tuple[Path, str]:
    """The annotations and their format. A folder that `headcount annotate` marked is read by its table."""
    if format in ("auto", "csv") and (data / TABLE).is_file():
        return data / TABLE, "csv"
    return data, format


def _marked_by_hand(train: list[Sample], val: list[Sample], home: Path) -> bool:
    """Whether the validation images are others than `splits.held_out` takes where none are marked."""

    def names(samples: list[Sample]) -> set[str]:
        paths = [sample.image for sample in samples]
        return {(path.relative_to(home) if path.is_relative_to(home) else path).as_posix() for path in paths}

    return names(val) != splits.held_out(names(train) | names(val))

"""How far the counts of photos move when a model is computed in another precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headcount.inference.counter import Counter
from headcount.inference.engines import EngineError, OpenVINOEngine
from headcount.io.images import list_images

MIN_PHOTOS = 20  # fewer do not represent a crowd
HALF = ("fp16", "bf16")
FEW = 10.0  # people; a worst error is relative to at least this many


Folders = str | Path | Iterable[str | Path]


class PhotosError(ValueError):
    """Photos cannot be used to compare counts. The message is one line."""


@dataclass(frozen=True)
class CountChange:
    """How another precision changed the counts of photos.

    Attributes:
        photos: Number of photos.
        people: Mean count before.
        mean: Mean |after - before| over the mean count.
        sparse: The same in the quarter of the photos with the fewest people.
        bias: Relative change of all people together.
        worst: Largest change of a photo's count, relative to it or to FEW people.
    """

    photos: int
    people: float
    mean: float
    sparse: float
    bias: float
    worst: float


def select_photos(folders: Folders, most: int) -> list[Path]:
    """Select at most `most` photos, evenly from the sorted files of folders and their subfolders.

    Raises:
        PhotosError: A folder does not exist, or there are fewer than MIN_PHOTOS photos.
    """
    given = [Path(f) for f in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)]
    if missing := [folder for folder in given if not folder.is_dir()]:
        raise PhotosError(f"{missing[0]}: no such folder; give one of photos like those that will be counted")
    found = list_images(given)
    if len(found) < MIN_PHOTOS:
        names = ", ".join(map(str, given)) or "no folder"
        raise PhotosError(f"{names}: {len(found)} photos; give at least {MIN_PHOTOS} like those that will be counted")
    return [found[i] for i in np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int)]


def counts(counter: Counter, photos: Sequence[Path], step: Callable[[], None] = lambda: None) -> np.ndarray:
    """(N,) people in each photo, as users count them. `step` is called after each."""
    found = []
    for photo in photos:
        found.append(counter.count(photo).count)
        step()
    return np.array(found)


def counts_of_crowds(counter: Counter, photos: Sequence[Path], step: Callable[[], None] = lambda: None) -> np.ndarray:
    """As `counts`, of photos that must show people. Raises PhotosError."""
    found = counts(counter, photos, step)
    if found.mean() < 1:  # there is nothing to compare, nor to calibrate on
        mean = f"{found.mean():.1f} on average"
        raise PhotosError(f"the photos show no people: the model counts {mean}; give photos of crowds")
    return found


def compare(before: np.ndarray, after: np.ndarray) -> CountChange:
    """How two counts (N,) of the same photos differ. `before` must have people in it."""
    change = after - before
    sparse = np.argsort(before)[: max(len(before) // 4, 1)]
    return CountChange(
        photos=len(before),
        people=float(before.mean()),
        mean=float(np.abs(change).sum() / before.sum()),
        sparse=float(np.abs(change[sparse]).sum() / max(before[sparse].sum(), FEW)),
        bias=float(change.sum() / before.sum()),
        worst=float((np.abs(change) / np.maximum(before, FEW)).max()),
    )


def half_precision_changes(path: Path, photos: Sequence[Path]) -> dict[str, CountChange]:
    """Count photos in each half precision that this processor computes in.

    Args:
        path: The exported .onnx file.
        photos: Photos like those that will be counted.

    Returns:
        The changes against fp32, by precision.

    Raises:
        PhotosError: The model counts nobody on the photos.
    """
    before = counts_of_crowds(Counter(OpenVINOEngine(path, "fp32")), photos)
    changes = {}
    for precision in HALF:
        try:
            engine = OpenVINOEngine(path, precision)
        except EngineError:  # this processor does not compute in it
            continue
        changes[precision] = compare(before, counts(Counter(engine), photos))
    return changes

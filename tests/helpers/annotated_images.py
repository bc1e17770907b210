"""What small test data sets are made of: photos with discs, text files of numbers, and MATLAB files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

Truth = dict[str, dict[str, np.ndarray]]  # split: {image name: float64 (N, 2) points}
MATLAB_73 = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"  # the 128 bytes before the HDF5 part


def people(count: int, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """float64 (count, 2), anywhere in the image."""
    return np.random.default_rng([seed, count]).uniform((0, 0), (width, height), (count, 2))


def photo(path: Path, points: np.ndarray, width: int = 96, height: int = 64, grey: bool = False) -> Path:
    """Write an image with a dark disc at each point; `grey` makes it one-channel, as some real images are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(points)).integers(150, 230, (height, width, 3), np.uint8)
    for x, y in points:
        cv2.circle(noise, (int(x), int(y)), 3, (40, 30, 20), cv2.FILLED)
    assert cv2.imwrite(str(path), cv2.cvtColor(noise, cv2.COLOR_BGR2GRAY) if grey else noise)
    return path


def photos_of(
    root: Path,
    place: dict[str, str],
    counts: Sequence[int] = (3, 0, 2),
    suffix: str = ".jpg",
    names: str = "{:04d}",
) -> Truth:
    """Write photos of other people to each split.

    Args:
        root: The folder to fill.
        place: The path of the photos of each split, with {} for the name.
        counts: How many people each photo of a split shows.
        suffix: The suffix of the photos.
        names: The name of a photo, with {} for its number.
    """
    truth: Truth = {split: {} for split in place}
    number = 0
    for split, path in place.items():
        for count in counts:
            number += 1
            name = names.format(number)
            truth[split][name] = people(count, seed=number).round(3)
            photo(root / (path.format(name) + suffix), truth[split][name])
    return truth


def write_lines(path: Path, rows: Iterable[Iterable[object]], separator: str = " ") -> None:
    """Write a text file with one line per row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(str(value) for value in row) + "\n" for row in rows))


def each_image(truth: Truth) -> list[tuple[str, str, np.ndarray]]:
    """(split, name, points) of each image."""
    return [(split, name, points) for split, group in truth.items() for name, points in group.items()]


CAR = (1.0, 2.0, 11.0, 8.0)  # left, top, right, bottom


def body(point: Sequence[float]) -> tuple[float, float, float, float]:
    """The box of a person, 12 wide and 30 high: left, top, right, bottom.

    Its top edge is 3 above the point, so the rule for boxes of people gives the point. The boxes of people placed by
    `standing` are inside the image.
    """
    x, y = point
    return x - 6, y - 3, x + 6, y + 27


def standing(root: Path, place: dict[str, str], counts: Sequence[int] = (3, 0, 2)) -> Truth:
    """As `photos_of`, with the people where their whole boxes are inside the image of 96 x 64."""
    truth = photos_of(root, place, counts)
    return {split: {n: p.clip((7, 4), (89, 36)) for n, p in group.items()} for split, group in truth.items()}


def shanghaitech_mat(path: Path, points: np.ndarray) -> None:
    """Write `image_info`, a cell that holds a struct with location (N, 2) and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = np.empty((1, 1), object)
    info[0, 0] = {"location": points, "number": np.array([[len(points)]], np.uint16)}
    savemat(path, {"image_info": info})


def frame_cells(located: list[np.ndarray], columns: int = 2) -> np.ndarray:
    """A MATLAB cell (1, n) of structs with `loc`, as Mall and UCSD have it. No people is an array (0, 0)."""
    cells = np.empty((1, len(located)), object)
    for i, points in enumerate(located):
        more = np.zeros((len(points), columns - 2))
        cells[0, i] = {"loc": np.hstack([points, more]) if len(points) else np.zeros((0, 0)), "id": np.zeros((1, 0))}
    return cells


def matlab_73(path: Path, **arrays: np.ndarray) -> None:
    """Write a .mat file of version 7.3: HDF5, with axes reversed and an empty array stored as its shape."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            item = file.create_dataset(name, data=array.T if array.size else np.array(array.shape, np.uint64))
            if not array.size:
                item.attrs["MATLAB_empty"] = np.uint8(1)
    with open(path, "r+b") as file:
        file.write(MATLAB_73)

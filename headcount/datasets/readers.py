"""Reading and writing annotated images in every format.

Coordinates are continuous (pixel i covers [i, i+1)) and are taken as the files have them. `train` always leaves out a
fixed tenth, which is `val`, so that no checkpoint is chosen on a test split. `trainval` is both.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headcount.datasets.annotations import ErrorHandler, PointsError, raise_error
from headcount.datasets.boxes import BOX_RULES
from headcount.datasets.detect_format import detect
from headcount.datasets.registry import FORMATS, find_format, find_writer
from headcount.datasets.sample import Sample
from headcount.io.images import MediaError


def read(
    root: str | Path,
    format: str,
    split: str,
    boxes: str | None = None,
    classes: Sequence[str] = (),
    on_error: ErrorHandler = raise_error,
) -> list[Sample]:
    """Read one split of a data set.

    Args:
        root: Folder of the data set, or an annotation file.
        format: The name of a format, or `auto` to detect it.
        split: `train` (the official training split without the validation images), `val`, `trainval` or `test`. In all
            formats but shanghaitech, ucf_cc_50 and worldexpo also `all`, and names that the images are marked with. In
            ucf_cc_50 `all`, `train`, and `fold1-train` to `fold5-test`.
        boxes: Where a person is counted in a box: `head` (half a head below the top edge) or `centre`. None takes what
            suits the class of each box.
        classes: The classes to count, if the format has classes. By default heads, else people, else the only class.
        on_error: Called with a PointsError for each image or annotation that cannot be used. If it returns, reading
            continues with the next one. By default the error is raised.

    Returns:
        The samples in natural order (IMG_2 before IMG_10). Points outside their image are dropped, with one warning for
        all of them.

    Raises:
        PointsError: an argument is wrong, or nothing can be read, or `on_error` raises it.
    """
    root = Path(root).expanduser()
    reader = None if format == "auto" else find_format(root, format)
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    if reader is None:
        reader = find_format(root, detect(root)[0])
    if boxes is not None and boxes not in BOX_RULES:
        raise PointsError(f"{root}: boxes is '{boxes}'; choose head or centre")
    samples = reader.read(root, split, boxes, classes, on_error)
    if not samples:
        raise PointsError(f"{root}: no images in split '{split}'; check the path and the split")
    outside = [sample for sample in samples if sample.dropped]
    if outside:
        total, first = sum(sample.dropped for sample in outside), outside[0].image.name
        note = f"dropped {total} points outside their image, in {len(outside)} images (first: {first})"
        warnings.warn(f"{root}: {note}", stacklevel=2)
    return samples


def write(samples: Iterable[Sample], path: str | Path, format: str, splits: Sequence[str] = ()) -> None:
    """Write annotated images; reading the file gives the same points, regions and scenes.

    The path of an image is written relative to the file if the image is below the folder of the file, else absolute.
    The file is written completely or not at all.

    Args:
        samples: The annotated images.
        path: The file to write. Missing folders are created.
        format: `csv`, `json`, `coco`, `cvat`, `labelstudio` or `geojson`.
        splits: The split of each sample, to mark the images with. By default nothing is marked.

    Raises:
        PointsError: headcount does not write the format, the file cannot be written, or a sample has a region of
            interest and the format (any but json and coco) has no place for it.
    """
    path = Path(path).expanduser()
    writer = find_writer(path, format)
    with _write_errors(path):
        writer(list(samples), path, splits)


def write_estimates(samples: Iterable[Sample], path: str | Path, format: str, model: str) -> None:
    """Write the head positions that a model estimated. Labeling tools show them as such, for correction.

    Args:
        samples: The images, with the estimated points.
        path: As in `write`.
        format: As in `write`.
        model: The name of the model.

    Raises:
        PointsError: as in `write`.
    """
    path = Path(path).expanduser()
    writer = find_writer(path, format)
    own = FORMATS[format].write_estimates if format in FORMATS else None
    with _write_errors(path):
        if own is None:
            writer(list(samples), path, ())
        else:
            own(list(samples), path, model)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Make the folder of a file, and turn the errors of writing into PointsErrors."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise PointsError(f"{path}: cannot be written ({error.strerror or error}); check the path") from None
    except MediaError as error:  # coco needs the size of each image; the message names the image and the cure
        raise PointsError(str(error)) from None

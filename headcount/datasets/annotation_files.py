"""Opening annotation files safely: text, JSON, XML, YAML and MATLAB files from anywhere.

Every annotation file is opened here. The size of a file is limited. XML with a document type declaration is refused,
because its entities can grow without end or read other files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from headcount._extras import EXTRAS, install_hint
from headcount.datasets import matlab
from headcount.datasets.annotations import PointsError, as_points, excerpt
from headcount.io.files import single_line
from headcount.io.images import MediaError, image_size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 1 << 29  # 512 MB: the largest table of COCO has 450
MAX_YAML_BYTES = 1 << 20  # the names of a thousand classes take 30 KB, and PyYAML reads 1 MB in about 10 seconds

Json = Any  # parsed JSON of any shape; each parser checks what it reads of it
Found = TypeVar("Found")


def read_text(file: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        PointsError: the file is too large, or cannot be read as UTF-8.
    """
    try:
        if file.stat().st_size > max_bytes:
            raise PointsError(f"{file}: is larger than {max_bytes >> 20} MB, too large to be one such file; split it")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PointsError(
            f"{file}: not readable as UTF-8 text ({single_line(error)}); unpack or export it again"
        ) from None


def read_json(file: Path) -> Json:
    """The content of a JSON file. Raises PointsError."""
    content = read_text(file)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PointsError(f"{file}: not readable as JSON ({single_line(error)}); export it again") from None


def read_xml(file: Path) -> Element:
    """The root element of an XML file.

    Raises:
        PointsError: the file is not XML, or declares a document type, which no labeling tool does.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    content = read_text(file)
    try:
        return fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise PointsError(
            f"{file}: declares a document type or entities, which are not read; export it again"
        ) from None
    except ParseError as error:
        raise PointsError(f"{file}: not readable as XML ({single_line(error)}); export it again") from None


def read_yaml(file: Path) -> object:
    """The content of a YAML file: dicts and lists of texts.

    Numbers, dates and words such as `no` stay texts as they are written. The loader that does this runs no tags, and it
    does not expand merge keys, which can grow without end.

    Raises:
        PointsError: the file is not YAML.
    """
    import yaml

    content = read_text(file, MAX_YAML_BYTES)
    try:
        return yaml.load(content, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PointsError(f"{file}: not readable as YAML ({single_line(error)}); correct it") from None


def read_numbers(file: Path, columns: int, expected: str) -> np.ndarray:
    """The numbers of a text file with one annotation per line, separated by spaces or commas.

    Args:
        file: The text file. Empty lines are skipped.
        columns: How many numbers are read from each line. The rest of the line is ignored.
        expected: The columns by name, for error messages.

    Returns:
        float64 (N, columns).

    Raises:
        PointsError: a line has too few numbers, or one that is not finite.
    """
    rows = []
    for line, content in enumerate(read_text(file).splitlines(), start=1):
        if not content.strip():
            continue
        try:
            row = [float(part) for part in re.split(r"[\s,]+", content.strip().strip(","))[:columns]]
        except ValueError:
            row = []
        if len(row) < columns or not np.isfinite(row).all():
            raise PointsError(f"{file}, line {line}: '{excerpt(content)}' must be the numbers {expected}; correct it")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, columns)


def read_image_size(image: Path) -> tuple[int, int]:
    """(width, height) of the upright image in pixels. Raises PointsError."""
    try:
        return image_size(image)
    except MediaError as error:  # its message names the file
        raise PointsError(f"{error}; restore the image or remove its annotation") from None


# MATLAB files


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The variables of a .mat file of MATLAB 5 to 7, or of version 7.3, which needs h5py. Raises PointsError."""
    if not path.is_file():
        raise PointsError(f"{path}: no such annotation; unpack the data set again")
    try:
        return matlab.load(path)
    except NotImplementedError:  # version 7.3 is HDF5
        return _read_mat_73(path)
    except (OSError, ValueError) as error:
        raise PointsError(f"{path}: damaged .mat file ({single_line(error)}); unpack the data set again") from None


def _read_mat_73(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py

        with h5py.File(path) as file:  # axes are reversed, and an empty array is stored as its shape
            arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return {
                name: np.zeros((0, 2)) if item.attrs.get("MATLAB_empty") else item[()].T
                for name, item in arrays.items()
            }
    except ImportError as error:
        raise PointsError(
            f"{path}: reading MATLAB 7.3 files needs {error.name}; {install_hint(EXTRAS['h5py'])}"
        ) from None
    except Exception as error:  # a damaged file can fail anywhere in HDF5
        raise PointsError(f"{path}: damaged .mat file ({single_line(error)}); unpack the data set again") from None


def read_mat_points(path: Path, take: Callable[[dict[str, np.ndarray]], object]) -> np.ndarray:
    """The points, float64 (N, 2), that `take` picks from the variables of a .mat file. Raises PointsError."""
    return as_points(extract(path, read_mat(path), take), path)


def extract(path: Path, content: Json, take: Callable[[Any], Found]) -> Found:
    """Apply `take` to the content of a file; content of another structure is a PointsError."""
    try:
        return take(content)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise PointsError(f"{path}: not an annotation of this data set; unpack the set again") from None


def mask_polygon(mask: np.ndarray, where: Path) -> np.ndarray:
    """The outline of the largest part of a mask, accurate to half a pixel.

    A region of interest is one polygon here. Holes in the mask and its smaller parts are lost.

    Args:
        mask: (H, W), nonzero where people are counted.
        where: The file, for error messages.

    Returns:
        float64 (P, 2), x then y in pixels.

    Raises:
        PointsError: the mask is empty.
    """
    import cv2

    if mask.ndim != 2 or not mask.any():
        raise PointsError(f"{where}: its region mask is empty; unpack the data set again")
    contours, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(contours, key=cv2.contourArea).reshape(-1, 2).astype(np.float64)
    return largest + 0.5  # the contour runs through the centres of pixels

"""Pictures in, RGB uint8 arrays out.

What is unusual: Pillow alone decodes stills, so every caller (training, counting, the server) sees the same pixels,
upright by their EXIF orientation. The header is read first, and a picture over the pixel limit is refused before it is
decoded. Pillow is imported on first use, because a command must start fast. Everything that goes wrong with
a file is one MediaError: one line with the file, what is wrong, and what to do.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from headcount.io.files import atomic_write, single_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 400_000_000  # 400 megapixels decode to 1.2 GB

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # nothing else is tried: some Pillow decoders run other programs
_SAVE = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 4}),
    ".webp": ("WEBP", {"quality": 90}),
}
_pillow_limit = threading.Lock()

Source = str | os.PathLike | bytes | bytearray | memoryview  # a file, or the bytes of one


class MediaError(ValueError):
    """A picture or video that cannot be read or written. The message is one line: file, what is wrong, what to do."""


def read_image(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a JPEG, PNG, WebP, BMP or TIFF file, or its bytes, as uint8 (H,W,3) RGB, upright.

    Grey, palette and CMYK become RGB; 16 bits keep their upper 8; transparency is laid on white; the first picture of
    several is taken. Raises MediaError for anything that is not a whole picture of at most `max_pixels` pixels.
    """
    picture, name = _open(source, max_pixels)
    with picture:
        try:
            return _pixels(picture)
        except Exception as error:  # damaged files make decoders raise nearly anything
            raise MediaError(
                f"{name}: damaged or cut short ({single_line(error)}); copy or download it again"
            ) from error


def as_image(x: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A path, the bytes of a file, a Pillow picture or an array, as uint8 (H,W,3) RGB.

    Arrays are uint8 or uint16, (H,W), (H,W,1), (H,W,3) RGB or (H,W,4) RGBA. Raises MediaError otherwise.
    """
    if isinstance(x, (str, os.PathLike, bytes, bytearray, memoryview)):
        return read_image(x, max_pixels)
    if "PIL.Image" in sys.modules and isinstance(x, sys.modules["PIL.Image"].Image):
        try:
            return _pixels(x)
        except Exception as error:
            raise MediaError(
                f"Pillow picture: cannot be converted ({single_line(error)}); convert it to RGB"
            ) from error
    array = np.asarray(x)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaError(f"array: dtype is {array.dtype}; give uint8 values in 0..255 (or uint16)")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.size == 0:
        raise MediaError(f"array: shape is {np.shape(x)}; give (H,W), (H,W,3) RGB or (H,W,4) RGBA")
    if array.shape[2] == 4:
        array = _on_white(array)
    return np.ascontiguousarray(array)


def image_size(source: Source) -> tuple[int, int]:
    """(width, height) in pixels of the upright picture, from its header alone. Raises MediaError."""
    picture, _ = _open(source, max_pixels=None)
    with picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) >= 5 else (width, height)


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Picture files: folders are walked in sorted order, hidden files skipped; anything else is kept as given.

    A path that does not exist is kept too, so that whoever reads it reports it by name.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        if os.path.isdir(path):
            inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
            found += sorted(p for p in inside if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
        else:
            found.append(Path(path))
    return found


def write_image(path: str | Path, rgb: np.ndarray) -> None:
    """Write uint8 (H,W,3) RGB as JPEG, PNG or WebP by the suffix; missing folders are made. Raises MediaError."""
    from PIL import Image

    path, rgb = Path(path), as_image(rgb)
    if path.suffix.lower() not in _SAVE:
        raise MediaError(f"{path}: cannot write '{path.suffix}' pictures; use .jpg, .png or .webp")
    kind, options = _SAVE[path.suffix.lower()]
    encoded = io.BytesIO()  # encoded in memory first: a picture that cannot be encoded leaves no broken file
    try:
        Image.fromarray(rgb).save(encoded, kind, **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            file.write(encoded.getvalue())
    except (OSError, ValueError) as error:
        raise MediaError(
            f"{path}: cannot be written ({single_line(error)}); check the folder and picture size"
        ) from error


def _open(source: Source, max_pixels: int | None):
    """The Pillow picture with only its header read, and the name to use in errors."""
    from PIL import Image

    if isinstance(source, (bytes, bytearray, memoryview)):
        name = f"picture of {len(source)} bytes"
        file: Any = io.BytesIO(source)
        if len(source) == 0:
            raise MediaError(f"{name}: is empty; send the whole file")
    else:
        name, file = str(source), source
        check_file(source, "picture")
    with _pillow_limit:  # the limit below replaces Pillow's own, which warns and refuses at other sizes
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(file, formats=_FORMATS)
        except Exception as error:
            what = "not a picture headcount can read"
            raise MediaError(f"{name}: {what}; save it as JPEG, PNG, WebP, BMP or TIFF") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    width, height = picture.size
    if max_pixels is not None and width * height > max_pixels:
        picture.close()
        size = f"{width}x{height} is {width * height / 1e6:.4g} megapixels"
        raise MediaError(
            f"{name}: {size}, over the limit of {max_pixels / 1e6:.4g}; shrink it or raise max_pixels (--max-pixels)"
        )
    return picture, name


def check_file(path: str | os.PathLike, kind: str) -> None:
    """Raise MediaError unless `path` is a readable file with something in it."""
    if "\0" in os.fsdecode(path):
        raise MediaError(f"{os.fsdecode(path)!r}: no file has such a name; check the list it comes from")
    try:
        if os.path.isdir(path):
            raise MediaError(f"{path}: is a folder; give a {kind} file")
        if os.path.exists(path) and not os.path.isfile(path):
            raise MediaError(f"{path}: is a pipe or a device; give a {kind} file")
        with open(path, "rb") as file:
            if not file.read(1):
                raise MediaError(f"{path}: is empty (0 bytes); copy or download it again")
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error


def _orientation(picture) -> int:
    """The EXIF orientation 1..8 as the header gives it; 1 where there is none."""
    from PIL import Image

    if picture.format == "TIFF":  # Pillow turns TIFF itself, and reports its upright size
        return 1
    exif = Image.Exif()
    try:  # not picture.getexif(): for PNG that decodes the whole picture
        exif.load(picture.info.get("exif", b""))
        return int(exif.get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the orientation; the picture itself is fine
        return 1


def _pixels(picture) -> np.ndarray:
    """Decode a Pillow picture to uint8 (H,W,3) RGB and turn it upright."""
    orientation = _orientation(picture)
    picture.load()
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and picture.format == "PNG"):
        grey = np.asarray(picture).astype(np.int64) >> 8  # Pillow's own conversion would clip at 255
        rgb = np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    elif mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of unknown range: save it with 8 or 16 bits")
    elif picture.has_transparency_data:
        rgb = _on_white(np.asarray(picture.convert("RGBA")))
    else:
        rgb = np.asarray(picture if mode == "RGB" else picture.convert("RGB"))  # converting would copy it
    return np.ascontiguousarray(_upright(rgb, orientation))


def _upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 2 mirrored, 3 upside down, 4 both; 5..8 the same, lying on their side."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return rgb


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay uint8 (H,W,4) on white: (H,W,3)."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return rgba[:, :, :3]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

"""Reading images as uint8 RGB arrays, and writing them.

Only Pillow decodes still images, so training, counting and the server all see the same pixels, upright by their EXIF
orientation. The header is read first: an image over the pixel limit is refused before it is decoded. Pillow is imported
on first use, because commands must start fast. Every problem with a file is a `MediaError`, whose one-line message
gives the file, what is wrong, and what to do.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from headcount._extras import install_hint
from headcount.io.files import atomic_write, single_line
from headcount.io.names import files_in, is_hidden, natural_key

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".avif", ".heic", ".heif"),
)
MAX_PIXELS = 400_000_000  # 400 megapixels decode to 1.2 GB

MAX_SCANNED = 4e9  # pixels x scans of a progressive JPEG: 40 scans of 100 megapixels, decoded in about 3 s
_JPEG_SCAN = b"\xff\xda"  # the marker that begins a scan

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF")  # some of Pillow's other decoders run programs
_SAVE_OPTIONS: dict[str, tuple[str, dict[str, int]]] = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 4}),
    ".webp": ("WEBP", {"quality": 90}),
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # photos of iPhones, and others
_EXIF_ORIENTATION = 0x0112
_pillow_limit = threading.Lock()

ImageSource: TypeAlias = str | os.PathLike | bytes | bytearray | memoryview  # a path, or the content of a file
ImageLike: TypeAlias = "ImageSource | Image.Image | np.ndarray"


class MediaError(ValueError):
    """An image or video that cannot be read or written.

    The message is one line: the file, what is wrong, and what to do.
    """


def read_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF image, and HEIC if pi-heif is installed.

    Grey, palette and CMYK images become RGB. Images with 16 bits per channel keep the upper 8 bits. Transparent pixels
    are blended with white. Of a file with several pages or frames, such as an animation, only the first is read.

    Args:
        source: A path, or the content of a file.
        max_pixels: The largest image to decode, in pixels.

    Returns:
        uint8 (H,W,3) RGB, upright by the EXIF orientation.

    Raises:
        MediaError: If the source is not a complete image of at most `max_pixels` pixels.
    """
    image, name = _open(source, max_pixels)
    with image:
        try:
            return _pixels(image)
        except Exception as error:  # damaged files make decoders raise nearly anything
            raise MediaError(
                f"{name}: damaged or truncated ({single_line(error)}); copy or download it again"
            ) from error


def as_image(image: ImageLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Convert anything that holds an image to uint8 (H,W,3) RGB.

    Args:
        image: A path, a file that is open for reading bytes, the content of a file, a Pillow image, or an array.
            Arrays are uint8 or uint16, of shape (H,W), (H,W,1), (H,W,3) RGB or (H,W,4) RGBA.
        max_pixels: The largest file to decode, in pixels.

    Returns:
        A C-contiguous array, uint8 (H,W,3).

    Raises:
        MediaError: If the argument is none of these.
    """
    if isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview)):
        return read_image(image, max_pixels)
    if callable(read := getattr(image, "read", None)):
        if not isinstance(content := read(), bytes):
            raise MediaError("open file: gives text; open it for bytes, as open(path, 'rb')")
        return read_image(content, max_pixels)
    if isinstance(image, Iterable) and not hasattr(image, "__array__"):
        raise MediaError(f"{type(image).__name__}: is not one image; give each to count, or all to count_many")
    if "PIL.Image" in sys.modules and isinstance(image, sys.modules["PIL.Image"].Image):
        try:
            return _pixels(image)
        except Exception as error:
            raise MediaError(f"Pillow image: cannot be converted ({single_line(error)}); convert it to RGB") from error
    array = np.asarray(image)
    shape = array.shape
    if array.dtype == object:
        raise MediaError(f"{type(image).__name__}: is not an image; give a path, bytes, a Pillow image or an array")
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaError(f"array: dtype is {array.dtype}; give uint8 values in 0..255 (or uint16)")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.size == 0:
        raise MediaError(f"array: shape is {shape}; give (H,W), (H,W,3) RGB or (H,W,4) RGBA")
    if array.shape[2] == 4:
        array = _blend_with_white(array)
    return np.ascontiguousarray(array)


def image_size(source: ImageSource) -> tuple[int, int]:
    """Read (width, height) in pixels of the upright image from its header.

    Raises:
        MediaError: If the source has no header of a known image format.
    """
    image, _ = _open(source, max_pixels=None)
    with image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def holds_several_images(source: ImageSource) -> bool:
    """Whether a file is an animation or has several pages, of which `read_image` reads the first.

    The preview that cameras put behind a photo does not count.
    """
    try:
        image, _ = _open(source, max_pixels=None)
        with image:
            return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first image may be damaged
        return False


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List image files.

    Args:
        paths: Files and folders. Folders are searched recursively in natural order, without hidden files and folders.

    Returns:
        The images found in folders, and every other path as given. A path that does not exist is kept, so that the
        reader reports it by name.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        if os.path.isdir(path):
            images = (file for file in files_in(path) if file.suffix.lower() in IMAGE_SUFFIXES)
            visible = (image for image in images if not is_hidden(image.relative_to(path)))
            found += sorted(visible, key=lambda image: natural_key(str(image)))
        else:
            found.append(Path(path))
    return found


def write_image(path: str | Path, rgb: np.ndarray) -> None:
    """Write an image as JPEG, PNG or WebP, chosen by the suffix. Missing folders are created.

    Args:
        path: The file to write.
        rgb: uint8 (H,W,3) RGB.

    Raises:
        MediaError: If the suffix is unknown or the file cannot be written.
    """
    from PIL import Image

    path, rgb = Path(path), as_image(rgb)
    if path.suffix.lower() not in _SAVE_OPTIONS:
        raise MediaError(f"{path}: cannot write '{path.suffix}' images; use .jpg, .png or .webp")
    format_name, options = _SAVE_OPTIONS[path.suffix.lower()]
    encoded = io.BytesIO()
    try:
        Image.fromarray(rgb).save(encoded, format_name, **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            file.write(encoded.getvalue())
    except (OSError, ValueError) as error:
        raise MediaError(
            f"{path}: cannot be written ({single_line(error)}); check the folder and the image size"
        ) from error


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of a uint8 image, (H,W,3) RGB or (H,W,4) RGBA."""
    import cv2

    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(image, order), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def check_file(path: str | os.PathLike, kind: str) -> None:
    """Check that a path is a readable file that is not empty.

    Args:
        path: The file.
        kind: What the file should hold ("image", "video"), for the message.

    Raises:
        MediaError: If it is not.
    """
    if "\0" in os.fsdecode(path):
        raise MediaError(f"{os.fsdecode(path)!r}: not a valid file name; check the list it comes from")
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


def source_name(source: ImageSource) -> str:
    """What errors call an image: its path, or its size if only the content of a file is known."""
    return f"image of {len(source)} bytes" if isinstance(source, (bytes, bytearray, memoryview)) else str(source)


def _open(source: ImageSource, max_pixels: int | None) -> tuple[Image.Image, str]:
    """Read an image's header; return the Pillow image and the name to use in errors."""
    from PIL import Image

    file: io.BytesIO | str | os.PathLike
    name = source_name(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        file = io.BytesIO(source)
        if len(source) == 0:
            raise MediaError(f"{name}: is empty; send the whole file")
    else:
        file = source
        check_file(source, "image")
    with _pillow_limit:  # our limit replaces Pillow's, which warns and refuses at other sizes
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=_formats(file, name))
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f"{name}: not an image headcount can read; save it as JPEG, PNG or WebP") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        image.close()
        size = f"{width}x{height} is {width * height / 1e6:.4g} megapixels"
        raise MediaError(
            f"{name}: {size}, over the limit of {max_pixels / 1e6:.4g}; shrink it or raise max_pixels (--max-pixels)"
        )
    if max_pixels is not None and image.info.get("progressive"):
        _check_scans(image, file, name)
    return image, name


def _check_scans(image: Image.Image, file: io.BytesIO | str | os.PathLike, name: str) -> None:
    """Refuse a progressive JPEG with too many scans: decoding visits every pixel in each, for minutes."""
    content = file.getvalue() if isinstance(file, io.BytesIO) else Path(file).read_bytes()
    scans = content.count(_JPEG_SCAN)  # where it is no marker, a zero follows the ff
    if image.width * image.height * scans > MAX_SCANNED:
        image.close()
        raise MediaError(f"{name}: has {scans:,} scans, which take too long to decode; save it again as JPEG")


def _formats(file: io.BytesIO | str | os.PathLike, name: str) -> tuple[str, ...]:
    """The decoders of Pillow that may read a file. For a HEIF file, pi-heif adds one.

    Raises:
        MediaError: If the file is HEIF and pi-heif is not installed.
    """
    if isinstance(file, io.BytesIO):
        start = bytes(file.getbuffer()[:12])
    else:
        with open(file, "rb") as stream:
            start = stream.read(12)
    if start[4:8] != b"ftyp" or start[8:12] not in _HEIF_BRANDS:
        return _FORMATS
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        raise MediaError(f"{name}: is a HEIC photo; {install_hint('heif')}, or save it as JPEG") from None
    register_heif_opener()
    return (*_FORMATS, "HEIF")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from the header, 1 to 8, or 1 if there is none."""
    from PIL import Image

    if image.format == "TIFF":  # Pillow rotates TIFF itself, and reports the upright size
        return 1
    exif = Image.Exif()
    try:  # not image.getexif(), which decodes the whole image for PNG
        exif.load(image.info.get("exif", b""))
        return int(exif.get(_EXIF_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the orientation, and the image itself may be fine
        return 1


def _pixels(image: Image.Image) -> np.ndarray:
    """Decode a Pillow image to uint8 (H,W,3) RGB, upright."""
    orientation = _orientation(image)
    image.load()
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        grey = np.asarray(image).astype(np.int64) >> 8  # Pillow's own conversion would clip at 255
        rgb = np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    elif mode in ("I", "F"):
        raise ValueError("32 bits per channel, of unknown range: save it with 8 or 16 bits")
    elif image.has_transparency_data:
        rgb = _blend_with_white(np.asarray(image.convert("RGBA")))
    else:
        rgb = np.asarray(image if mode == "RGB" else image.convert("RGB"))  # converting RGB would copy it
    return np.ascontiguousarray(_upright(rgb, orientation))


def _upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 2 is mirrored, 3 rotated by 180 degrees, 4 both; 5 to 8 are these, transposed."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return rgb


def _blend_with_white(rgba: np.ndarray) -> np.ndarray:
    """Blend uint8 (H,W,4) with white by its alpha channel: uint8 (H,W,3)."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return rgba[:, :, :3]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

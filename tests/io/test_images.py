"""Images as users have them: rotated by EXIF, grey, 16-bit, transparent, CMYK, damaged, huge, misnamed."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from headcount.io.images import MediaError, as_image, image_size, list_images, read_image, write_image

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (255, 255, 255)
CORNERS = np.zeros((48, 64, 3), np.uint8)  # each corner has its own color, so every rotation shows
CORNERS[:24, :32], CORNERS[:24, 32:], CORNERS[24:, :32], CORNERS[24:, 32:] = RED, GREEN, BLUE, WHITE


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(image):
    """Name the colors of the corners (upper left, upper right, lower left, lower right), as JPEG kept them."""
    h, w = image.shape[0] - 5, image.shape[1] - 5
    named = {c: n for n, c in {"R": RED, "G": GREEN, "B": BLUE, "W": WHITE}.items()}

    def nearest(pixel):
        return min(named, key=lambda c: np.abs(np.subtract(c, pixel, dtype=float)).sum())

    return "".join(named[nearest(image[y, x])] for y, x in ((4, 4), (4, w), (h, 4), (h, w)))


# How a camera stores an upright image under each EXIF orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(STORED[orientation](CORNERS))), kind, exif=exif)
    image = read_image(data)
    assert image.shape == (48, 64, 3) and corners(image) == "RGBW"
    assert image_size(data) == (64, 48)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"])
def test_formats_are_detected_by_content_and_not_by_suffix(tmp_path, suffix):
    Image.fromarray(CORNERS).save(tmp_path / f"a{suffix}")
    (tmp_path / "a.dat").write_bytes((tmp_path / f"a{suffix}").read_bytes())
    for path in (tmp_path / f"a{suffix}", str(tmp_path / "a.dat")):
        assert corners(read_image(path)) == "RGBW" and image_size(path) == (64, 48)


def test_photos_of_iphones_are_read_with_pi_heif_and_named_without(monkeypatch):
    heic = Path(__file__).parent / "files" / "corners.heic"
    pytest.importorskip("pi_heif", reason="HEIC needs pi-heif")
    assert corners(read_image(heic)) == corners(read_image(heic.read_bytes())) == "RGBW"
    assert image_size(heic) == (64, 48) and list_images([heic.parent]) == [heic]
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(MediaError, match=r"corners.heic: is a HEIC photo; .*'.\[heif\]', or save it as JPEG"):
        read_image(heic)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "MPO", "TIFF"])
def test_of_several_frames_the_first_is_read(kind):
    frames = [Image.fromarray(image) for image in (CORNERS, CORNERS[::-1], CORNERS[:, ::-1])]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert corners(read_image(data)) == "RGBW"


def test_grey_palette_bilevel_and_cmyk_become_rgb():
    original = Image.fromarray(CORNERS)
    assert corners(read_image(encoded(original.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))) == "RGBW"
    assert corners(read_image(encoded(original.convert("CMYK"), "JPEG", quality=95))) == "RGBW"
    for mode in ("L", "1"):
        image = read_image(encoded(original.convert(mode), "PNG"))
        assert image.shape == (48, 64, 3) and (image[..., 0] == image[..., 2]).all() and image[-1, -1, 0] == 255


def test_transparent_pixels_are_blended_with_white():
    rgba = np.dstack([CORNERS, np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32, 3], rgba[:24, 32:, 3] = 0, 128
    image = read_image(encoded(Image.fromarray(rgba), "PNG"))
    assert tuple(image[0, 0]) == WHITE and tuple(image[-1, 0]) == BLUE
    assert np.abs(image[0, -1] - (255 + np.float64(GREEN)) / 2).max() < 1.5
    assert (as_image(rgba) == image).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_keep_their_upper_eight(tmp_path, suffix):
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    color = CORNERS.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), grey)
    cv2.imwrite(str(tmp_path / f"color{suffix}"), color[:, :, ::-1])
    assert (read_image(tmp_path / f"grey{suffix}") == (grey >> 8)[:, :, None]).all()
    assert (read_image(tmp_path / f"color{suffix}") == CORNERS).all()
    assert (as_image(grey) == (grey >> 8)[:, :, None]).all()


def png_header(width, height):
    """A PNG file that states a size and holds no pixels."""
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(13, body), (0, b"IDAT")]
    framed = [struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk)) for size, chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_a_huge_image_is_refused_from_its_header():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(MediaError, match="60000x50000 is 3000 megapixels, over the limit of 400; shrink it"):
        read_image(png_header(60_000, 50_000))
    assert image_size(png_header(60_000, 50_000)) == (60_000, 50_000)
    with pytest.raises(MediaError, match="over the limit of 0.001"):
        read_image(encoded(Image.fromarray(CORNERS), "PNG"), max_pixels=1000)
    assert limit == Image.MAX_IMAGE_PIXELS  # the setting of the surrounding program is restored


BAD = {
    "empty.jpg": (b"", "is empty"),
    "words.jpg": (b"this is not an image" * 20, "not an image"),
    "page.png": (b"<html>404</html>", "not an image"),
    "header.png": (png_header(64, 48), "damaged or truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_reported_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name][0])
    with pytest.raises(MediaError, match=BAD[name][1]) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value) and ";" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_an_error_and_never_a_partly_grey_image(kind):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(MediaError):
            read_image(data[: int(len(data) * share)])


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(MediaError, match="gone.jpg: no such file"):
        image_size(tmp_path / "gone.jpg")
    with pytest.raises(MediaError, match="is a folder"):
        read_image(tmp_path)


def test_arrays_and_pillow_images():
    assert as_image(CORNERS[..., 0]).shape == as_image(CORNERS[..., :1]).shape == (48, 64, 3)
    assert corners(as_image(Image.fromarray(CORNERS).convert("P", palette=Image.Palette.ADAPTIVE))) == "RGBW"
    assert as_image(CORNERS[:, ::-1]).flags.c_contiguous
    with pytest.raises(MediaError, match="dtype is float64"):
        as_image(CORNERS / 255)
    for shape in ((5,), (4, 4, 2), (1, 4, 4, 3), (0, 4, 3)):
        with pytest.raises(MediaError, match="shape is"):
            as_image(np.zeros(shape, np.uint8))


def test_folders_are_searched_and_files_are_kept_as_given(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "deep/er/c.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walked = [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)]
    assert walked == ["a.png", "b.JPG", "deep/er/c.webp"]
    given = [tmp_path / "z.jpg", str(tmp_path / "notes.txt"), tmp_path / "deep"]
    assert [p.name for p in list_images(given)] == ["z.jpg", "notes.txt", "c.webp"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_written_images_can_be_read_back(tmp_path, suffix):
    path = tmp_path / "new" / "folder" / f"out{suffix}"
    write_image(path, CORNERS)
    assert corners(read_image(path)) == "RGBW"
    if suffix == ".png":
        assert (read_image(path) == CORNERS).all()


def test_images_that_cannot_be_written(tmp_path):
    with pytest.raises(MediaError, match="out.gif: cannot write '.gif'"):
        write_image(tmp_path / "out.gif", CORNERS)
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        write_image(tmp_path / "file" / "out.png", CORNERS)
    with pytest.raises(MediaError, match="cannot be written"):
        write_image(tmp_path / "wide.webp", np.zeros((2, 20_000, 3), np.uint8))  # WebP allows 16,383
    assert not (tmp_path / "wide.webp").exists()


def test_importing_images_imports_neither_pillow_nor_opencv():
    code = "import sys, headcount.io.images; sys.exit('PIL' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

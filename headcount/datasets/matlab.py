"""The variables of a .mat file of MATLAB 5 to 7, as scipy.io.loadmat gives them: numbers, cells and structs.

scipy's reader is not used because it is not hardened against untrusted files: lengths in a damaged file have led it out
of its memory, and then the whole process crashes instead of raising an exception. Here every length is checked against
the data that is there. The tests compare the results with scipy's.

Reference: MAT-File Format (MathWorks), level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Types of stored data, and the classes of arrays, by their number in the file.
STORED_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ARRAY_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
MATRIX, COMPRESSED = 14, 15  # types of elements
CELL, STRUCT = 1, 2  # classes of arrays
MAX_BYTES = 1 << 28  # of the file, and of a variable that is decompressed
MAX_DEPTH = 16  # cells in cells

Element = tuple[int, memoryview]  # type, data


class _UnsupportedVariable(Exception):
    """A kind of variable that is not read: text, sparse matrices, functions, objects."""


def load(path: Path) -> dict[str, np.ndarray]:
    """Read the variables of a .mat file; text, sparse matrices, functions and objects are skipped.

    Args:
        path: The file.

    Returns:
        Arrays by name, all of them two-dimensional or more. Cells are arrays of objects, and structs have named fields.

    Raises:
        ValueError: the file is damaged.
        NotImplementedError: the file is of version 7.3, which is HDF5.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        content = memoryview(file.read(MAX_BYTES + 1))
    if len(content) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES >> 20} MB")
    if len(content) < 128 or bytes(content[126:128]) not in (b"IM", b"MI"):
        raise ValueError("no header of MATLAB 5")
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    if struct.unpack_from(order + "H", content, 124)[0] >> 8 != 1:
        raise NotImplementedError("version 7.3")
    variables = {}
    for kind, body in _elements(content[128:], order):
        if kind == COMPRESSED:
            (kind, body), *_ = _elements(_decompress(body), order)
        if kind == MATRIX:
            try:
                name, array = _matrix(body, order)
            except _UnsupportedVariable:
                continue
            variables[name] = array
    return variables


def _decompress(body: memoryview) -> memoryview:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not decompressor.eof:
        raise ValueError("a compressed variable is cut short or too large")
    return memoryview(content)


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """Yield the elements one after another. A rest of less than eight bytes is padding."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(order + "II", content, place)
        if kind >> 16:  # a small element: its length, its type and up to four bytes
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
        else:
            padding = -size % 8 if kind != COMPRESSED else 0
            start, step = place + 8, 8 + size + padding
        if (size > 4 and step == 8) or start + size > len(content):
            raise ValueError("a variable is cut short")
        yield kind, content[start : start + size]
        place += step


def _matrix(body: memoryview, order: str, depth: int = 0) -> tuple[str, np.ndarray]:
    """The name and the array of one matrix element."""
    if not body:  # an empty field of a struct
        return "", np.zeros((0, 0))
    if depth > MAX_DEPTH:
        raise ValueError(f"cells in cells, over {MAX_DEPTH} deep")
    parts = _elements(body, order)
    flags = _numbers(_next_element(parts), order)
    shape = tuple(int(n) for n in _numbers(_next_element(parts), order))
    name = bytes(_next_element(parts)[1]).decode("latin-1")
    if not len(flags) or len(shape) < 2 or min(shape) < 0:
        raise ValueError("a variable without a shape")
    kind = int(flags[0]) & 0xFF
    if kind in ARRAY_CLASSES:
        values = _numbers(_next_element(parts), order)
        return name, _shaped(values.astype(ARRAY_CLASSES[kind]), shape)
    if kind == CELL:
        return name, _shaped(_objects(parts, order, depth), shape)
    if kind == STRUCT:
        return name, _shaped(_structs(parts, order, depth), shape)
    raise _UnsupportedVariable(kind)


def _structs(parts: Iterator[Element], order: str, depth: int) -> np.ndarray:
    """The elements of a struct array one after another: an array (N,) with a field of objects for each name."""
    width = int(_numbers(_next_element(parts), order)[0])
    text = bytes(_next_element(parts)[1])
    if width < 1:
        raise ValueError("a struct whose fields have no names")
    names = [text[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(text), width)]
    values = _objects(parts, order, depth)
    if not names or len(values) % len(names) or len(set(names)) < len(names) or not all(names):
        raise ValueError("a struct whose fields are not complete")
    found = np.empty(len(values) // len(names), [(name, object) for name in names])
    for i, field in enumerate(names):
        found[field] = values[i :: len(names)]
    return found


def _objects(parts: Iterator[Element], order: str, depth: int) -> np.ndarray:
    """The remaining parts, each of them a matrix: object (N,). A variable of a kind that is not read is None."""
    found: list[np.ndarray | None] = []
    for kind, body in parts:
        if kind != MATRIX:
            raise ValueError("a cell that holds no variable")
        try:
            found.append(_matrix(body, order, depth + 1)[1])
        except _UnsupportedVariable:
            found.append(None)
    array = np.empty(len(found), object)
    for i, item in enumerate(found):  # numpy would merge arrays of one shape if they were assigned at once
        array[i] = item
    return array


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The values in the order of MATLAB, columns first. Raises ValueError if they do not fill the shape."""
    return values.reshape(shape, order="F")


def _next_element(parts: Iterator[Element]) -> Element:
    try:
        return next(parts)
    except StopIteration:
        raise ValueError("a variable is cut short") from None


def _numbers(element: Element, order: str) -> np.ndarray:
    kind, body = element
    if kind not in STORED_TYPES:
        raise ValueError(f"numbers of an unknown type, {kind}")
    dtype = np.dtype(order + STORED_TYPES[kind])
    if len(body) % dtype.itemsize:
        raise ValueError("a number is cut in two")
    return np.frombuffer(body, dtype)

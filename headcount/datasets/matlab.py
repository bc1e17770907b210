"""The variables of a .mat file of MATLAB 5 to 7, as scipy.io.loadmat gives them: numbers, cells and structs.

What is unusual: it is our own, because a library's crash takes the process with it: in a damaged file scipy's reader
follows lengths that lead out of its memory. Here every length is checked against what is there.
Source: MAT-File Format (MathWorks), level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # types of data
KEPT = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # of arrays
MATRIX, COMPRESSED, CELL, STRUCT = 14, 15, 1, 2
LARGEST = 1 << 28  # bytes, of the file and of a variable that is unpacked
DEEPEST = 16  # cells in cells


class Unknown(Exception):
    """A kind of variable that is not read: text, sparse matrices, functions, objects."""


def load(path: Path) -> dict[str, np.ndarray]:
    """name -> array, all of them two-dimensional or more; cells are arrays of objects, structs have named fields.

    Raises:
        ValueError: the file is not whole.
        NotImplementedError: it is of version 7.3, which is HDF5.
    """
    with open(path, "rb") as file:
        content = memoryview(file.read(LARGEST + 1))
    if len(content) > LARGEST:
        raise ValueError(f"over {LARGEST >> 20} MB")
    if len(content) < 128 or bytes(content[126:128]) not in (b"IM", b"MI"):
        raise ValueError("no header of MATLAB 5")
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    if struct.unpack_from(order + "H", content, 124)[0] >> 8 != 1:
        raise NotImplementedError("version 7.3")
    variables = {}
    for kind, body in elements(content[128:], order):
        if kind == COMPRESSED:
            (kind, body), *_ = elements(unpack(body), order)
        if kind == MATRIX:
            try:
                name, array = matrix(body, order)
                variables[name] = array
            except Unknown:
                continue
    return variables


def unpack(body: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(body, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise ValueError("a compressed variable is cut short or too large")
    return memoryview(content)


def elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, data) one after another; what is left at the end is padding."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(order + "II", content, place)
        if kind >> 16:  # a small element: its length, its type and up to four bytes
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
        else:
            start, step = place + 8, 8 + size + (-size % 8 if kind != COMPRESSED else 0)
        if (size > 4 and step == 8) or start + size > len(content):
            raise ValueError("a variable is cut short")
        yield kind, content[start : start + size]
        place += step


def matrix(body: memoryview, order: str, depth: int = 0) -> tuple[str, np.ndarray]:
    """The name and the array of one matrix element."""
    if not body:  # how an empty field of a struct is written
        return "", np.zeros((0, 0))
    if depth > DEEPEST:
        raise ValueError(f"cells in cells, over {DEEPEST} deep")
    parts = elements(body, order)
    flags = numbers(next_of(parts), order)
    shape = tuple(int(n) for n in numbers(next_of(parts), order))
    name = bytes(next_of(parts)[1]).decode("latin-1")
    if not len(flags) or len(shape) < 2 or min(shape) < 0:
        raise ValueError("a variable without a shape")
    kind = int(flags[0]) & 0xFF
    if kind in KEPT:
        values = numbers(next_of(parts), order)
        return name, fitted(values.astype(KEPT[kind]), shape)
    if kind == CELL:
        return name, fitted(objects(parts, order, depth), shape)
    if kind == STRUCT:
        return name, fitted(records(parts, order, depth), shape)
    raise Unknown(kind)


def records(parts: Iterator[tuple[int, memoryview]], order: str, depth: int) -> np.ndarray:
    """The elements of a struct array, one after another: an array (N,) with a field of objects for each name."""
    width = int(numbers(next_of(parts), order)[0])
    text = bytes(next_of(parts)[1])
    if width < 1:
        raise ValueError("a struct whose fields have no names")
    names = [text[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(text), width)]
    values = objects(parts, order, depth)
    if not names or len(values) % len(names) or len(set(names)) < len(names) or not all(names):
        raise ValueError("a struct whose fields are not whole")
    found = np.empty(len(values) // len(names), [(name, object) for name in names])
    for i, field in enumerate(names):
        found[field] = values[i :: len(names)]
    return found


def objects(parts: Iterator[tuple[int, memoryview]], order: str, depth: int) -> np.ndarray:
    """What is left of the parts, each a matrix: object (N,). One of a kind that is not read is None."""
    found: list[Any] = []
    for kind, body in parts:
        if kind != MATRIX:
            raise ValueError("a cell that holds no variable")
        try:
            found.append(matrix(body, order, depth + 1)[1])
        except Unknown:
            found.append(None)
    array = np.empty(len(found), object)
    for i, item in enumerate(found):  # assigned at once, arrays of one shape would be taken apart
        array[i] = item
    return array


def fitted(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """In MATLAB's order, columns first; a shape that the values do not fill is a ValueError."""
    return values.reshape(shape, order="F")


def next_of(parts: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    try:
        return next(parts)
    except StopIteration:
        raise ValueError("a variable is cut short") from None


def numbers(part: tuple[int, memoryview], order: str) -> np.ndarray:
    kind, body = part
    if kind not in STORED:
        raise ValueError(f"numbers of an unknown type, {kind}")
    dtype = np.dtype(order + STORED[kind])
    if len(body) % dtype.itemsize:
        raise ValueError("a number is cut in two")
    return np.frombuffer(body, dtype)

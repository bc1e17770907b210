"""The .mat reader agrees with scipy's, and damaged files raise exceptions.

If MATLAB stored whole numbers in fewer bytes than their class has, scipy returns the smaller type, headcount the class.
"""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from headcount.datasets import matlab

CELL = np.empty((1, 3), object)
CELL[0, 0], CELL[0, 1], CELL[0, 2] = np.ones((2, 2)), np.zeros((2, 2)), {"loc": np.arange(6.0).reshape(3, 2)}
VARIABLES = {
    "points": np.random.default_rng(0).normal(size=(40, 2)),
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "empty": np.zeros((0, 2)),
    "one": np.float32(2.5),
    "cells": CELL,
    "info": {"location": np.eye(3), "number": 3, "deeper": {"x": np.arange(3)}},
    "name": "text is not read",
}


def assert_same(found, expected):
    assert found.shape == expected.shape and found.dtype.names == expected.dtype.names
    for name in found.dtype.names or ():
        for one, other in zip(found[name].ravel(), expected[name].ravel(), strict=True):
            assert_same(one, other)
    if found.dtype == object:
        for one, other in zip(found.ravel(), expected.ravel(), strict=True):
            assert_same(one, other)
    elif not found.dtype.names:
        assert found.dtype.kind in "fiu" and np.array_equal(found, expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_variables_agree_with_scipy(tmp_path, compressed):
    savemat(tmp_path / "all.mat", VARIABLES, do_compression=compressed)
    found, expected = matlab.load(tmp_path / "all.mat"), loadmat(tmp_path / "all.mat")
    assert set(found) == set(VARIABLES) - {"name"}
    for name, array in found.items():
        assert_same(array, expected[name])


def test_annotations_of_the_real_sets_agree_with_scipy(shared):
    for file in sorted((shared / "data").rglob("*.mat"))[::40]:
        expected = loadmat(file)
        for name, array in matlab.load(file).items():
            assert_same(array, expected[name])


def test_a_truncated_file_is_an_error_or_has_fewer_variables(tmp_path):
    savemat(tmp_path / "all.mat", VARIABLES)
    content = (tmp_path / "all.mat").read_bytes()
    for end in range(0, len(content), 7):
        (tmp_path / "cut.mat").write_bytes(content[:end])
        try:
            assert len(matlab.load(tmp_path / "cut.mat")) < len(VARIABLES)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)


def test_decompression_bombs_and_deeply_nested_cells_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "MAX_BYTES", 1_000_000)
    savemat(tmp_path / "bomb.mat", {"zeros": np.zeros((1000, 1000))}, do_compression=True)
    assert (tmp_path / "bomb.mat").stat().st_size < 20_000
    with pytest.raises(ValueError, match="cut short or too large"):
        matlab.load(tmp_path / "bomb.mat")
    deep = np.zeros((1, 1))
    for _ in range(30):
        cell = np.empty((1, 1), object)
        cell[0, 0] = deep
        deep = cell
    savemat(tmp_path / "deep.mat", {"deep": deep})
    with pytest.raises(ValueError, match="over 16 deep"):
        matlab.load(tmp_path / "deep.mat")


def test_version_73_is_not_implemented_here(tmp_path):
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM" + b"\x89HDF")
    with pytest.raises(NotImplementedError, match=r"7\.3"):
        matlab.load(tmp_path / "new.mat")

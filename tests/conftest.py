"""Fixtures for every test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder HEADCOUNT_DATA, which holds real `data/` and `weights/`; tests that need it are skipped without it."""
    folder = os.environ.get("HEADCOUNT_DATA", "")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("real data is missing: set HEADCOUNT_DATA to the folder that holds data/ and weights/")
    return Path(folder)

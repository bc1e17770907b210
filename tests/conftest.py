"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real `data/` and `weights/`; where it is missing, its tests are skipped."""
    folder = Path(os.environ.get("HEADCOUNT_DATA") or Path(__file__).resolve().parents[1].parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no data in {folder}: set HEADCOUNT_DATA to the folder that holds data/ and weights/")
    return folder

"""Tiny copies of the paper's data sets."""

from pathlib import Path

import pytest
from helpers import dataset_factory as factory

SCENES = ("104207", "200702", "500717")  # the test scenes S1, S3 and S5


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Every data set of the paper. Part B has no test split, as a copy that is kept for training."""
    folder = tmp_path_factory.mktemp("data")
    factory.shanghaitech(folder / "shanghaitech" / "part_A", train=(3, 0, 5, 2), test=(4, 1, 310, 720))
    factory.shanghaitech(folder / "shanghaitech" / "part_B", train=(3, 0, 5, 2), test=())
    factory.ucf_cc_50(folder / "ucf_cc_50")
    factory.worldexpo(folder / "worldexpo", scenes=SCENES)
    return folder

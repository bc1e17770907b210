"""Fixtures for tests that train."""

from pathlib import Path

import pytest
import torch
from helpers import dataset_factory as factory
from helpers.training_runs import tiny

from headcount.training.trainer import train


@pytest.fixture(scope="module")
def one_cpu_thread():
    """Runs are equal bit for bit on one machine and device; here, on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with one set of seven small images. It has no test split."""
    folder = tmp_path_factory.mktemp("data")
    factory.shanghaitech(folder / "set", train=(3, 0, 5, 2, 4, 6, 1), test=())
    return folder


@pytest.fixture(scope="module")
def whole(data, one_cpu_thread, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of tiny()."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(), data, folder)
    return folder

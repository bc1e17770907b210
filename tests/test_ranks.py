"""Several processes under torchrun learn what one learns, go on in another number, and come back when one is killed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake
import pytest
import torch
from safetensors.torch import load_file

from headcount import points, state
from headcount.config import TrainError, load_recipe
from headcount.train import Run, train

RECIPE = """
steps = {steps}
batch = 4
warmup = 2
lr = 1e-3
ema = 0.9
clip = 50.0
precision = "fp32"
eval_every = {steps}
save_every = 2
model = {{ fusion = "feature_posterior", width = 8 }}
data = {{ crop = [32, 32], scale = [0.75, 1.5], jitter = 0.5 }}
sets = {{ set = {{ folder = "set" }} }}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    fake.shanghaitech(folder / "set", train=(3, 0, 5, 2, 4, 6, 1), test=())
    return folder


def recipe(folder: Path, steps: int) -> Path:
    file = folder / "mine.toml"
    file.write_text(RECIPE.format(steps=steps))
    return file


def torchrun(processes: int, *arguments: object, restarts: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [
        f"--max-restarts={restarts}",
        "--monitor-interval=0.1",
        "-m",
        "headcount",
        "train",
        *map(str, arguments),
    ]
    root = str(Path(points.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # docs/scale.md says why
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def curve(run: Path) -> list[list[float]]:
    """What each row says of what was learned and validated, less the times."""
    left_out = {"crops_per_second", "seconds"}
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [[float(value) for name, value in row.items() if name not in left_out and value] for row in rows]


def assert_same_learning(one: Path, two: Path) -> None:
    """Equal but for how sums round: the curves, the kept weights."""
    for row, other in zip(curve(one), curve(two), strict=True):
        assert row == pytest.approx(other, rel=1e-3)
    weights, others = (load_file(run / "best" / "model.safetensors") for run in (one, two))
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-2, atol=1e-4)


def test_two_processes_learn_what_one_learns(data, tmp_path):
    mine = recipe(tmp_path, 8)
    pair = torchrun(2, "--recipe", mine, "--data", data, "--out", tmp_path / "pair")
    train(load_recipe(mine), data, tmp_path / "alone")
    out, err = pair.communicate(timeout=240)
    assert pair.returncode == 0, err
    assert out.count("the best checkpoint is in") == 1 and err.count("step=8 ") == 1  # one of them writes
    assert_same_learning(tmp_path / "alone", tmp_path / "pair")


def test_a_killed_process_comes_back_and_the_run_goes_on_in_another_number_of_them(data, tmp_path):
    """Begun by one process, gone on with by two, one of which is killed; torchrun starts them again."""
    mine = recipe(tmp_path, 60)
    config = load_recipe(mine)
    train(config, data, tmp_path / "alone")
    train(config, data, tmp_path / "pair", stop_after=4)
    arguments = ("--recipe", mine, "--data", data, "--out", tmp_path / "pair", "--resume")
    pair = torchrun(2, *arguments, restarts=1)
    try:
        deadline = time.time() + 200
        while state.read(tmp_path / "pair")[0]["step"] < 8 and time.time() < deadline:
            time.sleep(0.05)
        os.kill(workers(pair.pid)[-1], signal.SIGKILL)
        _, err = pair.communicate(timeout=200)
    finally:
        pair.kill()
    assert pair.returncode == 0, err
    assert "Signal 9 (SIGKILL)" in err or "exitcode: -9" in err
    assert_same_learning(tmp_path / "alone", tmp_path / "pair")


def workers(parent: int) -> list[int]:
    """The processes that torchrun started, those that train."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"headcount" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_batch_that_cannot_be_shared_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(TrainError, match="batch = 4 cannot be shared by 3 processes: set batch to a multiple of 3"):
        Run(load_recipe(recipe(tmp_path, 2)), data, tmp_path / "run")

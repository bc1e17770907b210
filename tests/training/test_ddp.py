"""Several processes under torchrun learn what one learns, restart when one is killed, and stop together."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import headcount
from headcount.training import checkpoint
from headcount.training.config import TrainError, load_recipe
from headcount.training.ddp import ProcessGroup
from headcount.training.trainer import train

RECIPE = """
steps = 40
batch = 4
warmup = 2
optimizer = "sgd"  # unlike Adam, it depends on the size of the gradient
lr = 0.02
ema = 0.9
clip = 1.2  # about every other step is clipped
precision = "fp32"
eval_every = 10
save_every = 2
model = { fusion = "feature_posterior", width = 8 }
data = { crop = [32, 32], scale = [0.75, 1.5], jitter = 0.5 }
sets = { set = { folder = "set" } }
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "mine.toml"
    file.write_text(RECIPE)
    return file


def torchrun(processes: int, *arguments: object, restarts: int = 0) -> subprocess.Popen:
    """`torchrun --nproc-per-node N -m headcount train ...` in a new process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.1", "-m", "headcount", "train"]
    root = str(Path(headcount.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def trainers(parent: int) -> list[int]:
    """The training processes that torchrun started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(int(pid) for pid in children if b"headcount" in Path(f"/proc/{pid}/cmdline").read_bytes())


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.time() + 300
    while not checkpoint.exists(run) or checkpoint.read(run)[0]["step"] < step:
        assert process.poll() is None and time.time() < deadline, "torchrun ended, or no step was done"
        time.sleep(0.02)


def curve(run: Path) -> list[list[float]]:
    """The rows of metrics.csv without the times."""
    times = {"crops_per_second", "seconds"}
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [[float(value) for name, value in row.items() if name not in times and value] for row in rows]


def test_many_processes_learn_what_one_learns_despite_interruptions(data, recipe, tmp_path):
    """Two processes, interrupted twice, and then one give the curve of a run of one process.

    One of the two is killed, and torchrun restarts both. Later one receives SIGTERM, and both stop. One process then
    finishes the run.
    """
    run, config = tmp_path / "run", load_recipe(recipe)
    arguments = ("--recipe", recipe, "--data", data, "--out", run, "--resume")
    pair = torchrun(2, *arguments, restarts=1)
    try:
        wait_for_step(run, 4, pair)
        first = trainers(pair.pid)
        os.kill(first[1], signal.SIGKILL)
        killed_at = checkpoint.read(run)[0]["step"]
        wait_for_step(run, killed_at + 4, pair)  # they resumed
        second = trainers(pair.pid)
        assert len(first) == len(second) == 2 and not set(first) & set(second)
        wait_for_step(run, 20, pair)  # and were validated
        os.kill(second[1], signal.SIGTERM)
        out, err = pair.communicate(timeout=200)
    finally:
        pair.terminate()
    assert pair.returncode == 0, err
    assert out.splitlines() == [f"best checkpoint: {run / 'best'}"]  # printed by one process
    stopped_at = checkpoint.read(run)[0]["step"]
    assert 20 <= stopped_at < 40 and err.count("step=20 ") == 1 and f"step={stopped_at + 2} " not in err

    train(config, data, run, resume=True)
    train(config, data, tmp_path / "alone")
    for row, other in zip(curve(run), curve(tmp_path / "alone"), strict=True):
        assert row == pytest.approx(other, rel=5e-3, abs=1e-3)
    weights, others = (load_file(folder / "best" / "model.safetensors") for folder in (run, tmp_path / "alone"))
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-2, atol=1e-4)


def test_a_run_that_cannot_start_says_so_once(data, recipe, tmp_path):
    """Three processes cannot share a batch of four."""
    three = torchrun(3, "--recipe", recipe, "--data", data, "--out", tmp_path / "run")
    _, err = three.communicate(timeout=200)
    said = [line for line in err.splitlines() if line.startswith("headcount:")]
    assert said == [
        "headcount: batch = 4 cannot be shared by 3 processes: set batch to a multiple of 3, or start another number"
        " of them"
    ]
    assert three.returncode == 1 and not (tmp_path / "run").exists()


def test_each_crop_of_a_batch_goes_to_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        shares.append(ProcessGroup().crop_indices(3, 5, batch=4))  # batches 3 and 4 of four crops each
    assert shares == [[12, 13, 16, 17], [14, 15, 18, 19]]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainError, match="process 1 of 2: this machine has 1 GPUs; start it with --nproc-per-node 1"):
        ProcessGroup().__enter__()


def test_one_process_is_no_group():
    with ProcessGroup() as group, group.fail_together():
        assert (group.rank, group.size, group.is_main) == (0, 1, True)
        assert group.crop_indices(2, 4, 3) == range(6, 12) and group.own_items(3) == range(3)
        assert group.sum([1.5]) == [1.5] and group.same_in_all(7) and not group.any(False)
        assert not torch.distributed.is_initialized()

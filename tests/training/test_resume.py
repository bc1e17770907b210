"""A run can be killed, stopped or damaged, and resumes bit for bit; it refuses to resume as another run."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers.training_runs import assert_same, assert_same_runs, tiny, weights
from safetensors.torch import load_file

import headcount
from headcount.datasets import readers
from headcount.models.counting_model import ModelConfig
from headcount.training import checkpoint
from headcount.training.config import TrainError
from headcount.training.trainer import Trainer, train

pytestmark = pytest.mark.usefixtures("one_cpu_thread")


def test_a_killed_run_resumes_exactly(data, whole, tmp_path):
    """SIGKILL comes in the middle of step 5, after the state of step 4 was saved."""
    killed = f"""
import os, signal, torch
from headcount.training.config import parse_config
from headcount.training.trainer import Trainer, train
torch.set_num_threads(1)
torch.cuda.is_available = lambda: False
update = Trainer.update_ema
Trainer.update_ema = lambda self: os.kill(os.getpid(), signal.SIGKILL) if self.progress.step == 5 else update(self)
train(parse_config({asdict(tiny())!r}, ""), {str(data)!r}, {str(tmp_path / "killed")!r})
"""
    root = Path(headcount.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(root)})
    assert process.returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "killed" / "state.json").read_text())["step"] == 4
    train(tiny(), data, tmp_path / "killed", resume=True)
    assert_same_runs(whole, tmp_path / "killed")


def test_a_run_in_pieces_equals_an_uninterrupted_run(data, whole, tmp_path):
    for stop in (1, 3, 4, None):
        train(tiny(), data, tmp_path / "pieces", resume=True, stop_after=stop)
    assert_same_runs(whole, tmp_path / "pieces")
    train(tiny(), data, tmp_path / "pieces", resume=True)  # it is finished, so nothing changes
    assert_same_runs(whole, tmp_path / "pieces")


def test_ctrl_c_and_sigterm_finish_the_step_and_save(data, whole, tmp_path, monkeypatch):
    learn = Trainer.train_step

    def interrupted(self, batch):
        if self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        before = signal.getsignal(signal.SIGTERM)
        train(tiny(), data, tmp_path / "stopped")
        assert signal.getsignal(signal.SIGTERM) is before
    assert json.loads((tmp_path / "stopped" / "state.json").read_text())["step"] == 3
    train(tiny(), data, tmp_path / "stopped", resume=True)
    assert_same_runs(whole, tmp_path / "stopped")


def moments(folder: Path) -> set[str]:
    return {n.split(".")[2] for n in load_file(folder / "state.safetensors") if n.startswith("optimizer.")}


def test_adam_switches_to_sgd_and_so_does_a_resumed_run(data, tmp_path):
    """An epoch has three steps (six images, batch 2), so SGD begins with the fourth."""
    config = tiny(optimizer="adam_to_sgd", adam_epochs=1, steps=5, lr=1e-4)
    train(config, data, tmp_path / "whole")
    expected = {2: {"exp_avg", "exp_avg_sq", "step"}, 3: set(), 4: {"momentum_buffer"}, None: {"momentum_buffer"}}
    for stop, kinds in expected.items():  # before, at and after the switch
        train(config, data, tmp_path / "pieces", resume=True, stop_after=stop)
        assert moments(tmp_path / "pieces") == kinds
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_kill_between_the_two_state_files_does_no_harm(data, whole, tmp_path):
    """The tensors are of step 4 while state.json is still of step 2. The numbers in the tensor file count."""
    train(tiny(), data, tmp_path / "torn", stop_after=2)
    older = (tmp_path / "torn" / "state.json").read_bytes()
    train(tiny(), data, tmp_path / "torn", resume=True, stop_after=4)
    (tmp_path / "torn" / "state.json").write_bytes(older)
    train(tiny(), data, tmp_path / "torn", resume=True)
    assert_same_runs(whole, tmp_path / "torn")


def test_a_damaged_state_falls_back_to_the_previous_one_and_says_so(data, whole, tmp_path, capsys):
    """The file is cut short, or one weight changes. The run resumes from step 3 and ends as it would have."""
    train(tiny(), data, tmp_path / "kept", stop_after=4)  # saved at 2, 3 and 4
    for harm in (lambda content: content[:-1000], lambda content: content[:-1000] + b"!" + content[-999:]):
        shutil.copytree(tmp_path / "kept", tmp_path / "harmed", dirs_exist_ok=True)
        file = tmp_path / "harmed" / "state.safetensors"
        file.write_bytes(harm(file.read_bytes()))
        train(tiny(), data, tmp_path / "harmed", resume=True)
        assert "state.safetensors: " in (said := capsys.readouterr().err) and "of step 3" in said
        assert (tmp_path / "harmed" / "state.damaged.safetensors").exists()  # it did not replace the good one
        assert_same_runs(whole, tmp_path / "harmed")


def test_a_full_disk_is_reported_and_the_saved_state_is_kept(data, whole, tmp_path):
    """No file may exceed 20 kB, so the checkpoint of step 3 cannot be written. The state of step 2 exists."""
    train(tiny(), data, tmp_path / "full", stop_after=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(
            TrainError, match="full: cannot be written .*free some space, then resume with --resume"
        ) as caught:
            train(tiny(), data, tmp_path / "full", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value) and not list((tmp_path / "full").rglob("*.new"))
    train(tiny(), data, tmp_path / "full", resume=True)
    assert_same_runs(whole, tmp_path / "full")


def test_a_run_is_not_overwritten_nor_resumed_as_another(data, tmp_path):
    train(tiny(), data, tmp_path, stop_after=2)
    with pytest.raises(TrainError, match="there is already a run; resume it with --resume"):
        train(tiny(), data, tmp_path)
    other = tiny(model=ModelConfig(fusion="plain", width=8))
    with pytest.raises(TrainError, match=r"was run with other settings \(model\); use the same settings"):
        train(other, data, tmp_path, resume=True)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["config"]["data"]["cutmix"]  # a setting that the record does not name counts as its default
    (tmp_path / "run.json").write_text(json.dumps(record))
    train(tiny(), data, tmp_path, resume=True, stop_after=2)
    (tmp_path / "run.json").unlink()  # then only the state shows the difference
    with pytest.raises(TrainError, match="state is of another network or optimizer"):
        train(other, data, tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainError, match=r"state\.safetensors: cannot be read"):
        train(tiny(), data, tmp_path, resume=True)


def test_changed_data_is_refused_when_resuming(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    train(tiny(), copy, tmp_path / "run", stop_after=2)
    for sample in readers.read(copy / "set", "shanghaitech", "train")[:1]:
        label = sample.image.parents[1] / "ground-truth" / f"GT_{sample.name}.mat"
        factory.shanghaitech_mat(label, np.concatenate([sample.points, [[1.0, 2.0]]]))
    with pytest.raises(TrainError, match="the data changed since this run began.* --force"):
        train(tiny(), copy, tmp_path / "run", resume=True)
    train(tiny(), copy, tmp_path / "run", resume=True, force=True)
    assert json.loads((tmp_path / "run" / "state.json").read_text())["step"] == 6


def test_two_processes_do_not_train_into_one_folder(data, tmp_path):
    with (
        checkpoint.locked(tmp_path / "run"),
        pytest.raises(TrainError, match="run: another process is training there; wait until it ends"),
    ):
        train(tiny(), data, tmp_path / "run")
    assert train(tiny(), data, tmp_path / "run").is_dir()  # the lock was released


def test_seconds_add_up_over_pieces(data, tmp_path):
    train(tiny(), data, tmp_path, stop_after=3)
    first = json.loads((tmp_path / "state.json").read_text())["seconds"]
    train(tiny(), data, tmp_path, resume=True)
    with (tmp_path / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert 0 < first <= seconds[-1] and seconds == sorted(seconds)


def test_the_same_folders_spelled_otherwise_are_the_same_run(data, whole, tmp_path, monkeypatch):
    """Relative or with a trailing slash: paths are compared as resolved."""
    run, start = tmp_path / "run", whole / "best"
    train(tiny(start=str(start)), data, run, stop_after=2)
    monkeypatch.chdir(tmp_path)
    relative = f"{os.path.relpath(start, tmp_path)}/"
    train(tiny(start=relative), data, "./run/", resume=True, stop_after=4)
    assert checkpoint.read(run)[0]["step"] == 4
    with pytest.raises(TrainError, match=r"was run with other settings \(start\)"):
        train(tiny(start=str(whole / "last")), data, run, resume=True)


def test_settings_that_do_not_change_the_result_may_differ(data, whole, tmp_path):
    train(tiny(), data, tmp_path, stop_after=2)
    config = tiny(workers=1, save_every=5)
    train(config, data, tmp_path, resume=True)
    assert_same(weights(whole / "last"), weights(tmp_path / "last"))

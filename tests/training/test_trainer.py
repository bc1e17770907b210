"""Training: a run is repeatable, can be killed and resumed bit for bit, and never reads a test split."""

import csv
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory
from safetensors.torch import load_file, save_file

import headcount
from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.models.backbones import EfficientNetLite
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import load, save
from headcount.training import checkpoint
from headcount.training.config import DataConfig, SetConfig, TrainConfig, TrainError, from_dict
from headcount.training.dataset import loader, open_pictures
from headcount.training.losses import LossConfig
from headcount.training.trainer import Run, train


@pytest.fixture(autouse=True, scope="module")
def one_processor_thread():
    """Bit for bit is promised for one machine and device; here, a thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with one tiny set of seven pictures; its test split is not even there."""
    folder = tmp_path_factory.mktemp("data")
    factory.shanghaitech(folder / "set", train=(3, 0, 5, 2, 4, 6, 1), test=())
    return folder


def tiny(**settings) -> TrainConfig:
    """Six steps of two crops on a network with narrow heads; validated at 3 and 6, saved at 2, 4 and 6."""
    settings.setdefault("model", ModelConfig(fusion="feature_posterior", width=8))
    settings.setdefault("data", DataConfig(crop=(32, 32), scale=(0.75, 1.5), jitter=0.5))
    sets = {"set": SetConfig(folder="set")}
    defaults = {"steps": 6, "batch": 2, "warmup": 2, "lr": 1e-3, "ema": 0.9, "precision": "fp32", "sets": sets}
    return TrainConfig(**{**defaults, "eval_every": 3, "save_every": 2, **settings})


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of tiny()."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(), data, folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different, different


def assert_same_runs(one: Path, two: Path) -> None:
    """The weights, their averages and the optimiser's moments are equal bit for bit; the chosen checkpoint too."""
    assert_same(load_file(one / "state.safetensors"), load_file(two / "state.safetensors"))
    assert_same(weights(one / "best"), weights(two / "best"))


# A run


def test_a_run_leaves_a_checkpoint_a_record_and_a_table(data, tmp_path):
    best = train(tiny(), data, tmp_path / "run")
    assert best == tmp_path / "run" / "best"
    assert load(best).config.fusion == "feature_posterior"
    assert load(tmp_path / "run" / "last")(torch.zeros(1, 3, 40, 50)).density.shape == (1, 10, 13)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [row["step"] for row in rows] == ["2", "3", "4", "6"]
    assert all(float(row["loss"]) > 0 and float(row["crops_per_second"]) > 0 for row in rows)
    assert [bool(row["set_mae"]) for row in rows] == [False, True, False, True]
    assert not list((tmp_path / "run").glob("*.new"))


def test_a_row_of_the_table_is_the_mean_since_the_last_one(data, tmp_path, monkeypatch):
    learned, learn = [], Run.learn
    monkeypatch.setattr(Run, "learn", lambda self, batch: learned.append(learn(self, batch)) or learned[-1])
    train(tiny(), data, tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    for row, steps in zip(rows, (learned[0:2], learned[2:3], learned[3:4], learned[4:6]), strict=True):
        for term in ("loss", "density", "mask", "crop_mae"):
            assert float(row[term]) == pytest.approx(np.mean([s[term] for s in steps]), rel=1e-5)


def test_a_run_says_what_it_was_and_gives_the_same_again(data, tmp_path):
    """Invariant 9."""
    train(tiny(seed=7), data, tmp_path / "one")
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["config"]["seed"] == 7
    assert {"headcount", "torch", "numpy", "opencv", "python"} <= record["versions"].keys()
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["data"]["fingerprint"]) == 16 and record["data"]["training_images"] == 6
    assert {"commit", "device"} <= record.keys()
    again = from_dict(TrainConfig, record["config"], "run.json")
    assert asdict(again) == asdict(tiny(seed=7))
    train(again, data, tmp_path / "two")
    assert_same_runs(tmp_path / "one", tmp_path / "two")
    train(tiny(seed=8), data, tmp_path / "three")
    one, three = weights(tmp_path / "one" / "last"), weights(tmp_path / "three" / "last")
    assert not torch.equal(one["head.mask.0.0.weight"], three["head.mask.0.0.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        {"model": ModelConfig(fusion="product_gt", width=8)},
        {"model": ModelConfig(fusion="feature_gt", width=8)},
        {"precision": "bf16", "model": ModelConfig(fusion="feature_zip", width=8),
         "loss": LossConfig(density=0.0, likelihood=1.0, blocks=0.5, count=0.5), "clip": 5.0},
        {"batch": 1, "data": DataConfig(crop=(0, 0), min_side=70)},
        {"data": DataConfig(crop=(32, 32), rendered=0.5, rendered_scenes=1, people_free=1.0)},
        {"optimizer": "sgd", "schedule": "constant", "lr": 1e-6, "workers": 1},
    ],
    ids=["solution 1", "solution 4", "bf16", "whole pictures", "rendered", "sgd and a worker"],
)  # fmt: skip
def test_other_ways_to_train(data, tmp_path, settings):
    train(tiny(steps=2, **settings), data, tmp_path)
    assert all(value.isfinite().all() for value in weights(tmp_path / "last").values())
    assert load(tmp_path / "best").config.min_side == settings.get("data", DataConfig()).min_side


# Stopped and resumed


def test_a_killed_run_goes_on_exactly(data, whole, tmp_path):
    """SIGKILL in the middle of step 5, after the state of step 4 was saved."""
    killed = f"""
import os, signal, torch
from headcount.training.config import TrainConfig, from_dict
from headcount.training.trainer import Run, train
torch.set_num_threads(1)
torch.cuda.is_available = lambda: False
average = Run.average
Run.average = lambda self: os.kill(os.getpid(), signal.SIGKILL) if self.step == 5 else average(self)
train(from_dict(TrainConfig, {asdict(tiny())!r}, ""), {str(data)!r}, {str(tmp_path / "killed")!r})
"""
    root = Path(headcount.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(root)})
    assert process.returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "killed" / "state.json").read_text())["step"] == 4
    train(tiny(), data, tmp_path / "killed", resume=True)
    assert_same_runs(whole, tmp_path / "killed")


def test_a_run_in_pieces_is_the_run_in_one(data, whole, tmp_path):
    for stop in (1, 3, 4, None):
        train(tiny(), data, tmp_path / "pieces", resume=True, stop_after=stop)
    assert_same_runs(whole, tmp_path / "pieces")
    train(tiny(), data, tmp_path / "pieces", resume=True)  # it is done: nothing changes
    assert_same_runs(whole, tmp_path / "pieces")


def test_ctrl_c_and_sigterm_finish_the_step_and_save(data, whole, tmp_path, monkeypatch):
    learn = Run.learn

    def interrupted(self, batch):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "learn", interrupted)
        before = signal.getsignal(signal.SIGTERM)
        train(tiny(), data, tmp_path / "stopped")
        assert signal.getsignal(signal.SIGTERM) is before
    assert json.loads((tmp_path / "stopped" / "state.json").read_text())["step"] == 3
    train(tiny(), data, tmp_path / "stopped", resume=True)
    assert_same_runs(whole, tmp_path / "stopped")


def moments(folder: Path) -> set[str]:
    return {n.split(".")[2] for n in load_file(folder / "state.safetensors") if n.startswith("optimizer.")}


def test_adam_turns_to_sgd_and_a_resumed_run_does_too(data, tmp_path):
    """An epoch is three steps here (six pictures, batch 2), so SGD begins with the fourth."""
    config = tiny(optimizer="adam_to_sgd", adam_epochs=1, steps=5, lr=1e-4)
    train(config, data, tmp_path / "whole")
    expected = {2: {"exp_avg", "exp_avg_sq", "step"}, 3: set(), 4: {"momentum_buffer"}, None: {"momentum_buffer"}}
    for stop, kinds in expected.items():  # before, at and after the turn
        train(config, data, tmp_path / "pieces", resume=True, stop_after=stop)
        assert moments(tmp_path / "pieces") == kinds
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_a_kill_between_the_two_state_files_tears_nothing(data, whole, tmp_path):
    """The tensors are of step 4 and state.json is still of step 2: the numbers beside the tensors hold."""
    train(tiny(), data, tmp_path / "torn", stop_after=2)
    older = (tmp_path / "torn" / "state.json").read_bytes()
    train(tiny(), data, tmp_path / "torn", resume=True, stop_after=4)
    (tmp_path / "torn" / "state.json").write_bytes(older)
    train(tiny(), data, tmp_path / "torn", resume=True)
    assert_same_runs(whole, tmp_path / "torn")


def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(data, whole, tmp_path, capsys):
    """Cut short, or one bit of one weight: the run goes on from step 3 and ends as it would have."""
    train(tiny(), data, tmp_path / "kept", stop_after=4)  # saved at 2, 3 and 4
    for harm in (lambda content: content[:-1000], lambda content: content[:-1000] + b"!" + content[-999:]):
        shutil.copytree(tmp_path / "kept", tmp_path / "harmed", dirs_exist_ok=True)
        file = tmp_path / "harmed" / "state.safetensors"
        file.write_bytes(harm(file.read_bytes()))
        train(tiny(), data, tmp_path / "harmed", resume=True)
        assert "state.safetensors: " in (said := capsys.readouterr().err) and "of step 3" in said
        assert (tmp_path / "harmed" / "state.damaged.safetensors").exists()  # not in the place of the good one
        assert_same_runs(whole, tmp_path / "harmed")


def test_a_full_disk_is_said_and_what_was_saved_is_kept(data, whole, tmp_path):
    """No file may grow beyond 20 kB: the checkpoint of step 3 cannot be written, the state of step 2 is there."""
    train(tiny(), data, tmp_path / "full", stop_after=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(TrainError, match="full: cannot be written .*make room, then go on with --resume") as caught:
            train(tiny(), data, tmp_path / "full", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value) and not list((tmp_path / "full").rglob("*.new"))
    train(tiny(), data, tmp_path / "full", resume=True)
    assert_same_runs(whole, tmp_path / "full")


@pytest.mark.parametrize(
    "error, settings, tries",
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 TB"), {"batch": 6},
         "a batch of 6 crops of 32x32; try --set batch=3 or --set 'data.crop=[16, 16]'"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
         {"batch": 1, "data": DataConfig(crop=(0, 0))}, "a whole picture; try --set 'data.crop=[512, 512]'"),
    ],
    ids=["the computer's", "a GPU's"],
)  # fmt: skip
def test_no_memory_names_the_batch_and_the_crop_to_try(data, tmp_path, monkeypatch, error, settings, tries):
    def greedy(*_):
        raise error

    monkeypatch.setattr(CountingModel, "forward", greedy)
    with pytest.raises(TrainError, match=f"step 0: no memory for .*{re.escape(tries)}") as caught:
        train(tiny(**settings), data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_is_not_overwritten_nor_resumed_as_another(data, tmp_path):
    train(tiny(), data, tmp_path, stop_after=2)
    with pytest.raises(TrainError, match="a run is there already; resume it with --resume"):
        train(tiny(), data, tmp_path)
    other = tiny(model=ModelConfig(fusion="plain", width=8))
    with pytest.raises(TrainError, match=r"was run with other settings \(model\); take those"):
        train(other, data, tmp_path, resume=True)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["config"]["data"]["cutmix"]  # a run of a headcount that had no such setting is as with its default
    (tmp_path / "run.json").write_text(json.dumps(record))
    train(tiny(), data, tmp_path, resume=True, stop_after=2)
    (tmp_path / "run.json").unlink()  # then the state itself tells
    with pytest.raises(TrainError, match="state is of another network or optimizer"):
        train(other, data, tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainError, match=r"state\.safetensors: cannot be read"):
        train(tiny(), data, tmp_path, resume=True)


def test_validation_counts_inside_a_roi_as_a_counter_does(data, tmp_path):
    run = Run(tiny(data=DataConfig(crop=(32, 32), min_side=70)), data, tmp_path, None)
    factory.photo(tmp_path / "a.jpg", np.zeros((0, 2)))
    roi = np.float32([[0, 0], [31, 0], [31, 29], [0, 29]])
    inside, everywhere = open_pictures(
        [Sample(tmp_path / "a.jpg", np.zeros((0, 2), np.float32), region) for region in (roi, None)],
        run.config.data,
    )
    counter = Counter(TorchEngine(run.averaged, run.config.precision))
    assert run.predict(inside) == pytest.approx(counter.count(tmp_path / "a.jpg", roi).count, rel=1e-4)
    assert run.predict(everywhere) == pytest.approx(counter.count(tmp_path / "a.jpg").count, rel=1e-4)
    assert run.predict(inside) != pytest.approx(run.predict(everywhere), rel=0.01)


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


# What is chosen, and from what


def test_two_processes_do_not_train_into_one_folder(data, tmp_path):
    with (
        checkpoint.alone(tmp_path / "run"),
        pytest.raises(TrainError, match="run: another process is training there; wait"),
    ):
        train(tiny(), data, tmp_path / "run")
    assert train(tiny(), data, tmp_path / "run").is_dir()  # it was let go of


def test_the_best_checkpoint_is_that_of_the_lowest_validation_error(data, tmp_path, monkeypatch):
    errors = {2: 5.0, 4: 1.0, 6: 3.0}
    monkeypatch.setattr(Run, "predict", lambda self, picture: len(picture.points) + errors[self.step])
    train(tiny(eval_every=2), data, tmp_path / "run")
    train(tiny(eval_every=2), data, tmp_path / "until 4", stop_after=4)
    assert_same(weights(tmp_path / "run" / "best"), weights(tmp_path / "until 4" / "last"))
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["set_mae"]) for row in rows] == [5, 1, 3]
    best, last = weights(tmp_path / "run" / "best"), weights(tmp_path / "run" / "last")
    assert not torch.equal(best["head.mask.0.0.weight"], last["head.mask.0.0.weight"])


def test_the_score_weighs_every_set_alike(data, tmp_path, monkeypatch):
    """An error of 1 in a set of few people is worse than in one of many."""
    shutil.copytree(data / "set", tmp_path / "data" / "set")
    factory.shanghaitech(tmp_path / "data" / "crowd", train=(60, 80, 70), test=())
    sets = {name: SetConfig(folder=name) for name in ("set", "crowd")}
    monkeypatch.setattr(Run, "predict", lambda self, picture: len(picture.points) + 2)
    run = Run(tiny(sets=sets), tmp_path / "data", tmp_path / "run", None)
    mean = {name: np.mean([len(p.points) for p in pictures]) for name, pictures in run.validation.items()}
    assert run.validate()["score"] == pytest.approx((2 / mean["set"] + 2 / mean["crowd"]) / 2)


def test_pictures_without_people_are_learned_from_and_scored_by_what_is_counted_elsewhere(data, tmp_path, monkeypatch):
    """Two people where nobody is weigh as much as two too many in a picture of the other lists' mean."""
    shutil.copytree(data / "set", tmp_path / "data" / "set")
    for i in range(10):
        factory.photo(tmp_path / "data" / "grounds" / f"{i}.jpg", np.zeros((0, 2)))
    sets = {"set": SetConfig(folder="set"), "grounds": SetConfig(folder="grounds", format="people_free", share=0.5)}
    monkeypatch.setattr(Run, "predict", lambda self, picture: len(picture.points) + 2)
    run = Run(tiny(sets=sets), tmp_path / "data", tmp_path / "run", None)
    usual = np.mean([len(p.points) for p in run.validation["set"]])
    row = run.validate()
    assert (len(run.validation["grounds"]), row["grounds_mae"]) == (1, 2)
    assert row["score"] == pytest.approx((2 / usual + 2 / usual) / 2)


def test_what_is_validated_and_kept_are_the_averaged_weights(data, tmp_path):
    run = Run(tiny(), data, tmp_path, None)
    run.model.train()
    for batch in loader(run.crops, range(6), 2, 0):
        before = {name: value.clone() for name, value in run.averaged.named_parameters()}
        run.learn(batch)
        decay = min(0.9, (1 + run.step) / (10 + run.step))
        now = dict(run.model.named_parameters())
        for name, value in run.averaged.named_parameters():
            torch.testing.assert_close(value, decay * before[name] + (1 - decay) * now[name])
    run.validate()
    assert_same(weights(tmp_path / "best"), dict(run.averaged.state_dict()))


def test_without_averaging_the_weights_themselves_are_kept(data, tmp_path):
    train(tiny(steps=2, ema=0.0), data, tmp_path)
    state = load_file(tmp_path / "state.safetensors")
    assert_same(weights(tmp_path / "last"), {n[6:]: v for n, v in state.items() if n.startswith("model.")})


def test_training_never_reads_a_test_split(data, tmp_path, monkeypatch):
    """Invariant 8: no test split is asked for (in `data` there is none), and the one of a recipe is refused."""
    splits, read = [], readers.read
    monkeypatch.setattr(readers, "read", lambda root, kind, split: splits.append(split) or read(root, kind, split))
    train(tiny(steps=2), data, tmp_path)
    assert sorted(splits) == ["train", "val"]
    for one in ({"train": "test"}, {"val": "test"}, {"train": "fold3-test"}):
        with pytest.raises(TrainError, match="training never reads a test split"):
            train(tiny(sets={"mine": SetConfig(folder="set", **one)}), data, tmp_path / "refused")
    assert sorted(splits) == ["train", "val"]


# Optimisation


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Run:
    """A run whose settings and step a test may change; an epoch is three steps."""
    return Run(tiny(), data, tmp_path_factory.mktemp("run"), None)


def rates(run: Run, **settings) -> list[float]:
    run.config, made = replace(tiny(), **settings), []
    for run.step in range(12):
        made.append(run.rate())
    return made


def test_schedules_by_hand(run):
    assert run.epoch_steps == 3 and run.total == 6
    assert rates(run, schedule="constant", warmup=0) == [1.0] * 12
    assert rates(run, schedule="constant", warmup=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(run, schedule="step", step_epochs=2, warmup=0) == pytest.approx([1.0] * 6 + [0.1] * 6)
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7)]
    assert rates(run, schedule="cosine", warmup=0)[:7] == pytest.approx(cosine)
    assert cosine[3] == pytest.approx(0.5) and cosine[6] == 0
    with pytest.raises(TrainError, match="unknown schedule 'linear': cosine, step or constant"):
        rates(run, schedule="linear")


def test_the_length_of_a_run_may_be_given_in_epochs(data, tmp_path):
    assert Run(tiny(steps=0, epochs=4, crops_per_image=5), data, tmp_path, None).total == 4 * 6 * 5 // 2


def test_pretrained_layers_have_a_rate_of_their_own_and_frozen_ones_none(data, tmp_path):
    published = {name: value for name, value in EfficientNetLite().state_dict().items() if name.startswith("_")}
    save_file(published, tmp_path / "lite0.safetensors")
    model = ModelConfig(backbone="lite0", width=8)
    config = tiny(model=model, imagenet=True, freeze=2, lr=1e-3, lr_pretrained=1e-5, steps=1, warmup=0)
    run = Run(config, data, tmp_path / "run", tmp_path / "lite0.safetensors")
    assert torch.equal(run.model.backbone._conv_stem.weight, published["_conv_stem.weight"])
    new, old = run.optimizer.param_groups
    assert (new["lr"], old["lr"]) == (1e-3, 1e-5)
    names = {id(p): name for name, p in run.model.named_parameters()}
    old_names = {names[id(p)] for p in old["params"]}
    assert all(name.startswith("backbone._") for name in old_names)
    assert not any(names[id(p)].startswith("backbone._") for p in new["params"])
    assert "backbone._blocks.2._project_conv.weight" in old_names
    assert "backbone._blocks.1._project_conv.weight" not in old_names
    run.go(None)
    trained = weights(tmp_path / "run" / "last")
    assert torch.equal(trained["backbone._blocks.1._bn1.running_mean"], published["_blocks.1._bn1.running_mean"])
    assert torch.equal(trained["backbone._blocks.1._bn1.weight"], published["_blocks.1._bn1.weight"])
    assert torch.equal(trained["backbone._blocks.2._bn1.running_mean"], published["_blocks.2._bn1.running_mean"])
    assert not torch.equal(trained["backbone._blocks.2._bn1.weight"], published["_blocks.2._bn1.weight"])


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_pictures(data, tmp_path):
    with pytest.raises(TrainError, match=r"step \d: the loss is .* on crops of .*IMG_\d\.jpg.*lower the learning rate"):
        train(tiny(optimizer="sgd", lr=1e20, warmup=0), data, tmp_path)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"imagenet": True}, "'multiscale' trains from scratch"),
        ({"freeze": 1}, "'multiscale' has no blocks to freeze"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"data": DataConfig(crop=(0, 0))}, "set batch = 1, not 2"),
        ({"sets": {}}, "no training picture"),
        ({"sets": {"gone": SetConfig(folder="nowhere")}}, "nowhere"),
    ],
)
def test_a_run_that_cannot_start_says_why_in_a_line(data, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        train(tiny(**settings), data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_may_begin_with_another_ones_weights(data, whole, tmp_path):
    """All of them, or the backbone's under fresh heads."""
    given = weights(whole / "best")
    all_of_it = Run(tiny(start=str(whole / "best")), data, tmp_path, None).model.state_dict()
    assert_same(all_of_it, given)
    other = tiny(start=str(whole / "best"), start_part="backbone", model=ModelConfig(fusion="plain", width=8))
    run = Run(other, data, tmp_path, None)
    assert_same(run.model.backbone.state_dict(), {k[9:]: v for k, v in given.items() if k.startswith("backbone.")})
    assert_same(run.averaged.state_dict(), run.model.state_dict())
    with pytest.raises(TrainError, match=r"start .*best: .*Missing key"):
        Run(tiny(start=str(whole / "best"), model=other.model), data, tmp_path, None)
    with pytest.raises(TrainError, match="start nowhere: .*not a headcount checkpoint"):
        Run(tiny(start="nowhere"), data, tmp_path, None)


def test_time_spent_adds_up_over_pieces(data, tmp_path):
    train(tiny(), data, tmp_path, stop_after=3)
    first = json.loads((tmp_path / "state.json").read_text())["seconds"]
    train(tiny(), data, tmp_path, resume=True)
    with (tmp_path / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert 0 < first <= seconds[-1] and seconds == sorted(seconds)


def test_a_student_learns_what_its_teacher_sees(data, whole, tmp_path):
    torch.manual_seed(5)
    teacher = CountingModel(ModelConfig(fusion="plain", width=4))
    torch.nn.init.constant_(teacher.head.density[-1].bias, 0.25)
    save(teacher, tmp_path / "teacher")
    alone = LossConfig(density=0.0, mask=0.0, teacher=1.0)
    settings = {"teacher": str(tmp_path / "teacher"), "steps": 40, "lr": 3e-3, "eval_every": 40, "save_every": 10}
    train(tiny(loss=alone, **settings), data, tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert float(rows[-1]["teacher"]) < 0.5 * float(rows[0]["teacher"])
    for loss, given, said in (
        (LossConfig(), str(whole / "best"), "a teacher needs both"),
        (alone, "", "a teacher needs both"),
        (alone, "nowhere", "teacher nowhere: .*not a headcount checkpoint"),
    ):
        with pytest.raises(TrainError, match=said):
            Run(tiny(loss=loss, teacher=given), data, tmp_path, None)
    other = ModelConfig(backbone="lite0", width=8)
    with pytest.raises(TrainError, match="its cells are 4 pixels, this network's 8"):
        Run(tiny(loss=alone, model=other, teacher=str(whole / "best")), data, tmp_path, None)

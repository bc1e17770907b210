"""A run is repeatable, trains what its recipe says, and explains why it cannot start."""

import csv
import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers.training_runs import assert_same, assert_same_runs, tiny, weights
from safetensors.torch import save_file

from headcount.models.backbones import EfficientNetLite
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import load, save
from headcount.training.config import DataConfig, SetConfig, TrainError, parse_config
from headcount.training.losses import LossConfig
from headcount.training.trainer import Trainer, train

pytestmark = pytest.mark.usefixtures("one_cpu_thread")

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
    steps_done, train_step = [], Trainer.train_step
    monkeypatch.setattr(
        Trainer, "train_step", lambda self, batch: steps_done.append(train_step(self, batch)) or steps_done[-1]
    )
    train(tiny(), data, tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    for row, steps in zip(rows, (steps_done[0:2], steps_done[2:3], steps_done[3:4], steps_done[4:6]), strict=True):
        for term in ("loss", "density", "mask", "crop_mae"):
            assert float(row[term]) == pytest.approx(np.mean([s[term] for s in steps]), rel=1e-5)


def test_a_run_records_its_settings_and_is_repeatable(data, tmp_path):
    """Invariant 9: run.json holds all settings, and the same settings give the same weights."""
    train(tiny(seed=7), data, tmp_path / "one")
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["config"]["seed"] == 7
    assert {"headcount", "torch", "numpy", "opencv", "python"} <= record["versions"].keys()
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["data"]["fingerprint"]) == 16 and record["data"]["training_images"] == 6
    assert {"commit", "device"} <= record.keys()
    again = parse_config(record["config"], "run.json")
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
    ids=["solution 1", "solution 4", "bf16", "whole images", "rendered", "sgd and a worker"],
)  # fmt: skip
def test_other_ways_to_train(data, tmp_path, settings):
    train(tiny(steps=2, **settings), data, tmp_path)
    assert all(value.isfinite().all() for value in weights(tmp_path / "last").values())
    assert load(tmp_path / "best").config.min_side == settings.get("data", DataConfig()).min_side


@pytest.mark.parametrize(
    "error, settings, tries",
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 TB"), {"batch": 6},
         "a batch of 6 crops of 32x32; try --set batch=3 or --set 'data.crop=[16, 16]'"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
         {"batch": 1, "data": DataConfig(crop=(0, 0))}, "a whole image; try --set 'data.crop=[512, 512]'"),
    ],
    ids=["the computer's", "a GPU's"],
)  # fmt: skip
def test_running_out_of_memory_proposes_a_smaller_batch_and_crop(data, tmp_path, monkeypatch, error, settings, tries):
    def greedy(*_):
        raise error

    monkeypatch.setattr(CountingModel, "forward", greedy)
    with pytest.raises(TrainError, match=f"step 0: no memory for .*{re.escape(tries)}") as caught:
        train(tiny(**settings), data, tmp_path)
    assert "\n" not in str(caught.value)


# Optimisation


def test_pretrained_layers_have_their_own_rate_and_frozen_ones_none(data, tmp_path):
    published = {name: value for name, value in EfficientNetLite().state_dict().items() if name.startswith("_")}
    save_file(published, tmp_path / "lite0.safetensors")
    model = ModelConfig(backbone="lite0", width=8)
    config = tiny(model=model, imagenet=True, freeze=2, lr=1e-3, lr_pretrained=1e-5, steps=1, warmup=0)
    run = Trainer(config, data, tmp_path / "run", tmp_path / "lite0.safetensors")
    assert torch.equal(run.model.backbone._conv_stem.weight, published["_conv_stem.weight"])
    new, old = run.optimizer.param_groups
    assert (new["lr"], old["lr"]) == (1e-3, 1e-5)
    names = {id(p): name for name, p in run.model.named_parameters()}
    old_names = {names[id(p)] for p in old["params"]}
    assert all(name.startswith("backbone._") for name in old_names)
    assert not any(names[id(p)].startswith("backbone._") for p in new["params"])
    assert "backbone._blocks.2._project_conv.weight" in old_names
    assert "backbone._blocks.1._project_conv.weight" not in old_names
    run.fit()
    trained = weights(tmp_path / "run" / "last")
    assert torch.equal(trained["backbone._blocks.1._bn1.running_mean"], published["_blocks.1._bn1.running_mean"])
    assert torch.equal(trained["backbone._blocks.1._bn1.weight"], published["_blocks.1._bn1.weight"])
    assert torch.equal(trained["backbone._blocks.2._bn1.running_mean"], published["_blocks.2._bn1.running_mean"])
    assert not torch.equal(trained["backbone._blocks.2._bn1.weight"], published["_blocks.2._bn1.weight"])


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_images(data, tmp_path):
    with pytest.raises(TrainError, match=r"step \d: the loss is .* on crops of .*IMG_\d\.jpg.*lower the learning rate"):
        train(tiny(optimizer="sgd", lr=1e20, warmup=0), data, tmp_path)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"imagenet": True}, "'multiscale' trains from scratch"),
        ({"freeze": 1}, "'multiscale' has no blocks to freeze"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"data": DataConfig(crop=(0, 0))}, "set batch = 1, not 2"),
        ({"sets": {}}, "no training image"),
        ({"sets": {"gone": SetConfig(folder="nowhere")}}, "nowhere"),
    ],
)
def test_a_run_that_cannot_start_says_why_in_one_line(data, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        train(tiny(**settings), data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_may_begin_with_the_weights_of_another(data, whole, tmp_path):
    """It takes all weights, or those of the backbone under fresh heads."""
    given = weights(whole / "best")
    all_of_it = Trainer(tiny(start=str(whole / "best")), data, tmp_path).model.state_dict()
    assert_same(all_of_it, given)
    other = tiny(start=str(whole / "best"), start_part="backbone", model=ModelConfig(fusion="plain", width=8))
    run = Trainer(other, data, tmp_path)
    assert_same(run.model.backbone.state_dict(), {k[9:]: v for k, v in given.items() if k.startswith("backbone.")})
    assert_same(run.averaged.state_dict(), run.model.state_dict())
    with pytest.raises(TrainError, match=r"start .*best: .*Missing key"):
        Trainer(tiny(start=str(whole / "best"), model=other.model), data, tmp_path)
    with pytest.raises(TrainError, match="start nowhere: .*not a headcount checkpoint"):
        Trainer(tiny(start="nowhere"), data, tmp_path)


def test_trained_batch_norms_continue_from_those_of_the_start(data, tmp_path):
    """The start's norms hold ImageNet's statistics or none; the averaged weights begin with those of the crops."""
    model = ModelConfig(backbone="lite0", width=8)
    torch.manual_seed(3)
    save(CountingModel(model), tmp_path / "start")
    config = tiny(model=model, start=str(tmp_path / "start"), batch_norm="trained", steps=1, lr=1e-9)
    train(config, data, tmp_path / "run")
    start, trained = load(tmp_path / "start").eval(), load(tmp_path / "run" / "last").eval()
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 32, 32), np.uint8))
    before, after = (network.backbone._bn0.running_var for network in (start, trained))
    assert (after - before).abs().max() > 0.2  # one step of the running mean would move it by a hundredth
    with torch.no_grad():
        torch.testing.assert_close(trained(image).density, start(image).density, rtol=0.05, atol=1e-4)


def test_a_student_learns_the_density_of_its_teacher(data, whole, tmp_path):
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
            Trainer(tiny(loss=loss, teacher=given), data, tmp_path)
    other = ModelConfig(backbone="lite0", width=8)
    with pytest.raises(TrainError, match="its cells are 4 pixels, this network's 8"):
        Trainer(tiny(loss=alone, model=other, teacher=str(whole / "best")), data, tmp_path)

"""Validation counts as a Counter does, chooses the best checkpoint, and never reads a test split."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory
from helpers.training_runs import assert_same, tiny, weights
from safetensors.torch import load_file

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.inference.counter import Counter
from headcount.inference.engines import Maps, TorchEngine
from headcount.training import validation
from headcount.training.config import DataConfig, SetConfig, TrainError
from headcount.training.dataset import loader, make_targets, whole_image
from headcount.training.images import Images
from headcount.training.trainer import Trainer, train
from headcount.training.validation import predict

pytestmark = pytest.mark.usefixtures("one_cpu_thread")


def open_with_roi(folder: Path, roi: np.ndarray, config: DataConfig, heads=()) -> Images:
    """One photo twice: with a region of interest, and without."""
    factory.photo(folder / "a.jpg", np.zeros((0, 2)))
    points = np.array(heads, np.float32).reshape(-1, 2)
    return Images([Sample(folder / "a.jpg", points, region) for region in (roi, None)], config)


def test_validation_counts_inside_a_roi_as_a_counter_does(data, tmp_path):
    trainer = Trainer(tiny(data=DataConfig(crop=(32, 32), min_side=70)), data, tmp_path)
    config, roi = trainer.config.data, np.float32([[0, 0], [31, 0], [31, 29], [0, 29]])
    limited, everywhere = open_with_roi(tmp_path, roi, config)
    engine = TorchEngine(trainer.averaged, trainer.config.precision)
    counter = Counter(engine)
    assert predict(engine, limited, config) == pytest.approx(counter.count(tmp_path / "a.jpg", roi).count, rel=1e-4)
    assert predict(engine, everywhere, config) == pytest.approx(counter.count(tmp_path / "a.jpg").count, rel=1e-4)
    assert predict(engine, limited, config) != pytest.approx(predict(engine, everywhere, config), rel=0.01)


def test_validation_counts_the_cells_that_the_density_target_may_fill(tmp_path, monkeypatch):
    """A density of 1 in every cell counts exactly the cells that are not masked in the target."""
    config, stride = DataConfig(crop=(0, 0), min_side=150, sigma=60.0, radius=300.0), 8
    roi = np.float32([[11, 9], [70, 5], [80, 50], [20, 61]])
    limited, _ = open_with_roi(tmp_path, roi, config, [(40, 30)])
    target = make_targets(whole_image(limited, config), config, stride, 0)
    h, w = target.density.shape
    monkeypatch.setattr(validation.tiling, "run", lambda engine, images: [Maps(*np.ones((2, h, w), np.float32))])
    engine = SimpleNamespace(meta=SimpleNamespace(stride=stride))
    assert predict(engine, limited, config) == int((target.density > 0).sum()) == int(target.mask.sum())
    assert 0 < target.mask.sum() < h * w


def test_one_engine_serves_a_whole_validation(data, tmp_path, monkeypatch):
    made = []
    engine = validation.TorchEngine
    monkeypatch.setattr(validation, "TorchEngine", lambda *arguments: made.append(engine(*arguments)) or made[-1])
    trainer = Trainer(tiny(sets={name: SetConfig(folder="set") for name in ("a", "b")}), data, tmp_path)
    trainer.validate()
    assert len(made) == 1


def test_the_best_checkpoint_has_the_lowest_validation_error(data, tmp_path, monkeypatch):
    errors, measure = {2: 5.0, 4: 1.0, 6: 3.0}, Trainer.validate

    def validate(self):
        error = errors[self.progress.step]
        monkeypatch.setattr(validation, "predict", lambda engine, image, config: len(image.points) + error)
        return measure(self)

    monkeypatch.setattr(Trainer, "validate", validate)
    train(tiny(eval_every=2), data, tmp_path / "run")
    train(tiny(eval_every=2), data, tmp_path / "until 4", stop_after=4)
    assert_same(weights(tmp_path / "run" / "best"), weights(tmp_path / "until 4" / "last"))
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["set_mae"]) for row in rows] == [5, 1, 3]
    best, last = weights(tmp_path / "run" / "best"), weights(tmp_path / "run" / "last")
    assert not torch.equal(best["head.mask.0.0.weight"], last["head.mask.0.0.weight"])


def test_the_score_weighs_all_sets_equally(data, tmp_path, monkeypatch):
    """The same error weighs more in a set with fewer people."""
    shutil.copytree(data / "set", tmp_path / "data" / "set")
    factory.shanghaitech(tmp_path / "data" / "crowd", train=(60, 80, 70), test=())
    sets = {name: SetConfig(folder=name) for name in ("set", "crowd")}
    monkeypatch.setattr(validation, "predict", lambda engine, image, config: len(image.points) + 2)
    run = Trainer(tiny(sets=sets), tmp_path / "data", tmp_path / "run")
    mean = {name: np.mean([len(p.points) for p in images]) for name, images in run.data.validation.items()}
    assert run.validate()["score"] == pytest.approx((2 / mean["set"] + 2 / mean["crowd"]) / 2)


def test_sets_without_people_are_scored_by_the_mean_count_of_the_others(data, tmp_path, monkeypatch):
    """Two people in an empty image weigh as much as two too many in an image of the other sets' mean count."""
    shutil.copytree(data / "set", tmp_path / "data" / "set")
    for i in range(10):
        factory.photo(tmp_path / "data" / "grounds" / f"{i}.jpg", np.zeros((0, 2)))
    sets = {"set": SetConfig(folder="set"), "grounds": SetConfig(folder="grounds", format="people_free", share=0.5)}
    monkeypatch.setattr(validation, "predict", lambda engine, image, config: len(image.points) + 2)
    run = Trainer(tiny(sets=sets), tmp_path / "data", tmp_path / "run")
    usual = np.mean([len(p.points) for p in run.data.validation["set"]])
    row = run.validate()
    assert (len(run.data.validation["grounds"]), row["grounds_mae"]) == (1, 2)
    assert row["score"] == pytest.approx((2 / usual + 2 / usual) / 2)


def test_the_averaged_weights_are_validated_and_kept(data, tmp_path):
    run = Trainer(tiny(), data, tmp_path)
    run.model.train()
    for batch in loader(run.data.crops, range(6), 2, 0):
        before = {name: value.clone() for name, value in run.averaged.named_parameters()}
        run.train_step(batch)
        decay = min(0.9, (1 + run.progress.step) / (10 + run.progress.step))
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
    """No test split is requested (`data` has none), and a recipe that names one is refused."""
    splits, read = [], readers.read
    monkeypatch.setattr(readers, "read", lambda root, kind, split: splits.append(split) or read(root, kind, split))
    train(tiny(steps=2), data, tmp_path)
    assert sorted(splits) == ["train", "val"]
    for one in ({"train": "test"}, {"val": "test"}, {"train": "fold3-test"}):
        with pytest.raises(TrainError, match="training never reads a test split"):
            train(tiny(sets={"mine": SetConfig(folder="set", **one)}), data, tmp_path / "refused")
    assert sorted(splits) == ["train", "val"]

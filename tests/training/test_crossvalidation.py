"""Cross-validation counts every image of a set once, with a network that never saw it."""

import pytest
from helpers import dataset_factory as factory
from helpers.training_runs import tiny

from headcount.datasets import readers
from headcount.training.config import SetConfig, TrainError
from headcount.training.crossvalidation import CrossValidation, crossvalidate, fold_config

SETS = {"part_A": SetConfig("part_A"), "own": SetConfig("own")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    factory.shanghaitech(root / "part_A", train=[1, 2, 3] * 100, test=(), size=(48, 32))
    factory.shanghaitech(root / "own", train=(3, 1, 2, 4))
    return root


def test_each_fold_is_measured_at_the_end_and_never_run_again(data, tmp_path):
    config = tiny(steps=2, eval_every=1, sets=SETS)
    result = crossvalidate(config, data, tmp_path, "part_A", count=2)
    assert sum(result.sizes) == 119 and [set(row) for row in result.rows] == [{"part_A", "own"}] * 2
    for run in ("fold1", "fold2"):
        lines = (tmp_path / run / "metrics.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["step", "2"]  # one validation, at the end
    written = (tmp_path / "fold1" / "metrics.csv").stat().st_mtime_ns
    assert crossvalidate(config, data, tmp_path, "part_A", count=2) == result
    assert (tmp_path / "fold1" / "metrics.csv").stat().st_mtime_ns == written


def test_a_fold_trains_on_the_others():
    config = fold_config(tiny(sets=SETS), "part_A", 3, without=["own"])
    assert list(config.sets) == ["part_A"]
    assert (config.sets["part_A"].train, config.sets["part_A"].val) == ("fold3-train", "fold3-val")


def test_one_line_says_all():
    rows = ({"A": 10.0, "B": 1.0}, {"A": 40.0, "B": 2.0})
    result = CrossValidation("name", "A", (20, 10), rows)
    assert result.mae == 20 and result.line() == "name: A 20.0 (10.0, 40.0); B 1.50"


@pytest.mark.parametrize(
    ("sets", "folds", "count", "message"),
    [
        (SETS, "x", 5, "no data set 'x'; it has part_A, own"),
        (SETS, "part_A", 0, "count must be at least 1"),
        ({"dense": SetConfig("dense", "ucf_cc_50", "all", "")}, "dense", 5, "set 'dense' has no folds"),
    ],
)
def test_what_cannot_be_split_is_named(data, tmp_path, sets, folds, count, message):
    with pytest.raises(TrainError, match=message):
        crossvalidate(tiny(sets=sets), data, tmp_path, folds, count=count)


def test_the_folds_of_part_a_share_out_its_training_images(data):
    names = {
        split: {sample.image.stem for sample in readers.read(data / "part_A", "shanghaitech", split)}
        for split in ("train", "val", *(f"fold{k}-{kind}" for k in range(1, 6) for kind in ("train", "val")))
    }
    everything = names["train"] | names["val"]
    assert len(everything) == 292 == sum(len(names[f"fold{k}-val"]) for k in range(1, 6))
    for k in range(1, 6):
        assert names[f"fold{k}-train"] == everything - names[f"fold{k}-val"]
    assert any({"IMG_118", "IMG_283"} <= names[f"fold{k}-val"] for k in range(1, 6))


def test_only_part_a_has_folds(data):
    with pytest.raises(ValueError, match="only part A has folds, and it has 300 training images"):
        readers.read(data / "own", "shanghaitech", "fold1-val")

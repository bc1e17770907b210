"""Experiments: what a budget makes of a recipe, what stands in for a missing test split, and how a run is resumed."""

import functools
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers import dataset_factory as factory

from headcount.datasets.annotations import PointsError
from headcount.reproduction import experiments, paper
from headcount.reproduction.experiments import Experiment, InitialCheckpoint, Interrupted, Workspace
from headcount.training.config import TrainError
from headcount.training.trainer import train


def place(budget: str = "short", out: str = "out") -> Workspace:
    return Workspace(Path(), budget, Path(out))


# Configuration


@pytest.mark.parametrize("recipe", paper.RECIPES)
@pytest.mark.parametrize("budget", experiments.BUDGETS)
def test_no_budget_trains_or_chooses_on_a_test_split(recipe, budget):
    for name, dataset in paper.DATASETS.items():
        config = experiments.configure(Experiment(recipe, name, fold=1 if dataset.folds else 0), place(budget))
        (splits,) = config.sets.values()
        assert not splits.train.endswith("test") and not splits.val.endswith("test")
        assert (splits.folder, splits.format) == (dataset.folder, dataset.format)


def test_short_light_rows_start_from_one_backbone():
    for name in ("baseline-1", "baseline-3", "solution-1", "solution-5", "solution-5-bce"):
        config = experiments.configure(Experiment(name, "part_A"), place())
        assert Path(config.start) == Path("out/short/light-start/part_A-1/best")
        assert config.start_part == "backbone"  # the head is new, in baseline 1 too
        assert not experiments.configure(Experiment(name, "part_A"), place("full")).start
    for name in ("solution-5-printed", "light-start", "mcnn", "model-csr"):
        assert not experiments.configure(Experiment(name, "part_A"), place()).start


def test_the_start_has_the_data_set_and_the_seed_of_its_row():
    start = experiments.initial_checkpoint(Experiment("solution-2", "part_B", seed=7), "short")
    assert start == InitialCheckpoint(Experiment("light-start", "part_B", seed=7), "backbone")


def test_short_folds_start_from_the_same_row_on_part_a():
    starts = {
        name: experiments.initial_checkpoint(Experiment(name, "ucf_cc_50", fold=3), "short")
        for name in ("mcnn", "csrnet", "solution-5", "model-csr")
    }
    trained = {name: start.experiment.recipe for name, start in starts.items()}
    assert trained == {"mcnn": "mcnn", "csrnet": "csrnet", "solution-5": "solution-5", "model-csr": "model-csr-long"}
    assert {(s.experiment.dataset, s.experiment.fold, s.part) for s in starts.values()} == {("part_A", 0, "all")}
    assert experiments.initial_checkpoint(Experiment("model-csr", "ucf_cc_50", fold=3), "full") is None


def test_the_long_run_starts_from_the_short_one_and_keeps_its_own_length():
    config = experiments.configure(Experiment("model-csr-long", "part_A"), place())
    assert Path(config.start) == Path("out/short/model-csr/part_A-1/best") and config.start_part == "all"
    assert (config.steps, config.batch) == (3000, 4)
    assert experiments.configure(Experiment("light-start", "part_A"), place()).steps == 2000
    assert experiments.configure(Experiment("light-start", "part_A"), place("smoke")).steps == 2
    assert experiments.configure(Experiment("model-csr", "part_A"), place()).steps == 1200
    assert "full" not in paper.RECIPES["model-csr-long"].budgets


def test_the_long_budget_trains_the_light_rows_from_scratch_for_as_many_crops_each():
    configs = {
        row.recipe.name: experiments.configure(Experiment(row.recipe.name, "part_A"), place("long"))
        for row in paper.TABLES["table1"].rows
        if row.recipe and "long" in row.recipe.budgets
    }
    assert len(configs) == 7
    assert {(config.steps * config.batch, config.start) for config in configs.values()} == {(48_000, "")}


def test_short_folds_take_few_steps():
    config = experiments.configure(Experiment("solution-5", "ucf_cc_50", fold=2), place())
    assert (config.steps, config.eval_every, config.lr, config.lr_pretrained) == (60, 30, 5e-5, 2e-5)
    assert config.sets["ucf_cc_50"].train == "fold2-train"


@pytest.mark.parametrize(
    ("recipe", "on_part_a", "on_ucf_cc_50"),
    [("solution-5-printed", 200, 60), ("solution-5", 200, 60), ("mcnn", 200, 60), ("model-csr", 1, 1)],
)
def test_an_epoch_has_the_paper_s_crops_of_the_data_set(recipe, on_part_a, on_ucf_cc_50):
    assert experiments.configure(Experiment(recipe, "part_A"), place("full")).crops_per_image == on_part_a
    folds = experiments.configure(Experiment(recipe, "ucf_cc_50", fold=1), place("full"))
    assert folds.crops_per_image == on_ucf_cc_50


# The test split, and what stands in for it


def samples(data: Path, dataset: str) -> tuple[str, list[str]]:
    split, found = experiments.test_samples(Experiment("solution-5", dataset), Workspace(data, "smoke", Path("out")))
    return split, [sample.name for sample in found]


def test_the_validation_list_stands_in_for_a_missing_test_split(data, tmp_path):
    assert samples(data, "part_A") == ("test", ["IMG_1", "IMG_2", "IMG_3", "IMG_4"])
    assert samples(data, "part_B")[0] == "val"
    factory.worldexpo(tmp_path / "worldexpo")
    for folder in ("test_frame", "test_label"):
        shutil.rmtree(tmp_path / "worldexpo" / folder)
    assert samples(tmp_path, "worldexpo")[0] == "val"


def test_a_test_split_in_a_folder_inside_is_found(data, tmp_path):
    shutil.copytree(data / "shanghaitech" / "part_A", tmp_path / "shanghaitech" / "part_A" / "part_A_final")
    assert samples(tmp_path, "part_A")[0] == "test"


def test_a_damaged_test_split_is_an_error(tmp_path):
    part = tmp_path / "shanghaitech" / "part_A"
    factory.shanghaitech(part)
    file = part / "test_data" / "ground-truth" / "GT_IMG_1.mat"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PointsError, match="GT_IMG_1.mat"):
        samples(tmp_path, "part_A")


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("part_A", "shanghaitech/part_A/test_data/images"),
        ("part_A", "shanghaitech/part_A/test_data/ground-truth"),
        ("worldexpo", "worldexpo/test_frame"),
        ("worldexpo", "worldexpo/test_label"),
    ],
)
def test_a_test_split_with_a_missing_folder_is_an_error(data, tmp_path, dataset, folder):
    copied = paper.DATASETS[dataset].folder
    shutil.copytree(data / copied, tmp_path / copied)
    shutil.rmtree(tmp_path / folder)
    with pytest.raises(PointsError):
        samples(tmp_path, dataset)


# Running


def test_a_killed_experiment_keeps_what_was_trained(data, tmp_path, monkeypatch):
    """Killed between training and measuring: the weights stay the same, to the bit."""
    workspace, experiment = Workspace(data, "smoke", tmp_path), Experiment("baseline-1", "part_A")
    weights = workspace.folder(experiment) / "best" / "model.safetensors"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(experiment, workspace)
    assert workspace.result(experiment) is None
    trained = weights.read_bytes()
    assert experiments.run(experiment, workspace)["steps"] == 2
    assert weights.read_bytes() == trained


def test_an_interrupted_experiment_is_saved_and_not_measured(data, tmp_path, monkeypatch):
    """Training that is stopped saves its state and returns; the same run then continues with its second step."""
    workspace, experiment = Workspace(data, "smoke", tmp_path), Experiment("baseline-1", "part_A")
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "train", functools.partial(train, stop_after=1))
        with pytest.raises(Interrupted, match="interrupted; run again to resume"):
            experiments.run(experiment, workspace)
    assert workspace.result(experiment) is None
    assert (workspace.folder(experiment) / "state.safetensors").exists()
    resumed = experiments.run(experiment, workspace)
    whole = experiments.run(experiment, Workspace(data, "smoke", tmp_path / "whole"))
    assert resumed["steps"] == 2 and resumed["test"] == whole["test"]
    assert not (workspace.folder(experiment) / "state.safetensors").exists()


def test_a_run_with_other_settings_is_refused(data, tmp_path):
    workspace, experiment = Workspace(data, "smoke", tmp_path), Experiment("baseline-1", "part_A")
    other = replace(experiments.configure(experiment, workspace), lr=0.5)
    workspace.folder(experiment).mkdir(parents=True)
    (workspace.folder(experiment) / "run.json").write_text(json.dumps({"config": asdict(other)}))
    with pytest.raises(TrainError, match=r"baseline-1.part_A-1: .*other settings \(lr\)"):
        experiments.run(experiment, workspace)

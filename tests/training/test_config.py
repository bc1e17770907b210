"""Recipes are read into dataclasses, and every setting that does not fit is named in one line."""

import inspect
import json
import re
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import torch

from headcount.models.counting_model import CountingModel
from headcount.training.augmentation import AugmentationConfig
from headcount.training.config import (
    RECIPES,
    DataConfig,
    SetConfig,
    TrainConfig,
    TrainError,
    check_same,
    load_recipe,
    override,
    parse_config,
)
from headcount.training.losses import LossConfig


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_loads_builds_its_network_and_names_no_test_split(name):
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.sets
    with torch.device("meta"):
        model = CountingModel(recipe.model)
    assert all(side % model.pad == 0 for side in recipe.data.crop)
    assert all("test" not in split for dataset in recipe.sets.values() for split in (dataset.train, dataset.val))
    assert parse_config(json.loads(json.dumps(asdict(recipe))), name) == recipe  # as run.json holds it


def test_a_recipe_is_a_toml_file_of_the_dataclasses(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('steps = 9\nlr = 1\n[model]\nfusion = "plain"\n[data]\ncrop = [64, 96]\n[sets.a]\nshare = 2\n')
    recipe = load_recipe(file)
    assert (recipe.steps, recipe.model.fusion, recipe.data.crop) == (9, "plain", (64, 96))
    assert recipe.sets == {"a": SetConfig(share=2)} and recipe.batch == TrainConfig().batch


@pytest.mark.parametrize(
    "text, said",
    [
        ("stepz = 9", "mine.toml: unknown setting stepz; known: adam_epochs, batch"),
        ("[model]\ndepth = 9", r"mine.toml \[model\]: unknown setting depth"),
        ("[sets.a]\nformatt = 'csv'", r"\[sets.a\]: unknown setting formatt"),
        ("steps = 'many'", "mine.toml: steps must be an integer, got 'many'"),
        ("imagenet = 1", "imagenet must be true or false, got 1"),
        ("lr = true", "lr must be a number, got True"),
        ("model = 3", "model must be a table of settings, got 3"),
        ("sets = 3", "sets must be a table of settings, got 3"),
        ("[data]\ncrop = 64", "data.crop must be a list of 2 integers, got 64"),
        ("[data]\ncrop = ['a', 'b']", r"mine.toml: data.crop\[0\] must be an integer, got 'a'"),
        ("[data]\nscale = [1.0]", r"data.scale must be a list of 2 numbers, got \[1.0\]"),
        ("[sets.a]\nshare = 'half'", "sets.a.share must be a number, got 'half'"),
        ("steps = ", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_a_one_line_error(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TrainError, match=said) as caught:
        load_recipe(tmp_path / "mine.toml")
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(TrainError, match="no such recipe; give a TOML file or one of: .*headcount-small"):
        load_recipe("headcount-bass")


def test_settings_are_overridden_by_name():
    config = TrainConfig(steps=6, sets={"set": SetConfig()})
    changed = override(config, ["steps=10", "model.fusion=plain", "data.crop=[64, 32]", "sets.set.share = 0.5", "lr=1"])
    assert (changed.steps, changed.model.fusion, changed.data.crop) == (10, "plain", (64, 32))
    assert changed.sets["set"].share == 0.5 and changed.lr == 1
    assert asdict(replace(changed, steps=6)).keys() == asdict(config).keys()
    assert config.steps == 6 and config.model.fusion == "feature_posterior"  # only the copy changed
    for wrong in ("stepz=1", "model.depth=1", "steps", "steps.more=1", "sets.other.share=1", "model=plain"):
        with pytest.raises(TrainError, match="^--set"):
            override(config, [wrong])
    with pytest.raises(TrainError, match="--set: steps must be an integer, got 'many'"):
        override(config, ["steps=many"])
    with pytest.raises(TrainError, match=r"--set: data.crop\[0\] must be an integer, got 'a'"):
        override(config, ["data.crop=['a','b']"])


def test_a_recipe_changes_only_what_differs_from_its_base(tmp_path):
    (tmp_path / "base.toml").write_text("steps = 9\n[model]\nwidth = 8\nfusion = 'plain'\n[sets.a]\n[sets.b]\n")
    (tmp_path / "row.toml").write_text("base = 'base'\nlr = 0.5\n[model]\nfusion = 'feature_gt'\n[sets.c]\n")
    config = load_recipe(tmp_path / "row.toml")
    assert (config.steps, config.lr, config.model.width, config.model.fusion) == (9, 0.5, 8, "feature_gt")
    assert list(config.sets) == ["c"]  # the data sets of a recipe replace those of its base


@pytest.mark.parametrize(
    "base, said",
    [("row", "not based on this one"), (3, "base must be the name of a recipe .*, got 3"), ("none", "no such recipe")],
)
def test_an_impossible_base_is_an_error(tmp_path, base, said):
    (tmp_path / "row.toml").write_text(f"base = {base!r}")
    with pytest.raises(TrainError, match=said):
        load_recipe(tmp_path / "row.toml")


def test_configurations_cannot_be_changed():
    config = TrainConfig(sets={"set": SetConfig()})
    for part in (config, config.model, config.data, config.loss, config.sets["set"]):
        with pytest.raises(FrozenInstanceError):
            part.name = "other"


def test_checking_a_run_leaves_the_configuration_alone(tmp_path):
    config = TrainConfig(data=DataConfig(min_side=70))
    record = asdict(replace(config, model=replace(config.model, min_side=70)))
    (tmp_path / "run.json").write_text(json.dumps({"config": record}))
    check_same(config, tmp_path)
    assert config.model.min_side == 0


def test_every_setting_is_documented():
    """The command line and the documentation read the fields from `Attributes:`."""
    for kind in (TrainConfig, DataConfig, AugmentationConfig, SetConfig, LossConfig):
        documented = set(re.findall(r"^        (\w+): ", inspect.getdoc(kind).replace("\n    ", "\n        "), re.M))
        own = [name for name in kind.__annotations__ if name not in documented]
        assert not own, f"{kind.__name__}: {own}"

"""Recipes: the dataclasses are the schema, and what does not fit them is named in a line."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from headcount.models.counting_model import CountingModel
from headcount.training.config import RECIPES, SetConfig, TrainConfig, TrainError, from_dict, load_recipe, override


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_loads_builds_its_network_and_names_no_test_split(name):
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.sets
    with torch.device("meta"):
        model = CountingModel(recipe.model)
    assert all(side % model.pad == 0 for side in recipe.data.crop)
    assert all("test" not in split for one in recipe.sets.values() for split in (one.train, one.val))
    from_dict(TrainConfig, json.loads(json.dumps(asdict(recipe))), name)  # as run.json will have it


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
        ("steps = 'many'", "steps is 'many'; it takes int"),
        ("imagenet = 1", "imagenet is 1; it takes bool"),
        ("lr = true", "lr is True; it takes float"),
        ("model = 3", "is 3, where a table of settings belongs"),
        ("sets = 3", "is 3, where a table of settings belongs"),
        ("[data]\ncrop = 64", "crop is 64; it takes tuple"),
        ("steps = ", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_a_one_line_error(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TrainError, match=said) as caught:
        load_recipe(tmp_path / "mine.toml")
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_told_which_there_are():
    with pytest.raises(TrainError, match="no such recipe; give a TOML file or one of: .*headcount-large"):
        load_recipe("headcount-bass")


def test_settings_are_overridden_by_name():
    config = TrainConfig(steps=6, sets={"set": SetConfig()})
    changed = override(config, ["steps=10", "model.fusion=plain", "data.crop=[64, 32]", "sets.set.share = 0.5", "lr=1"])
    assert (changed.steps, changed.model.fusion, changed.data.crop) == (10, "plain", (64, 32))
    assert changed.sets["set"].share == 0.5 and changed.lr == 1
    assert asdict(replace(changed, steps=6)).keys() == asdict(config).keys()
    assert config.steps == 6 and config.model.fusion == "feature_posterior"  # a copy was changed
    for wrong in ("stepz=1", "model.depth=1", "steps", "steps.more=1", "sets.other.share=1", "model=plain"):
        with pytest.raises(TrainError, match="^--set"):
            override(config, [wrong])
    with pytest.raises(TrainError, match="steps is 'many'"):
        override(config, ["steps=many"])


def test_a_recipe_on_top_of_another_says_only_what_differs(tmp_path):
    (tmp_path / "base.toml").write_text("steps = 9\n[model]\nwidth = 8\nfusion = 'plain'\n[sets.a]\n[sets.b]\n")
    (tmp_path / "row.toml").write_text("base = 'base'\nlr = 0.5\n[model]\nfusion = 'feature_gt'\n[sets.c]\n")
    config = load_recipe(tmp_path / "row.toml")
    assert (config.steps, config.lr, config.model.width, config.model.fusion) == (9, 0.5, 8, "feature_gt")
    assert list(config.sets) == ["c"]  # a recipe that names its data sets means these and no others


@pytest.mark.parametrize("base, said", [("row", "not based on this one"), (3, "base is 3"), ("none", "no such recipe")])
def test_a_base_that_cannot_be_is_said(tmp_path, base, said):
    (tmp_path / "row.toml").write_text(f"base = {base!r}")
    with pytest.raises(TrainError, match=said):
        load_recipe(tmp_path / "row.toml")

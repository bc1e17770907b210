"""The command `headcount train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts

from headcount.cli.app import MODELS, app
from headcount.cli.messages import UsageError, print_message, usage_errors
from headcount.cli.options import Flag
from headcount.cli.suggestions import calibration_hint


@app.command(group=MODELS)
def train(
    *,
    recipe: str | None = None,
    start: Annotated[Path | None, cyclopts.Parameter(name="--from")] = None,
    data: Path,
    out: Path | None = None,
    minutes: float = 10,
    unit: str | None = None,
    format: str = "auto",
    resume: Flag = False,
    force: Flag = False,
    backbone_weights: Path | None = None,
    settings: Annotated[tuple[str, ...], cyclopts.Parameter(name="--set", negative="", show_default=False)] = (),
) -> int:
    """Train a model by a recipe, or fine-tune a model on your own photos.

    To train on several GPUs, start this command with torchrun.

    Args:
        recipe: Name of a bundled recipe, or a .toml file.
        start: Fine-tune this model instead of following a recipe: the name of a bundled model, an .onnx file that
            headcount export wrote, or a checkpoint folder.
        data: Folder that contains the data sets of the recipe. With --from: a folder that headcount annotate marked, an
            annotation file or a data set; some photos are held out automatically to choose the best model.
        out: Folder for the checkpoints and the log. By default runs/RECIPE, with --from runs/DATA.
        minutes: With --from, how long training may take.
        unit: What the model counts, such as cells or cars. By default people. Results and overlays show it.
        format: With --from, the format of the annotations, as --from of headcount convert.
        resume: Resume the last run in the folder --out.
        force: Resume even if the data have changed since.
        backbone_weights: A file with ImageNet weights, to use instead of a download.
        settings: Change a setting of the recipe, as steps=1000 or model.fusion=plain. Repeat the option for several.
    """
    if (recipe is None) == (start is None):
        raise UsageError("give either --recipe, or --from with the model to fine-tune")
    if unit is not None:
        settings = (*settings, f"unit={json.dumps(unit)}")
    if recipe is None:
        assert start is not None
        if resume:
            raise UsageError("--resume cannot be combined with --from; fine-tune again into another folder")
        return fine_tune(start, data, out, minutes, format, settings)
    return train_recipe(recipe, data, out, resume, force, backbone_weights, settings)


@app.command(group=MODELS)
def crossvalidate(
    recipe: str,
    *,
    data: Path,
    out: Path | None = None,
    folds: str = "part_A",
    without: tuple[str, ...] = (),
    count: int = 5,
    backbone_weights: Path | None = None,
    settings: Annotated[tuple[str, ...], cyclopts.Parameter(name="--set", negative="", show_default=False)] = (),
) -> int:
    """Measure a recipe by cross-validation, and print its errors in one line.

    A network is trained for each fold of one data set, and counts the images of the fold. Nothing is chosen: the last
    averaged weights count. A stopped command continues where it stopped.

    Args:
        recipe: Name of a bundled recipe, or a .toml file.
        data: Folder that contains the data sets of the recipe.
        out: Folder for the runs. By default runs/RECIPE-folds.
        folds: Data set of the recipe to split into folds. It must be ShanghaiTech part A.
        without: Data set of the recipe to leave out, as it shows images of the folds. Repeat the option for several.
        count: How many of the folds to run.
        backbone_weights: A file with ImageNet weights, to use instead of a download.
        settings: Change a setting of the recipe, as steps=1000. Repeat the option for several.
    """
    from headcount.training.config import load_recipe, override
    from headcount.training.crossvalidation import crossvalidate as run_folds

    with usage_errors():
        config = override(load_recipe(recipe), list(settings))
    out = out or Path("runs") / f"{Path(recipe).stem}-folds"
    print(run_folds(config, data, out, folds, without, count, backbone_weights).line())
    return 0


def train_recipe(
    recipe: str,
    data: Path,
    out: Path | None,
    resume: bool,
    force: bool,
    backbone_weights: Path | None,
    settings: Sequence[str],
) -> int:
    """Train by a recipe and print where the best checkpoint is. Returns the exit code."""
    from headcount.training.config import load_recipe, override
    from headcount.training.ddp import ProcessGroup
    from headcount.training.trainer import train as run_training

    with usage_errors():
        config = override(load_recipe(recipe), list(settings))
    out = out or Path("runs") / Path(recipe).stem
    best = run_training(config, data, out, resume, backbone_weights, force=force)
    if not ProcessGroup().is_main:
        return 0
    if not best.exists():
        print_message(
            f"stopped before the first validation; resume with: headcount train --resume --out {best.parent} ..."
        )
        return 1
    print(f"best checkpoint: {best}")
    return 0


def fine_tune(start: Path, data: Path, out: Path | None, minutes: float, format: str, settings: Sequence[str]) -> int:
    """Fine-tune a model and print the errors before and after. Returns the exit code."""
    from headcount.training.finetuning import finetune

    report = finetune(data, out or Path("runs") / data.resolve().stem, start, minutes, format, settings)
    print(report.table())
    if report.improved:
        if hint := calibration_hint(report.checkpoint):
            print(hint)
        print(f"export it with: headcount export {report.checkpoint} {report.checkpoint.parent.name}.onnx")
    return 0

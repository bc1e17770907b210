"""Commands that train and measure: train, evaluate, calibrate, average, reproduce, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from headcount.cli.app import app
from headcount.cli.count import EngineName, Precision
from headcount.cli.output import UsageError, check_target, progress, say, usage_errors


@app.command
def evaluate(
    data: Path,
    /,
    *,
    format: str = "auto",
    split: str = "test",
    model: Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    radius: Annotated[list[float], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    json: Path | None = None,
    csv: Path | None = None,
) -> int:
    """Measure a model on annotated pictures: MAE, RMSE (the papers' "MSE"), bias, by level and scene.

    Parameters
    ----------
    data
        Folder of the data set, or an annotation file.
    format
        As --from of headcount convert.
    split
        train, val, trainval, test; in ucf_cc_50 fold1-test and so on; all in most formats.
    model, engine, precision
        As in headcount count.
    radius
        Also match estimated dots with heads within so many pixels: precision, recall, F1; may be given again.
    json
        Write the whole report to this file.
    csv
        Write a line per picture to this file.
    """
    from headcount.datasets.readers import read
    from headcount.evaluation.evaluate import evaluate as measure
    from headcount.inference.counter import load

    check_target("--json", json)
    check_target("--csv", csv)
    with usage_errors():
        samples = read(data, format, split)
        counter = load(model, engine, precision)
    with progress(len(samples)) as step:
        report = measure(
            samples, counter, lambda done, total: step(), data=data, format=format, split=split, radii=radius
        )
    print(report.table())
    if json:
        report.to_json(json)
    if csv:
        report.to_csv(csv)
    return 1 if report.errors else 0


@app.command
def train(
    *,
    recipe: str | None = None,
    start: Annotated[Path | None, cyclopts.Parameter(name="--from")] = None,
    data: Path,
    out: Path | None = None,
    minutes: float = 10,
    format: str = "auto",
    resume: bool = False,
    force: bool = False,
    backbone_weights: Path | None = None,
    settings: Annotated[list[str], cyclopts.Parameter(name="--set", negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Train a model: by a recipe, or one that is there further on photos of your own; under torchrun on many GPUs.

    Parameters
    ----------
    recipe
        Name of a recipe that comes with headcount, or a .toml file of your own.
    start
        Instead of a recipe, the model to train further: the name of one that comes with headcount (headcount-small),
        an .onnx file that headcount export wrote, or a checkpoint folder.
    data
        Folder that holds the data sets the recipe names; with --from, a folder that headcount annotate marked, an
        annotation file or a data set. Photos are held back by themselves to choose the model.
    out
        Folder for the checkpoints and the log; by default runs/RECIPE, with --from runs/DATA.
    minutes
        With --from, how long it may take.
    format
        With --from, of the annotations, as in headcount evaluate; auto looks.
    resume
        Go on where the last run into this folder stopped.
    force
        Go on though the data changed since.
    backbone_weights
        A file of ImageNet weights, instead of a download.
    settings
        Change one setting of the recipe, as steps=1000 or model.fusion=plain; may be given again.
    """
    if (recipe is None) == (start is None):
        raise UsageError("give either --recipe, or --from with the model to train further")
    if start is not None and resume:
        raise UsageError("--from takes minutes and is not resumed; run it again, into another folder")
    if start is not None:
        return train_further(start, data, out, minutes, format, settings)
    from headcount.training.config import load_recipe, override
    from headcount.training.ddp import ProcessGroup
    from headcount.training.trainer import train as run

    assert recipe is not None
    with usage_errors():
        config = override(load_recipe(recipe), settings)
    best = run(config, data, out or Path("runs") / Path(recipe).stem, resume, backbone_weights, force=force)
    if not ProcessGroup().writes:
        return 0
    if not best.exists():
        say(f"stopped before the first validation; go on with: headcount train --resume --out {best.parent} ...")
        return 1
    print(f"the best checkpoint is in {best}")
    return 0


@app.command
def calibrate(
    run: Path,
    /,
    *,
    data: Path,
) -> int:
    """Measure how far a trained model's counts may be trusted: the intervals that headcount count shows.

    Parameters
    ----------
    run
        The folder of a run. Its best checkpoint counts the validation pictures of its recipe, and what is found is
        kept beside that checkpoint; export takes it along.
    data
        Folder that holds the data sets the recipe names.
    """
    from headcount.evaluation.calibration import calibrate as measure
    from headcount.evaluation.calibration import validation

    with usage_errors():
        pictures = validation(run, data)
    with progress(len(pictures)) as step:
        found = measure(run, data, lambda done, total: step())
    sets = ", ".join(f"{name} {share:.0%}" for name, share in found.sets.items())
    print(f"{found.interval['coverage']:.0%} intervals hold {found.measured:.0%} of {found.pictures} pictures ({sets})")
    print(f"each made from the other pictures; half of them are narrower than {found.width:.0%} of the count")
    print(f"crowds of heads less than {found.spacing:.1f} pixels apart are warned of")
    return 0


@app.command
def average(
    run: Path,
    /,
    *runs: Path,
    out: Path,
    name: str = "",
    weight: Annotated[list[float], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    soup: bool = False,
) -> int:
    """Make one model of several trained ones: it counts with all of them and gives the mean.

    Parameters
    ----------
    run
        The folder of a run, of which the best checkpoint is taken, or of one of its checkpoints: runs/a/last.
    runs
        The others.
    out
        The folder of the run to write: calibrate, evaluate and export it as any other.
    name
        What the model is called in results; by default as its folder.
    weight
        How much each run counts, in their order: --weight 1 --weight 2; by default all alike.
    soup
        Average the weights instead of the counts: one network, as small and fast as each. Only for runs of one recipe
        that all began with the same trained weights (start = "..." in the recipe).
    """
    from headcount.models.averaging import average as write

    with usage_errors():
        print(write([run, *runs], out, name, weight, soup))
    return 0


@app.command
def reproduce(
    target: str,
    /,
    *,
    data: Path,
    budget: Literal["smoke", "short", "full"],
    out: Path,
    backbone_weights: Path | None = None,
    seed: Annotated[list[int], cyclopts.Parameter(negative="")] = [1],  # noqa: B006  never changed
    only: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Reproduce a table or figure of the paper, each row beside the printed number.

    Parameters
    ----------
    target
        table1, table2, table3, table4, table5, figure4, figure5, figure6 or all.
    data
        Folder that holds shanghaitech, ucf_cc_50 and worldexpo, or those of them that you have.
    budget
        smoke learns nothing, short takes hours on two cores, full is the paper's and wants a GPU.
    out
        Folder for runs, reports and figures; what is finished there is not trained again.
    backbone_weights
        A file of VGG16's ImageNet weights, instead of a download.
    seed
        Seed of the runs; may be given again, and rows are then pooled over seeds.
    only
        Train this recipe alone of those the target needs (may be given again), or report: train nothing. What is
        finished is reported either way.
    """
    from headcount.reproduction.experiments import Interrupted
    from headcount.reproduction.pipeline import reproduce as make

    try:
        for path in make(target, data, budget, out, backbone_weights, seed, only):
            print(path)
    except Interrupted as interrupted:
        say(str(interrupted))
        return 130
    return 0


@app.command
def export(
    checkpoint: Path,
    out: Path,
    /,
    *,
    precision: Literal["fp16", "fp32", "int8"] = "fp16",
    calibrate: Annotated[list[Path], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    force: Annotated[bool, cyclopts.Parameter(negative="")] = False,
    name: str | None = None,
    trained_on: str | None = None,
    metric: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Write a trained model as one .onnx file, checked against torch.

    Parameters
    ----------
    checkpoint
        A checkpoint folder, or a published MCNN .h5 file.
    out
        The .onnx file to write.
    precision
        Of the stored weights: fp16 is half the size of fp32; int8 is also computed in int8, but for what would suffer.
    calibrate
        For int8, a folder of photos like those that will be counted; may be given again. A fourth of them is held
        back to measure how far counts move, and above 1.5 % nothing is written.
    force
        Write the int8 file all the same.
    name
        What the model is called in results.
    trained_on
        What to say of its training data; by default the sets that its run names.
    metric
        Something measured, as part_A_mae=65.7, to be kept in the file; may be given again.
    """
    from headcount.deployment.onnx_export import ExportError
    from headcount.deployment.onnx_export import export as write

    try:
        with usage_errors():
            report = write(
                checkpoint,
                out,
                precision=precision,
                name=name,
                data=trained_on,
                metrics=parse_metrics(metric),
                calibrate=calibrate or None,
                force=force,
            )
    except ExportError as error:
        say(str(error))
        return 1
    print(f"{report.path}: {report.megabytes:.1f} MB, its counts against torch's:")
    print(f"  graph {report.graph:.4%}, weights as stored {report.stored:.4%}", end="")
    print(f", in {report.precision} on this processor {report.auto:.4%} off")
    if change := report.change:
        print(
            f"  int8 moves counts by {change.mean:.2%} on {change.photos} photos held back, {change.bias:+.2%} in all;"
        )
        print(f"  on the sparsest quarter of them by {change.sparse:.2%}; worst {change.worst:.2%}")
    return 0


def train_further(start: Path, data: Path, out: Path | None, minutes: float, format: str, settings: list[str]) -> int:
    from headcount.training.finetune import finetune

    report = finetune(data, out or Path("runs") / data.resolve().stem, start, minutes, format, settings)
    print(report.table())
    if report.improved:
        print(f"export it with: headcount export {report.checkpoint} {report.checkpoint.parent.name}.onnx")
    return 0


def parse_metrics(texts: list[str]) -> dict[str, float]:
    """["part_A_mae=65.7"] -> {"part_A_mae": 65.7}."""
    try:
        return {name: float(value) for name, value in (text.split("=") for text in texts)}
    except ValueError:
        raise UsageError(f"--metric {' '.join(texts)}: write name=number, as part_A_mae=65.7") from None

"""The commands that measure a model: `headcount evaluate` and `headcount calibrate`."""

from __future__ import annotations

from pathlib import Path

from headcount.cli.app import MODELS, app
from headcount.cli.messages import UsageError, check_target, print_message, progress, usage_errors
from headcount.cli.options import EngineName, Precision, Repeatable


@app.command(group=MODELS)
def evaluate(
    data: Path,
    /,
    *,
    format: str = "auto",
    split: str | None = None,
    model: Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    radius: Repeatable[float] = (),
    json: Path | None = None,
    csv: Path | None = None,
) -> int:
    """Measure the errors of a model on annotated images.

    The report gives the MAE, the RMSE (called MSE in the papers) and the bias, for all images and per crowd level and
    scene.

    Args:
        data: Folder of the data set, or an annotation file.
        format: The format of the data, as --from of headcount convert.
        split: train, val, trainval or test; fold1-test and so on for ucf_cc_50; all for most formats. By default test,
            and all images of a data set that marks no splits.
        model: The model to measure, as in headcount count.
        engine: The runtime that runs the model.
        precision: The precision of the computation. auto is the engine's choice for this processor.
        radius: Also match the estimated positions with heads within this many pixels, for precision, recall and F1.
            Repeat the option for several radii.
        json: Write the full report to this file.
        csv: Write one line per image to this file.
    """
    from headcount.datasets.readers import read
    from headcount.evaluation.report import evaluate as evaluate_counter
    from headcount.inference.counter import load

    check_target("--json", json)
    check_target("--csv", csv)
    with usage_errors():
        chosen = split is None
        split = split or default_split(data, format)
        samples = read(data, format, split)
        counter = load(model, engine, precision)
        if split == "all" and chosen:
            print_message(f"{data}: marks no splits, so all {len(samples):,} images are measured, trained on or not")
    with progress(len(samples)) as step:
        report = evaluate_counter(
            samples, counter, lambda done, total: step(), data=data, format=format, split=split, radii=radius
        )
    print(report.table())
    if json:
        report.to_json(json)
    if csv:
        report.to_csv(csv)
    return 1 if report.errors else 0


def default_split(data: Path, format: str) -> str:
    """The split that is measured if none is named: test, or all where no image is marked.

    Raises:
        ValueError: If the data set cannot be read.
    """
    from headcount.datasets.conversion import splits
    from headcount.datasets.detect_format import detect

    name = detect(data)[0] if format == "auto" else format
    return "all" if splits(data, name) == ("all",) else "test"


@app.command(group=MODELS)
def calibrate(
    run: Path | None = None,
    /,
    *,
    data: Path | None = None,
    held_out: Repeatable[Path] = (),
    precision: Precision = "auto",
    photos: Path | None = None,
    model: Path | None = None,
    out: Path | None = None,
) -> int:
    """Measure the prediction intervals of a trained model, or fit them to one place.

    The best checkpoint of the run counts the validation images of its recipe and some of those it learned. The result
    is stored beside the checkpoint; headcount count shows the intervals, and headcount export copies them. With
    --photos, a copy of a model is written whose intervals are fitted to your marked photos.

    Args:
        run: The folder of a run.
        data: Folder that contains the data sets of the recipe.
        precision: The precision of the computation, of a run.
        photos: Instead of a run: at least ten marked photos of a place, as headcount annotate or convert writes them.
        model: With --photos, the .onnx file or the name of the bundled model to fit.
        out: With --photos, the .onnx file to write.
        held_out: A table that headcount evaluate --csv wrote of networks that had not learned the images, as
            cross-validation trains them. Repeat the option for several tables.
    """
    from headcount.evaluation.calibration import calibrate as calibrate_run
    from headcount.evaluation.calibration import recipe_samples

    if photos is not None and out is not None and run is None and data is None:
        return calibrate_photos(photos, model, out)
    if run is None or data is None or photos is not None or out is not None:
        raise UsageError("give a run and --data, or --photos and --out")
    with usage_errors():
        samples = sum(map(len, recipe_samples(run, data)))
    with usage_errors(), progress(samples) as step:
        found = calibrate_run(run, data, held_out, precision, lambda done, total: step())
    sets = ", ".join(f"{name} {share:.0%}" for name, share in found.sets.items())
    coverage = found.interval["coverage"]
    print(f"{coverage:.0%} intervals contain {found.measured:.0%} of {found.images} images ({sets})")
    print("each interval is fitted on the other images")
    print(f"median width: {found.width:.0%} of the count")
    print(f"heads less than {found.spacing:.1f} pixels apart cause a warning")
    return 0


def calibrate_photos(photos: Path, model: Path | None, out: Path) -> int:
    """Write a copy of a model with intervals that are fitted to the marked photos of one place."""
    from headcount.datasets.readers import read
    from headcount.evaluation.calibration import calibrate_place
    from headcount.inference.counter import load
    from headcount.inference.pretrained import find_model

    check_target("--out", out)
    with usage_errors():
        source = find_model(model)
        if source.suffix.lower() != ".onnx" or out.suffix.lower() != ".onnx":
            raise ValueError("--photos fits a copy of an .onnx file; give --model FILE.onnx and --out COPY.onnx")
        samples = read(photos, "auto", "all")
        from headcount.deployment.onnx_graph import copy_with_metadata

        found = calibrate_place(load(model), samples)
        copy_with_metadata(source, out, interval=found.interval)
    print(f"{out}: intervals from {found.images} photos, made to hold {found.promised:.0%} of the true counts")
    print(f"{found.measured:.0%} of the photos are in the interval that is fitted to the others")
    print(f"the model counts {found.bias:.0%} of the people that you marked")
    return 0

"""The commands that write models: `headcount average` and `headcount export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts

from headcount.cli.app import MODELS, app
from headcount.cli.messages import UsageError, print_message, usage_errors
from headcount.cli.options import Flag, Repeatable
from headcount.cli.suggestions import calibration_hint

if TYPE_CHECKING:
    from headcount.deployment.onnx_export import ExportReport


@app.command(group=MODELS)
def average(
    run: Path,
    /,
    *runs: Path,
    out: Path,
    name: Annotated[str, cyclopts.Parameter(show_default=False)] = "",
    weight: Repeatable[float] = (),
    soup: Flag = False,
) -> int:
    """Combine several trained models into one that averages their counts.

    Args:
        run: The folder of a run, whose best checkpoint is used, or a checkpoint such as runs/a/last.
        runs: The other runs.
        out: Folder of the new run, which headcount calibrate, evaluate and export take like any other.
        name: What results call the model. By default the name of the folder.
        weight: The weight of each run, in their order: --weight 1 --weight 2. By default all weights are equal.
        soup: Average the weights of the networks instead of their counts. The result is one network, as small and as
            fast as each. All runs must have the same recipe and have started from the same trained weights.
    """
    from headcount.models.averaging import average as average_runs

    with usage_errors():
        print(average_runs([run, *runs], out, name, weight, soup))
    return 0


@app.command(group=MODELS)
def export(
    checkpoint: Path,
    out: Path,
    /,
    *,
    precision: Literal["fp16", "fp32", "int8"] = "fp16",
    calibrate: Repeatable[Path] = (),
    photos: Repeatable[Path] = (),
    force: Flag = False,
    name: str | None = None,
    trained_on: str | None = None,
    metric: Repeatable[str] = (),
) -> int:
    """Write a trained model as one .onnx file and check it against PyTorch.

    Args:
        checkpoint: A checkpoint folder, or a published MCNN .h5 file.
        out: The .onnx file to write.
        precision: Precision of the stored weights. fp16 files are half as large as fp32 files. int8 files also compute
            in int8, except in sensitive layers.
        calibrate: For int8, a folder of photos like those to be counted. Repeat the option for several. A quarter of
            the photos is held out; if int8 shifts their counts by more than 1.5 %, no file is written.
        photos: A folder of photos like those to be counted, at least 20. The file then stores how far fp16 and bf16
            move their counts, and --precision auto takes neither where that is more than 1 %. Repeatable.
        force: Write the int8 file even if it shifts the counts by more.
        name: What results call the model.
        trained_on: What the file says about its training data. By default the data sets of the run.
        metric: A measurement to store in the file, as part_A_mae=65.7. Repeat the option for several.
    """
    from headcount.deployment.onnx_export import ExportError
    from headcount.deployment.onnx_export import export as export_checkpoint

    try:
        with usage_errors():
            report = export_checkpoint(
                checkpoint,
                out,
                precision=precision,
                name=name,
                data=trained_on,
                metrics=parse_metrics(metric),
                calibrate=list(calibrate) or None,
                photos=list(photos) or None,
                force=force,
            )
    except ExportError as error:
        print_message(str(error))
        return 1
    print_report(report)
    if hint := calibration_hint(checkpoint):
        print_message(f"{hint}, then export again")
    return 0


def print_report(report: ExportReport) -> None:
    """Print the size of the file and how far its counts are from those of PyTorch."""
    print(f"{report.path}: {report.megabytes:.1f} MB; difference of its counts to PyTorch:")
    print(f"  graph in fp32             {report.graph:.4%}")
    print(f"  weights as stored         {report.stored:.4%}")
    print(f"  {report.precision} on this processor    {report.auto:.4%}")
    for precision, change in report.changes.items():
        worst = f"at worst {change.worst:.2%}"
        print(f"{precision} changes the counts of {change.photos} photos by {change.mean:.2%}, {worst}")
    if int8 := report.change:
        print(f"int8 changes the counts of {int8.photos} held-out photos by {int8.mean:.2%}:")
        print(f"  bias                      {int8.bias:+.2%}")
        print(f"  sparsest quarter          {int8.sparse:.2%}")
        print(f"  worst photo               {int8.worst:.2%}")


def parse_metrics(texts: Sequence[str]) -> dict[str, float]:
    """Parse ["part_A_mae=65.7"] as {"part_A_mae": 65.7}. Raises UsageError."""
    try:
        return {name: float(value) for name, value in (text.split("=") for text in texts)}
    except ValueError:
        raise UsageError(f"--metric {' '.join(texts)}: write name=number, as part_A_mae=65.7") from None

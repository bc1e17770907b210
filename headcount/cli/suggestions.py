"""What a command suggests to do next."""

from __future__ import annotations

from pathlib import Path


def calibration_hint(checkpoint: Path) -> str | None:
    """The command that gives the counts of a model intervals.

    Args:
        checkpoint: A model of any kind.

    Returns:
        One line; None if the model has intervals, or is not the best checkpoint of a run.
    """
    from headcount.inference.engines import CALIBRATION

    run = checkpoint.parent
    if checkpoint.name != "best" or not (run / "run.json").is_file() or (checkpoint / CALIBRATION).is_file():
        return None
    fine_tuned = (run / "photos").is_dir()  # as training.finetuning writes the split
    return f"for intervals, run: headcount calibrate {run} --data {run if fine_tuned else 'DATA'}"

"""Learning-rate schedules, as factors on the rates of a recipe."""

from __future__ import annotations

import math

from headcount.training.config import TrainConfig, TrainError

SCHEDULES = ("cosine", "step", "tail", "constant")
TAIL = 0.2  # of the run, and of the rate: where the fall of "tail" begins and ends


def warmup(step: int, steps: int) -> float:
    """The linear rise over the first `steps` steps; it reaches 1 in the last of them."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def cosine(progress: float) -> float:
    """The fall from 1 to 0 along half a cosine.

    Args:
        progress: Share of the run that is done. Beyond 1 the factor stays 0.
    """
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def tail(progress: float) -> float:
    """1 until the last fifth of the run, in which it falls linearly to a fifth.

    Args:
        progress: Share of the run that is done. Beyond 1 the factor stays a fifth.
    """
    return 1 - (1 - TAIL) * min(1.0, max(0.0, 1 - (1 - progress) / TAIL))


def rate_factor(config: TrainConfig, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """The factor on the learning rates at a step.

    Args:
        config: schedule, warmup and step_epochs.
        step: Steps done before this one.
        total_steps: Length of the run.
        steps_per_epoch: Length of an epoch.

    Raises:
        TrainError: The schedule is unknown.
    """
    rise = warmup(step, config.warmup)
    if config.schedule == "cosine":
        return rise * cosine(step / total_steps)
    if config.schedule == "step":
        return float(rise * 0.1 ** (step // (config.step_epochs * steps_per_epoch)))
    if config.schedule == "tail":
        return rise * tail(step / total_steps)
    if config.schedule == "constant":
        return rise
    raise TrainError(f"unknown schedule {config.schedule!r}: {', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}")

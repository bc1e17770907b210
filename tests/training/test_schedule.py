"""Learning-rate schedules by hand."""

import math

import pytest
from helpers.training_runs import tiny

from headcount.training.config import TrainError
from headcount.training.schedule import cosine, rate_factor, warmup
from headcount.training.trainer import Trainer


def factors(**settings) -> list[float]:
    """The factors of 12 steps, of a run of 6 steps with three steps per epoch."""
    return [rate_factor(tiny(**settings), step, total_steps=6, steps_per_epoch=3) for step in range(12)]


def test_schedules_by_hand():
    assert factors(schedule="constant", warmup=0) == [1.0] * 12
    assert factors(schedule="constant", warmup=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors(schedule="step", step_epochs=2, warmup=0) == pytest.approx([1.0] * 6 + [0.1] * 6)
    expected = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7)]
    assert factors(schedule="cosine", warmup=0)[:7] == pytest.approx(expected)
    assert factors(schedule="cosine", warmup=2)[0] == pytest.approx(0.5)
    assert expected[3] == pytest.approx(0.5) and expected[6] == 0
    tail = [rate_factor(tiny(schedule="tail", warmup=0), step, 10, 3) for step in (0, 8, 9, 10, 11)]
    assert tail == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])
    with pytest.raises(TrainError, match="unknown schedule 'linear': cosine, step, tail or constant"):
        factors(schedule="linear")


def test_the_parts_of_a_schedule_have_bounds():
    assert warmup(0, 0) == 1 and warmup(99, 100) == 1 and warmup(500, 100) == 1
    assert (cosine(0.0), cosine(1.0), cosine(7.0)) == (1.0, 0.0, 0.0)


def test_a_trainer_uses_the_schedule_of_its_recipe(data, tmp_path):
    trainer = Trainer(tiny(), data, tmp_path)
    assert (trainer.steps_per_epoch, trainer.progress.total) == (3, 6)
    trainer.progress.step = 4
    assert trainer.rate_factor() == rate_factor(tiny(), 4, 6, 3)


def test_the_length_of_a_run_may_be_given_in_epochs(data, tmp_path):
    trainer = Trainer(tiny(steps=0, epochs=4, crops_per_image=5), data, tmp_path)
    assert trainer.progress.total == 4 * 6 * 5 // 2

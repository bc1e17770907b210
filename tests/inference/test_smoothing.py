"""Smoothing of counts over time."""

from headcount.inference.smoothing import Smoother


def test_smoothing_is_the_mean_of_the_last_seconds():
    smoother = Smoother(2.0)
    assert smoother.delay == 1.0
    assert [smoother.add(t, n) for t, n in [(0, 10), (1, 20), (2, 30), (2.5, 40), (9, 100)]] == [10, 15, 25, 30, 100]

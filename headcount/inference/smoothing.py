"""Smoothing the counts of a video over time."""

from __future__ import annotations

from collections import deque


class Smoother:
    """The mean count over the last seconds.

    A jump of the count shows in full after `seconds`, and on average half of that late.

    Attributes:
        seconds: Length of the window.
        delay: Average delay in seconds.
    """

    def __init__(self, seconds: float):
        self.seconds, self.delay = seconds, seconds / 2
        self.window: deque[tuple[float, float]] = deque()

    def add(self, time: float, count: float) -> float:
        """Add the count at `time` seconds, later than all before, and return the mean."""
        self.window.append((time, count))
        while self.window[0][0] <= time - self.seconds:
            self.window.popleft()
        return sum(count for _, count in self.window) / len(self.window)

"""The chart of `headcount count --plot`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headcount._extras import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED_POINTS = 50  # series with fewer points show each one
CLOCK = 120.0  # seconds; longer videos have an axis in minutes and seconds


@dataclass
class Series:
    """Counts over time of one video, or of one region of it.

    Attributes:
        name: What the legend calls it.
        times: Seconds from the start of the video, (N,).
        counts: People, (N,).
        intervals: Lower and upper end of each count's interval, (N,2); empty without intervals.
        smoothed: The smoothed counts, (N,); empty without --smooth.
    """

    name: str
    times: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    intervals: list[tuple[float, float]] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)

    def add(
        self, time: float, count: float, interval: tuple[float, float] | None = None, smoothed: float | None = None
    ) -> None:
        """Add a frame. An interval of nan is left out."""
        self.times.append(time)
        self.counts.append(count)
        if interval and not math.isnan(interval[0]):
            self.intervals.append(interval)
        if smoothed is not None:
            self.smoothed.append(smoothed)


def write_chart(path: Path, series: list[Series], unit: str = "people") -> None:
    """Write a line chart of counts over time as a PNG file.

    Args:
        path: The file to write.
        series: What to draw. The first is a video, after which the chart is named.
        unit: What was counted.

    Raises:
        ValueError: If there is nothing to draw or matplotlib is not installed; one line.
    """
    if not series:
        raise ValueError(f"{path}: no frame was counted, so there is no chart")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(f"{path}: drawing a chart needs matplotlib: {install_hint('plot')}") from None
    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for one in series:
        draw(axes, one)
    set_time_axis(axes, max(one.times[-1] for one in series))
    axes.set(title=f"{unit.capitalize()} in {Path(series[0].name).name}", ylabel=unit, ylim=(0, None))
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize="small")
    figure.savefig(path)


def draw(axes: Axes, series: Series) -> None:
    """Draw the counts, the band of their intervals, and the smoothed counts on top."""
    marker = "." if len(series.times) < MARKED_POINTS else ""
    alpha = 0.5 if series.smoothed else 1.0
    [line] = axes.plot(series.times, series.counts, label=series.name, marker=marker, alpha=alpha)
    if len(series.intervals) == len(series.times):
        low, high = zip(*series.intervals, strict=True)
        label = f"{series.name}, interval"
        axes.fill_between(series.times, low, high, color=line.get_color(), alpha=0.15, linewidth=0, label=label)
    if series.smoothed:
        label = f"{series.name}, smoothed"
        axes.plot(series.times, series.smoothed, label=label, color=line.get_color(), linewidth=2.5)


def set_time_axis(axes: Axes, end: float) -> None:
    """Label the axis in seconds, or in minutes and seconds for longer videos."""
    from matplotlib.ticker import FuncFormatter

    if end < CLOCK:
        axes.set_xlabel("time (seconds)")
        return
    axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))
    axes.set_xlabel("time (minutes:seconds)")

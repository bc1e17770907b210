"""The chart of `headcount count --plot`."""

from __future__ import annotations

from pathlib import Path

from headcount._extras import install_hint

MARKED_POINTS = 50  # series with fewer points show each one


def write_chart(path: Path, series: dict[str, list[tuple[float, float]]]) -> None:
    """Write a line chart of people over time as a PNG file.

    Args:
        path: The file to write.
        series: For each name in the legend, the time in seconds and the count of each frame.

    Raises:
        ValueError: If there is nothing to draw or matplotlib is not installed; one line.
    """
    if not series:
        raise ValueError(f"{path}: no frame was counted, so there is no chart")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(f"{path}: drawing a chart needs matplotlib: {install_hint('plot')}") from None
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        times, counts = zip(*points, strict=True)
        axes.plot(times, counts, label=name, marker="." if len(points) < MARKED_POINTS else "")
    if max(time for points in series.values() for time, _ in points) >= 120:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))
        axes.set_xlabel("time (minutes:seconds)")
    else:
        axes.set_xlabel("time (seconds)")
    axes.set(ylabel="people", ylim=(0, None))
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize="small")
    figure.savefig(path)

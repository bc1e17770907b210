"""Density maps as images: overlays with a legend, rows of panels, contact sheets and bar charts."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.visualization.heatmap import downsample, overlay, resize_density
    from headcount.visualization.panels import bar_chart, contact_sheet, side_by_side

__all__ = ["bar_chart", "contact_sheet", "downsample", "overlay", "resize_density", "side_by_side"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bar_chart": "headcount.visualization.panels",
        "contact_sheet": "headcount.visualization.panels",
        "downsample": "headcount.visualization.heatmap",
        "overlay": "headcount.visualization.heatmap",
        "resize_density": "headcount.visualization.heatmap",
        "side_by_side": "headcount.visualization.panels",
    },
)

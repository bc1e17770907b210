"""Density maps as pictures: overlays with a legend, rows of panels, contact sheets and bar charts."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.visualization.heatmap import enlarge, overlay, reduce
    from headcount.visualization.panels import bar_chart, contact_sheet, side_by_side

__all__ = ["bar_chart", "contact_sheet", "enlarge", "overlay", "reduce", "side_by_side"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bar_chart": "headcount.visualization.panels",
        "contact_sheet": "headcount.visualization.panels",
        "enlarge": "headcount.visualization.heatmap",
        "overlay": "headcount.visualization.heatmap",
        "reduce": "headcount.visualization.heatmap",
        "side_by_side": "headcount.visualization.panels",
    },
)

"""Regions of an image that a user names, and the people in each of them, per square metre if the ground is known."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.regions.counting import RegionCount, count_regions
    from headcount.regions.drawing import draw_regions
    from headcount.regions.region import Region, RegionError, read_regions

__all__ = ["Region", "RegionCount", "RegionError", "count_regions", "draw_regions", "read_regions"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Region": "headcount.regions.region",
        "RegionCount": "headcount.regions.counting",
        "RegionError": "headcount.regions.region",
        "count_regions": "headcount.regions.counting",
        "draw_regions": "headcount.regions.drawing",
        "read_regions": "headcount.regions.region",
    },
)

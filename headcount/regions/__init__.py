"""Polygons that a user names in an image, and the people in each of them."""

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

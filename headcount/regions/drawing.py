"""Drawing regions and their counts on an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headcount.regions.counting import RegionCount, in_picture
from headcount.regions.region import Region

Box = tuple[int, int, int, int]  # left, top, width, height in pixels
LIGHT, ALARM = (255, 255, 255), (255, 92, 80)  # outlines and labels; of a region with too many people


# Drawing


def draw_regions(image: np.ndarray, counts: Sequence[RegionCount], regions: Sequence[Region]) -> np.ndarray:
    """A copy of the picture uint8 (H,W,3) with each region's outline, name, people and people per square metre.

    What is over its maximum is red and says so. Labels stand in their regions, or beside those that are smaller; one
    for which there is no room is left out. The corners where `heatmap.overlay` writes are kept free.
    """
    picture = np.ascontiguousarray(image).copy()
    height, width = picture.shape[:2]
    side = min(height, width)
    shapes = [in_picture(region, width, height) for region in regions]
    drawn = sorted(zip(counts, shapes, strict=True), key=lambda pair: (pair[0].over, pair[1].area))
    for count, shape in drawn:  # what is over comes last, on top
        draw_outline(picture, shape, ALARM if count.over else LIGHT)
    corner = round(0.45 * side), round(0.11 * side)  # wide, high: what the caption and the legend take
    taken: list[Box] = [(0, 0, *corner), (0, height - corner[1], *corner)]
    for count, shape in reversed(drawn):  # what is over, and then what is large, chooses its place first
        draw_label(picture, count, shape, taken)
    return picture


def draw_outline(picture: np.ndarray, shape: Any, colour: tuple[int, int, int]) -> None:
    """A light line over a dark one, which can be seen on anything."""
    import cv2
    import shapely

    from headcount.visualization.text import INK

    line = max(1, round(min(picture.shape[:2]) / 400))
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(shape))]
    fixed = [np.round((ring - 0.5) * 16).astype(np.int32) for ring in rings]  # pixel i's centre is at i + 0.5
    for tint, thickness in ((INK, 2 * line + 1), (colour, line)):
        cv2.polylines(picture, fixed, True, tint, thickness, cv2.LINE_AA, shift=4)


def draw_label(picture: np.ndarray, count: RegionCount, shape: Any, taken: list[Box]) -> None:
    """What is known of a region on a dark plate, at the first place that is not taken; less of it where none is."""
    import cv2

    from headcount.visualization.text import FONT, darken, draw_text, stroke_width

    height, width = picture.shape[:2]
    scale = max(min(height, width) / 1100, 0.36)
    stroke = stroke_width(scale)
    for lines in (label(count), label(count)[1:], [f"{count.count:,.0f}"]):
        sizes = [cv2.getTextSize(line, FONT, scale, stroke)[0] for line in lines]
        tall = max(h for _, h in sizes)
        gap = max(2, round(0.5 * tall))
        w, h = max(w for w, _ in sizes) + 2 * gap, (tall + gap) * len(lines) + gap
        for x, y in places(shape, w, h, gap):
            x, y = max(0, min(x, width - w)), max(0, min(y, height - h))
            if w > width or h > height or any(overlap((x, y, w, h), other) for other in taken):
                continue
            taken.append((x, y, w, h))
            darken(picture, x, y, w, h)
            for i, line in enumerate(lines):
                base = y + (tall + gap) * (i + 1)
                draw_text(picture, line, x + gap, base, scale, ALARM if count.over else LIGHT)
            return


def label(count: RegionCount) -> list[str]:
    """The lines of a label."""
    from headcount.visualization.text import ascii_only

    name = count.name if len(count.name) <= 24 else count.name[:21] + "..."
    people = f"{count.count:,.0f}"
    if count.per_square_metre is not None:
        people += f", {count.per_square_metre:.2g} per m2"
    return [ascii_only(name), people] + ([f"over {count.max:,.9g}"] if count.over else [])


def places(shape: Any, w: int, h: int, gap: int) -> list[tuple[int, int]]:
    """Where a label of w x h pixels may start, the best first: in the widest part of the region, else beside it."""
    import shapely

    left, top, right, bottom = shape.bounds
    widest = shapely.maximum_inscribed_circle(shape, tolerance=max(1.0, math.sqrt(shape.area) / 50))
    x, y = shapely.get_coordinates(widest)[0]  # a line from the circle's centre to its rim
    across, down = x - w / 2, y - h / 2
    beside = [(across, top - h - gap), (across, bottom + gap), (right + gap, down), (left - w - gap, down)]
    fits = widest.length > h / 2 and right - left > w and bottom - top > h
    order = [(across, down), *beside] if fits else [*beside, (across, down)]
    return [(round(x), round(y)) for x, y in order]


def overlap(one: Box, other: Box) -> bool:
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))

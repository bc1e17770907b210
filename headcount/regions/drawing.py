"""Drawing regions and their counts on an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from headcount.regions.counting import RegionCount, clip_to_image
from headcount.regions.region import Region

if TYPE_CHECKING:
    from shapely import MultiPolygon

Box: TypeAlias = tuple[int, int, int, int]  # left, top, width, height in pixels

LIGHT, ALARM = (255, 255, 255), (255, 92, 80)  # of outlines and labels: usually, and with too many people
MAX_NAME = 24  # characters


def draw_regions(image: np.ndarray, counts: Sequence[RegionCount], regions: Sequence[Region]) -> np.ndarray:
    """Draw each region's outline, name, people and people per square metre.

    Regions over their maximum are red and say so. A label is placed inside its region, or beside a small one, or left
    out if there is no space. The corners where `visualization.heatmap.overlay` writes are kept free.

    Args:
        image: uint8 (H,W,3); not changed.
        counts: What `count_regions` returned for the regions.
        regions: The regions.

    Returns:
        uint8 (H,W,3), a copy.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    side = min(height, width)
    shapes = [clip_to_image(region, width, height) for region in regions]
    by_urgency = sorted(zip(counts, shapes, strict=True), key=lambda pair: (pair[0].over, pair[1].area))
    for count, shape in by_urgency:  # regions over their maximum come last, on top
        draw_outline(drawn, shape, ALARM if count.over else LIGHT)
    corner_width, corner_height = round(0.45 * side), round(0.11 * side)  # of the overlay's caption and legend
    taken: list[Box] = [
        (0, 0, corner_width, corner_height),
        (0, height - corner_height, corner_width, corner_height),
    ]
    for count, shape in reversed(by_urgency):  # the most urgent, then the largest, choose their place first
        box = draw_label(drawn, count, shape, taken)
        if box:
            taken.append(box)
    return drawn


def draw_outline(image: np.ndarray, shape: MultiPolygon, color: tuple[int, int, int]) -> None:
    """Draw a light line over a wider dark one, in place: visible on any background."""
    import cv2
    import shapely

    from headcount.visualization.text import INK

    line = max(1, round(min(image.shape[:2]) / 400))
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(shape))]
    fixed = [np.round((ring - 0.5) * 16).astype(np.int32) for ring in rings]  # the centre of pixel i is i + 0.5
    for tint, thickness in ((INK, 2 * line + 1), (color, line)):
        cv2.polylines(image, fixed, True, tint, thickness, cv2.LINE_AA, shift=4)


def draw_label(image: np.ndarray, count: RegionCount, shape: MultiPolygon, taken: Sequence[Box]) -> Box | None:
    """Draw a region's label on a dark plate, in place, at the first position that is free.

    If the whole label fits nowhere, the name is left out, and then all but the count.

    Returns:
        The box that the label takes, or None if there is no space for any.
    """
    import cv2

    from headcount.visualization.text import FONT, darken, draw_text, stroke_width

    height, width = image.shape[:2]
    scale = max(min(height, width) / 1100, 0.36)
    lines = label_lines(count)
    for shown in (lines, lines[1:], [f"{count.count:,.0f}"]):
        sizes = [cv2.getTextSize(line, FONT, scale, stroke_width(scale))[0] for line in shown]
        line_height = max(h for _, h in sizes)
        gap = max(2, round(0.5 * line_height))
        w, h = max(w for w, _ in sizes) + 2 * gap, (line_height + gap) * len(shown) + gap
        if w > width or h > height:
            continue
        for x, y in label_positions(shape, w, h, gap):
            box = max(0, min(x, width - w)), max(0, min(y, height - h)), w, h
            if any(overlap(box, other) for other in taken):
                continue
            left, top = box[:2]
            darken(image, *box)
            for i, line in enumerate(shown, 1):
                baseline = top + (line_height + gap) * i
                draw_text(image, line, left + gap, baseline, scale, ALARM if count.over else LIGHT)
            return box
    return None


def label_lines(count: RegionCount) -> list[str]:
    """Return the lines of a region's label: its name, its people, and its maximum if it is exceeded."""
    from headcount.visualization.text import ascii_only

    name = count.name if len(count.name) <= MAX_NAME else count.name[: MAX_NAME - 3] + "..."
    people = f"{count.count:,.0f}"
    if count.per_square_metre is not None:
        people += f", {count.per_square_metre:.2g} per m2"
    lines = [ascii_only(name), people]
    if count.over:
        lines.append(f"over {count.max:,.9g}")
    return lines


def label_positions(shape: MultiPolygon, w: int, h: int, gap: int) -> list[tuple[int, int]]:
    """Return where a label of w x h pixels may start, best first.

    The best place is the widest part of the region, or beside the region if the label does not fit inside.
    """
    import shapely

    left, top, right, bottom = shape.bounds
    radius = shapely.maximum_inscribed_circle(shape, tolerance=max(1.0, math.sqrt(shape.area) / 50))
    x, y = shapely.get_coordinates(radius)[0]  # a line from the circle's centre to its rim
    across, down = x - w / 2, y - h / 2
    beside = [(across, top - h - gap), (across, bottom + gap), (right + gap, down), (left - w - gap, down)]
    fits = radius.length > h / 2 and right - left > w and bottom - top > h
    order = [(across, down), *beside] if fits else [*beside, (across, down)]
    return [(round(x), round(y)) for x, y in order]


def overlap(a: Box, b: Box) -> bool:
    """Tell whether two boxes share a pixel."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]

"""Regions: the people in each polygon that a user names in the picture, per square metre, and too many of them.

What is unusual: people are shared out by exact area. A density cell that a region's outline cuts gives it the part of
its people that the cell has of its area inside, so regions that partition the picture sum to the count. Where a region
lies on the ground is told by four points: the homography through them turns its outline into square metres.
Coordinates are continuous: pixel i covers [i, i+1), y goes down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .outlines import Region, RegionError, homography, project
from .outlines import parse_regions as parse_regions  # both are defined below this room, part of its interface
from .outlines import read_regions as read_regions

if TYPE_CHECKING:
    from shapely import MultiPolygon

Box = tuple[int, int, int, int]  # left, top, width, height in pixels
BLOCK = 16  # cells a side that are tested as one: most of a picture is far from any outline
SLIVER = 1e-3  # of a cell: what one that rounding put beyond the picture's edge keeps of the picture
FAR = 1e-3  # how near the horizon a region may reach: 1000 times as far as the farthest of its four ground points
LIGHT, ALARM = (255, 255, 255), (255, 92, 80)  # outlines and labels; of a region with too many people


@dataclass(frozen=True)
class RegionCount:
    """The people counted in one region. area: square metres, None where it is not known, as `per_square_metre` then
    is. max: the region's own. over: more people than that."""

    name: str
    count: float
    area: float | None = None
    per_square_metre: float | None = None
    max: float | None = None
    over: bool = False

    def to_dict(self) -> dict[str, Any]:
        """name, count, area, per_square_metre, max, over, ready for JSON; None for what is not known."""
        return {
            "name": self.name,
            "count": round(self.count, 2),
            "area": None if self.area is None else round(self.area, 2),
            "per_square_metre": None if self.per_square_metre is None else round(self.per_square_metre, 4),
            "max": self.max,
            "over": self.over,
        }


# Counting


def count_regions(
    regions: Sequence[Region], density: np.ndarray, stride: float, width: int, height: int
) -> tuple[RegionCount, ...]:
    """The people in each region of a picture of width x height pixels.

    density: float32 (h,w), people per cell; stride: pixels of the picture per cell. The last cells may reach past the
    picture's edge: their people are in the part of them that is in the picture. So is a region that reaches past it,
    and its area on the ground; an `area` that the user states is taken as it is.

    Raises RegionError: one line, for a region wholly outside the picture, or on the ground as far as the horizon.
    """
    h, w = density.shape
    counts = []
    planned = plan(tuple(regions), h, w, stride, width, height)
    for region, (rows, columns, part, area) in zip(regions, planned, strict=True):
        people = float((density[rows, columns] * part).sum(dtype=np.float64))
        per_square_metre = None if area is None else people / area
        over = region.max is not None and people > region.max
        counts.append(RegionCount(region.name, people, area, per_square_metre, region.max, over))
    return tuple(counts)


@lru_cache(maxsize=8)
def plan(
    regions: tuple[Region, ...], h: int, w: int, stride: float, width: int, height: int
) -> tuple[tuple[slice, slice, np.ndarray, float | None], ...]:
    """What does not change from frame to frame, for each region: its `weights`, and its area in square metres."""
    planned = []
    for region in regions:
        polygon = in_picture(region, width, height)
        area = region.area if region.ground is None else ground_area(region, polygon, width, height)
        planned.append((*weights(polygon, h, w, stride, width, height), area))
    return tuple(planned)


def in_picture(region: Region, width: int, height: int) -> MultiPolygon:
    """The part of a region that is in a picture of this size, in its pixels."""
    import shapely

    polygon = region.polygon
    if region.fractions:
        polygon = shapely.transform(polygon, lambda corners: corners * (width, height))
    parts = shapely.get_parts(shapely.intersection(polygon, shapely.box(0, 0, width, height)))
    parts = [part for part in parts if part.area > 0]  # where it only touches the edge, there are lines
    if not parts:
        left, top, right, bottom = (f"{bound:g}" for bound in polygon.bounds)
        raise RegionError(
            f'region "{region.name}": is at x {left} to {right}, y {top} to {bottom}, outside the picture of'
            f" {width}x{height}; give its pixels, y down, or fractions, which fit any size"
        )
    return shapely.MultiPolygon(parts)


def weights(polygon: Any, h: int, w: int, stride: float, width: int, height: int) -> tuple[slice, slice, np.ndarray]:
    """(rows, columns, part) of a map (h,w): part float32 (m,n), 0..1, is how much of each cell there is
    inside a polygon that is itself inside the picture; the other cells are outside it.

    Cells are looked at in blocks first, and only those on the outline are intersected with it: 30 ms for a large
    region of a 4K picture.
    """
    import shapely

    left, top, right, bottom = polygon.bounds
    columns, x0, x1 = cells_between(left, right, w, stride, width)
    rows, y0, y1 = cells_between(top, bottom, h, stride, height)
    m, n = len(y0), len(x0)
    if not m or not n:
        return rows, columns, np.zeros((m, n), np.float32)
    shapely.prepare(polygon)
    v, u = np.arange(0, m, BLOCK), np.arange(0, n, BLOCK)  # the first cell of each block
    v1, u1 = np.minimum(v + BLOCK, m) - 1, np.minimum(u + BLOCK, n) - 1  # and the last
    blocks = shapely.box(x0[u], y0[v][:, None], x1[u1], y1[v1][:, None])
    inside, cut = compare(polygon, blocks)
    part = inside.repeat(BLOCK, 0).repeat(BLOCK, 1)[:m, :n].astype(np.float32)
    i, j = np.nonzero(cut.repeat(BLOCK, 0).repeat(BLOCK, 1)[:m, :n])
    cells = shapely.box(x0[j], y0[i], x1[j], y1[i])
    part[i, j], edge = compare(polygon, cells)
    i, j, cells = i[edge], j[edge], cells[edge]
    pieces = np.full(blocks.shape, None)  # of the polygon in a block: quicker to intersect than all of an ornate one
    pieces[cut] = shapely.intersection(polygon, blocks[cut])
    part[i, j] = shapely.area(shapely.intersection(pieces[i // BLOCK, j // BLOCK], cells)) / shapely.area(cells)
    return rows, columns, part


def cells_between(
    low: float, high: float, cells: int, stride: float, length: int
) -> tuple[slice, np.ndarray, np.ndarray]:
    """Along one axis, the cells that reach into [low, high], and where each starts and ends, clipped to the picture."""
    index = np.arange(cells)
    starts = np.minimum(index * stride, length - SLIVER * min(stride, length))
    ends = np.minimum((index + 1) * stride, length)
    chosen = slice(int(np.searchsorted(ends, low, "right")), int(np.searchsorted(starts, high, "left")))
    return chosen, starts[chosen], ends[chosen]


def compare(polygon: Any, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(inside, cut) for each box: wholly within a prepared polygon, or touched by its outline."""
    import shapely

    inside = shapely.contains_properly(polygon, boxes)
    return inside, shapely.intersects(polygon, boxes) & ~inside


def ground_area(region: Region, polygon: Any, width: int, height: int) -> float:
    """Square metres of `polygon`, the part of the region in the picture, on the plane through its four ground points.

    A homography maps straight edges to straight edges, so the mapped corners are all of it.
    """
    import shapely

    pairs = np.asarray(region.ground, np.float64)  # (4,2,2)
    if region.fractions:
        pairs[:, 0] *= (width, height)
    matrix = homography(pairs)
    nearest = FAR * project(matrix, pairs[:, 0])[1].min()
    if (project(matrix, shapely.get_coordinates(polygon))[1] < nearest).any():
        raise RegionError(
            f'region "{region.name}": reaches the horizon of its ground points, where no area is known;'
            " end it nearer to the camera, check the four points, or state its area"
        )
    return float(shapely.transform(polygon, lambda corners: project(matrix, corners)[0]).area)


# Columns of a table


def regions_columns(regions: Sequence[Region]) -> list[str]:
    """The columns that `regions_row` fills: no name of a region can make two of them one, or one of another table's."""
    columns = []
    for region in regions:
        columns.append(f"region: {region.name}")
        columns += [f"region per m2: {region.name}"] * region.knows_area
        columns += [f"region over: {region.name}"] * (region.max is not None)
    return columns


def regions_row(counts: Sequence[RegionCount]) -> dict[str, float]:
    """`regions_columns` to numbers: people, people per square metre where known, and 1 or 0 for over where there is a
    maximum."""
    row: dict[str, float] = {}
    for count in counts:
        row[f"region: {count.name}"] = round(count.count, 2)
        if count.per_square_metre is not None:
            row[f"region per m2: {count.name}"] = round(count.per_square_metre, 4)
        if count.max is not None:
            row[f"region over: {count.name}"] = int(count.over)
    return row


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

    from .heatmap import INK

    line = max(1, round(min(picture.shape[:2]) / 400))
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(shape))]
    fixed = [np.round((ring - 0.5) * 16).astype(np.int32) for ring in rings]  # pixel i's centre is at i + 0.5
    for tint, thickness in ((INK, 2 * line + 1), (colour, line)):
        cv2.polylines(picture, fixed, True, tint, thickness, cv2.LINE_AA, shift=4)


def draw_label(picture: np.ndarray, count: RegionCount, shape: Any, taken: list[Box]) -> None:
    """What is known of a region on a dark plate, at the first place that is not taken; less of it where none is."""
    import cv2

    from .heatmap import FONT, darken, draw_text, stroke_width

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
    from .heatmap import ascii_only

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

"""Regions: the people in each polygon that a user names in the picture, per square metre, and too many of them.

What is unusual: people are shared out by exact area. A density cell that a region's outline cuts gives it the part of
its people that the cell has of its area inside, so regions that partition the picture sum to the count. Where a region
lies on the ground is told by four points: the homography through them turns its outline into square metres.
Coordinates are continuous: pixel i covers [i, i+1), y goes down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from headcount.regions.region import Region, RegionError, homography, project

if TYPE_CHECKING:
    from shapely import MultiPolygon

BLOCK = 16  # cells a side that are tested as one: most of a picture is far from any outline
SLIVER = 1e-3  # of a cell: what one that rounding put beyond the picture's edge keeps of the picture
FAR = 1e-3  # how near the horizon a region may reach: 1000 times as far as the farthest of its four ground points


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

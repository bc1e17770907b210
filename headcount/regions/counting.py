"""Counting the people in regions, in total and per square metre.

People are divided by exact area: a density cell that an outline cuts gives the region the share of its people that lies
inside, so regions that partition the image sum to the count. For the ground area, a homography through known points
maps the outline to metres. Coordinates are continuous: pixel i covers [i, i+1), and y points down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from headcount.regions.ground import homography, project
from headcount.regions.region import Region, RegionError

if TYPE_CHECKING:
    from shapely import MultiPolygon

BLOCK = 16  # cells per side that are tested together, since most of an image is far from any outline
MIN_CELL = 1e-3  # share of a cell that stays in the image, even if rounding puts all of it beyond the edge
MIN_W = 1e-3  # share of the lowest w of the ground points: regions may extend 1000 times as far as the farthest point


@dataclass(frozen=True)
class RegionCount:
    """The people counted in a region.

    Attributes:
        name: The region's name.
        count: People, not rounded.
        area: Square metres, None if unknown.
        per_square_metre: People per square metre, None if the area is unknown.
        max: The region's maximum, None if it has none.
        over: There are more people than `max`.
        low: Lower end of the interval, in people; None if there is no interval.
        high: Upper end of the interval.
    """

    name: str
    count: float
    area: float | None = None
    per_square_metre: float | None = None
    max: float | None = None
    over: bool = False
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, str | float | bool | None]:
        """Return the attributes by name for JSON, with rounded numbers; the interval only if there is one."""
        row: dict[str, str | float | bool | None] = {
            "name": self.name,
            "count": round(self.count, 2),
            "area": None if self.area is None else round(self.area, 2),
            "per_square_metre": None if self.per_square_metre is None else round(self.per_square_metre, 4),
            "max": self.max,
            "over": self.over,
        }
        if self.low is not None and self.high is not None:
            row |= {"low": round(self.low, 2), "high": round(self.high, 2)}
        return row


class CellWeights(NamedTuple):
    """How much of each cell of a density map is inside a region.

    Attributes:
        rows: The m rows that the region touches.
        columns: The n columns that the region touches.
        weights: float32 (m,n) in 0..1.
    """

    rows: slice
    columns: slice
    weights: np.ndarray


Bounds: TypeAlias = "Callable[[float, CellWeights], tuple[float, float]]"  # of a count; nan if there are none

# Counting


def count_regions(
    regions: Sequence[Region],
    density: np.ndarray,
    stride: float,
    width: int,
    height: int,
    bounds: Bounds | None = None,
) -> tuple[RegionCount, ...]:
    """Count the people in each region of an image.

    Only the part of a region inside the image counts, for its people and for its area on the ground. An `area` that
    the user states is taken as it is.

    Args:
        regions: The regions.
        density: float32 (h,w), people per cell.
        stride: Pixels of the image per cell. The last cells may extend past the edge of the image; their people are
            in the part inside.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        bounds: Gives the interval of a region's count.

    Returns:
        One count per region.

    Raises:
        RegionError: If a region is entirely outside the image, or extends to the horizon of its ground points.
    """
    h, w = density.shape
    counts = []
    planned = plan_regions(tuple(regions), h, w, stride, width, height)
    for region, (cells, area) in zip(regions, planned, strict=True):
        people = float((density[cells.rows, cells.columns] * cells.weights).sum(dtype=np.float64))
        per_square_metre = None if area is None else people / area
        over = region.max is not None and people > region.max
        ends = [None if math.isnan(end) else end for end in bounds(people, cells)] if bounds else []
        counts.append(RegionCount(region.name, people, area, per_square_metre, region.max, over, *ends))
    return tuple(counts)


@lru_cache(maxsize=8)
def plan_regions(
    regions: tuple[Region, ...], h: int, w: int, stride: float, width: int, height: int
) -> tuple[tuple[CellWeights, float | None], ...]:
    """Compute what stays the same from frame to frame: each region's weights, and its area in square metres."""
    planned = []
    for region in regions:
        polygon = clip_to_image(region, width, height)
        area = region.area if region.ground is None else ground_area(region, polygon, width, height)
        planned.append((cell_weights(polygon, h, w, stride, width, height), area))
    return tuple(planned)


def clip_to_image(region: Region, width: int, height: int) -> MultiPolygon:
    """Return the part of a region inside an image of this size, in pixels."""
    import shapely

    polygon = region.polygon
    if region.fractions:
        polygon = shapely.transform(polygon, lambda corners: corners * (width, height))
    parts = shapely.get_parts(shapely.intersection(polygon, shapely.box(0, 0, width, height)))
    parts = [part for part in parts if part.area > 0]  # a polygon that only touches the edge leaves lines
    if not parts:
        left, top, right, bottom = (f"{bound:g}" for bound in polygon.bounds)
        raise RegionError(
            f'region "{region.name}": is at x {left} to {right}, y {top} to {bottom}, outside the image of'
            f" {width}x{height}; give its pixels, y down, or fractions, which fit any size"
        )
    return shapely.MultiPolygon(parts)


def cell_weights(polygon: MultiPolygon, h: int, w: int, stride: float, width: int, height: int) -> CellWeights:
    """Compute how much of each cell of a map (h,w) is inside a polygon.

    Cells are first tested in blocks, and only cells on the outline are intersected with it. A large region of a 4K
    image takes 30 ms.

    Args:
        polygon: A prepared or plain polygon inside the image, in pixels.
        h: Rows of the map.
        w: Columns of the map.
        stride: Pixels per cell.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The weights of the cells that the polygon's bounding box touches; all others are 0.
    """
    import shapely

    left, top, right, bottom = polygon.bounds
    columns, x0, x1 = cells_between(left, right, w, stride, width)
    rows, y0, y1 = cells_between(top, bottom, h, stride, height)
    m, n = len(y0), len(x0)
    if not m or not n:
        return CellWeights(rows, columns, np.zeros((m, n), np.float32))
    shapely.prepare(polygon)
    v, u = np.arange(0, m, BLOCK), np.arange(0, n, BLOCK)  # the first cell of each block
    v1, u1 = np.minimum(v + BLOCK, m) - 1, np.minimum(u + BLOCK, n) - 1  # and its last
    blocks = shapely.box(x0[u], y0[v][:, None], x1[u1], y1[v1][:, None])
    inside, cut = classify(polygon, blocks)
    weights = inside.repeat(BLOCK, 0).repeat(BLOCK, 1)[:m, :n].astype(np.float32)
    i, j = np.nonzero(cut.repeat(BLOCK, 0).repeat(BLOCK, 1)[:m, :n])
    cells = shapely.box(x0[j], y0[i], x1[j], y1[i])
    weights[i, j], edge = classify(polygon, cells)
    i, j, cells = i[edge], j[edge], cells[edge]
    pieces = np.full(blocks.shape, None)  # the polygon within each block: faster to intersect than an ornate whole
    pieces[cut] = shapely.intersection(polygon, blocks[cut])
    weights[i, j] = shapely.area(shapely.intersection(pieces[i // BLOCK, j // BLOCK], cells)) / shapely.area(cells)
    return CellWeights(rows, columns, weights)


def cells_between(
    low: float, high: float, cells: int, stride: float, length: int
) -> tuple[slice, np.ndarray, np.ndarray]:
    """Find the cells along one axis that overlap [low, high].

    Returns:
        The cells, and where each starts and ends in pixels, clipped to the `length` of the image.
    """
    index = np.arange(cells)
    starts = np.minimum(index * stride, length - MIN_CELL * min(stride, length))
    ends = np.minimum((index + 1) * stride, length)
    chosen = slice(int(np.searchsorted(ends, low, "right")), int(np.searchsorted(starts, high, "left")))
    return chosen, starts[chosen], ends[chosen]


def classify(polygon: MultiPolygon, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which boxes are entirely within a prepared polygon, and which ones its outline cuts."""
    import shapely

    inside = shapely.contains_properly(polygon, boxes)
    return inside, shapely.intersects(polygon, boxes) & ~inside


def ground_area(region: Region, polygon: MultiPolygon, width: int, height: int) -> float:
    """Return the square metres of `polygon`, the part of a region inside the image, by the region's ground points.

    A homography maps straight edges to straight edges, so mapping the corners is exact.
    """
    import shapely

    pairs = np.asarray(region.ground, np.float64)  # (N,2,2)
    if region.fractions:
        pairs[:, 0] *= (width, height)
    matrix = homography(pairs)
    lowest_w = MIN_W * project(matrix, pairs[:, 0])[1].min()
    if (project(matrix, shapely.get_coordinates(polygon))[1] < lowest_w).any():
        raise RegionError(
            f'region "{region.name}": reaches the horizon of its ground points, where no area is known;'
            " end it nearer to the camera, check the points, or state its area"
        )
    return float(shapely.transform(polygon, lambda corners: project(matrix, corners)[0]).area)


# Columns of a table


def regions_columns(regions: Sequence[Region]) -> list[str]:
    """Return the columns that `regions_row` fills.

    Their prefixes keep any name of a region from colliding with another column.
    """
    columns = []
    for region in regions:
        columns.append(f"region: {region.name}")
        if region.knows_area:
            columns.append(f"region per m2: {region.name}")
        if region.max is not None:
            columns.append(f"region over: {region.name}")
    return columns


def regions_row(counts: Sequence[RegionCount]) -> dict[str, float]:
    """Return a row of `regions_columns`: people, people per square metre if known, and 1 or 0 for over if limited."""
    row: dict[str, float] = {}
    for count in counts:
        row[f"region: {count.name}"] = round(count.count, 2)
        if count.per_square_metre is not None:
            row[f"region per m2: {count.name}"] = round(count.per_square_metre, 4)
        if count.max is not None:
            row[f"region over: {count.name}"] = int(count.over)
    return row

"""Regions as a user writes them, our JSON or GeoJSON, read and checked.

Unusual: this is the floor under regions.py, which counts in them. A region is checked when it is made, not when it is
read, so one made in Python is as sound as one from a file; every complaint names it, and `read_regions` adds the file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

Point = tuple[float, float]
KEYS = ("name", "polygon", "units", "max", "area", "ground")  # of a region; in GeoJSON all but polygon are properties
UNITS = ("pixels", "fractions")
LARGEST_FILE = 5_000_000  # bytes; outlines drawn by hand have a thousandth of it
STRAIGHT = 1e-3  # three points are in a line if their triangle is lower than this much of its longest side


class RegionError(ValueError):
    """A region that cannot be used: which file and region, what is wrong, what to do; one line."""


@dataclass(frozen=True)
class Region:
    """A part of the picture with a name.

    polygon: shapely's, holes allowed, in pixels of the picture, or, with `fractions`, in fractions 0..1 of its width
    and height. area: square metres, where the user states them. ground: four pairs ((x, y) in the picture, in the
    polygon's units, (X, Y) in metres on the ground), from which the area follows; not both. max: people above which
    the region is over.

    Raises RegionError: one line, for an outline, a point or a number that makes no sense.
    """

    name: str
    polygon: Polygon | MultiPolygon
    fractions: bool = False
    area: float | None = None
    ground: tuple[tuple[Point, Point], ...] | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f'region "{self.name}"'
        for key in ("area", "max"):
            value = getattr(self, key)
            if value is not None and not (is_number(value) and value > 0):
                raise RegionError(f"{where}: {key} is {brief(value)}; give a number above 0")
        if self.area is not None and self.ground is not None:
            raise RegionError(f"{where}: has both area and ground, which would give two areas; keep one")
        check_outline(self.polygon, self.fractions, where)
        if self.ground is not None:
            check_ground(self.ground, self.fractions, where)

    @property
    def knows_area(self) -> bool:
        return self.area is not None or self.ground is not None


# Reading


def read_regions(path: str | Path) -> list[Region]:
    """Read regions from a file of ours or from GeoJSON in pixels with y down: a FeatureCollection, a Feature, or a bare
    geometry, which has the file's name. Which of them it is, is seen from the content.

    Ours: {"regions": [{"name": "stage", "polygon": [[x, y], ...], "units": "pixels" or "fractions", "max": people,
    "area": square metres, "ground": {"picture": [[x, y] x 4], "metres": [[X, Y] x 4]}}, ...]}; a name and a polygon
    are enough. In GeoJSON the same keys are properties.

    Raises RegionError: one line, for a file that is not that, and for any region in it that cannot be used.
    """
    path = Path(path).expanduser()
    try:
        with open(path, "rb") as stream:
            return parse_regions(stream.read(LARGEST_FILE + 1), path.stem)
    except OSError as error:
        raise RegionError(f"{path}: cannot be read ({error.strerror or error}); give a file of regions") from None
    except RegionError as error:
        raise RegionError(f"{path}: {error}") from None


def parse_regions(content: bytes, stem: str = "region") -> list[Region]:
    """The regions in the content of a file, as `read_regions`; `stem` names a bare geometry. Raises RegionError."""
    regions = [parse_region(number, *entry) for number, entry in enumerate(parse_file(load(content), stem), 1)]
    names = [region.name for region in regions]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RegionError(f'two regions are named "{twice}"; give each a name of its own')
    return regions


def load(content: bytes) -> Any:
    """The JSON in the content of a file."""
    if len(content) > LARGEST_FILE:
        raise RegionError(f"is larger than {LARGEST_FILE / 1e6:.0f} MB; give outlines with fewer corners")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, a number of 5000 digits
        raise RegionError(f"is not JSON ({error}); correct it there") from None


def parse_file(data: Any, stem: str) -> list[tuple[Any, dict]]:
    """(GeoJSON geometry, the other keys) for each region of a file of either format."""
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(data, dict) and "regions" in data:
        if unknown := set(data) - {"regions"}:
            raise RegionError(f"unknown key {listed(unknown)} beside regions; remove it")
        return [split_entry(entry) for entry in some(data["regions"], "regions")]
    if kind == "FeatureCollection":
        return [split_feature(feature) for feature in some(data.get("features"), "features")]
    if kind == "Feature":
        return [split_feature(data)]
    if kind in ("Polygon", "MultiPolygon"):
        return [(data, {"name": stem})]
    shape = '{"regions": [{"name": "stage", "polygon": [[x, y], ...]}]}'
    raise RegionError(f"must be {shape}, or GeoJSON with Polygons or MultiPolygons; correct it")


def some(value: Any, key: str) -> list[dict]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise RegionError(f"{key} must be a list of one region or more, each {{...}}; correct it")
    return value


def split_entry(entry: dict) -> tuple[Any, dict]:
    """A region of ours is a GeoJSON polygon without holes."""
    geometry = {"type": "Polygon", "coordinates": [entry["polygon"]]} if "polygon" in entry else None
    return geometry, {key: value for key, value in entry.items() if key != "polygon"}


def split_feature(feature: dict) -> tuple[Any, dict]:
    properties = feature.get("properties")
    return feature.get("geometry"), properties if isinstance(properties, dict) else {}


def parse_region(number: int, geometry: Any, facts: dict) -> Region:
    """One region, the `number`th of its file."""
    facts = {key: value for key, value in facts.items() if value is not None}  # editors write null for "not set"
    if "name" not in facts:
        raise RegionError(f'region {number}: has no name; give it one, "name": "stage"')
    check_name(facts["name"])
    where = f'region "{facts["name"]}"'
    if unknown := set(facts) - (set(KEYS) - {"polygon"}):
        raise RegionError(f"{where}: unknown key {listed(unknown)}; known: {', '.join(KEYS)}")
    units = facts.get("units", "pixels")
    if units not in UNITS:
        raise RegionError(f"{where}: units are {brief(units)}; give {' or '.join(UNITS)}")
    polygon = parse_polygon(geometry, where)
    ground = parse_ground(facts["ground"], where) if "ground" in facts else None
    return Region(facts["name"], polygon, units == "fractions", facts.get("area"), ground, facts.get("max"))


def parse_polygon(geometry: Any, where: str) -> Any:
    """A GeoJSON geometry as shapely's; heights above the ground are dropped."""
    import shapely
    from shapely.geometry import shape

    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        found = f" but a {kind}" if isinstance(kind, str) else ""
        raise RegionError(f"{where}: has no polygon{found[:30]}; give it one, of three corners or more")
    try:
        coordinates = geometry["coordinates"]
        wrong = [leaf for leaf in leaves(coordinates) if not is_number(leaf)]
        rings = coordinates if kind == "Polygon" else list(itertools.chain.from_iterable(coordinates))
        fewest = min(len({tuple(corner) for corner in ring}) for ring in rings)
        polygon = shapely.force_2d(shape(geometry)) if not wrong and fewest > 2 else None
    except Exception:  # shapely raises a dozen kinds for what is not nested as it should be
        nested = "[[x, y], ...]" if kind == "Polygon" else "[[[[x, y], ...]], ...]"
        raise RegionError(f"{where}: its polygon is not a list of corners {nested}; correct it") from None
    if wrong:
        raise RegionError(f"{where}: a corner has {brief(wrong[0])}; give x and y, two finite numbers")
    if polygon is None:
        raise RegionError(f"{where}: an outline has {fewest} different corners; give at least 3")
    return polygon


def parse_ground(ground: Any, where: str) -> tuple[tuple[Point, Point], ...]:
    """{"picture": four points, "metres": four points} as four pairs."""
    if not isinstance(ground, dict) or set(ground) != {"picture", "metres"}:
        raise RegionError(f'{where}: ground must be {{"picture": [[x, y] x 4], "metres": [[X, Y] x 4]}}; correct it')
    for plane, points in ground.items():
        if not isinstance(points, list) or len(points) != 4 or not all(map(is_point, points)):
            raise RegionError(f"{where}: ground: {plane} must be four points [x, y] of finite numbers; correct it")
    pairs = zip(ground["picture"], ground["metres"], strict=True)
    return tuple(((float(x), float(y)), (float(east), float(north))) for (x, y), (east, north) in pairs)


def leaves(value: Any) -> Iterator[Any]:
    """What is in lists of lists, however deep."""
    if not isinstance(value, list):
        yield value
        return
    for inner in value:
        yield from leaves(inner)


def is_number(value: Any) -> bool:
    """A finite number, and not one that only a mistake can write."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(-1e12 < value < 1e12)  # nan is not


def is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def listed(keys: set[str]) -> str:
    return ", ".join(brief(key) for key in sorted(keys)[:5])


# Checking


def check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise RegionError(f"a region's name is {brief(name)}; give it one that can be printed on a line")


def check_outline(polygon: Any, fractions: bool, where: str) -> None:
    """RegionError for a polygon that is none, crosses itself, or is in the other units."""
    import shapely

    if not isinstance(polygon, (shapely.Polygon, shapely.MultiPolygon)) or polygon.is_empty:
        raise RegionError(f"{where}: give a shapely Polygon or MultiPolygon that is not empty, not {brief(polygon)}")
    corners = shapely.get_coordinates(polygon)  # (N,2)
    if not np.isfinite(corners).all():
        raise RegionError(f"{where}: a corner is not two finite numbers; correct it")
    check_units(corners, fractions, where)
    reason = shapely.is_valid_reason(polygon)  # such as Self-intersection[50 50]
    if reason != "Valid Geometry":
        what, _, at = reason.partition("[")
        at = f" at {spell(at.rstrip(']').split())}" if at else ""
        raise RegionError(f"{where}: bad outline, {what.lower()}{at}; let no edges cross and holes lie within")


def check_units(points: np.ndarray, fractions: bool, where: str) -> None:
    """RegionError where points (N,2) of the picture are not in fractions, or as good as certainly are."""
    outside = points[((points < 0) | (points > 1)).any(1)]
    if fractions and len(outside):
        raise RegionError(f"{where}: {spell(outside[0])} is not within 0 and 1, as fractions are; did you mean pixels?")
    if not fractions and not len(outside):
        raise RegionError(f'{where}: is all in one pixel; did you mean fractions? Then say "units": "fractions"')


def check_ground(ground: tuple, fractions: bool, where: str) -> None:
    """RegionError for four pairs of points that make no plane."""
    where = f"{where}: ground"
    pairs = np.asarray(ground, np.float64)
    if pairs.shape != (4, 2, 2) or not np.isfinite(pairs).all():
        raise RegionError(f"{where}: must be four pairs ((x, y), (X, Y)) of finite numbers; correct it")
    check_units(pairs[:, 0], fractions, where)
    for side, plane in enumerate(("picture", "metres")):
        for three in itertools.combinations(range(4), 3):
            if in_line(pairs[list(three), side]):
                numbers = ", ".join(str(i + 1) for i in three)
                raise RegionError(f"{where}: points {numbers} of {plane} are in a line; choose others")
    try:
        in_order = bool((project(homography(pairs), pairs[:, 0])[1] > 0).all())
    except np.linalg.LinAlgError:
        in_order = False
    if not in_order:
        raise RegionError(f"{where}: picture and metres go through the four points in different orders; use one order")


def in_line(points: np.ndarray) -> bool:
    """Whether three points (3,2) are as good as in a line, or two of them in one place."""
    sides = points - np.roll(points, 1, axis=0)
    twice_area = abs(sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0])
    return bool(twice_area <= STRAIGHT * (sides**2).sum(1).max())


def spell(point: Any) -> str:
    x, y = (f"{float(value):g}" for value in point)
    return f"({x}, {y})"


# The ground


def homography(pairs: np.ndarray) -> np.ndarray:
    """float64 (3,3): from the picture to metres from the middle of the four points; `pairs` (4,2,2) as in a Region.

    Scaled so that w, the third coordinate, is 1 in the middle of the four points of the picture, and so above 0 on
    their side of the horizon. LinAlgError where there is none.
    """
    middle, size = pairs[:, 0].mean(0), pairs[:, 0].std()
    x, y = ((pairs[:, 0] - middle) / size).T  # near 1, and metres near 0: map coordinates would lose the digits
    east, north = (pairs[:, 1] - pairs[:, 1].mean(0)).T
    zero, one = np.zeros(4), np.ones(4)
    to_east = np.stack([x, y, one, zero, zero, zero, -x * east, -y * east], 1)
    to_north = np.stack([zero, zero, zero, x, y, one, -x * north, -y * north], 1)
    solved = np.linalg.solve(np.vstack([to_east, to_north]), np.concatenate([east, north]))
    to_middle = np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1]])
    return np.append(solved, 1).reshape(3, 3) @ to_middle


def project(matrix: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N,2) of the picture on the ground: (metres (N,2), w (N,)); metres mean nothing where w is not above 0."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return mapped[:, :2] / mapped[:, 2:], mapped[:, 2]

"""Regions as a user writes them, in our JSON or in GeoJSON.

A region is checked when it is created, so one made in Python is as sound as one from a file. Every error names the
region, and `read_regions` adds the file.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headcount.regions.ground import collinear_triples, has_four_without, homography, project

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

Point: TypeAlias = tuple[float, float]
PointPair: TypeAlias = tuple[Point, Point]  # in the image, on the ground
Json: TypeAlias = Any  # decoded, but not checked yet

KEYS = ("name", "polygon", "units", "max", "area", "ground")  # in GeoJSON, all but the polygon are properties
UNITS = ("pixels", "fractions")
PLANES = ("image", "metres")
MAX_FILE_BYTES = 5_000_000  # outlines drawn by hand take a thousandth of it
MAX_NAME_LENGTH = 200  # characters
MIN_GROUND_POINTS, MAX_GROUND_POINTS = 4, 20


class RegionError(ValueError):
    """A region that cannot be used.

    The message is one line: the file, the region, what is wrong, and what to do.
    """


@dataclass(frozen=True)
class Region:
    """A named part of the image.

    Attributes:
        name: Printable text.
        polygon: The outline, which may have holes, in pixels of the image.
        fractions: The polygon is in fractions 0..1 of the image's width and height instead of pixels.
        area: Square metres, if known.
        ground: Four or more points on flat ground, from which the area follows. Each is ((x, y), (X, Y)): in the
            image, in the polygon's units, and in metres on the ground. Not together with `area`.
        max: More people than this are too many.

    Raises:
        RegionError: If the name, the outline, a point or a number makes no sense.
    """

    name: str
    polygon: Polygon | MultiPolygon
    fractions: bool = False
    area: float | None = None
    ground: tuple[PointPair, ...] | None = None
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
    """Read regions from a file. The format is detected.

    Our format is {"regions": [{"name": "stage", "polygon": [[x, y], ...], "units": "pixels" or "fractions",
    "max": people, "area": square metres, "ground": {"image": [[x, y], ...], "metres": [[X, Y], ...]}}, ...]}. Only the
    name and the polygon are required. `ground` has four or more points.

    GeoJSON is a FeatureCollection, a Feature, or a bare geometry, which takes its name from the file. Its coordinates
    are pixels with y down, or fractions. The keys above are properties.

    Args:
        path: The file.

    Returns:
        The regions in the order of the file.

    Raises:
        RegionError: If the file has another format, or any of its regions cannot be used.
    """
    path = Path(path).expanduser()
    try:
        with open(path, "rb") as stream:
            return parse_regions(stream.read(MAX_FILE_BYTES + 1), path.stem)
    except OSError as error:
        raise RegionError(f"{path}: cannot be read ({error.strerror or error}); give a file of regions") from None
    except RegionError as error:
        raise RegionError(f"{path}: {error}") from None


def parse_regions(
    content: bytes, stem: str = "region", most: int | None = None, most_corners: int | None = None
) -> list[Region]:
    """Read regions from the content of a file, as `read_regions` does.

    Args:
        content: The content of the file.
        stem: The name of a bare geometry.
        most: How many regions there may be; None sets no limit.
        most_corners: How many corners they may have in all.

    Returns:
        The regions.

    Raises:
        RegionError: As `read_regions`, but without the file's name.
    """
    entries = split_file(load_json(content), stem)
    check_amount(entries, most, most_corners)
    regions = [parse_region(number, *entry) for number, entry in enumerate(entries, 1)]
    [(name, times)] = Counter(region.name for region in regions).most_common(1)
    if times > 1:
        raise RegionError(f'two regions are named "{name}"; give each a different name')
    return regions


def check_amount(entries: Sequence[tuple[Json, object]], most: int | None, most_corners: int | None) -> None:
    """Raise RegionError if there are more regions, or more corners in all, than are allowed."""
    if most is not None and len(entries) > most:
        raise RegionError(f"{len(entries):,} regions; at most {most:,} are counted at once")
    if most_corners is None:
        return
    outlines = [geometry.get("coordinates") for geometry, _ in entries if isinstance(geometry, dict)]
    corners = sum(1 for outline in outlines for _ in leaves(outline)) // 2
    if corners > most_corners:
        raise RegionError(f"the regions have {corners:,} corners, more than {most_corners:,}; simplify the outlines")


def load_json(content: bytes) -> Json:
    if len(content) > MAX_FILE_BYTES:
        raise RegionError(f"is larger than {MAX_FILE_BYTES / 1e6:.0f} MB; give outlines with fewer corners")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, or a number of 5000 digits
        raise RegionError(f"is not JSON ({error}); correct it there") from None


def split_file(data: Json, stem: str) -> list[tuple[Json, dict[str, Json]]]:
    """Return (GeoJSON geometry, other keys) of each region in a file of either format."""
    if isinstance(data, dict):
        kind = data.get("type")
        if "regions" in data:
            if unknown := set(data) - {"regions"}:
                raise RegionError(f"unknown key {join_keys(unknown)} beside regions; remove it")
            return [split_entry(entry) for entry in non_empty_list(data["regions"], "regions")]
        if kind == "FeatureCollection":
            return [split_feature(feature) for feature in non_empty_list(data.get("features"), "features")]
        if kind == "Feature":
            return [split_feature(data)]
        if kind in ("Polygon", "MultiPolygon"):
            return [(data, {"name": stem})]
    shape = '{"regions": [{"name": "stage", "polygon": [[x, y], ...]}]}'
    raise RegionError(f"must be {shape}, or GeoJSON with Polygons or MultiPolygons; correct it")


def non_empty_list(value: Json, key: str) -> list[dict[str, Json]]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise RegionError(f"{key} must be a list of one region or more, each {{...}}; correct it")
    return value


def split_entry(entry: dict[str, Json]) -> tuple[Json, dict[str, Json]]:
    """Split a region of our format, whose polygon is a GeoJSON polygon without holes."""
    other = {key: value for key, value in entry.items() if key != "polygon"}
    if "polygon" not in entry:
        return None, other
    return {"type": "Polygon", "coordinates": [entry["polygon"]]}, other


def split_feature(feature: dict[str, Json]) -> tuple[Json, dict[str, Json]]:
    properties = feature.get("properties")
    return feature.get("geometry"), properties if isinstance(properties, dict) else {}


def parse_region(number: int, geometry: Json, properties: dict[str, Json]) -> Region:
    """Make a region, the `number`th of its file."""
    given = {key: value for key, value in properties.items() if value is not None}  # editors write null for "not set"
    if "name" not in given:
        raise RegionError(f'region {number}: has no name; give it one, "name": "stage"')
    name = check_name(given["name"])
    where = f'region "{name}"'
    if unknown := set(given) - (set(KEYS) - {"polygon"}):
        raise RegionError(f"{where}: unknown key {join_keys(unknown)}; known: {', '.join(KEYS)}")
    units = given.get("units", "pixels")
    if units not in UNITS:
        raise RegionError(f"{where}: units are {brief(units)}; give {' or '.join(UNITS)}")
    polygon = parse_polygon(geometry, where)
    left, top, right, bottom = polygon.bounds
    if units == "pixels" and min(right, bottom) > 1 and max(right - left, bottom - top) < 1:
        raise RegionError(f"{where}: is smaller than a pixel; give pixels of the image, y down, not degrees of a map")
    ground = parse_ground(given["ground"], where) if "ground" in given else None
    return Region(name, polygon, units == "fractions", given.get("area"), ground, given.get("max"))


def parse_polygon(geometry: Json, where: str) -> Polygon | MultiPolygon:
    """Turn a GeoJSON geometry into a polygon of shapely. Altitudes are dropped."""
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
    except Exception:  # shapely raises a dozen types of error for wrong nesting
        nested = "[[x, y], ...]" if kind == "Polygon" else "[[[[x, y], ...]], ...]"
        raise RegionError(f"{where}: its polygon is not a list of corners {nested}; correct it") from None
    if wrong:
        raise RegionError(f"{where}: a corner has {brief(wrong[0])}; give x and y, two finite numbers")
    if polygon is None:
        raise RegionError(f"{where}: an outline has {fewest} different corners; give at least 3")
    return polygon


def parse_ground(ground: Json, where: str) -> tuple[PointPair, ...]:
    """Turn {"image": points, "metres": points} into pairs of points."""
    if not isinstance(ground, dict) or set(ground) != set(PLANES):
        raise RegionError(f'{where}: ground must be {{"image": [[x, y], ...], "metres": [[X, Y], ...]}}; correct it')
    image_points, metres = (parse_points(ground[plane], f"{where}: ground: {plane}") for plane in PLANES)
    if len(image_points) != len(metres):
        raise RegionError(
            f"{where}: ground: image has {len(image_points)} points, metres {len(metres)}; give the same points in both"
        )
    return tuple(zip(image_points, metres, strict=True))


def parse_points(points: Json, where: str) -> list[Point]:
    if (
        not isinstance(points, list)
        or not MIN_GROUND_POINTS <= len(points) <= MAX_GROUND_POINTS
        or not all(map(is_point, points))
    ):
        raise RegionError(
            f"{where} must be {MIN_GROUND_POINTS} to {MAX_GROUND_POINTS} points [x, y] of finite numbers; correct it"
        )
    return [(float(x), float(y)) for x, y in points]


def leaves(value: Json) -> Iterator[Json]:
    """Iterate over the values in nested lists."""
    if not isinstance(value, list):
        yield value
        return
    for item in value:
        yield from leaves(item)


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number of plausible size."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(-1e12 < value < 1e12)  # False for nan


def is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def join_keys(keys: set[str]) -> str:
    return ", ".join(brief(key) for key in sorted(keys)[:5])


# Checking


def check_name(name: object) -> str:
    """Return the name, or raise RegionError if it cannot be printed on one line."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        text = f"printable text on one line of at most {MAX_NAME_LENGTH} characters"
        raise RegionError(f"a region's name is {brief(name)}; give it {text}")
    return name


def check_outline(polygon: object, fractions: bool, where: str) -> None:
    """Raise RegionError if a polygon is none, crosses itself, or is in the other units."""
    import shapely

    if not isinstance(polygon, (shapely.Polygon, shapely.MultiPolygon)) or polygon.is_empty:
        raise RegionError(f"{where}: give a shapely Polygon or MultiPolygon that is not empty, not {brief(polygon)}")
    corners = shapely.get_coordinates(polygon)  # (N,2)
    if not np.isfinite(corners).all():
        raise RegionError(f"{where}: a corner is not two finite numbers; correct it")
    check_units(corners, fractions, where)
    reason = shapely.is_valid_reason(polygon)  # such as Self-intersection[50 50]
    if reason != "Valid Geometry":
        problem, _, place = reason.partition("[")
        at = f" at {format_point(place.rstrip(']').split())}" if place else ""
        raise RegionError(f"{where}: bad outline, {problem.lower()}{at}; no edges may cross, and holes must be inside")


def check_units(points: np.ndarray, fractions: bool, where: str) -> None:
    """Raise RegionError if points (N,2) of the image are not in the units that `fractions` says."""
    outside = points[((points < 0) | (points > 1)).any(1)]
    if fractions and len(outside):
        point = format_point(outside[0])
        raise RegionError(f"{where}: {point} is not within 0 and 1, as fractions are; did you mean pixels?")
    if not fractions and not len(outside):
        raise RegionError(f'{where}: is all in one pixel; did you mean fractions? Then say "units": "fractions"')


def check_ground(ground: tuple[PointPair, ...], fractions: bool, where: str) -> None:
    """Raise RegionError if the points determine no plane.

    Four of the points must have no three in a line, neither in the image nor on the ground, and all must be on one
    side of the horizon.
    """
    where = f"{where}: ground"
    pairs = np.asarray(ground, np.float64)
    count = len(pairs)
    if (
        pairs.shape != (count, 2, 2)
        or not MIN_GROUND_POINTS <= count <= MAX_GROUND_POINTS
        or not np.isfinite(pairs).all()
    ):
        allowed = f"{MIN_GROUND_POINTS} to {MAX_GROUND_POINTS}"
        raise RegionError(f"{where}: must be {allowed} pairs ((x, y), (X, Y)) of finite numbers; correct it")
    check_units(pairs[:, 0], fractions, where)
    in_image, on_ground = (collinear_triples(pairs[:, side]) for side in (0, 1))
    if not has_four_without(in_image | on_ground, count):
        plane, triple = min([("image", t) for t in in_image] + [("metres", t) for t in on_ground])
        numbers = ", ".join(str(i + 1) for i in triple)
        raise RegionError(f"{where}: points {numbers} of {plane} are in a line; give four of which no three are")
    try:
        in_order = bool((project(homography(pairs), pairs[:, 0])[1] > 0).all())
    except np.linalg.LinAlgError:
        in_order = False
    if not in_order:
        raise RegionError(f"{where}: image and metres list the points in different orders; use one order")


def format_point(point: Sequence[str] | np.ndarray) -> str:
    x, y = (f"{float(value):g}" for value in point)
    return f"({x}, {y})"

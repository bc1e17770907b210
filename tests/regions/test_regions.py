"""Counting in regions: people are divided by exact area, and ground points give square metres."""

import json
import math

import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Polygon

from headcount.regions.counting import count_regions, plan_regions, regions_columns, regions_row
from headcount.regions.ground import homography, project
from headcount.regions.region import Region, RegionError


def crowd(h, w, seed=0):
    return np.random.default_rng(seed).random((h, w), np.float32)


def count(polygon, density, stride, width, height):
    return count_regions([Region("here", polygon)], density, stride, width, height)[0].count


# The people


@pytest.mark.parametrize(
    ("width", "height", "stride"),
    [(640, 480, 8), (637, 475, 8), (1001, 17, 8), (300, 200, 5.93), (7, 5, 8), (4096, 2160, 8)],
)
def test_regions_that_partition_the_image_sum_to_the_count(width, height, stride):
    density = crowd(math.ceil(height / stride), math.ceil(width / stride))
    frame = shapely.box(0, 0, width, height)
    seeds = shapely.MultiPoint(np.random.default_rng(1).random((30, 2)) * (width, height))
    pieces = shapely.get_parts(shapely.voronoi_polygons(seeds, extend_to=frame))
    parts = [Region(str(i), piece) for i, piece in enumerate(pieces) if (piece & frame).area]
    counts = count_regions(parts, density, stride, width, height)
    assert sum(c.count for c in counts) == pytest.approx(density.sum(dtype=np.float64), rel=1e-5)


def test_a_triangle_gets_what_a_fine_grid_gives():
    density, triangle = crowd(30, 40), Polygon([(31, 22), (290, 71), (117, 231)])
    x, y = (np.arange(0.05, n, 0.1) for n in (320, 240))
    inside = shapely.contains_xy(triangle, *np.meshgrid(x, y))  # (2400, 3200), 80 x 80 per cell
    expected = (density * inside.reshape(30, 80, 40, 80).mean(axis=(1, 3))).sum()
    assert count(triangle, density, 8, 320, 240) == pytest.approx(expected, rel=1e-4)


def test_evenly_spread_people_follow_the_area_of_any_shape():
    density = np.full((60, 80), 0.5, np.float32)  # a person per 128 pixels
    ring = Polygon(shapely.Point(300, 200).buffer(150).exterior, [shapely.Point(310, 190).buffer(99.3).exterior])
    two = MultiPolygon([shapely.box(3, 4, 60.5, 70.25), shapely.Point(500, 300).buffer(80)])
    for polygon in (ring, two, shapely.box(101.1, 99.2, 101.7, 99.4)):
        assert count(polygon, density, 8, 640, 480) == pytest.approx(polygon.area / 128, rel=1e-5)


def test_people_in_a_hole_or_between_two_parts_are_not_counted():
    density = np.zeros((30, 30), np.float32)
    density[10, 10] = 5  # pixels 80 to 88
    ring = Polygon([(0, 0), (240, 0), (240, 240), (0, 240)], [[(72, 72), (96, 72), (96, 96), (72, 96)]])
    parts = MultiPolygon([shapely.box(0, 0, 70, 240), shapely.box(100, 0, 240, 240)])
    assert [count(p, density, 8, 240, 240) for p in (ring, parts, ring.convex_hull)] == [0, 0, 5]


def test_fractions_fit_any_size():
    corners = np.array([(0.1, 0.2), (0.9, 0.3), (0.5, 1.0)])
    everywhere = Region("everywhere", Polygon(corners), fractions=True)
    for width, height in ((640, 480), (333, 500)):
        density = crowd(math.ceil(height / 8), math.ceil(width / 8))
        here = count(Polygon(corners * (width, height)), density, 8, width, height)
        assert count_regions([everywhere], density, 8, width, height)[0].count == pytest.approx(here, rel=1e-6)


def test_people_of_a_cell_over_the_edge_are_inside_the_image():
    density = np.zeros((2, 3), np.float32)
    density[1, 2] = 6  # pixels 16 to 24 and 8 to 16, of which the image has 4 x 2
    assert count(shapely.box(0, 0, 20, 10), density, 8, 20, 10) == pytest.approx(6)
    assert count(shapely.box(18, 0, 99, 99), density, 8, 20, 10) == pytest.approx(3)
    assert count(shapely.box(0, 0, 17, 99), density, 8, 20, 10) == pytest.approx(1.5)


def test_a_cell_that_rounding_puts_beyond_the_edge_keeps_its_people():
    density = np.ones((3, 2), np.float32)  # the third row starts at pixel 16.4 of 16
    assert count(shapely.box(0, 0, 16, 16), density, 8.2, 16, 16) == pytest.approx(6)
    assert count(shapely.box(0, 8.2, 16, 16), density, 8.2, 16, 16) == pytest.approx(4)


def test_nobody_is_counted_outside_the_image():
    density = crowd(30, 40)
    assert count(shapely.box(-50, -50, 500, 120), density, 8, 320, 240) == pytest.approx(density[:15].sum(), rel=1e-6)
    assert count(shapely.box(100, 239, 200, 999), density, 8, 320, 240) > 0
    for outside in (shapely.box(400, 0, 500, 100), shapely.box(320, 0, 500, 100)):
        with pytest.raises(RegionError, match='"here": .* outside the image of 320x240; give'):
            count(outside, density, 8, 320, 240)


def test_frames_share_one_plan():
    here = [Region("a", shapely.box(3, 3, 99, 77), max=5), Region("b", Polygon([(0, 0), (90, 30), (30, 90)]))]
    plan_regions.cache_clear()
    first = count_regions(here, crowd(15, 20), 8, 160, 120)
    again = count_regions([Region("a", shapely.box(3, 3, 99, 77), max=5), here[1]], crowd(15, 20), 8, 160, 120)
    other = count_regions(here, crowd(15, 20, seed=1), 8, 160, 120)
    assert first == again and first != other
    assert plan_regions.cache_info()[:2] == (2, 1)  # hits, misses


# The ground


def camera(metres):
    """Project points (N,2) of the ground into an image of 640x480.

    The camera is 5 m up, tilted down by 25 degrees, with a focal length of 500 pixels. X is to the right, Y away from
    the foot of the camera.
    """
    x, away = np.asarray(metres, float).T
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    depth = away * cos + 5 * sin
    return np.stack([320 + 500 * x / depth, 240 + 500 * (5 * cos - away * sin) / depth], 1)


def seen(metres):
    return Polygon(camera(metres))


def pairs_of(metres):
    """The ground points of a region that are at these places."""
    return tuple(zip(map(tuple, camera(metres).tolist()), map(tuple, metres), strict=True))


CORNERS = [(-2.0, 6.0), (2.0, 6.0), (2.0, 12.0), (-2.0, 12.0)]
MORE = [(0.0, 9.0), (-1.0, 7.0), (1.0, 7.5), (1.0, 11.0), (-1.5, 10.0), (0.5, 6.5), (2.0, 9.0), (-2.0, 9.0)]
PLANE = pairs_of(CORNERS)


def area(polygon, ground=PLANE, **more):
    return count_regions([Region("here", polygon, ground=ground, **more)], crowd(60, 80), 8, 640, 480)[0].area


def test_four_points_give_square_metres():
    assert area(seen([(-3, 7), (3, 7), (3, 15), (-3, 15)])) == pytest.approx(48, rel=1e-6)
    assert area(seen([(-1, 7), (0.5, 7), (0.5, 9), (1, 9), (1, 10), (-1, 10)])) == pytest.approx(5, rel=1e-6)
    outer, hole = camera([(-3, 7), (3, 7), (3, 15), (-3, 15)]), camera([(-1, 8), (1, 8), (1, 9), (-1, 9)])
    assert area(Polygon(outer, [hole])) == pytest.approx(46, rel=1e-6)
    two = MultiPolygon([seen([(-2, 7), (-1, 7), (-1, 8), (-2, 8)]), seen([(0, 7), (1, 7), (1, 9), (0, 9)])])
    assert area(two) == pytest.approx(3, rel=1e-6)


def test_metres_may_be_map_coordinates_and_points_fractions():
    square = seen([(-3, 7), (3, 7), (3, 15), (-3, 15)])
    on_a_map = tuple((point, (x + 482_113.25, y + 5_461_902.5)) for point, (x, y) in PLANE)
    assert area(square, on_a_map) == pytest.approx(48, rel=1e-6)
    small = tuple(((x / 640, y / 480), metres) for (x, y), metres in PLANE)
    assert area(Polygon(shapely.get_coordinates(square) / (640, 480)), small, fractions=True) == pytest.approx(48)


def exact_homography(pairs):
    """The homography through exactly four pairs, from its eight linear equations."""
    rows, ends = [], []
    for (x, y), (east, north) in pairs:
        rows += [[x, y, 1, 0, 0, 0, -x * east, -y * east], [0, 0, 0, x, y, 1, -x * north, -y * north]]
        ends += [east, north]
    return np.append(np.linalg.solve(np.array(rows), np.array(ends)), 1).reshape(3, 3)


def test_four_points_are_met_exactly():
    pairs = np.array(pairs_of([(-2.0, 6.0), (2.5, 6.5), (2.0, 12.0), (-3.0, 11.0)]))
    corners = camera([(-3, 7), (3, 7), (3, 15), (-3, 15)])
    metres, w = project(homography(pairs), corners)
    expected, _ = project(exact_homography(pairs), corners)
    assert metres + pairs[:, 1].mean(0) == pytest.approx(expected, abs=1e-5)
    assert (w > 0).all()
    middle = pairs[:, 0].mean(0, keepdims=True)
    assert project(homography(pairs), middle)[1] == pytest.approx(1)


def test_more_exact_points_change_nothing():
    square = seen([(-3, 7), (3, 7), (3, 15), (-3, 15)])
    for count in (5, 8, 12):
        assert area(square, pairs_of((CORNERS + MORE)[:count])) == pytest.approx(48, rel=1e-6)


@pytest.mark.parametrize("plane", ["image", "metres"])
def test_more_points_reduce_the_error_of_noisy_ones(plane):
    """Points that are off by 1 pixel or by 5 cm: the error falls about as the square root of their number."""
    square = seen([(-1.5, 7), (1.5, 7), (1.5, 11), (-1.5, 11)])
    grid = [(x, y) for y in (6.0, 12.0, 8.0, 10.0) for x in (-2.0, 2.0, -0.7, 0.7)]
    four = [grid[i] for i in (0, 1, 4, 5)]
    random = np.random.default_rng(0)

    def error(places):
        errors = []
        for _ in range(60):
            pairs = np.array(pairs_of(places))
            pairs[:, 0 if plane == "image" else 1] += random.normal(
                0, 1 if plane == "image" else 0.05, (len(places), 2)
            )
            ground = tuple((tuple(point), tuple(metres)) for point, metres in pairs.tolist())
            errors.append(area(square, ground) - 12)
        return np.sqrt(np.mean(np.square(errors)))

    assert error(grid) < 0.75 * error(four)


def test_points_in_a_line_are_allowed_if_four_others_are_not():
    square = seen([(-1.5, 7), (1.5, 7), (1.5, 11), (-1.5, 11)])
    grid = [(x, y) for y in (6.0, 9.0, 12.0) for x in (-2.0, 0.0, 2.0)]
    assert area(square, pairs_of(grid)) == pytest.approx(12, rel=1e-6)
    line_and_one = [(x, 6.0) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)] + [(0.0, 12.0)]
    with pytest.raises(RegionError, match="ground: points 1, 2, 3 of image are in a line"):
        area(square, pairs_of(line_and_one))
    with pytest.raises(RegionError, match="ground: must be 4 to 20 pairs"):
        area(square, pairs_of([(x, y) for x in (-2.0, -1.0, 0.0) for y in np.arange(6.0, 13.0)]))


def test_only_the_ground_in_the_image_is_measured():
    left, right = camera([(-3, 7), (3, 7)])[:, 0]
    assert left > 0 and right < 640
    bottom = 5 * np.cos(np.radians(25)) / np.sin(np.radians(25)), 5  # where the middle row, y = 240, meets the ground
    whole = seen([(-1, bottom[0]), (1, bottom[0]), (1, 20), (-1, 20)])
    moved = shapely.transform(whole, lambda corners: corners - (0, 240 - 480))  # that edge is now the image's
    ground = tuple(((x, y + 240), metres) for (x, y), metres in PLANE)
    longer = Polygon([*shapely.get_coordinates(moved)[[2, 3]], (-300, 2000), (900, 2000)])
    clipped = longer & shapely.box(0, 0, 640, 480)
    assert area(longer, ground) == pytest.approx(area(clipped, ground), rel=1e-9)
    assert area(moved, ground) == pytest.approx(2 * (20 - bottom[0]), rel=1e-6)


def test_no_area_at_the_horizon():
    horizon = 240 - 500 * np.tan(np.radians(25))  # y = 7
    for top in (horizon - 5, horizon, horizon + 0.01):
        with pytest.raises(RegionError, match='"here": reaches the horizon .* end it nearer'):
            area(Polygon([(200, 400), (400, 400), (320, top)]))
    assert area(Polygon([(200, 400), (400, 400), (320, horizon + 5)])) > 100
    with pytest.raises(RegionError, match="horizon"):  # all of it beyond
        area(shapely.box(100, 0, 200, 5))


PLANE_BELOW = (
    ((0.0, 0.0), (0.0, 0.0)),
    ((640.0, 0.0), (8.0, 0.0)),
    ((640.0, 480.0), (8.0, 6.0)),
    ((0.0, 480.0), (0.0, 6.0)),
)


def test_people_per_square_metre_and_maxima():
    density = np.full((60, 80), 0.1, np.float32)
    box = shapely.box(0, 0, 320, 480)
    known, full, roomy, plain = count_regions(
        [
            Region("known", box, area=96),
            Region("full", box, ground=PLANE_BELOW, max=239.5),
            Region("roomy", box, max=240.5),
            Region("plain", box),
        ],
        density,
        8,
        640,
        480,
    )
    assert known.per_square_metre == pytest.approx(2.5) and not known.over
    assert full.per_square_metre == pytest.approx(240 / full.area) and full.over
    assert not roomy.over and roomy.per_square_metre is None
    assert plain.to_dict() == {
        "name": "plain",
        "count": 240.0,
        "area": None,
        "per_square_metre": None,
        "max": None,
        "over": False,
    }
    assert json.loads(json.dumps(known.to_dict()))["per_square_metre"] == 2.5


# Columns of a table


def test_columns_hold_what_is_known_and_never_collide():
    box = shapely.box(0, 0, 50, 50)
    zones = [Region("count", box), Region("over: count", box, area=4), Region("per m2: count", box, max=0.5)]
    counts = count_regions(zones, np.full((10, 10), 0.01, np.float32), 8, 80, 80)
    columns, row = regions_columns(zones), regions_row(counts)
    assert columns == list(row) and len(set(columns)) == 5
    assert row["region: count"] == 0.39 and row["region per m2: over: count"] == 0.0977
    assert row["region over: per m2: count"] == 0

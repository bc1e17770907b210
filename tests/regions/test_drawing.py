"""Regions drawn on an image: outlines where the regions are, labels in them or beside them."""

import numpy as np
import pytest
import shapely
from shapely import Polygon

from headcount.regions.counting import RegionCount
from headcount.regions.drawing import ALARM, LIGHT, draw_regions
from headcount.regions.region import Region

GREY = np.full((480, 640, 3), 120, np.uint8)
STAGE = Region("stage", shapely.box(200, 100, 500, 400), max=50)


def distance(polygon, image):
    """Of each pixel's centre to the outline: float64 (H,W)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return shapely.distance(polygon.boundary, shapely.points(x, y))


def drawn_label(image, polygon):
    """(left, top, right, bottom) of what is drawn away from the outline."""
    rows, columns = np.nonzero((image != 120).any(axis=2) & (distance(polygon, image) > 4))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(("people", "color"), [(12, LIGHT), (70, ALARM)])
def test_outlines_are_light_on_dark_and_red_over_the_maximum(people, color):
    drawn = draw_regions(GREY, [RegionCount("stage", people, None, None, 50, people > 50)], [STAGE])
    assert (GREY == 120).all(), "the image given is not drawn on"
    away = distance(STAGE.polygon, drawn)
    line = drawn[away < 0.6].astype(int)
    assert np.abs(line - color).max(axis=1).mean() < 80  # smoothed over the edge of two pixels
    border = drawn[(away > 1) & (away < 1.7)].astype(int)
    assert border.max(axis=1).mean() < 120


def test_a_label_is_inside_a_region_that_is_large_enough():
    calm, full = (draw_regions(GREY, [RegionCount("stage", n, None, None, 50, n > 50)], [STAGE]) for n in (12, 70))
    left, top, right, bottom = drawn_label(calm, STAGE.polygon)
    assert 200 < left < right < 500 and 100 < top < bottom < 400
    assert abs((left + right) / 2 - 350) < 20 and abs((top + bottom) / 2 - 250) < 20, "in its middle"
    assert drawn_label(full, STAGE.polygon)[3] > bottom, "a third line states the maximum"


def test_a_label_is_beside_a_region_that_is_smaller():
    door = Region("door", shapely.box(300, 300, 320, 320))
    drawn = draw_regions(GREY, [RegionCount("door", 3)], [door])
    left, top, right, bottom = drawn_label(drawn, door.polygon)
    assert bottom <= 300 and top > 250 and left < 310 < right, "just above it"
    assert (drawn[305:315, 305:315] == 120).all(), "its inside is free"


def test_labels_do_not_overlap():
    zones = [Region(name, shapely.box(x, 200, x + 30, 230)) for name, x in (("left", 300), ("right", 320))]
    counts = [RegionCount(zone.name, 5) for zone in zones]
    alone = [draw_regions(GREY, [count], [zone]) for count, zone in zip(counts, zones, strict=True)]
    both = draw_regions(GREY, counts, zones)
    outlines = np.minimum(*(distance(zone.polygon, GREY) for zone in zones)) <= 4
    areas = [((image != 120).any(axis=2) & ~outlines).sum() for image in (*alone, both)]
    assert areas[2] > 0.95 * (areas[0] + areas[1])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 300), (40, 60), (2160, 3840)])
def test_images_of_any_size_can_be_drawn_on(height, width):
    names = ("a", "caf\u00e9 " * 30)
    triangle = Polygon([(0, 0), (1, 0.2), (0.3, 1)])
    zones = [Region(name, triangle, fractions=True) for name in names]
    counts = [RegionCount(name, 1234.5, 80.0, 15.4, 1000, True) for name in names]
    drawn = draw_regions(np.zeros((height, width, 3), np.uint8), counts, zones)
    assert drawn.shape == (height, width, 3)
    line = distance(shapely.transform(triangle, lambda corners: corners * (width, height)), drawn) < 0.6
    assert (drawn[line, 0] > drawn[line, 1]).mean() > 0.7, "a red outline"

"""Region files: the JSON format, GeoJSON, and one clear line for a bad file."""

import json

import pytest
import shapely
from shapely import Polygon

from headcount.regions.region import Region, RegionError, read_regions

SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]
DEGREES = [[8.54, 47.37], [8.55, 47.37], [8.55, 47.38]]  # longitude and latitude of a town square
ROAD = {"image": [[100, 400], [500, 400], [400, 200], [200, 200]], "metres": [[0, 0], [8, 0], [8, 30], [0, 30]]}


def save(tmp_path, data, name="zones.json"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def test_our_format(tmp_path):
    data = {
        "regions": [
            {"name": "stage", "polygon": SQUARE, "max": 200, "area": 85.0},
            {"name": "left half", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "units": "fractions", "max": None},
            {"name": "road", "polygon": SQUARE, "ground": ROAD},
        ]
    }
    stage, half, road = read_regions(save(tmp_path, data))
    assert stage == Region("stage", Polygon(SQUARE), False, 85.0, None, 200)
    assert half.fractions and half.max is None and half.polygon.area == 0.5
    assert road.ground[2] == ((400.0, 200.0), (8.0, 30.0))
    assert read_regions(save(tmp_path, b"\xef\xbb\xbf" + json.dumps(data).encode())) == [stage, half, road]  # a BOM


def test_geojson(tmp_path):
    hole = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]
    ring = {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]], hole]}
    two = {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[60, 60, 5], [90, 60, 5], [60, 90, 5]]]]}
    features = [
        {"type": "Feature", "geometry": ring, "properties": {"name": "ring", "max": 7, "units": None}},
        {"type": "Feature", "id": 3, "geometry": two, "properties": {"name": "two", "ground": ROAD}},
    ]
    data = {"type": "FeatureCollection", "name": "zones", "features": features}
    first, second = read_regions(save(tmp_path, data, "zones.geojson"))
    assert (first.name, first.max, first.polygon.area) == ("ring", 7, 1500)
    assert second.polygon.area == 2050 and not second.polygon.has_z and len(second.ground) == 4
    assert read_regions(save(tmp_path, features[0])) == [first]
    assert read_regions(save(tmp_path, ring, "car park.geojson")) == [Region("car park", first.polygon)]


def one(**facts):
    return {"regions": [{"name": "stage", "polygon": SQUARE, **facts}]}


def ground(**planes):
    return one(ground={**ROAD, **planes})


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": {"name": "stage", **properties}}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"regions": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b" " * 5_000_001, "is larger than 5 MB"),
        ([], "must be .*regions.* or GeoJSON"),
        ({}, "must be .*regions.* or GeoJSON"),
        ({"type": "Point", "coordinates": [1, 2]}, "must be .*regions.* or GeoJSON"),
        ({"regions": []}, "regions must be a list of one region or more"),
        ({"regions": {"stage": SQUARE}}, "regions must be a list"),
        ({"regions": [SQUARE]}, "regions must be a list"),
        ({**one(), "unit": "pixels"}, "unknown key 'unit' beside regions"),
        ({"type": "FeatureCollection", "features": []}, "features must be a list of one"),
        ({"type": "FeatureCollection"}, "features must be a list of one"),
        ({"regions": [one()["regions"][0], {"polygon": SQUARE}]}, "region 2: has no name"),
        (one(name=""), "region's name is ''"),
        (one(name="a\nb"), r"region's name is 'a\\nb'"),
        (one(name=7), "region's name is 7"),
        ({"regions": one()["regions"] * 2}, 'two regions are named "stage"'),
        (one(maximum=200), "\"stage\": unknown key 'maximum'; known: name, polygon, units, max, area, ground"),
        (feature({"type": "Polygon", "coordinates": [SQUARE]}, **{"a\nb": 1}), r"unknown key 'a\\nb'; known: name"),
        (one(units="percent"), "units are 'percent'; give pixels or fractions"),
        (one(units=[1]), r"units are \[1\]"),
        (one(max=0), "max is 0; give a number above 0"),
        (one(max="200"), "max is '200'; give a number"),
        (one(max=True), "max is True"),
        (one(area=-3), "area is -3"),
        (one(area=float("nan")), "area is nan"),
        (one(area=10**400), "area is 1000"),
        (one(area=5, ground=ROAD), "has both area and ground"),
        ({"regions": [{"name": "stage"}]}, '"stage": has no polygon; give it one'),
        (one(polygon=None), "is not a list of corners"),
        (one(polygon=[]), "an outline has 0 different corners; give at least 3"),
        (one(polygon=SQUARE[:2]), "an outline has 2 different corners"),
        (one(polygon=[*SQUARE[:2], SQUARE[0]]), "an outline has 2 different corners"),
        (one(polygon=[1, 2, 3]), "is not a list of corners"),
        (one(polygon=[[1, 2], [3, 4], [5]]), "is not a list of corners"),
        (one(polygon=[[1], [3], [5]]), "is not a list of corners"),
        (one(polygon=[[1, 2], [3, "4"], [5, 9]]), "a corner has '4'; give x and y, two finite numbers"),
        (one(polygon=[[1, 2], [3, float("inf")], [5, 9]]), "a corner has inf"),
        (one(polygon=[[1, 2], [3, 10**400], [5, 9]]), "a corner has 1000"),
        (one(polygon=[[0, 0], [50, 50], [50, 0], [0, 50]]), r"bad outline, self-intersection at \(25, 25\)"),
        (one(polygon=[[0, 0], [50, 50], [100, 100]]), "bad outline"),
        (one(units="fractions"), r"\(10, 10\) is not within 0 and 1, as fractions are; did you mean pixels\?"),
        (one(polygon=[[0, 0], [1, 0], [1, 1]]), "is all in one pixel; did you mean fractions"),
        (feature({"type": "Polygon", "coordinates": [DEGREES]}), "is smaller than a pixel; .* not degrees"),
        (feature(None), '"stage": has no polygon; give it one'),
        (feature({"type": "LineString", "coordinates": SQUARE}), "has no polygon but a LineString"),
        (feature({"type": "Polygon"}), "is not a list of corners"),
        (feature({"type": "Polygon", "coordinates": SQUARE}), "is not a list of corners"),
        (feature({"type": "MultiPolygon", "coordinates": [SQUARE]}), "is not a list of corners"),
        (feature({"type": "Polygon", "coordinates": [SQUARE, [[90, 90], [99, 90], [99, 99]]]}), "hole lies outside"),
        ({"type": "Feature", "geometry": None, "properties": None}, "region 1: has no name"),
        (one(ground=[1, 2]), "ground must be"),
        (one(ground={"image": ROAD["image"]}), "ground must be"),
        (ground(metres=[[0, 0], [8, 0], [8, 30]]), "ground: metres must be 4 to 20 points"),
        (ground(image=[[x, x * x] for x in range(21)]), "ground: image must be 4 to 20 points"),
        (ground(image=[[0, 0], [8, 0], [8, 30], [None, 3]]), "ground: image must be 4 to 20 points"),
        (ground(image=[*ROAD["image"], [300, 300]]), "ground: image has 5 points, metres 4; give the same"),
        (ground(image=[[0, 0], [50, 50], [100, 100], [0, 90]]), "ground: points 1, 2, 3 of image are in a line"),
        (ground(metres=[[0, 0], [8, 0], [8, 30], [8, 30]]), "ground: points 1, 3, 4 of metres are in a line"),
        (ground(metres=[[0, 0], [8, 0], [0, 30], [8, 30]]), "ground: image and metres .* in different orders"),
        (ground(image=[[0, 0], [1, 0], [1, 1], [0, 1]]), "ground: is all in one pixel; did you mean fractions"),
    ],
)
def test_a_bad_file_gets_one_line(tmp_path, data, says):
    path = save(tmp_path, data)
    with pytest.raises(RegionError, match=says) as caught:
        read_regions(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < len(str(path)) + 250


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RegionError, match=f"{path}: cannot be read"):
            read_regions(path)


def test_a_region_made_in_python_is_checked_too():
    for bad in (Polygon([(0, 0), (50, 50), (50, 0), (0, 50)]), Polygon(), shapely.Point(3, 4), SQUARE):
        with pytest.raises(RegionError, match='^region "here": '):
            Region("here", bad)

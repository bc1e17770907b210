"""Files that CVAT, Label Studio and geographic programs import, of annotations and of estimates."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers.points_errors import refused

from headcount.datasets.conversion import convert
from headcount.datasets.readers import read, write, write_estimates
from headcount.datasets.sample import Sample
from headcount.io.images import image_size

POINTS = np.array([[10.25, 20.5], [30, 7]], np.float32)


@pytest.fixture
def samples(tmp_path):
    """photos/day/a b.jpg with two heads and photos/night.jpg with none."""
    one, other = tmp_path / "photos/day/a b.jpg", tmp_path / "photos/night.jpg"
    factory.photo(one, POINTS)
    factory.photo(other, np.zeros((0, 2)))
    return [Sample(one, POINTS), Sample(other, np.zeros((0, 2), np.float32))]


@pytest.mark.parametrize(("to", "name"), [("cvat", "annotations.xml"), ("labelstudio", "tasks.json")])
def test_what_is_written_for_a_labeling_tool_reads_back(tmp_path, to, name):
    factory.csv_table(tmp_path / "set")
    [table] = (tmp_path / "set").glob("*.csv")
    out = tmp_path / "set" / name
    report = convert(table, out, to=to, format="csv")
    assert report.images
    for split in report.splits:
        before, after = read(table, "csv", split), read(out, "auto", split)
        assert [sample.image for sample in after] == [sample.image for sample in before]
        assert all(np.array_equal(a.points, b.points) for a, b in zip(after, before, strict=True))


def test_cvat_gets_one_shape_for_each_head_on_the_frame_of_its_name(samples, tmp_path):
    write_estimates(samples, tmp_path / "cvat.xml", "cvat", "headcount-small")
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    one, other = root.iter("image")
    names = [(image.get("id"), image.get("name")) for image in (one, other)]
    assert names == [("0", "day/a b.jpg"), ("1", "night.jpg")]
    assert (int(one.get("width")), int(one.get("height"))) == image_size(samples[0].image)
    assert [shape.attrib for shape in one] == [
        {"label": "head", "source": "auto", "occluded": "0", "points": points, "z_order": "0"}
        for points in ("10.25,20.5", "30.0,7.0")
    ]


def test_label_studio_gets_predictions_that_wait_for_a_person(samples, tmp_path):
    out = tmp_path / "tasks.json"
    write_estimates(samples, out, "labelstudio", "headcount-small")
    task, empty = json.loads(out.read_text())
    assert task["data"] == {"image": "/data/local-files/?d=photos/day/a%20b.jpg"} and "annotations" not in task
    [prediction] = task["predictions"]
    first = prediction["result"][0]
    width, height = image_size(samples[0].image)
    assert prediction["model_version"] == "headcount-small"
    assert (first["type"], first["from_name"], first["to_name"]) == ("keypointlabels", "heads", "image")
    assert (first["original_width"], first["original_height"], first["image_rotation"]) == (width, height, 0)
    assert first["value"]["x"] == pytest.approx(100 * 10.25 / width) and first["value"]["keypointlabels"] == ["head"]
    assert len({result["id"] for result in prediction["result"]}) == 2 and empty["predictions"][0]["result"] == []
    refused("a b.jpg has estimates that nobody submitted", read, out, "labelstudio", "all")
    task["annotations"] = [
        {"result": task.pop("predictions")[0]["result"]}
    ]  # what Label Studio makes of a submitted task
    out.write_text(json.dumps([task]))
    [sample] = read(out, "labelstudio", "all")
    assert np.array_equal(sample.points, POINTS)


def test_geojson_has_a_point_for_each_head(samples, tmp_path):
    write(samples, tmp_path / "heads.geojson", "geojson")
    data = json.loads((tmp_path / "heads.geojson").read_text())
    assert data["type"] == "FeatureCollection" and len(data["features"]) == 2
    assert data["features"][0] == {
        "type": "Feature",
        "properties": {"image": "photos/day/a b.jpg"},
        "geometry": {"type": "Point", "coordinates": [10.25, 20.5]},
    }


def test_a_region_of_interest_has_no_place_in_these_files(samples, tmp_path):
    limited = [Sample(samples[0].image, POINTS, np.array([[0, 0], [9, 0], [9, 9]], np.float32))]
    for to in ("cvat", "labelstudio", "geojson"):
        refused("no place for a roi; write json or coco", write, limited, tmp_path / "out", to)

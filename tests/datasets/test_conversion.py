"""convert: one file of a whole data set, and a report of what it holds."""

import json

import pytest
from helpers import dataset_factory as factory
from helpers.points_errors import refused

from headcount.datasets.conversion import convert
from headcount.datasets.readers import read


def test_the_report_says_what_was_done(tmp_path):
    factory.yolo(tmp_path / "set")
    (tmp_path / "set/labels/test/0007.txt").write_text("1 1.3 0.5 0.1 0.1\n")
    report = convert(tmp_path / "set", tmp_path / "set/all.csv")
    assert (report.images, report.points, report.dropped, report.empty) == (9, 12, 1, 4)
    assert report.splits == ("train", "val", "test") and report.rule.startswith("boxes of person: head (")
    text = str(report)
    assert "this looks like yolo" in text and "9 images, 12 people (train, val, test)" in text
    assert "1 points outside their image were dropped" in text and "4 images show nobody" in text
    assert json.loads(json.dumps(report.to_dict()))["images"] == 9
    rows = (tmp_path / "set/all.csv").read_text().splitlines()
    assert rows[1].startswith("images/train/0001.jpg,") and rows[1].endswith(",train")  # relative to the file


def test_one_split_of_one_class(tmp_path):
    factory.voc(tmp_path / "set")
    out = tmp_path / "cars.json"
    report = convert(tmp_path / "set", out, to="json", format="voc", split="test", classes=["car"])
    assert (report.images, report.points, report.why) == (3, 3, "read as voc")
    assert "boxes of car: centre" in str(report)
    assert len(read(out, "json", "all")) == 3


@pytest.mark.parametrize(
    ("out", "options", "says"),
    [
        ("none/out.csv", {}, "its folder does not exist"),
        (".", {}, "is a folder"),
        ("out.csv", {"to": "yolo"}, "cannot write format 'yolo'; choose one of .*csv, json, coco"),
        ("out.csv", {"format": "word"}, "unknown format 'word'"),
        ("out.csv", {"split": "night"}, "no images in split 'night'"),
    ],
)
def test_convert_refuses(tmp_path, out, options, says):
    factory.csv_table(tmp_path / "set")
    refused(says, convert, tmp_path / "set", tmp_path / out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failed_convert_leaves_the_earlier_file(tmp_path):
    factory.ucsd(tmp_path / "set")
    (tmp_path / "out.csv").write_text("earlier")
    refused("no place for a roi", convert, tmp_path / "set", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "earlier" and len(list(tmp_path.iterdir())) == 2


def test_the_real_part_a(shared, tmp_path):
    report = convert(shared / "data/shanghaitech/part_A", tmp_path / "a.json", to="json")
    assert (report.images, report.points, report.dropped) == (482, 241_275, 0)
    assert report.splits == ("trainval", "test") and report.rule == "points as they are annotated"
    assert len(read(tmp_path / "a.json", "json", "test")) == 182

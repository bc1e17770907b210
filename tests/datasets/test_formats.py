"""Every format: a folder is detected, read with the points and splits that were written, and converted."""

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers.annotated_images import write_lines
from helpers.points_errors import refused

from headcount.datasets.boxes import box_points
from headcount.datasets.conversion import convert, splits
from headcount.datasets.detect_format import detect
from headcount.datasets.readers import read
from headcount.datasets.registry import FORMATS

CASES = [pytest.param(format, write, id=write.__name__) for format, writes in factory.FAKES.items() for write in writes]
DETECTED = [case for case in CASES if FORMATS[case.values[0]].sign]
RECORDS = [case for case in CASES if case.values[0] not in ("shanghaitech", "ucf_cc_50", "worldexpo", "csv")]


def assert_same_points(samples, truth, tolerance=1e-3):
    """The same images, and in each the same points in any order."""
    assert {sample.name for sample in samples} == set(truth)
    for sample in samples:
        found, true = (np.array(sorted(map(tuple, points))) for points in (sample.points, truth[sample.name]))
        assert found.shape == true.shape and np.allclose(found, true, atol=tolerance), sample.name
        assert sample.points.dtype == np.float32 and sample.dropped == 0


# Every format


def test_every_format_has_a_fake():
    assert set(factory.FAKES) == set(FORMATS)


@pytest.mark.parametrize(("format", "write"), DETECTED)
def test_a_folder_is_detected(tmp_path, format, write):
    write(tmp_path)
    found, why = detect(tmp_path)
    assert found == format and why.startswith(f"this looks like {format}: ")


@pytest.mark.parametrize(("format", "write"), RECORDS)
def test_a_data_set_is_read_as_it_was_written(tmp_path, format, write):
    truth = write(tmp_path)
    for split, points in truth.items():
        official = "trainval" if split == "train" and "val" not in truth else split
        assert_same_points(read(tmp_path, "auto" if FORMATS[format].sign else format, official), points)
    everything = {name: points for group in truth.values() for name, points in group.items()}
    assert_same_points(read(tmp_path, format, "all"), everything)


@pytest.mark.parametrize(("format", "write"), RECORDS)
def test_train_and_val_are_disjoint(tmp_path, format, write):
    write(tmp_path)
    train, val = ({sample.image for sample in read(tmp_path, format, split)} for split in ("train", "val"))
    assert train and val and not train & val
    assert train | val == {sample.image for sample in read(tmp_path, format, "trainval")}


def test_images_without_people_need_no_annotation(tmp_path):
    for i in range(20):
        factory.photo(tmp_path / ("test" if i % 2 else "") / f"{i}.jpg", np.zeros((0, 2)))
    for split, images in {"all": 20, "test": 10}.items():
        assert [len(sample.points) for sample in read(tmp_path, "people_free", split)] == [0] * images
    (tmp_path / "none").mkdir()
    refused("holds no annotations", read, tmp_path / "none", "people_free", "all")


WITH_ROI = ("worldexpo", "mall", "ucsd", "trancos", "json")  # a csv has no place for it
WRITTEN = [(case.values, to) for case in DETECTED for to in ("csv", "json", "coco")]


@pytest.mark.parametrize(
    ("format", "write", "to"),
    [
        pytest.param(format, write, to, id=f"{write.__name__}-{to}")
        for (format, write), to in WRITTEN
        if (to != "csv" or format not in WITH_ROI) and (to != "coco" or format != "mall")
    ],
)
def test_convert_keeps_points_and_splits(tmp_path, format, write, to):
    write(tmp_path / "set")
    out = tmp_path / f"out.{to}"
    report = convert(tmp_path / "set", out, to=to)
    images = 0
    for split in report.splits:
        before, after = read(tmp_path / "set", format, split), read(out, to, split)
        assert [sample.image for sample in after] == [sample.image for sample in before]
        for one, other in zip(before, after, strict=True):
            assert np.array_equal(one.points, other.points)
            assert one.roi is None or np.array_equal(one.roi, other.roi)
        images += len(after)
    assert report.images == images and not list(tmp_path.glob(".*"))


# Detection


def test_a_folder_of_no_format_is_told_what_was_looked_for(tmp_path):
    factory.photo(tmp_path / "a.jpg", np.zeros((0, 2)))
    refused("in no known format; looked for .*mall_gt.mat.*annotations.*; pass format=NAME .*--from", detect, tmp_path)
    refused("no such file or folder", detect, tmp_path / "none")


def test_a_folder_of_two_formats_is_told_both(tmp_path):
    factory.csv_table(tmp_path)
    factory.coco(tmp_path)
    refused("more than one format fits: csv .*; coco .*", detect, tmp_path)
    assert detect(tmp_path / "points.csv")[0] == "csv"
    assert detect(tmp_path / "person_keypoints.json")[0] == "coco"


def test_what_headcount_writes_is_detected(tmp_path):
    factory.csv_table(tmp_path / "set")
    for to in ("csv", "json", "coco"):
        convert(tmp_path / "set", tmp_path / f"own.{to}", to=to)
        renamed = tmp_path / f"own.{to.replace('coco', 'coco.json')}"
        (tmp_path / f"own.{to}").rename(renamed)
        assert detect(renamed)[0] == to


# Boxes and classes


def test_the_point_of_a_person_is_half_a_head_below_the_top_of_the_box():
    boxes = np.array([(10, 20, 50, 120), (0, 0, 100, 40), (-20, -10, 20, 90), (200, 0, 300, 90)], np.float64)
    heads = box_points(boxes, ["head"] * 4, 100, 200)
    assert heads[0].tolist() == [30, 30]  # standing: a tenth of 100 down
    assert heads[1].tolist() == [50, 4]  # lying or cut off: a tenth of the height
    assert heads[2].tolist() == [10, 5]  # clipped to 20 x 90 first: a quarter of the width
    assert heads[3, 0] > 100  # outside the image, so it will be dropped
    assert box_points(boxes, ["centre"] * 4, 100, 200)[0].tolist() == [30, 70]


def test_boxes_of_people_give_heads_and_other_boxes_centres(tmp_path):
    truth = factory.voc(tmp_path)["test"]
    heads, middles = (read(tmp_path, "voc", "test", boxes=boxes) for boxes in (None, "centre"))
    assert {sample.rule for sample in heads if len(sample.points)} == {"boxes of person: head"}
    assert_same_points(heads, truth)
    # The boxes are 30 high, and the points of heads 3 below the top edge.
    assert_same_points(middles, {name: points + (0, 12) for name, points in truth.items()})
    cars = read(tmp_path, "voc", "test", classes=("car",))
    assert all(np.allclose(car.points, [(6, 5)]) for car in cars)


def test_head_boxes_are_read_when_asked_for(tmp_path):
    factory.jhu(tmp_path)
    (tmp_path / "test/gt/0007.txt").write_text("50 30 8 10 1 0\n94 30 8 10 1 0\n")
    sample = read(tmp_path, "jhu", "test", boxes="centre")[0]
    assert sample.rule == "boxes: centre"
    assert sample.points.tolist() == [[50, 30], [93, 30]]  # the second box is clipped to 90 .. 96
    assert read(tmp_path, "jhu", "test")[0].points.tolist() == [[50, 30], [94, 30]]  # the points, by default


def test_classes_are_asked_for_where_none_is_a_person(tmp_path):
    factory.yolo(tmp_path, names="names:\n  0: lorry\n  1: bicycle\n")
    refused(
        "its classes are bicycle, lorry, and none is a person; choose the classes: .*--classes NAME",
        read,
        tmp_path,
        "yolo",
        "test",
    )
    refused("has no class 'person'; choose from bicycle, lorry", read, tmp_path, "yolo", "test", classes=["person"])
    assert sum(len(s.points) for s in read(tmp_path, "yolo", "test", classes=["Bicycle", "lorry"])) == 8
    (tmp_path / "data.yaml").unlink()
    refused("its classes are 0, 1", read, tmp_path, "yolo", "test")


def test_yolo_without_names_takes_the_only_class_for_people(tmp_path):
    truth = factory.yolo(tmp_path, names=None, car=False)
    for split in ("val", "test"):
        assert_same_points(read(tmp_path, "yolo", split), truth[split])


def test_yolo_outlines_have_their_bounding_box(tmp_path):
    factory.photo(tmp_path / "images/a.jpg", np.zeros((0, 2)))
    write_lines(tmp_path / "labels/a.txt", [(0, 0.25, 0.25, 0.75, 0.25, 0.5, 0.75)])
    (sample,) = read(tmp_path, "yolo", "all", boxes="centre")
    assert sample.points.tolist() == [[48, 32]]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("names: [car, 'person']", {"car", "person"}),
        ("names: {0: car, 1: person}", {"car", "person"}),
        ("names:\n- car\n- person  # who walks\nnc: 2", {"car", "person"}),
        ("nc: 2\nnames:\n  0: car\n  1: person\n", {"car", "person"}),
        ("names: ['lorry, car', person]", {"lorry, car", "person"}),
        ("names: [car, # on wheels\n  person, # on foot\n]", {"car", "person"}),
        ('"names": {1: person, 0: "no"}', {"no", "person"}),
        ("names: [no, person]", {"no", "person"}),  # not a truth value
        ("classes: &all\n  - car\n  - person\nnames: *all", {"car", "person"}),
    ],
)
def test_yolo_names(tmp_path, content, names):
    truth = factory.yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    assert_same_points(read(tmp_path, "yolo", "test"), truth["test"])
    refused(f"choose from {', '.join(sorted(names))}$", read, tmp_path, "yolo", "test", classes=["dog"])


def test_options_that_do_not_apply_are_refused(tmp_path):
    factory.ucf_qnrf(tmp_path)
    refused("has no classes", read, tmp_path, "ucf_qnrf", "test", classes=["person"])
    refused("has points and no boxes", read, tmp_path, "ucf_qnrf", "test", boxes="head")
    refused("choose head or centre", read, tmp_path, "ucf_qnrf", "test", boxes="middle")
    factory.csv_table(tmp_path / "own")
    refused("has points, no boxes and no classes", read, tmp_path / "own", "csv", "all", boxes="head")


def test_a_coco_folder_of_several_files(tmp_path):
    """COCO itself: a file for each split in annotations, with captions beside them."""
    for split in ("train", "val"):
        factory.coco_boxes(tmp_path / split)
        (tmp_path / split / "train2017").rename(tmp_path / f"{split}2017")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        for image in (tmp_path / f"{split}2017").iterdir():
            image.rename(image.with_name(f"{split}_{image.name}"))
        content = (tmp_path / split / "annotations/instances_train.json").read_text()
        content = content.replace('"file_name": "', f'"file_name": "{split}_')
        (tmp_path / f"annotations/instances_{split}2017.json").write_text(content)
        (tmp_path / split / "annotations/instances_train.json").unlink()
    (tmp_path / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    assert detect(tmp_path)[0] == "coco" and splits(tmp_path, "coco") == ("train", "val")
    assert {sample.name[:3] for sample in read(tmp_path, "coco", "val")} == {"val"}
    (tmp_path / "annotations/person_keypoints_val2017.json").write_text(content)
    refused("is in another file too; pass a single annotation file", read, tmp_path, "coco", "val")

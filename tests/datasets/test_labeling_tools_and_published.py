"""formats.py, and below it layouts.py, labels.py and entries.py: every format as it lies on disk is known by its look,
read with the counts, positions and splits that were written, and a damaged file of it gets one line."""

import json
import re

import numpy as np
import pytest
from helpers import dataset_factory as factory
from scipy.io import savemat

from headcount.datasets.annotations import PointsError, box_points, load_xml
from headcount.datasets.convert import convert, splits
from headcount.datasets.detect_format import detect
from headcount.datasets.readers import READERS, read

FAKES = {  # format: what writes it. Each has at least one image without people.
    "shanghaitech": [factory.shanghaitech],
    "ucf_cc_50": [factory.ucf_cc_50],
    "worldexpo": [factory.worldexpo],
    "csv": [factory.csv_table],
    "coco": [factory.coco, factory.coco_boxes],
    "ucf_qnrf": [factory.ucf_qnrf],
    "nwpu": [factory.nwpu],
    "jhu": [factory.jhu],
    "mall": [factory.mall],
    "ucsd": [factory.ucsd],
    "carpk": [factory.carpk],
    "trancos": [factory.trancos],
    "visdrone": [factory.visdrone],
    "p2pnet": [factory.p2pnet],
    "yolo": [factory.yolo],
    "voc": [factory.voc],
    "cvat": [factory.cvat_images, factory.cvat_video],
    "labelme": [factory.labelme],
    "labelstudio": [factory.labelstudio],
}
CASES = [pytest.param(format, write, id=write.__name__) for format, writes in FAKES.items() for write in writes]
NEW = [case for case in CASES if case.values[0] not in ("shanghaitech", "ucf_cc_50", "worldexpo", "csv")]


def agree(samples, truth, exact=1e-3):
    """The same images, and in each the same points in any order."""
    assert {sample.name for sample in samples} == set(truth)
    for sample in samples:
        found, true = (np.array(sorted(map(tuple, points))) for points in (sample.points, truth[sample.name]))
        assert found.shape == true.shape and np.allclose(found, true, atol=exact), sample.name
        assert sample.points.dtype == np.float32 and sample.dropped == 0


def refused(match, call, *arguments, **options):
    """One line, which says where and what to do."""
    with pytest.raises(PointsError, match=match) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


# Every format


def test_every_format_has_a_fake_here():
    assert set(FAKES) | {"json", "people_free"} == set(READERS)


@pytest.mark.parametrize(("format", "write"), CASES)
def test_a_folder_is_known_by_its_look(tmp_path, format, write):
    write(tmp_path)
    found, why = detect(tmp_path)
    assert found == format and why.startswith(f"this looks like {format}: ")


@pytest.mark.parametrize(("format", "write"), NEW)
def test_what_was_written_is_read(tmp_path, format, write):
    truth = write(tmp_path)
    for split, points in truth.items():
        official = "trainval" if split == "train" and "val" not in truth else split
        agree(read(tmp_path, "auto", official), points)
    agree(read(tmp_path, format, "all"), {name: p for group in truth.values() for name, p in group.items()})


@pytest.mark.parametrize(("format", "write"), NEW)
def test_train_leaves_val_out(tmp_path, format, write):
    write(tmp_path)
    train, val = ({sample.image for sample in read(tmp_path, format, split)} for split in ("train", "val"))
    assert train and val and not train & val
    assert train | val == {sample.image for sample in read(tmp_path, format, "trainval")}


def test_pictures_of_nobody_need_no_annotation(tmp_path):
    for i in range(20):
        factory.photo(tmp_path / ("test" if i % 2 else "") / f"{i}.jpg", np.zeros((0, 2)))
    for split, images in {"all": 20, "test": 10}.items():
        assert [len(sample.points) for sample in read(tmp_path, "people_free", split)] == [0] * images
    (tmp_path / "none").mkdir()
    refused("holds no annotations", read, tmp_path / "none", "people_free", "all")


ROIS = ("worldexpo", "mall", "ucsd", "trancos")  # which a csv has no place for
WRITTEN = [(case.values, to) for case in CASES for to in ("csv", "json", "coco")]


@pytest.mark.parametrize(
    ("format", "write", "to"),
    [
        pytest.param(format, write, to, id=f"{write.__name__}-{to}")
        for (format, write), to in WRITTEN
        if (to != "csv" or format not in ROIS) and (to != "coco" or format != "mall")
    ],
)
def test_convert_keeps_counts_places_and_splits(tmp_path, format, write, to):
    write(tmp_path / "set")
    out = tmp_path / f"out.{to}"
    report = convert(tmp_path / "set", out, to=to)
    images = 0
    for split in report.splits:
        was, again = read(tmp_path / "set", format, split), read(out, to, split)
        assert [sample.image for sample in again] == [sample.image for sample in was]
        for one, other in zip(was, again, strict=True):
            assert np.array_equal(one.points, other.points)
            assert one.roi is None or np.array_equal(one.roi, other.roi)
        images += len(again)
    assert report.images == images and not list(tmp_path.glob(".*"))


# Known or not


def test_a_folder_of_no_format_hears_what_was_looked_for(tmp_path):
    factory.photo(tmp_path / "a.jpg", np.zeros((0, 2)))
    refused("in no format that is known; looked for .*mall_gt.mat.*annotations.*--from", detect, tmp_path)
    refused("no such file or folder", detect, tmp_path / "none")


def test_a_folder_of_two_formats_hears_both(tmp_path):
    factory.csv_table(tmp_path)
    factory.coco(tmp_path)
    refused("more than one format fits: coco .*; csv .*", detect, tmp_path)
    assert detect(tmp_path / "points.csv")[0] == "csv"
    assert detect(tmp_path / "person_keypoints.json")[0] == "coco"


def test_one_of_ours_is_known(tmp_path):
    factory.csv_table(tmp_path / "set")
    for to in ("csv", "json", "coco"):
        convert(tmp_path / "set", tmp_path / f"own.{to}", to=to)
        renamed = tmp_path / f"own.{to.replace('coco', 'coco.json')}"
        (tmp_path / f"own.{to}").rename(renamed)
        assert detect(renamed)[0] == to


# Boxes and classes


def test_the_head_is_half_a_head_below_the_top_of_a_person_s_box():
    boxes = np.array([(10, 20, 50, 120), (0, 0, 100, 40), (-20, -10, 20, 90), (200, 0, 300, 90)], np.float64)
    heads = box_points(boxes, ["head"] * 4, 100, 200)
    assert heads[0].tolist() == [30, 30]  # standing: a tenth of 100 down
    assert heads[1].tolist() == [50, 4]  # lying or cut off: still a tenth of the height
    assert heads[2].tolist() == [10, 5]  # cut at the border first: the visible part is 20 x 90, a fourth of its width
    assert heads[3, 0] > 100  # outside the image, and dropped as such
    assert box_points(boxes, ["centre"] * 4, 100, 200)[0].tolist() == [30, 70]


def test_people_s_boxes_give_heads_and_other_boxes_centres(tmp_path):
    truth = factory.voc(tmp_path)["test"]
    heads, middles = (read(tmp_path, "voc", "test", boxes=boxes) for boxes in (None, "centre"))
    assert {sample.rule for sample in heads if len(sample.points)} == {"boxes of person: head"}
    agree(heads, truth)
    agree(middles, {name: points + (0, 12) for name, points in truth.items()})  # boxes of 30, heads 3 below the top
    cars = read(tmp_path, "voc", "test", classes=("car",))
    assert all(np.allclose(car.points, [(6, 5)]) for car in cars)


def test_head_boxes_are_read_when_asked_for(tmp_path):
    factory.jhu(tmp_path)
    (tmp_path / "test/gt/0007.txt").write_text("50 30 8 10 1 0\n94 30 8 10 1 0\n")
    sample = read(tmp_path, "jhu", "test", boxes="centre")[0]
    assert sample.rule == "boxes: centre"
    assert sample.points.tolist() == [[50, 30], [93, 30]]  # the second is cut at the border, 90 to 96
    assert read(tmp_path, "jhu", "test")[0].points.tolist() == [[50, 30], [94, 30]]  # its points, if not asked


def test_classes_are_asked_for_where_none_is_a_person(tmp_path):
    factory.yolo(tmp_path, names="names:\n  0: lorry\n  1: bicycle\n")
    refused("its classes are bicycle, lorry, and none is a person; say which", read, tmp_path, "yolo", "test")
    refused("has no class 'person'; choose of bicycle, lorry", read, tmp_path, "yolo", "test", classes=["person"])
    assert sum(len(s.points) for s in read(tmp_path, "yolo", "test", classes=["Bicycle", "lorry"])) == 8
    (tmp_path / "data.yaml").unlink()
    refused("its classes are 0, 1", read, tmp_path, "yolo", "test")


def test_yolo_without_names_takes_the_only_class_for_people(tmp_path):
    truth = factory.yolo(tmp_path, names=None, car=False)
    for split in ("val", "test"):
        agree(read(tmp_path, "yolo", split), truth[split])


def test_yolo_outlines_have_their_bounding_box(tmp_path):
    factory.photo(tmp_path / "images/a.jpg", np.zeros((0, 2)))
    factory._lines(tmp_path / "labels/a.txt", [(0, 0.25, 0.25, 0.75, 0.25, 0.5, 0.75)])
    (sample,) = read(tmp_path, "yolo", "all", boxes="centre")
    assert sample.points.tolist() == [[48, 32]]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("names: [car, 'person']", {"car", "person"}),
        ("names: {0: car, 1: person}", {"car", "person"}),
        ("names:\n- car\n- person  # who walks\nnc: 2", {"car", "person"}),
        ("nc: 2\nnames:\n  0: car\n  1: person\n", {"car", "person"}),
    ],
)
def test_yolo_names(tmp_path, content, names):
    truth = factory.yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    agree(read(tmp_path, "yolo", "test"), truth["test"])
    refused("choose of car, person", read, tmp_path, "yolo", "test", classes=["dog"])


def test_options_that_a_format_has_no_use_for_are_refused(tmp_path):
    factory.ucf_qnrf(tmp_path)
    refused("has no classes", read, tmp_path, "ucf_qnrf", "test", classes=["person"])
    refused("has points and no boxes", read, tmp_path, "ucf_qnrf", "test", boxes="head")
    refused("choose head or centre", read, tmp_path, "ucf_qnrf", "test", boxes="middle")
    factory.csv_table(tmp_path / "own")
    refused("csv has points, no boxes", read, tmp_path / "own", "csv", "all", boxes="head")


def test_a_coco_folder_of_several_files(tmp_path):
    """As COCO itself lies: a file for each split in annotations, captions beside them."""
    for split in ("train", "val"):
        factory.coco_boxes(tmp_path / split)
        (tmp_path / split / "train2017").rename(tmp_path / f"{split}2017")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        for picture in (tmp_path / f"{split}2017").iterdir():
            picture.rename(picture.with_name(f"{split}_{picture.name}"))
        content = (tmp_path / split / "annotations/instances_train.json").read_text()
        content = content.replace('"file_name": "', f'"file_name": "{split}_')
        (tmp_path / f"annotations/instances_{split}2017.json").write_text(content)
        (tmp_path / split / "annotations/instances_train.json").unlink()
    (tmp_path / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    assert detect(tmp_path)[0] == "coco" and splits(tmp_path, "coco") == ("train", "val")
    assert {sample.name[:3] for sample in read(tmp_path, "coco", "val")} == {"val"}
    (tmp_path / "annotations/person_keypoints_val2017.json").write_text(content)
    refused("is in another file too; give one of the files", read, tmp_path, "coco", "val")


# Damage


def replace(file, *pairs):
    """A damage: each `old` of a text file becomes `new`."""

    def damage(root):
        text = (root / file).read_text()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        (root / file).write_text(text)

    return damage


def put(file, content):
    return lambda root: (root / file).write_bytes(content)


def other_mat(file):
    return lambda root: savemat(root / file, {"something": np.eye(3)})


@pytest.mark.parametrize(
    ("write", "damage", "says"),
    [
        (factory.ucf_qnrf, put("Train/img_0001_ann.mat", b"not"), "img_0001_ann.mat: damaged .mat"),
        (
            factory.ucf_qnrf,
            other_mat("Train/img_0001_ann.mat"),
            "img_0001_ann.mat: not an annotation of this data set",
        ),
        (
            factory.ucf_qnrf,
            lambda root: (root / "Train/img_0001_ann.mat").unlink(),
            "img_0001.jpg: has no annotation",
        ),
        (factory.nwpu, put("jsons/0001.json", b"{"), "0001.json: not readable as JSON"),
        (
            factory.nwpu,
            put("jsons/0001.json", b'{"points": [[1, 2, 3]]}'),
            "0001.json: points must be rows of two",
        ),
        (factory.nwpu, put("jsons/0001.json", b'{"points": [], "boxes": [[1]]}'), "two corners of a box"),
        (
            factory.jhu,
            put("train/gt/0001.txt", b"1 2 3 4 1 0\n5 six 3 4 1 0\n"),
            "0001.txt, line 2: '5 six 3 4 1 0' must",
        ),
        (factory.jhu, put("train/gt/0001.txt", b"1 2\n"), "0001.txt, line 1"),
        (factory.mall, other_mat("mall_gt.mat"), "mall_gt.mat: not an annotation of this data set"),
        (factory.mall, lambda root: (root / "frames/seq_000007.jpg").unlink(), "frame 7 has no picture"),
        (
            factory.mall,
            lambda root: savemat(root / "perspective_roi.mat", {"roi": {"mask": np.zeros((4, 4))}}),
            "empty",
        ),
        (
            factory.ucsd,
            other_mat("vidf-cvpr/vidf1_33_003_frame_full.mat"),
            "vidf1_33_003_frame_full.mat: not an annot",
        ),
        (
            factory.carpk,
            put("data/Annotations/0001.txt", b"1 2 3\n"),
            "0001.txt, line 1: '1 2 3' must be the numbers",
        ),
        (factory.trancos, put("images/image-1-000002.txt", b"nan 4\n"), "image-1-000002.txt, line 1"),
        (
            factory.trancos,
            lambda root: (root / "images/image-1-000002.txt").unlink(),
            "image-1-000002.jpg: has no annot",
        ),
        (
            factory.visdrone,
            put("VisDrone2019-DET-train/annotations/0001.txt", b"1,2,3,4,1,77,0,0\n"),
            "0001.txt: a category is not a number from 0 to 11",
        ),
        (factory.p2pnet, put("train/0001.txt", b"1;2\n"), "0001.txt, line 1"),
        (factory.p2pnet, put("train.list", b"train/0001.jpg\n"), "train.list, line 1: .* must be two paths"),
        (
            factory.yolo,
            put("labels/train/0001.txt", b"1 0.5 0.5 0.1\n"),
            "0001.txt, line 1: .* must be: class x y width",
        ),
        (
            factory.yolo,
            put("labels/train/0001.txt", b"1 48 32 12 30\n"),
            "is not in parts of the image, 0 to 1",
        ),
        (factory.yolo, put("labels/train/0099.txt", b"1 0.5 0.5 0.1 0.1\n"), "0099.txt: has no image"),
        (factory.yolo, put("data.yaml", b"names: \n"), "data.yaml: its names are not understood"),
        (factory.voc, put("Annotations/0001.xml", b"<annotation><object>"), "0001.xml: not readable as XML"),
        (
            factory.voc,
            replace("Annotations/0001.xml", ("<xmin>", "<xmin>a")),
            "0001.xml: a mark of 'person' has no two or",
        ),
        (factory.voc, lambda root: (root / "JPEGImages/0001.jpg").unlink(), "no picture is named '0001.jpg'"),
        (factory.cvat_images, replace("annotations.xml", ('xtl="1"', "")), "annotations.xml: a mark of 'car'"),
        (factory.cvat_images, put("annotations.xml", b"<annotations>"), "annotations.xml: not readable as XML"),
        (
            factory.cvat_video,
            lambda root: (root / "images/frame_000001.png").unlink(),
            "frame 1 has no picture",
        ),
        (factory.labelme, replace("0001.json", ('"label": ', '"name": ')), "0001.json: a shape has no label"),
        (factory.labelme, put("0001.json", b"[" * 100_000), "0001.json: not readable as JSON"),
        (
            factory.labelstudio,
            replace("project-1.json", ('"x": ', '"z": ')),
            "the task of 0001.jpg is not understood",
        ),
        (
            factory.labelstudio,
            replace("project-1.json", ('"image": ', '"name": '), (".jpg", "")),
            "a task names no picture",
        ),
        (
            factory.coco_boxes,
            replace("annotations/instances_train.json", ('"bbox"', '"box"')),
            "no labelled keypoint and",
        ),
        (
            factory.coco_boxes,
            replace("annotations/instances_train.json", ('"image_id": 1', '"image_id": 7')),
            "not a COCO",
        ),
    ],
)
def test_damage_gets_one_line(tmp_path, write, damage, says):
    write(tmp_path)
    format = next(format for format, writes in FAKES.items() if write in writes)
    damage(tmp_path)
    refused(says, read, tmp_path, format, "trainval")
    with pytest.raises(PointsError, match=re.escape(str(tmp_path))):
        read(tmp_path, format, "trainval")


@pytest.mark.parametrize("format", sorted(set(READERS) - {"csv", "json"}))
def test_an_empty_folder_gets_one_line(tmp_path, format):
    with pytest.raises(PointsError, match=re.escape(str(tmp_path))) as caught:
        read(tmp_path, format, "train")
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


LEAVING = "'.*passwd.*' leads out of the data folder .* and is not followed"


@pytest.mark.parametrize("path", ["../../../../../../etc/passwd", "..\\\\..\\\\etc\\\\passwd.jpg"])
@pytest.mark.parametrize(
    ("write", "file", "pattern"),
    [
        (factory.voc, "Annotations/0009.xml", None),
        (factory.cvat_images, "annotations.xml", '(?<=name=")0001.jpg'),
        (factory.labelme, "0001.json", r'(?<="imagePath": ")[^"]*'),
        (factory.labelstudio, "project-1.json", r"(?<=/data/upload/)1/0123abcd-0001.jpg"),
        (factory.coco_boxes, "annotations/instances_train.json", "0001.jpg"),
        (factory.p2pnet, "train.list", "train/0001.txt"),
    ],
)
def test_no_path_leads_out_of_the_folder(tmp_path, write, file, pattern, path):
    write(tmp_path)
    format = next(format for format, writes in FAKES.items() if write in writes)
    if pattern:
        text = (tmp_path / file).read_text()
        path = path if file.endswith(".json") else path.replace("\\\\", "/")
        path = f"../../{path}.jpg" if write is factory.labelstudio else path
        changed, times = re.subn(pattern, lambda match: path, text, count=1)
        assert times
        (tmp_path / file).write_text(changed)
    else:
        (tmp_path / file).write_text(f"<annotation><filename>{path}</filename></annotation>")
    refused(LEAVING, read, tmp_path, format, "trainval")


def test_xml_that_grows_without_end_is_refused(tmp_path):
    factory.voc(tmp_path)
    grown = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    laughs = f'<!DOCTYPE annotation [<!ENTITY a0 "ha">{grown}]><annotation>&a8;</annotation>'
    steals = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'
    for content in (laughs, steals):
        (tmp_path / "Annotations/0001.xml").write_text(content)
        refused("0001.xml: declares a document type or entities", load_xml, tmp_path / "Annotations/0001.xml")
        refused("0001.xml: declares a document type", read, tmp_path, "voc", "train")


def test_a_file_too_large_is_not_opened(tmp_path):
    factory.labelme(tmp_path)
    with open(tmp_path / "0001.json", "r+b") as file:
        file.truncate(1 << 30)  # sparse
    refused("0001.json: larger than 512 MB", read, tmp_path, "labelme", "all")


# Convert


def test_convert_says_what_it_did(tmp_path):
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


def test_convert_one_split_with_what_is_asked_for(tmp_path):
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
        ("out.csv", {"to": "yolo"}, "cannot write format 'yolo'; choose one of csv, json, coco"),
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


def test_convert_the_real_part_a(shared, tmp_path):
    report = convert(shared / "data/shanghaitech/part_A", tmp_path / "a.json", to="json")
    assert (report.images, report.points, report.dropped) == (482, 241_275, 0)
    assert report.splits == ("trainval", "test") and report.rule == "points as they are annotated"
    assert len(read(tmp_path / "a.json", "json", "test")) == 182

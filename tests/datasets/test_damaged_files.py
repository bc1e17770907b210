"""A damaged or hostile file of any format gives one line that names the file; nothing outside the folder is read."""

import re

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers.points_errors import refused
from scipy.io import savemat

from headcount.datasets.annotation_files import read_xml, read_yaml
from headcount.datasets.annotations import PointsError
from headcount.datasets.readers import read
from headcount.datasets.registry import FORMATS


def format_of(write):
    return next(format for format, writes in factory.FAKES.items() if write in writes)


def replace(file, *pairs):
    """Damage: each `old` in a text file becomes `new`."""

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
        (factory.mall, lambda root: (root / "frames/seq_000007.jpg").unlink(), "frame 7 has no image"),
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
        (factory.p2pnet, put("train.list", b"train/0001.jpg \0\n"), r"train.list, line 1: '\\x00' is not a path"),
        (
            factory.yolo,
            put("labels/train/0001.txt", b"1 0.5 0.5 0.1\n"),
            "0001.txt, line 1: .* must be: class x y width",
        ),
        (
            factory.yolo,
            put("labels/train/0001.txt", b"1 48 32 12 30\n"),
            "is not in fractions of the image, 0 to 1",
        ),
        (factory.yolo, put("labels/train/0099.txt", b"1 0.5 0.5 0.1 0.1\n"), "0099.txt: has no image"),
        (factory.yolo, put("data.yaml", b"names: \n"), "data.yaml: its names are not understood"),
        (factory.yolo, put("data.yaml", b"names: person\n"), "data.yaml: its names are not understood"),
        (factory.yolo, put("data.yaml", b"names: [[person]]\n"), "data.yaml: its names are not understood"),
        (factory.yolo, put("data.yaml", b"names: {person: 0}\n"), "data.yaml: its names are not understood"),
        (factory.yolo, put("data.yaml", b"names: [person\n"), "data.yaml: not readable as YAML"),
        (factory.yolo, put("data.yaml", b"names: *people\n"), "data.yaml: not readable as YAML"),
        (factory.voc, put("Annotations/0001.xml", b"<annotation><object>"), "0001.xml: not readable as XML"),
        (
            factory.voc,
            replace("Annotations/0001.xml", ("<xmin>", "<xmin>a")),
            "0001.xml: an annotation of class 'person' needs two or",
        ),
        (factory.voc, lambda root: (root / "JPEGImages/0001.jpg").unlink(), "no image is named '0001.jpg'"),
        (
            factory.cvat_images,
            replace("annotations.xml", ('xtl="1"', "")),
            "an annotation of class 'car' needs",
        ),
        (factory.cvat_images, put("annotations.xml", b"<annotations>"), "annotations.xml: not readable as XML"),
        (
            factory.cvat_video,
            lambda root: (root / "images/frame_000001.png").unlink(),
            "frame 1 has no image",
        ),
        (factory.labelme, replace("0001.json", ('"label": ', '"name": ')), "0001.json: a shape has no label"),
        (factory.labelme, put("0001.json", b"[" * 100_000), "0001.json: not readable as JSON"),
        (factory.labelme, replace("0001.json", ("1.0", "9" * 400)), "0001.json: a shape has no label or no points"),
        (
            factory.nwpu,
            put("jsons/0001.json", b'{"points": [[1, ' + b"9" * 400 + b"]]}"),
            "0001.json: points must be rows",
        ),
        (
            factory.labelstudio,
            replace("project-1.json", ('"x": ', '"z": ')),
            "the task of 0001.jpg is not understood",
        ),
        (
            factory.labelstudio,
            replace("project-1.json", ('"image": ', '"name": '), (".jpg", "")),
            "a task names no image",
        ),
        (
            factory.coco_boxes,
            replace("annotations/instances_train.json", ('"bbox"', '"box"')),
            "no labeled keypoint and",
        ),
        (
            factory.coco_boxes,
            replace("annotations/instances_train.json", ('"image_id": 1', '"image_id": 7')),
            "not a COCO",
        ),
    ],
)
def test_a_damaged_file_gets_one_line(tmp_path, write, damage, says):
    write(tmp_path)
    format = format_of(write)
    damage(tmp_path)
    refused(says, read, tmp_path, format, "trainval")
    with pytest.raises(PointsError, match=re.escape(str(tmp_path))):
        read(tmp_path, format, "trainval")


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"csv", "json"}))
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
    format = format_of(write)
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


def test_xml_with_entities_is_refused(tmp_path):
    factory.voc(tmp_path)
    grown = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    grows = f'<!DOCTYPE annotation [<!ENTITY a0 "ha">{grown}]><annotation>&a8;</annotation>'
    steals = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'
    for content in (grows, steals):
        (tmp_path / "Annotations/0001.xml").write_text(content)
        refused("0001.xml: declares a document type or entities", read_xml, tmp_path / "Annotations/0001.xml")
        refused("0001.xml: declares a document type", read, tmp_path, "voc", "train")


def test_a_file_too_large_is_not_opened(tmp_path):
    factory.labelme(tmp_path)
    with open(tmp_path / "0001.json", "r+b") as file:
        file.truncate(1 << 30)  # sparse
    refused("0001.json: is larger than 512 MB", read, tmp_path, "labelme", "all")


def test_yaml_that_grows_without_end_stays_small(tmp_path):
    """Merge keys of merge keys would make 10**9 entries, and references of references as many texts."""
    merged = "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))
    nested = "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 10)}]\n" for n in range(1, 10))
    file = tmp_path / "data.yaml"
    file.write_text(f"a0: &a0 {{x: 1}}\n{merged}b0: &b0 [x]\n{nested}names: *b9\n")
    assert set(read_yaml(file)["a9"]) == {"<<"}
    factory.yolo(tmp_path, names=None)
    refused("data.yaml: its names are not understood", read, tmp_path, "yolo", "test")


def test_yaml_runs_no_tags(tmp_path):
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.listdir ['/']\n")
    assert read_yaml(tmp_path / "data.yaml") == {"names": ["/"]}


def test_a_yaml_file_too_large_is_not_parsed(tmp_path):
    factory.yolo(tmp_path, names=None)
    (tmp_path / "data.yaml").write_text("names: [person]\n" + "# and more\n" * 100_000)
    refused("data.yaml: is larger than 1 MB", read, tmp_path, "yolo", "test")


def test_other_yaml_files_beside_the_images_do_not_matter(tmp_path):
    truth = factory.yolo(tmp_path)
    (tmp_path / "a.yaml").write_text("services: !Ref [\n")
    assert sum(len(sample.points) for sample in read(tmp_path, "yolo", "test")) == sum(map(len, truth["test"].values()))


def test_on_error_is_called_for_each_file_and_the_rest_is_read(tmp_path):
    factory.jhu(tmp_path)
    (tmp_path / "train/gt/0001.txt").write_text("one two\n")
    (tmp_path / "train/images/0002.jpg").unlink()
    errors = []
    samples = read(tmp_path, "jhu", "trainval", on_error=errors.append)
    assert [sample.name for sample in samples] == ["0003", "0004", "0005", "0006"]
    assert len(errors) == 2
    assert "0002.txt: has no image" in str(errors[0]) and "0001.txt, line 1" in str(errors[1])


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "b/" * 600 + "a.jpg", "a\\n.jpg", "a\\u0000.jpg"])
@pytest.mark.parametrize(
    ("write", "file", "pattern"),
    [
        (factory.labelme, "0001.json", r'(?<="imagePath": ")[^"]*'),
        (factory.labelstudio, "project-1.json", r"(?<=0123abcd-)0001.jpg"),
        (factory.coco_boxes, "annotations/instances_train.json", "0001.jpg"),
        (factory.json_table, "points.json", r"0\.jpg"),
    ],
)
def test_impossible_file_names_are_refused(tmp_path, write, file, pattern, name):
    write(tmp_path)
    if write is factory.json_table and name == "a\\n.jpg":
        pytest.skip("tables of headcount name such files, which exist")
    if write is factory.labelstudio:  # an address
        name = name.replace("\\n", "%0A").replace("\\u0000", "%00")
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(re.sub(pattern, lambda match: name, text, count=1))
    refused(f"{file}: '.*' is not a path; correct it", read, tmp_path, format_of(write), "all")


def test_messages_quote_little_of_a_file(tmp_path):
    factory.labelme(tmp_path)
    text = (tmp_path / "0001.json").read_text()
    (tmp_path / "0001.json").write_text(text.replace("Person", "a\\n" * 3000))
    with pytest.raises(PointsError) as caught:
        read(tmp_path, "labelme", "all", classes=["dog"])
    assert "has no class 'dog'; choose from a a a" in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500

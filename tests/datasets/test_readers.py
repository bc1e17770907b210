"""Reading and writing: published sets, tables, splits, round trips, and the messages about bad files."""

import doctest
import importlib
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers.annotated_images import matlab_73

import headcount.datasets
from headcount.datasets import splits
from headcount.datasets.annotations import PointsError
from headcount.datasets.readers import read, write
from headcount.datasets.sample import Sample


def counts(samples):
    return {sample.name: len(sample.points) for sample in samples}


def same(sample, truth):
    return sample.points.dtype == np.float32 and np.array_equal(sample.points, truth.astype(np.float32))


# Published sets


@pytest.mark.parametrize("labels", ["ground-truth", "ground_truth"])
@pytest.mark.parametrize("below", ["part_A_final", "."])
def test_shanghaitech(tmp_path, labels, below):
    truth = factory.shanghaitech(tmp_path / below, train=range(12), labels=labels)
    whole, test = read(tmp_path, "shanghaitech", "trainval"), read(tmp_path, "shanghaitech", "test")
    assert [sample.name for sample in whole] == [f"IMG_{n}" for n in range(1, 13)]  # IMG_2 before IMG_10
    assert all(same(sample, truth["train"][sample.name]) for sample in whole)
    assert all(same(sample, truth["test"][sample.name]) for sample in test) and len(test) == 2
    train, val = (counts(read(tmp_path, "shanghaitech", split)) for split in ("train", "val"))
    assert len(val) == 1 and not train.keys() & val.keys() and {**train, **val} == counts(whole)


def test_shanghaitech_asks_which_part(tmp_path):
    factory.shanghaitech(tmp_path / "part_A")
    factory.shanghaitech(tmp_path / "part_B")
    with pytest.raises(PointsError, match="holds part_A, part_B; give the path of one"):
        read(tmp_path, "shanghaitech", "test")


def test_scut_head_by_part_and_hall(tmp_path):
    truth = factory.scut_head(tmp_path)
    for part in ("part_A", "part_B"):
        for split, images in truth.items():
            expected = {name: points for name, points in images.items() if part[-1] == name[4]}
            found = read(tmp_path, "scut_head", f"{part}-{split}")
            assert counts(found) == {name: len(points) for name, points in expected.items()}
            assert all(same(sample, expected[sample.name]) for sample in found)
    factory.photo(
        tmp_path / "JPEGImages/PartA_00001.jpg", np.zeros((0, 2))
    )  # of the hall that looks like the test hall
    (tmp_path / "Annotations/PartA_00001.xml").write_text("<annotation></annotation>")
    in_splits = {name for images in truth.values() for name in images}
    assert {s.name for s in read(tmp_path, "scut_head", "all")} - in_splits == {"PartA_00001"}
    with pytest.raises(
        PointsError, match="no split 'part_C-test'; choose one of train, val, trainval, test, all, part_A"
    ):
        read(tmp_path, "scut_head", "part_C-test")
    (tmp_path / "Annotations/PartB_00041.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(PointsError, match="PartB_00041.xml"):
        read(tmp_path, "scut_head", "part_B-val")


def test_the_halls_of_scut_head():
    halls = [line.split() for line in splits.split_list("scut_head_halls")]
    assert [name for name, _ in halls] == [f"PartA_{i:05d}" for i in range(2000)]
    images = {hall: sum(of == hall for _, of in halls) for _, hall in halls}
    assert images == {"1-401": 978, "1-403": 790, "b": 16, "c": 139, "d": 76, "e": 1}


def test_ucf_cc_50_folds(tmp_path):
    truth = factory.ucf_cc_50(tmp_path)["all"]
    everything = read(tmp_path, "ucf_cc_50", "all")
    beside_part_a = {sample.name for sample in read(tmp_path, "ucf_cc_50", "train")}
    assert {sample.name for sample in everything} - beside_part_a == {"16", "24", "45"}
    assert [sample.name for sample in everything] == [str(n) for n in range(1, 51)]
    assert all(same(sample, truth[sample.name]) for sample in everything)
    tested = []
    for fold in range(1, 6):
        kinds = ("train", "val", "trainval", "test")
        parts = {kind: set(counts(read(tmp_path, "ucf_cc_50", f"fold{fold}-{kind}"))) for kind in kinds}
        assert [len(parts[kind]) for kind in kinds] == [36, 4, 40, 10]
        assert parts["train"] | parts["val"] == parts["trainval"] == set(truth) - parts["test"]
        tested += parts["test"]
    assert sorted(tested) == sorted(truth)  # each image is tested once


def test_worldexpo(tmp_path):
    truth = factory.worldexpo(tmp_path)
    for split, official in (("trainval", "train"), ("test", "test")):
        samples = read(tmp_path, "worldexpo", split)
        assert len(samples) == 6 and all(same(sample, truth[official][sample.name]) for sample in samples)
        assert all(sample.scene == sample.name[:6] for sample in samples)
        assert all(np.array_equal(sample.roi, factory.ROI) for sample in samples)
    train, val = read(tmp_path, "worldexpo", "train"), read(tmp_path, "worldexpo", "val")
    assert len({sample.scene for sample in val}) == 1  # a whole camera is held out
    assert not {sample.scene for sample in train} & {sample.scene for sample in val}


def test_worldexpo_leaves_out_frames_without_annotation(tmp_path):
    factory.worldexpo(tmp_path)
    (tmp_path / "test_label/100124/100124_C09-04_1.mat").unlink()
    (tmp_path / "test_label/200608/200608_C09-04_1.mat").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 2 frames without annotation .*100124_C09-04_1"):
        assert len(read(tmp_path, "worldexpo", "test")) == 4


def test_worldexpo_reads_matlab_73(tmp_path):
    pytest.importorskip("h5py", reason="MATLAB 7.3 files need h5py")
    truth = factory.worldexpo(tmp_path)["test"]
    for name, heads in truth.items():
        stored = heads if len(heads) else np.zeros((0, 0))
        matlab_73(tmp_path / f"test_label/{name[:6]}/{name}.mat", point_position=stored)
    assert all(same(sample, truth[sample.name]) for sample in read(tmp_path, "worldexpo", "test"))


# Tables


def test_csv_splits(tmp_path):
    truth = factory.csv_table(tmp_path, splits=["train"] * 10 + ["test"] * 2)
    for root in (tmp_path, tmp_path / "points.csv"):
        assert len(read(root, "csv", "all")) == 12
        test = read(root, "csv", "test")
        assert len(test) == 2 and all(same(sample, truth["test"][sample.name]) for sample in test)
        train, val = (counts(read(root, "csv", split)) for split in ("train", "val"))
        assert len(val) == 1 and {**train, **val} == counts(read(root, "csv", "trainval"))
        assert {**train, **val}["a"] == 0  # without people
    with pytest.raises(PointsError, match=r"no images in split 'night' \(marked: test, train\)"):
        read(tmp_path, "csv", "night")


def test_a_marked_val_is_kept(tmp_path):
    factory.csv_table(tmp_path, splits=["train", "train", "val", "test"])
    assert counts(read(tmp_path, "csv", "train")) == {"a": 0, "b": 1}
    assert counts(read(tmp_path, "csv", "val")) == {"c": 2}
    assert counts(read(tmp_path, "csv", "trainval")) == {"a": 0, "b": 1, "c": 2}


def test_an_unmarked_file_is_all_training(tmp_path):
    factory.csv_table(tmp_path, splits=[""] * 20)
    assert len(read(tmp_path, "csv", "train")) == 18 and len(read(tmp_path, "csv", "val")) == 2
    with pytest.raises(PointsError, match="no images in split 'test'"):
        read(tmp_path, "csv", "test")


def test_a_file_per_split(tmp_path):
    factory.csv_table(tmp_path, splits=["", ""])
    (tmp_path / "points.csv").rename(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("image,x,y\nb.jpg,1,2\n")
    train, val = ({sample.image for sample in read(tmp_path, "csv", split)} for split in ("train", "val"))
    assert (len(train), len(val)) == (1, 1) and not train & val  # a tenth of train, since there is no val.csv
    assert len(read(tmp_path, "csv", "test")) == 1
    (tmp_path / "val.csv").write_text("image,x,y\nb.jpg,1,2\n")
    assert len(read(tmp_path, "csv", "train")) == 2 and len(read(tmp_path, "csv", "val")) == 1
    with pytest.raises(PointsError, match="3 .csv files, none is other.csv"):
        read(tmp_path, "csv", "other")


def test_csv_from_a_spreadsheet(tmp_path):
    factory.photo(tmp_path / "sub/é 1.jpg", np.zeros((0, 2)))
    (tmp_path / "t.csv").write_bytes("\ufeffimage,x,y,scene\r\nsub/é 1.jpg,1,2,gate\r\n".encode())
    (sample,) = read(tmp_path / "t.csv", "csv", "all")
    assert sample.points.tolist() == [[1, 2]] and sample.scene == "gate" and sample.roi is None


def test_coco_of_a_labelling_tool(tmp_path):
    truth = factory.coco(tmp_path)["all"]
    samples = read(tmp_path, "coco", "all")
    assert counts(samples) == {"1": 2, "2": 0, "3": 3}  # cars are not people
    assert all(same(sample, truth[sample.name]) for sample in samples)  # the nose, not the first keypoint


@pytest.mark.parametrize("format", ["csv", "json", "coco"])
def test_round_trip(tmp_path, format):
    factory.worldexpo(tmp_path)
    samples = read(tmp_path, "worldexpo", "test")  # with regions, scenes, and images without people
    if format == "csv":
        samples = [Sample(s.image, s.points, None, s.scene) for s in samples]
    write(samples, tmp_path / f"out.{format}", format)
    again = read(tmp_path / f"out.{format}", format, "all")
    assert [(s.image, s.scene) for s in again] == [(s.image, s.scene) for s in samples]
    assert all(
        np.array_equal(s.points, a.points) and a.points.dtype == np.float32 for s, a in zip(samples, again, strict=True)
    )
    assert all(np.array_equal(s.roi, a.roi) for s, a in zip(samples, again, strict=True) if s.roi is not None)
    assert any(len(s.points) == 0 for s in again)


def test_written_files_move_with_their_images(tmp_path):
    factory.shanghaitech(tmp_path / "set")
    write(read(tmp_path / "set", "shanghaitech", "test"), tmp_path / "set/points.json", "json")
    (tmp_path / "set").rename(tmp_path / "moved")
    assert counts(read(tmp_path / "moved/points.json", "json", "all")) == {"IMG_1": 4, "IMG_2": 1}


def test_coco_has_the_fields_that_other_tools_need(tmp_path):
    factory.shanghaitech(tmp_path)
    write(read(tmp_path, "shanghaitech", "test"), tmp_path / "coco.json", "coco")
    data = json.loads((tmp_path / "coco.json").read_text())
    assert (data["images"][0]["width"], data["images"][0]["height"]) == (96, 64)
    assert data["categories"][0]["keypoints"] == ["head"] and len(data["annotations"]) == 5
    person = data["annotations"][-1]
    assert person["image_id"] == data["images"][-1]["id"] and person["keypoints"][2] == 2


# Points outside, and bad files


def test_points_outside_are_dropped_with_one_warning(tmp_path):
    factory.ucf_cc_50(tmp_path, outside=3)
    with pytest.warns(UserWarning, match="dropped 3 points outside their image, in 1 images") as record:
        samples = read(tmp_path, "ucf_cc_50", "all")
    assert len(record) == 1 and samples[0].dropped == 3 and len(samples[0].points) == 1
    assert sum(sample.dropped for sample in samples) == 3


def test_borders_are_half_open(tmp_path):
    factory.photo(tmp_path / "a.jpg", np.zeros((0, 2)))
    inside = ["0,0", "95.9999999999,63.9999999999"]  # the last rounds to 96 and 64 in float32
    rows = [f"a.jpg,{point}\n" for point in (*inside, "96,0", "0,64", "-0.1,5")]
    (tmp_path / "a.csv").write_text("image,x,y\n" + "".join(rows))
    with pytest.warns(UserWarning, match="dropped 3"):
        (sample,) = read(tmp_path, "csv", "all")
    assert len(sample.points) == 2 and (sample.points < (96, 64)).all()


def damage(path: Path, content: bytes | None) -> None:
    path.unlink() if content is None else path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("ground-truth/GT_IMG_2.mat", b"not a mat", "GT_IMG_2.mat: damaged .mat file"),
        ("ground-truth/GT_IMG_2.mat", b"", "GT_IMG_2.mat: damaged .mat file"),
        ("ground-truth/GT_IMG_2.mat", None, "IMG_2.jpg: has no annotation"),
        ("images/IMG_2.jpg", None, "GT_IMG_2.mat: has no image"),
        ("images/IMG_2.jpg", b"not an image", "IMG_2.jpg"),
    ],
)
def test_a_bad_file_is_named(tmp_path, file, content, says):
    factory.shanghaitech(tmp_path)
    damage(tmp_path / "train_data" / file, content)
    with pytest.raises(PointsError, match=says) as caught:
        read(tmp_path, "shanghaitech", "trainval")
    assert "\n" not in str(caught.value) and ";" in str(caught.value)  # one line that says what to do


def test_a_mat_of_another_data_set_is_named(tmp_path):
    factory.ucf_cc_50(tmp_path)
    factory.shanghaitech_mat(tmp_path / "7_ann.mat", np.ones((1, 2)))
    with pytest.raises(PointsError, match="7_ann.mat: not an annotation of this data set"):
        read(tmp_path, "ucf_cc_50", "all")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "file,x,y\na.jpg,1,2\n", "the first line must name the columns image,x,y"),
        ("t.csv", "image,x,y\na.jpg,1,two\n", "line 2: x '1', y 'two' must be numbers"),
        ("t.csv", "image,x,y\na.jpg,1,\n", "line 2: x '1', y '' must be numbers"),
        ("t.csv", "image,x,y\na.jpg,nan,1\n", "a.jpg: points must be rows of two finite numbers"),
        ("t.csv", "image,x,y\n,1,1\n", "line 2: the column image is empty"),
        ("t.csv", "image,x,y,split\na.jpg,1,1,train\na.jpg,2,2,test\n", "line 3: a.jpg has another split"),
        ("t.csv", "image,x,y\nmissing.jpg,1,2\n", "missing.jpg"),
        ("t.csv", b"image,x,y\n\xff\xfe,1,2\n", "not a UTF-8 table"),
        ("t.json", "{", "not readable as JSON"),
        ("t.json", "[]", "must be "),
        ("t.json", '{"images": [{"image": "a.jpg", "points": [1, 2]}]}', "a.jpg: points must be rows of two"),
        ("t.json", '{"images": [{"image": "a.jpg", "points": [], "roi": [[1, "b"]]}]}', "a.jpg: points must be"),
        ("t.coco", "[]", "not a COCO keypoint file"),
        ("t.coco", '{"images": [], "annotations": [], "categories": [{"id": 1}]}', "boxes are not read"),
        (
            "t.coco",
            '{"images": [{"id": 1, "file_name": "a.jpg"}],'
            '"categories": [{"id": 1, "keypoints": ["head"]}],'
            '"annotations": [{"id": 7, "image_id": 1, "category_id": 1}]}',
            "7 has no labeled keypoint",
        ),
    ],
)
def test_a_bad_table_is_named(tmp_path, name, content, says):
    factory.photo(tmp_path / "a.jpg", np.zeros((0, 2)))
    file = tmp_path / name
    file.write_bytes(content) if isinstance(content, bytes) else file.write_text(content)
    with pytest.raises(PointsError, match=says) as caught:
        read(file, file.suffix[1:], "all")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("format", "split", "says"),
    [
        ("pascal", "train", "unknown format 'pascal'; choose one of shanghaitech"),
        ("shanghaitech", "all", "no split 'all'; choose one of train, val, trainval, test"),
        ("worldexpo", "train", "no such folder"),
    ],
)
def test_a_wrong_argument_is_answered_with_the_right_ones(tmp_path, format, split, says):
    factory.shanghaitech(tmp_path)
    with pytest.raises(PointsError, match=says):
        read(tmp_path, format, split)


def test_writing_what_cannot_be_written(tmp_path):
    sample = Sample(tmp_path / "a.jpg", np.zeros((0, 2), np.float32), factory.ROI.astype(np.float32))
    for format, says in (("csv", "no place for a roi"), ("coco", "a.jpg"), ("mat", "cannot write format")):
        with pytest.raises(PointsError, match=says):
            write([sample], tmp_path / "out", format)
    with pytest.raises(PointsError, match="cannot be written"):
        write([sample], tmp_path, "json")  # a folder


def test_reading_csv_starts_light():
    """No format loads its library before a file of it is opened."""
    code = "import sys, headcount.datasets.readers; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "headcount" in loaded and not {"torch", "scipy", "h5py", "defusedxml", "yaml"} & loaded


# The real sets


def real(shared, folder, format, split):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = read(shared / "data" / folder, format, split)
    return len(samples), sum(len(s.points) for s in samples), sum(s.dropped for s in samples)


@pytest.mark.parametrize(
    ("folder", "format", "split", "expected"),
    [
        ("shanghaitech/part_A", "shanghaitech", "trainval", (300, 162_413, 0)),
        ("shanghaitech/part_A", "shanghaitech", "test", (182, 78_862, 0)),
        ("shanghaitech/part_A", "shanghaitech", "train", (262, 143_054, 0)),
        ("shanghaitech/part_A", "shanghaitech", "val", (30, 17_051, 0)),
        ("shanghaitech/part_B", "shanghaitech", "trainval", (400, 49_151, 0)),
        ("shanghaitech/part_B", "shanghaitech", "val", (40, 4_879, 0)),
        ("ucf_cc_50", "ucf_cc_50", "all", (50, 63_974 - 5, 5)),
    ],
)
def test_totals(shared, folder, format, split, expected):
    assert real(shared, folder, format, split) == expected


@pytest.mark.parametrize(
    ("part", "groups", "never"),
    [
        ("A", 30, {"IMG_115", "IMG_187", "IMG_118", "IMG_283", "IMG_167", "IMG_169"}),
        ("B", 40, set()),
    ],
)
def test_validation_lists_are_chosen_as_their_comments_say(shared, part, groups, never):
    excluded = set(splits.split_list("shanghaitech_part_A_excluded")) if part == "A" else set()
    size = counts(read(shared / f"data/shanghaitech/part_{part}", "shanghaitech", "trainval"))
    order = sorted(size.keys() - excluded, key=lambda name: (size[name], int(name[4:])))
    pick, n = random.Random(0), len(order)
    cuts = [order[i * n // groups : (i + 1) * n // groups] for i in range(groups)]
    chosen = [pick.choice([name for name in cut if name not in never]) for cut in cuts]
    assert set(chosen) == set(splits.split_list(f"shanghaitech_part_{part}_val"))


def test_folds_are_chosen_as_their_comments_say():
    names = [str(number) for number in range(1, 51)]
    random.Random(0).shuffle(names)
    expected = {name: f"fold{place // 10 + 1}" for place, name in enumerate(names)}
    assert {name: fold for fold, name in map(str.split, splits.split_list("ucf_cc_50_folds"))} == expected


def test_no_photo_of_the_test_split_is_trained_on(shared):
    """The eight training images that show a test photo are in trainval, but in neither train nor val."""
    root = shared / "data/shanghaitech/part_A"
    excluded = set(splits.split_list("shanghaitech_part_A_excluded"))
    seen = {sample.name for split in ("train", "val") for sample in read(root, "shanghaitech", split)}
    whole = {sample.name for sample in read(root, "shanghaitech", "trainval")}
    assert "IMG_121" in excluded and not seen & excluded and seen | excluded == whole
    pair = [root / "train_data/images/IMG_121.jpg", root / "test_data/images/IMG_98.jpg"]
    assert pair[0].read_bytes() == pair[1].read_bytes()


# The public package


def test_the_example_of_the_package_runs():
    results = doctest.testmod(headcount.datasets)
    assert results.attempted > 5 and results.failed == 0


@pytest.mark.parametrize("name", headcount.datasets.__all__)
def test_public_names_are_no_modules(name):
    """A submodule of the same name would replace a function as soon as it is imported."""
    for module in Path(headcount.datasets.__file__).parent.glob("*.py"):
        importlib.import_module(f"headcount.datasets.{module.stem}")
    assert callable(getattr(headcount.datasets, name))

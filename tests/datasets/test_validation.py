"""check and duplicate detection: every fault of a data set is found once, and nothing else."""

import json

import cv2
import numpy as np
import pytest
from helpers import dataset_factory as factory

from headcount.datasets import duplicates
from headcount.datasets.annotations import PointsError
from headcount.datasets.readers import write
from headcount.datasets.sample import Sample
from headcount.datasets.validation import check, doubled
from headcount.io.images import read_image, write_image
from headcount.synthetic.scenes import render

SEEDS = range(12)


@pytest.fixture(scope="module")
def scenes():
    """Twelve rendered crowds, uint8 (360,480,3), no two of one place."""
    return [render(seed, 25, 480, 360) for seed in SEEDS]


def table(root, placed):
    """Write the images of {split: {name: (image, points)}} and their points.csv."""
    rows = ["image,x,y,split"]
    root.mkdir(exist_ok=True)
    for split, group in placed.items():
        for name, (image, points) in group.items():
            write_image(root / name, image)
            rows += [f"{name},{x},{y},{split}" for x, y in points] or [f"{name},,,{split}"]
    (root / "points.csv").write_text("\n".join(rows) + "\n")
    return root


def findings(report, kind=None):
    return [(f.severity, f.path.name, f.message) for f in report.findings if kind in (None, f.kind)]


@pytest.fixture
def clean(tmp_path, scenes):
    groups = {"train": SEEDS[:8], "test": SEEDS[8:]}
    placed = {s: {f"{n}.png": (scenes[n].image, scenes[n].points) for n in group} for s, group in groups.items()}
    return table(tmp_path / "set", placed)


def test_nothing_is_wrong_with_a_clean_set(clean):
    report = check(clean)
    assert findings(report) == [] and (report.errors, report.warnings) == (0, 0)
    assert report.splits == {"trainval": (8, 200), "test": (4, 100)}
    text = str(report)
    assert "this looks like csv" in text and text.endswith("0 errors, 0 warnings")


# Photos that occur twice


def jpeg(image, quality):
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


COPIES = {
    "the same": lambda image: image,
    "encoded again": lambda image: jpeg(image, 40),
    "resized": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "cropped": lambda image: image[30:-10, 20:-40].copy(),
    "all of it": lambda image: jpeg(cv2.resize(image[20:, 15:-30, :][:, ::-1].copy(), None, fx=1.3, fy=1.3), 60),
    "brighter": lambda image: np.clip(image * 1.15 + 10, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_training_photo_is_found_in_the_test_split(clean, scenes, copy):
    image = COPIES[copy](scenes[3].image)
    write_image(clean / "9.png", image)
    report = check(clean)
    ((severity, name, message),) = findings(report, "across splits")
    assert (severity, name) == ("error", "3.png") and message.startswith("trainval shows the photo of test 9.png")
    how = {"the same": "to the pixel", "mirrored": "mirrored", "all of it": "mirrored"}.get(copy, "in another copy")
    assert f"({how}; 25 and " in message and not findings(report, "twice") and not findings(report, "one place")


def test_within_a_split_it_is_a_warning(clean, scenes):
    write_image(clean / "5.png", jpeg(scenes[3].image, 50))
    report = check(clean)
    ((severity, name, message),) = findings(report, "twice")
    assert (severity, name) == ("warning", "3.png") and "is the photo of 5.png" in message
    assert (report.errors, report.warnings) == (0, 1)


def test_frames_of_one_camera_are_no_copies_but_belong_in_one_split(tmp_path, scenes):
    """People walk in front of a fixed background: no finding within a split, one warning across two."""
    background = scenes[0].image
    walkers = [scenes[5].image[200 : 200 + 60, x : x + 25] for x in range(40, 400, 60)]

    def frame(number):
        image = background.copy()
        for place, walker in enumerate(walkers):
            x = 20 + 70 * place + 9 * number * (-1) ** place
            image[150 + 20 * (place % 3) :][:60, max(0, x) : max(0, x) + 25] = walker
        return image, scenes[0].points

    frames = {f"{n}.png": frame(n) for n in range(6)}
    report = check(table(tmp_path / "one", {"train": frames}))
    assert findings(report) == []
    parts = {"train": dict(list(frames.items())[:3]), "test": dict(list(frames.items())[3:])}
    report = check(table(tmp_path / "two", parts))
    ((severity, _, message),) = findings(report)
    assert severity == "warning" and message.startswith("trainval and test show one place in ")
    assert "split by camera" in message


def test_photos_are_compared_across_data_sets(clean, tmp_path, scenes):
    other = table(tmp_path / "other", {"train": {"x.png": (jpeg(scenes[8].image, 70), np.zeros((0, 2)))}})
    report = check([clean, other])
    assert list(report.splits) == ["set trainval", "set test", "other trainval"]
    ((_, name, message),) = findings(report, "across splits")
    assert name == "8.png" and message.startswith("set test shows the photo of other trainval x.png")


def test_images_without_texture_are_no_duplicates(tmp_path):
    """Walls, fog and night have no features. Only equal pixels make them duplicates."""
    flat = {f"{n}.png": (np.full((200, 300, 3), 10 * n + 40, np.uint8), np.zeros((0, 2))) for n in range(4)}
    assert {f.kind for f in check(table(tmp_path, {"train": flat})).findings} == {"empty"}
    signatures = [
        duplicates.image_signature(np.zeros((9, 9, 3), np.uint8)),
        duplicates.image_signature(np.zeros((9, 9, 3), np.uint8)),
    ]
    assert (
        duplicates.find_duplicates(signatures) == [duplicates.Pair(0, 1, True, "copy")]
        and duplicates.find_duplicates([]) == []
    )


# Images and points


def test_images_that_cannot_be_decoded(clean):
    whole = clean / "2.png"
    jpg = cv2.imencode(".jpg", cv2.imread(str(whole)))[1].tobytes()
    whole.write_bytes(jpg[: len(jpg) // 2])  # the header is intact
    (clean / "4.png").write_bytes(b"not an image")
    (clean / "9.png").unlink()
    report = check(clean)
    assert [(f.severity, f.path.name) for f in report.findings] == [
        ("error", "2.png"),
        ("error", "4.png"),
        ("error", "9.png"),
    ]
    assert report.splits["trainval"][0] == 8  # the others were checked


def test_points_outside_and_marked_twice(clean, scenes):
    x, y = scenes[1].points[0]
    with open(clean / "points.csv", "a") as file:
        file.write(f"1.png,{x + 0.4},{y},train\n1.png,{x},{y},train\n2.png,500,10,train\n2.png,10,-1,train\n")
    report = check(clean)
    assert findings(report) == [
        ("error", "2.png", "2 points outside the image"),
        ("warning", "1.png", "2 points within 1 pixel of another"),
    ]


@pytest.mark.parametrize("count", [0, 1, 400])
def test_doubled_agrees_with_comparing_all_pairs(count):
    points = np.random.default_rng(count).uniform(0, 40, (count, 2)).astype(np.float32)
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    order = np.argsort(points[:, 0], kind="stable")
    near = np.triu(apart[np.ix_(order, order)] <= 1, 1)
    assert doubled(points) == near.any(axis=0).sum()


def test_odd_sizes_and_counts(clean, scenes):
    write_image(clean / "1.png", scenes[1].image[:50, :60])
    write_image(clean / "2.png", scenes[2].image[:70, :])
    crowd = [f"3.png,{x},{y},train\n" for x in range(5, 475, 6) for y in range(5, 355, 6)]
    (clean / "points.csv").write_text(
        "image,x,y,split\n"
        + "".join(f"{n}.png,{x},{y},train\n" for n in range(11) for x, y in [(9, 9), (30, 9), (9, 30), (30, 30)])
        + "".join(crowd)
        + "11.png,,,train\n"
    )
    report = check(clean)
    assert findings(report, "size") == [
        ("warning", "1.png", "is tiny, 60 x 50 pixels"),
        ("warning", "2.png", "is 6.9 times as long as it is wide, 480 x 70"),
    ]
    ((_, name, message),) = findings(report, "count")
    assert name == "3.png" and message.endswith("points, where half the split has 4 or fewer")
    assert [name for _, name, _ in findings(report, "empty")] == ["11.png"]


def test_images_and_annotations_without_each_other(tmp_path):
    factory.jhu(tmp_path)
    (tmp_path / "train/gt/0001.txt").unlink()
    (tmp_path / "train/images/0002.jpg").unlink()
    (tmp_path / "val/gt/0004.txt").write_text("one two\n")
    factory.photo(tmp_path / "extra/stray.jpg", np.zeros((0, 2)))
    report = check(tmp_path)
    kinds = [(f.kind, f.path.name) for f in report.findings if f.kind in ("annotation", "no annotation")]
    assert kinds == [
        ("annotation", "0001.jpg"),
        ("annotation", "0002.txt"),
        ("annotation", "0004.txt"),
        ("no annotation", "stray.jpg"),
    ]


def test_a_folder_without_a_data_set_is_refused(tmp_path):
    with pytest.raises(PointsError, match="in no known format"):
        check(tmp_path)


# Reports


def test_the_text_report_is_short_and_the_dict_complete(tmp_path, scenes):
    heads = np.repeat(scenes[0].points, 2, axis=0)
    many = {f"{n}.png": (render(n, 3, 128, 96).image, heads[: 2 * n + 2] / 4) for n in range(14)}
    report = check(table(tmp_path, {"train": many}))
    data = json.loads(json.dumps(report.to_dict()))
    lines = [f for f in data["findings"] if f["kind"] == "doubled"]
    assert len(lines) == 14 and lines[0]["path"].endswith("13.png")  # the worst one first
    assert "warning: 4 more of this kind (doubled); the JSON report has them all" in str(report)
    assert data["warnings"] == report.warnings and data["splits"] == {"trainval": {"images": 14, "points": 210}}


def test_the_contact_sheet_shows_images_with_dots(clean, tmp_path, scenes):
    assert check(clean).sheet(tmp_path / "none.png") == 0 and not (tmp_path / "none.png").exists()
    write_image(clean / "9.png", scenes[3].image)
    (clean / "2.png").write_bytes(b"not an image")  # has no thumbnail
    report = check(clean)
    assert report.sheet(tmp_path / "sheet.png") == 2
    red = (read_image(tmp_path / "sheet.png") == (255, 40, 60)).all(axis=2)
    assert red.sum() > 20


def test_a_file_written_by_headcount_can_be_checked(tmp_path, scenes):
    samples = []
    for n in range(3):
        write_image(tmp_path / f"{n}.png", scenes[n].image)
        samples.append(Sample(tmp_path / f"{n}.png", scenes[n].points))
    write(samples, tmp_path / "coco.json", "coco")
    assert findings(check(tmp_path, "coco", ["all"])) == []


# The real sets


def pairs(report, kind):
    found = [f for f in report.findings if f.kind == kind]
    return {(f.path.stem.removeprefix("IMG_"), f.other.stem.removeprefix("IMG_")) for f in found}


def test_the_known_leaks_are_found_and_no_other(shared):
    """docs/data.md lists them. No other pair of the 532 photos is found."""
    report = check([shared / "data/ucf_cc_50", shared / "data/shanghaitech/part_A"])
    across = {frozenset(pair) for pair in pairs(report, "across splits")}
    leaks = [(2, 173), (60, 40), (97, 142), (121, 98), (139, 82), (154, 181), (223, 132), (224, 31)]
    ucf = [(45, 117), (24, 145), (16, 21), (41, 118), (41, 283), (46, 118), (46, 283)]
    ucf += [(49, 134), (25, 287), (28, 294), (32, 297)]
    assert across == {frozenset(map(str, pair)) for pair in leaks + ucf}
    assert pairs(report, "twice") == {("115", "187"), ("118", "283"), ("167", "169"), ("102", "123"), ("41", "46")}
    assert {f.kind for f in report.findings} == {"across splits", "twice", "doubled", "outside"}
    assert any("IMG_121" in str(f) and "IMG_98.jpg (to the pixel" in f.message for f in report.findings)

"""Small test data sets, written in each format as it is laid out on disk.

Each function fills a folder and returns what it wrote, {split: {image name: float64 (N, 2) points}}. Each data set has
at least one image without people. A photo shows a dark disc at each point, so that a network can learn it.

`FAKES` lists the functions of each format; the tests of all formats run with every one of them.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from helpers.annotated_images import (
    CAR,
    Truth,
    body,
    each_image,
    frame_cells,
    people,
    photo,
    photos_of,
    shanghaitech_mat,
    standing,
    write_lines,
)


def shanghaitech(root: Path, train=(3, 0, 5, 2), test=(4, 1), labels="ground-truth", size=(96, 64)) -> Truth:
    """`root` is the folder of the part; `train` and `test` are head counts. IMG_1 is grey."""
    truth: Truth = {"train": {}, "test": {}}
    for split, counts in (("train", train), ("test", test)):
        folder = root / f"{split}_data"
        for number, count in enumerate(counts, start=1):
            points = truth[split][f"IMG_{number}"] = people(count, *size, seed=number)
            photo(folder / "images" / f"IMG_{number}.jpg", points, *size, grey=number == 1)
            shanghaitech_mat(folder / labels / f"GT_IMG_{number}.mat", points)
    return truth


def ucf_cc_50(root: Path, outside: int = 0) -> Truth:
    """50 grey images. Image 1 also has `outside` points beyond its right border."""
    truth: Truth = {"all": {}}
    for number in range(1, 51):
        points = truth["all"][str(number)] = people(number % 4, seed=number)
        photo(root / f"{number}.jpg", points, grey=True)
        beyond = np.full((outside if number == 1 else 0, 2), (96.0, 5.0))  # x == width is outside
        savemat(root / f"{number}_ann.mat", {"annPoints": np.concatenate([points, beyond])})
    return truth


ROI = np.array([(8, 8), (90, 8), (90, 60), (8, 60)], np.float64)


def worldexpo(root: Path, scenes=("100124", "200608", "500717"), frames: int = 2) -> Truth:
    """Each scene has frames in train and, with other people, in test. The last frame of each is without people."""
    truth: Truth = {"train": {}, "test": {}}
    for split in truth:
        for number, scene in enumerate(scenes):
            labels = root / f"{split}_label" / scene
            labels.mkdir(parents=True)
            x, y = ROI[:, :1], ROI[:, 1:]
            savemat(labels / "roi.mat", {"maskVerticesXCoordinates": x, "maskVerticesYCoordinates": y})
            for frame in range(1, frames + 1):
                name = f"{scene}_C09-04_{frame}"
                points = people(0 if frame == frames else frame + number, seed=len(split))
                truth[split][name] = points
                folder = root / "train_frame" if split == "train" else root / "test_frame" / scene
                photo(folder / f"{name}.jpg", points)
                stored = points if len(points) else np.zeros((0, 0))  # as MATLAB writes an empty matrix
                savemat(labels / f"{name}.mat", {"point_num": len(points), "point_position": stored})
    return truth


def csv_table(root: Path, splits=("train", "train", "test")) -> Truth:
    """points.csv with a column `split` beside a.jpg, b.jpg, ... The first image has no people."""
    truth: Truth = {split: {} for split in splits}
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "points.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "x", "y", "split"])
        for number, split in enumerate(splits):
            name = chr(ord("a") + number)
            points = truth[split][name] = people(number, seed=number)
            photo(root / f"{name}.jpg", points)
            table.writerows([f"{name}.jpg", x, y, split] for x, y in points.tolist() or [("", "")])
    return truth


def json_table(root: Path, splits=("train", "train", "val", "test")) -> Truth:
    """points.json with regions, scenes and splits. The first image has no people."""
    truth: Truth = {split: {} for split in splits}
    images = []
    for number, split in enumerate(splits):
        points = truth[split][str(number)] = people(number, seed=number)
        photo(root / f"{number}.jpg", points)
        fields = {"roi": ROI.tolist(), "scene": "gate", "split": split}
        images.append({"image": f"{number}.jpg", "points": points.tolist(), **fields})
    (root / "points.json").write_text(json.dumps({"images": images}))
    return truth


def coco(root: Path, counts=(2, 0, 3)) -> Truth:
    """person_keypoints.json as labeling tools write it: nose and eyes, some of them not labeled. And a car."""
    truth: Truth = {"all": {}}
    images, annotations = [], []
    for number, count in enumerate(counts, start=1):
        points = truth["all"][str(number)] = people(count, seed=number)
        photo(root / f"{number}.jpg", points)
        images.append({"id": number * 10, "file_name": f"{number}.jpg", "width": 96, "height": 64})
        for x, y in points.tolist():
            face = {"num_keypoints": 2, "keypoints": [0, 0, 0, x, y, 2, x + 1, y, 1]}
            annotations.append({"id": len(annotations), "image_id": number * 10, "category_id": 1, **face})
    annotations.append({"id": 99, "image_id": 10, "category_id": 3, "bbox": [1, 1, 9, 9]})  # a car
    person = {"id": 1, "name": "person", "keypoints": ["left_eye", "nose", "right_eye"]}
    content = {"images": images, "annotations": annotations, "categories": [person, {"id": 3, "name": "car"}]}
    (root / "person_keypoints.json").write_text(json.dumps(content))
    return truth


def ucf_qnrf(root: Path) -> Truth:
    truth = photos_of(root, {"train": "Train/{}", "test": "Test/{}"}, names="img_{:04d}")
    for split, name, points in each_image(truth):
        savemat(root / split.title() / f"{name}_ann.mat", {"annPoints": points})
    return truth


def nwpu(root: Path) -> Truth:
    """Two of the five folders of images. The last training image has only a .mat annotation. `test` has none."""
    truth = photos_of(root, {"train": "images_part1/{}", "val": "images_part2/{}", "test": "images_part2/{}"})
    (root / "jsons").mkdir()
    (root / "mats").mkdir()
    for split, name, points in each_image(truth):
        boxes = np.hstack([points - 2, points + 2])
        if name == "0003":
            savemat(root / f"mats/{name}.mat", {"annPoints": points, "annBoxes": boxes})
        elif split != "test":
            content = {"img_id": f"{name}.jpg", "human_num": len(points), "points": points.tolist()}
            (root / f"jsons/{name}.json").write_text(json.dumps({**content, "boxes": boxes.tolist()}))
    for split in truth:
        write_lines(root / f"{split}.txt", [(name, 1, 2) for name in truth[split]])
    return {split: truth[split] for split in ("train", "val")}


def jhu(root: Path) -> Truth:
    truth = photos_of(root, {split: f"{split}/images/{{}}" for split in ("train", "val", "test")})
    for split, name, points in each_image(truth):
        write_lines(root / f"{split}/gt/{name}.txt", [(x, y, 5, 7, 1, 0) for x, y in points])
        write_lines(root / f"{split}/image_labels.txt", [(name, len(points), "street", 0, 0)], ",")
    return truth


MASK = np.zeros((64, 96), np.uint8)
MASK[10:50, 20:90] = 1


def mall(root: Path, frames: int = 803) -> Truth:
    """The first two and the last three frames may show people; the others are one image. Frame 801 is in test."""
    truth: Truth = {"train": {}, "test": {}}
    points = [people(n % 3, seed=n) if n <= 2 or n > frames - 3 else np.zeros((0, 2)) for n in range(1, frames + 1)]
    blank = photo(root / "frames/seq_000003.jpg", np.zeros((0, 2))).read_bytes()
    for n, located in enumerate(points, start=1):
        name = f"seq_{n:06d}"
        truth["train" if n <= 800 else "test"][name] = located
        file = root / f"frames/{name}.jpg"
        photo(file, located) if len(located) else file.write_bytes(blank)
    savemat(root / "mall_gt.mat", {"frame": frame_cells(points), "count": np.array([[len(p)] for p in points])})
    savemat(root / "perspective_roi.mat", {"pMapN": np.ones((64, 96)), "roi": {"mask": MASK}})
    return truth


def ucsd(root: Path, clips=("002", "003"), frames: int = 3) -> Truth:
    truth: Truth = {"train": {}, "test": {}}
    for clip in clips:
        name = f"vidf1_33_{clip}"
        points = [people(n, seed=int(clip)) for n in range(frames)]
        for n, located in enumerate(points, start=1):
            photo(root / f"ucsdpeds/vidf/{name}.y/{name}_f{n:03d}.png", located, grey=True)
            truth["train" if clip == "003" else "test"][f"{name}_f{n:03d}"] = located
        (root / "vidf-cvpr").mkdir(exist_ok=True)
        savemat(root / f"vidf-cvpr/{name}_frame_full.mat", {"frame": frame_cells(points, columns=3)})
    corners = {"xi": ROI[:, :1], "yi": ROI[:, 1:], "mask": MASK}
    savemat(root / "vidf-cvpr/vidf1_33_roi_mainwalkway.mat", {"roi": corners})
    return truth


def carpk(root: Path) -> Truth:
    truth = photos_of(root, {"train": "data/Images/{}", "test": "data/Images/{}"}, suffix=".png")
    truth = {split: {name: p.clip((4, 4), (91, 59)) for name, p in group.items()} for split, group in truth.items()}
    for _, name, points in each_image(truth):
        write_lines(root / f"data/Annotations/{name}.txt", [(x - 4, y - 3, x + 4, y + 3, 1) for x, y in points])
    for split in truth:
        write_lines(root / f"data/ImageSets/{split}.txt", [(name,) for name in truth[split]])
    return truth


def trancos(root: Path) -> Truth:
    """The first image has only red dots, the others text files."""
    lists = {"train": "training", "val": "validation", "test": "test"}
    truth = photos_of(root, dict.fromkeys(lists, "images/{}"), names="image-1-{:06d}")
    for split, name, points in each_image(truth):
        savemat(root / f"images/{name}mask.mat", {"BW": MASK})
        if name.endswith("000001"):
            dots = np.zeros((64, 96, 3), np.uint8)
            pixels = points.astype(int)
            dots[pixels[:, 1], pixels[:, 0], 2] = 255  # OpenCV writes BGR
            cv2.imwrite(str(root / f"images/{name}dots.png"), dots)
            truth[split][name] = np.argwhere(dots[:, :, 2])[:, ::-1] + 0.5
        else:
            write_lines(root / f"images/{name}.txt", points, "\t")
    for split, file in lists.items():
        write_lines(root / f"image_sets/{file}.txt", [(f"{name}.jpg",) for name in truth[split]])
    return truth


def visdrone(root: Path) -> Truth:
    folder = {split: f"VisDrone2019-DET-{name}" for split, name in (("train", "train"), ("test", "test-dev"))}
    truth = standing(root, {split: f"{path}/images/{{}}" for split, path in folder.items()})
    for split, name, points in each_image(truth):
        boxes = [(*body(point), 1, 1 + i % 2) for i, point in enumerate(points)] + [(*CAR, 1, 4), (*CAR, 0, 1)]
        rows = [(x0, y0, x1 - x0, y1 - y0, score, kind, 0, 0) for x0, y0, x1, y1, score, kind in boxes]
        write_lines(root / folder[split] / f"annotations/{name}.txt", [*rows, (0, 0, 50, 50, 0, 0, 0, 0)], ",")
    return truth


def p2pnet(root: Path) -> Truth:
    truth = photos_of(root, {"train": "train/{}", "test": "test/{}"})
    for split, name, points in each_image(truth):
        write_lines(root / f"{split}/{name}.txt", points)
    for split, group in truth.items():
        write_lines(root / f"{split}.list", [(f"{split}/{name}.jpg", f"{split}/{name}.txt") for name in group])
    return truth


# Labeling tools. Each image has a car beside the people.


def unity_crowds(root: Path) -> Truth:
    truth = photos_of(root, {"train": "images/{}"}, counts=(3, 0, 2, 1), names="IMG_{}")
    for _, name, points in each_image(truth):
        write_lines(root / f"ground_truth_txt/{name}.txt", points)
    return truth


SCUT_SPLITS = {  # names of the real images of each split
    "train": ("PartA_00040", "PartA_00192", "PartB_00002"),
    "val": ("PartA_00000", "PartB_00001", "PartB_00041"),
    "test": ("PartA_00002", "PartB_00000", "PartB_02400"),
}


def scut_head(root: Path) -> Truth:
    """Boxes of heads in .xml files that say size 0 x 0, as 62 of the real ones do."""
    truth: Truth = {}
    for split, names in SCUT_SPLITS.items():
        truth[split] = {name: people(i, seed=i).round().clip(4, 59) for i, name in enumerate(names)}
    for _, name, points in each_image(truth):
        photo(root / f"JPEGImages/{name}.jpg", points)
        objects = "".join(
            f"<object><name>head</name><bndbox><xmin>{x - 3}</xmin><ymin>{y - 4}</ymin>"
            f"<xmax>{x + 3}</xmax><ymax>{y + 4}</ymax></bndbox></object>"
            for x, y in points
        )
        (root / "Annotations").mkdir(exist_ok=True)
        head = f"<filename>{name}.jpg</filename><size><width>0</width><height>0</height><depth>3</depth></size>"
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{head}{objects}</annotation>")
    return truth


def yolo(root: Path, names: str | None = "names: [car, person]\n", car: bool = True) -> Truth:
    """Images without people have a car. Without `car` they have no label file at all."""
    truth = standing(root, {split: f"images/{split}/{{}}" for split in ("train", "val", "test")})
    for split, name, points in each_image(truth):
        boxes = [(int(car), body(point)) for point in points]
        if car:
            boxes.append((0, CAR))
        rows = [
            (kind, (x0 + x1) / 192, (y0 + y1) / 128, (x1 - x0) / 96, (y1 - y0) / 64) for kind, (x0, y0, x1, y1) in boxes
        ]
        if rows:
            write_lines(root / f"labels/{split}/{name}.txt", rows)
    if names:
        (root / "data.yaml").write_text(f"train: images/train\n{names}nc: 2\n")
    return truth


def voc(root: Path) -> Truth:
    truth = standing(root, {"train": "JPEGImages/{}", "test": "JPEGImages/{}"})
    edges = ("xmin", "ymin", "xmax", "ymax")
    for _, name, points in each_image(truth):
        things = [("person", body(point)) for point in points] + [("car", CAR)]
        objects = "".join(
            f"<object><name>{kind}</name><bndbox>"
            + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, box, strict=True))
            + "</bndbox></object>"
            for kind, box in things
        )
        head = f"<filename>{name}.jpg</filename><size><width>96</width><height>64</height><depth>3</depth></size>"
        (root / "Annotations").mkdir(exist_ok=True)
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{head}{objects}</annotation>")
    for split in truth:
        write_lines(root / f"ImageSets/Main/{split}.txt", [(name,) for name in truth[split]])
    return truth


def coco_boxes(root: Path) -> Truth:
    """instances_train.json with boxes, a crowd that nobody counted, and cars. The images are in another folder."""
    truth = standing(root, {"all": "train2017/{}"})
    images, boxes = [], []
    for number, (_, name, points) in enumerate(each_image(truth), start=1):
        images.append({"id": number, "file_name": f"{name}.jpg", "width": 96, "height": 64})
        for kind, (x0, y0, x1, y1) in [(1, body(point)) for point in points] + [(3, CAR)]:
            boxes.append({"image_id": number, "category_id": kind, "iscrowd": 0, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    boxes.append({"image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 50, 50]})
    boxes = [{"id": number, **box} for number, box in enumerate(boxes)]
    kinds = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    (root / "annotations").mkdir()
    content = {"images": images, "annotations": boxes, "categories": kinds}
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return truth


def labelme(root: Path) -> Truth:
    """A point, a rectangle given from its lower right corner, and polygons."""
    truth = standing(root, {"all": "{}"}, counts=(4, 0, 2))
    for _, name, points in each_image(truth):
        shapes = [{"label": "car", "points": [CAR[:2], CAR[2:]], "shape_type": "rectangle"}]
        for i, point in enumerate(points.tolist()):
            x0, y0, x1, y1 = body(point)
            corners = {0: ("point", [point]), 1: ("rectangle", [(x1, y1), (x0, y0)])}
            kind, where = corners.get(i, ("polygon", [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
            shapes.append({"label": "Person", "points": where, "shape_type": kind, "flags": {}})
        content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": f"..\\{root.name}\\{name}.jpg"}
        (root / f"{name}.json").write_text(json.dumps({**content, "imageHeight": 64, "imageWidth": 96}))
    return truth


def cvat_images(root: Path) -> Truth:
    truth = standing(root, {"train": "images/{}", "test": "images/{}"})
    images = []
    for number, (split, name, points) in enumerate(each_image(truth)):
        shapes = ['<box label="car" xtl="1" ytl="2" xbr="11" ybr="8"/>']
        if len(points):
            shapes.append(f'<points label="head" points="{";".join(f"{x},{y}" for x, y in points)}"/>')
        head = f'<image id="{number}" name="{name}.jpg" width="96" height="64" subset="{split}">'
        images.append(f"{head}{''.join(shapes)}</image>")
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
    return truth


def cvat_video(root: Path, frames: int = 4) -> Truth:
    """Two people walk: the first is in all frames, the second leaves after two."""
    truth: Truth = {"all": {}}
    tracks: list[list[str]] = [[], []]
    for frame in range(frames):
        present = []
        for person, track in enumerate(tracks):
            point = (20.0 + 30 * person + frame, 10.0)
            x0, y0, x1, y1 = body(point)
            gone = person == 1 and frame >= 2
            if not gone:
                present.append(point)
            edges = f'xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"'
            track.append(f'<box frame="{frame}" outside="{int(gone)}" keyframe="1" occluded="0" {edges}/>')
        truth["all"][f"frame_{frame:06d}"] = np.array(present)
        photo(root / f"images/frame_{frame:06d}.png", np.array(present))
    elements = "".join(f'<track id="{n}" label="person">{"".join(t)}</track>' for n, t in enumerate(tracks))
    task = f"<meta><task><size>{frames}</size></task></meta>"
    (root / "annotations.xml").write_text(f"<annotations>{task}{elements}</annotations>")
    return truth


def labelstudio(root: Path) -> Truth:
    """Keypoints in the first image, rectangles in the others, canceled annotations, and names of uploaded files."""
    truth = standing(root, {"all": "{}"}, counts=(3, 0, 2))
    tasks = []
    for number, (_, name, points) in enumerate(each_image(truth)):
        scale = np.array([100 / 96, 100 / 64])
        results = []
        for point in points:
            x, y = (point * scale).tolist()
            left, top = (np.array(body(point)[:2]) * scale).tolist()
            size = {"width": 12 * 100 / 96, "height": 30 * 100 / 64, "rotation": 0}
            spot = {"type": "keypointlabels", "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": ["Person"]}}
            box = {"type": "rectanglelabels", "value": {"x": left, "y": top, **size, "rectanglelabels": ["Person"]}}
            results.append(spot if number == 0 else box)
        results.append({"type": "choices", "value": {"choices": ["day"]}})
        done = [{"id": 1, "was_cancelled": False, "result": results}, {"id": 2, "was_cancelled": True, "result": []}]
        tasks.append({"id": number, "annotations": done, "data": {"image": f"/data/upload/1/0123abcd-{name}.jpg"}})
    (root / "project-1.json").write_text(json.dumps(tasks))
    return truth


def people_free(root: Path) -> Truth:
    """Images of nobody; there are no annotations."""
    return photos_of(root, {"train": "train/{}", "test": "test/{}"}, counts=(0, 0, 0))


# format: the functions that write data sets of it
FAKES: dict[str, tuple[Callable[[Path], Truth], ...]] = {
    "shanghaitech": (shanghaitech,),
    "ucf_cc_50": (ucf_cc_50,),
    "worldexpo": (worldexpo,),
    "ucf_qnrf": (ucf_qnrf,),
    "nwpu": (nwpu,),
    "jhu": (jhu,),
    "mall": (mall,),
    "ucsd": (ucsd,),
    "carpk": (carpk,),
    "trancos": (trancos,),
    "visdrone": (visdrone,),
    "p2pnet": (p2pnet,),
    "scut_head": (scut_head,),
    "unity_crowds": (unity_crowds,),
    "yolo": (yolo,),
    "voc": (voc,),
    "cvat": (cvat_images, cvat_video),
    "labelme": (labelme,),
    "labelstudio": (labelstudio,),
    "csv": (csv_table,),
    "json": (json_table,),
    "coco": (coco, coco_boxes),
    "people_free": (people_free,),
}

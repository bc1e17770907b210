"""Tiny crowds, written in each real on-disk format: for the tests of every room.

Each function fills a folder and returns what it wrote, {split: {image name: float64 (N,2) points}}. A photo
shows a dark disc at each point, so that a network can learn it.
"""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

Truth = dict[str, dict[str, np.ndarray]]
MATLAB_73 = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"  # the 128 bytes before the HDF5 part


def people(count: int, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """float64 (count,2), anywhere in the image."""
    return np.random.default_rng([seed, count]).uniform((0, 0), (width, height), (count, 2))


def photo(path: Path, points: np.ndarray, width: int = 96, height: int = 64, grey: bool = False) -> Path:
    """Write a picture with a disc at each point; grey makes a one-channel JPEG, as some real ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(points)).integers(150, 230, (height, width, 3), np.uint8)
    for x, y in points:
        cv2.circle(noise, (int(x), int(y)), 3, (40, 30, 20), cv2.FILLED)
    assert cv2.imwrite(str(path), cv2.cvtColor(noise, cv2.COLOR_BGR2GRAY) if grey else noise)
    return path


def shanghaitech_mat(path: Path, points: np.ndarray) -> None:
    """image_info: a cell that holds a struct with location (N,2) and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = np.empty((1, 1), object)
    info[0, 0] = {"location": points, "number": np.array([[len(points)]], np.uint16)}
    savemat(path, {"image_info": info})


def shanghaitech(root: Path, train=(3, 0, 5, 2), test=(4, 1), labels="ground-truth", size=(96, 64)) -> Truth:
    """root is the part's folder; `train` and `test` are head counts. IMG_1 is grey."""
    truth: Truth = {"train": {}, "test": {}}
    for split, counts in (("train", train), ("test", test)):
        folder = root / f"{split}_data"
        for number, count in enumerate(counts, start=1):
            points = truth[split][f"IMG_{number}"] = people(count, *size, seed=number)
            photo(folder / "images" / f"IMG_{number}.jpg", points, *size, grey=number == 1)
            shanghaitech_mat(folder / labels / f"GT_IMG_{number}.mat", points)
    return truth


def ucf_cc_50(root: Path, outside: int = 0) -> Truth:
    """50 grey images; image 1 has `outside` points beyond its right border as well."""
    truth: Truth = {"all": {}}
    for number in range(1, 51):
        points = truth["all"][str(number)] = people(number % 4, seed=number)
        photo(root / f"{number}.jpg", points, grey=True)
        beyond = np.full((outside if number == 1 else 0, 2), (96.0, 5.0))  # x == width is outside
        savemat(root / f"{number}_ann.mat", {"annPoints": np.concatenate([points, beyond])})
    return truth


ROI = np.array([(8, 8), (90, 8), (90, 60), (8, 60)], np.float64)


def worldexpo(root: Path, scenes=("100124", "200608", "500717"), frames: int = 2) -> Truth:
    """Every scene has frames in train and, with other people, in test; the last of each is without people."""
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


def matlab_73(path: Path, **arrays: np.ndarray) -> None:
    """A .mat file of version 7.3: HDF5, axes reversed, an empty array stored as its shape."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            item = file.create_dataset(name, data=array.T if array.size else np.array(array.shape, np.uint64))
            if not array.size:
                item.attrs["MATLAB_empty"] = np.uint8(1)
    with open(path, "r+b") as file:
        file.write(MATLAB_73)


def csv_table(root: Path, splits=("train", "train", "test")) -> Truth:
    """points.csv with a split column beside a.jpg, b.jpg, ...; the first image has no people."""
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


def coco(root: Path, counts=(2, 0, 3)) -> Truth:
    """person_keypoints.json as labelling tools write it: nose and eyes, some of them not labelled."""
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


# Published sets that layouts.py reads. Each returns {split: {image name: points}} as the functions above do.


def _set(root: Path, place: dict[str, str], counts=(3, 0, 2), suffix=".jpg", names="{:04d}") -> Truth:
    """Photos in place[split], a path with {} for the name; other people in each."""
    truth: Truth = {split: {} for split in place}
    number = 0
    for split, path in place.items():
        for count in counts:
            number += 1
            name = names.format(number)
            truth[split][name] = people(count, seed=number).round(3)
            photo(root / (path.format(name) + suffix), truth[split][name])
    return truth


def _lines(path: Path, rows, separator: str = " ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(str(value) for value in row) + "\n" for row in rows))


def _each(truth: Truth):
    return [(split, name, points) for split, group in truth.items() for name, points in group.items()]


def ucf_qnrf(root: Path) -> Truth:
    truth = _set(root, {"train": "Train/{}", "test": "Test/{}"}, names="img_{:04d}")
    for split, name, points in _each(truth):
        savemat(root / split.title() / f"{name}_ann.mat", {"annPoints": points})
    return truth


def nwpu(root: Path) -> Truth:
    """Two of the five folders of images; the last training image has its annotation as .mat alone; test has none."""
    truth = _set(root, {"train": "images_part1/{}", "val": "images_part2/{}", "test": "images_part2/{}"})
    (root / "jsons").mkdir()
    (root / "mats").mkdir()
    for split, name, points in _each(truth):
        boxes = np.hstack([points - 2, points + 2])
        if name == "0003":
            savemat(root / f"mats/{name}.mat", {"annPoints": points, "annBoxes": boxes})
        elif split != "test":
            content = {"img_id": f"{name}.jpg", "human_num": len(points), "points": points.tolist()}
            (root / f"jsons/{name}.json").write_text(json.dumps({**content, "boxes": boxes.tolist()}))
    for split in truth:
        _lines(root / f"{split}.txt", [(name, 1, 2) for name in truth[split]])
    return {split: truth[split] for split in ("train", "val")}


def jhu(root: Path) -> Truth:
    truth = _set(root, {split: f"{split}/images/{{}}" for split in ("train", "val", "test")})
    for split, name, points in _each(truth):
        _lines(root / f"{split}/gt/{name}.txt", [(x, y, 5, 7, 1, 0) for x, y in points])
        _lines(root / f"{split}/image_labels.txt", [(name, len(points), "street", 0, 0)], ",")
    return truth


def _cells(located: list[np.ndarray], columns: int = 2) -> np.ndarray:
    """A MATLAB cell (1,n) of structs with loc, as Mall and UCSD have it; nobody is (0,0)."""
    cells = np.empty((1, len(located)), object)
    for i, points in enumerate(located):
        more = np.zeros((len(points), columns - 2))
        cells[0, i] = {"loc": np.hstack([points, more]) if len(points) else np.zeros((0, 0)), "id": np.zeros((1, 0))}
    return cells


MASK = np.zeros((64, 96), np.uint8)
MASK[10:50, 20:90] = 1


def mall(root: Path, frames: int = 803) -> Truth:
    """All frames are one picture but the first and the last three: frame 801 is the first of test."""
    truth: Truth = {"train": {}, "test": {}}
    points = [people(n % 3, seed=n) if n <= 2 or n > frames - 3 else np.zeros((0, 2)) for n in range(1, frames + 1)]
    blank = photo(root / "frames/seq_000003.jpg", np.zeros((0, 2))).read_bytes()
    for n, located in enumerate(points, start=1):
        name = f"seq_{n:06d}"
        truth["train" if n <= 800 else "test"][name] = located
        file = root / f"frames/{name}.jpg"
        photo(file, located) if len(located) else file.write_bytes(blank)
    savemat(root / "mall_gt.mat", {"frame": _cells(points), "count": np.array([[len(p)] for p in points])})
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
        savemat(root / f"vidf-cvpr/{name}_frame_full.mat", {"frame": _cells(points, columns=3)})
    corners = {"xi": ROI[:, :1], "yi": ROI[:, 1:], "mask": MASK}
    savemat(root / "vidf-cvpr/vidf1_33_roi_mainwalkway.mat", {"roi": corners})
    return truth


def carpk(root: Path) -> Truth:
    truth = _set(root, {"train": "data/Images/{}", "test": "data/Images/{}"}, suffix=".png")
    truth = {split: {name: p.clip((4, 4), (91, 59)) for name, p in group.items()} for split, group in truth.items()}
    for _, name, points in _each(truth):
        _lines(root / f"data/Annotations/{name}.txt", [(x - 4, y - 3, x + 4, y + 3, 1) for x, y in points])
    for split in truth:
        _lines(root / f"data/ImageSets/{split}.txt", [(name,) for name in truth[split]])
    return truth


def trancos(root: Path) -> Truth:
    """The first image has red dots alone, the others text files."""
    lists = {"train": "training", "val": "validation", "test": "test"}
    truth = _set(root, dict.fromkeys(lists, "images/{}"), names="image-1-{:06d}")
    for split, name, points in _each(truth):
        savemat(root / f"images/{name}mask.mat", {"BW": MASK})
        if name.endswith("000001"):
            dots = np.zeros((64, 96, 3), np.uint8)
            pixels = points.astype(int)
            dots[pixels[:, 1], pixels[:, 0], 2] = 255  # OpenCV writes BGR
            cv2.imwrite(str(root / f"images/{name}dots.png"), dots)
            truth[split][name] = np.argwhere(dots[:, :, 2])[:, ::-1] + 0.5
        else:
            _lines(root / f"images/{name}.txt", points, "\t")
    for split, file in lists.items():
        _lines(root / f"image_sets/{file}.txt", [(f"{name}.jpg",) for name in truth[split]])
    return truth


# What labelling tools write. A person's box is 12 wide and 30 high with its upper edge 3 above the head's point, so
# that the rule for people gives the point; every image has a car beside the people.


def body(point) -> tuple[float, float, float, float]:
    """left, top, right, bottom, inside the image of 96 x 64 for points of `standing`."""
    x, y = point
    return x - 6, y - 3, x + 6, y + 27


CAR = (1.0, 2.0, 11.0, 8.0)


def standing(root: Path, place: dict[str, str], **options) -> Truth:
    truth = _set(root, place, **options)
    return {split: {n: p.clip((7, 4), (89, 36)) for n, p in group.items()} for split, group in truth.items()}


def visdrone(root: Path) -> Truth:
    folder = {split: f"VisDrone2019-DET-{name}" for split, name in (("train", "train"), ("test", "test-dev"))}
    truth = standing(root, {split: f"{path}/images/{{}}" for split, path in folder.items()})
    for split, name, points in _each(truth):
        boxes = [(*body(point), 1, 1 + i % 2) for i, point in enumerate(points)] + [(*CAR, 1, 4), (*CAR, 0, 1)]
        rows = [(x0, y0, x1 - x0, y1 - y0, score, kind, 0, 0) for x0, y0, x1, y1, score, kind in boxes]
        _lines(root / folder[split] / f"annotations/{name}.txt", [*rows, (0, 0, 50, 50, 0, 0, 0, 0)], ",")
    return truth


def yolo(root: Path, names: str | None = "names: [car, person]\n", car: bool = True) -> Truth:
    """Images without people but with a car, and where there is no car no file at all."""
    truth = standing(root, {split: f"images/{split}/{{}}" for split in ("train", "val", "test")})
    for split, name, points in _each(truth):
        boxes = [(int(car), body(point)) for point in points] + [(0, CAR)] * car
        rows = [
            (kind, (x0 + x1) / 192, (y0 + y1) / 128, (x1 - x0) / 96, (y1 - y0) / 64) for kind, (x0, y0, x1, y1) in boxes
        ]
        if rows:
            _lines(root / f"labels/{split}/{name}.txt", rows)
    if names:
        (root / "data.yaml").write_text(f"train: images/train\n{names}nc: 2\n")
    return truth


def voc(root: Path) -> Truth:
    truth = standing(root, {"train": "JPEGImages/{}", "test": "JPEGImages/{}"})
    edges = ("xmin", "ymin", "xmax", "ymax")
    for _, name, points in _each(truth):
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
        _lines(root / f"ImageSets/Main/{split}.txt", [(name,) for name in truth[split]])
    return truth


def coco_boxes(root: Path) -> Truth:
    """instances_train.json: boxes, a crowd that nobody counted, a car; the pictures lie in a folder beside."""
    truth = standing(root, {"all": "train2017/{}"})
    images, boxes = [], []
    for number, (_, name, points) in enumerate(_each(truth), start=1):
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
    """A point, a rectangle given from its lower right corner, then polygons; and a car."""
    truth = standing(root, {"all": "{}"}, counts=(4, 0, 2))
    for _, name, points in _each(truth):
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
    for number, (split, name, points) in enumerate(_each(truth)):
        shapes = [f'<points label="head" points="{";".join(f"{x},{y}" for x, y in points)}"/>'] * bool(len(points))
        shapes += ['<box label="car" xtl="1" ytl="2" xbr="11" ybr="8"/>']
        head = f'<image id="{number}" name="{name}.jpg" width="96" height="64" subset="{split}">'
        images.append(f"{head}{''.join(shapes)}</image>")
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
    return truth


def cvat_video(root: Path, frames: int = 4) -> Truth:
    """Two people walk: the first is there in all frames, the second leaves after two."""
    truth: Truth = {"all": {}}
    tracks: list[list[str]] = [[], []]
    for frame in range(frames):
        here = []
        for person, track in enumerate(tracks):
            point = (20.0 + 30 * person + frame, 10.0)
            x0, y0, x1, y1 = body(point)
            gone = person == 1 and frame >= 2
            here += [] if gone else [point]
            edges = f'xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"'
            track.append(f'<box frame="{frame}" outside="{int(gone)}" keyframe="1" occluded="0" {edges}/>')
        truth["all"][f"frame_{frame:06d}"] = np.array(here)
        photo(root / f"images/frame_{frame:06d}.png", np.array(here))
    body_text = "".join(f'<track id="{n}" label="person">{"".join(t)}</track>' for n, t in enumerate(tracks))
    task = f"<meta><task><size>{frames}</size></task></meta>"
    (root / "annotations.xml").write_text(f"<annotations>{task}{body_text}</annotations>")
    return truth


def labelstudio(root: Path) -> Truth:
    """Keypoints in the first image, rectangles in the others; an annotation that was cancelled; uploaded names."""
    truth = standing(root, {"all": "{}"}, counts=(3, 0, 2))
    tasks = []
    for number, (_, name, points) in enumerate(_each(truth)):
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


def p2pnet(root: Path) -> Truth:
    truth = _set(root, {"train": "train/{}", "test": "test/{}"})
    for split, name, points in _each(truth):
        _lines(root / f"{split}/{name}.txt", points)
    for split, group in truth.items():
        _lines(root / f"{split}.list", [(f"{split}/{name}.jpg", f"{split}/{name}.txt") for name in group])
    return truth

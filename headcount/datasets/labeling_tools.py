"""What labelling tools write: YOLO, Pascal VOC, CVAT, labelme, Label Studio.

Unusual: most of these mark people with boxes, and people beside other things. A parser keeps every mark with its class;
which classes are counted, and where in its box a person's point lies, is decided in one place (entries.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element

import numpy as np

from headcount.datasets.annotations import (
    SPLITS,
    Annotation,
    AnnotationRecord,
    Annotations,
    Images,
    PointsError,
    annotations_of,
    attempt,
    fault,
    files,
    inside,
    load_json,
    load_xml,
    size,
    split_of,
    text,
)
from headcount.io.images import IMAGE_SUFFIXES

# YOLO


def yolo(root: Path) -> list[AnnotationRecord]:
    """images/[train/]x.jpg and labels/[train/]x.txt, or train/images and train/labels, or x.txt beside x.jpg.

    A line is `class x y width height`, all but the class in parts of the image, 0 to 1; x, y is the centre. Further
    columns are a confidence, keypoints where data.yaml has kpt_shape, else the corners of an outline, whose bounding
    box is taken. An image without a file shows nobody. Classes have the names of data.yaml, classes.txt or obj.names; a
    class without a name is its number, and class 0 of a set that has no other is taken for a person.
    """
    images, names, posed = Images(root), *_yolo_names(root)
    entries, used = [], set()
    for image in images.paths:
        parts = list(image.relative_to(root).parts)
        if "images" in parts[:-1]:
            place = len(parts) - 2 - parts[:-1][::-1].index("images")
            parts[place] = "labels"
        file = root.joinpath(*parts).with_suffix(".txt")
        used.add(file)
        entries.append(AnnotationRecord(image, partial(_yolo_marks, file, image, names, posed), split_of(image, root)))
    for file in files(root, (".txt",), "**/labels/**/*.txt"):
        if file not in used and file.name != "classes.txt":
            fault(f"{file}: has no image; put it in images, or remove the file")
    if not any(file.is_file() for file in used):
        raise PointsError(f"{root}: no image has a label file; put them in labels, beside images")
    return entries


def _yolo_marks(file: Path, image: Path, names: dict[int, str], posed: bool) -> Annotations:
    if not file.is_file():
        return Annotations()
    width, height = size(image)
    found: list[Annotation] = []
    for line, content in enumerate(text(file).splitlines(), start=1):
        where = f"{file}, line {line}"
        if content.strip():
            try:
                first, *values = (float(part) for part in content.split())
                number = int(first) if first == int(first) and first >= 0 else -1
            except (ValueError, OverflowError):
                number, values = -1, []
            if number < 0 or len(values) < 4 or not np.isfinite(values).all():
                raise PointsError(f"{where}: '{content[:40]}' must be: class x y width height; correct it")
            if np.abs(values[:4]).max() > 1.5:
                raise PointsError(f"{where}: '{content[:40]}' is not in parts of the image, 0 to 1; export it again")
            box = _outline_box(values) if len(values) >= 6 and len(values) % 2 == 0 and not posed else _centred(values)
            found.append((names.get(number, str(number)), np.array(box) * (width, height, width, height)))
    return annotations_of(found, file)


def _centred(values: list[float]) -> tuple[float, ...]:
    x, y, w, h = values[:4]
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _outline_box(values: list[float]) -> tuple[float, ...]:
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])


def _yolo_names(root: Path) -> tuple[dict[int, str], bool]:
    """({number: class}, whether the labels have keypoints). Of data.yaml `names` and kpt_shape are understood."""
    for folder in (root, root.parent if root.name in ("labels", "images") else root, root / "labels"):
        for file in (*files(folder, (".yaml", ".yml")), *files(folder, (".names",))) if folder.is_dir() else ():
            content = text(file)
            if file.suffix == ".names":
                return _lines(content), False
            if re.search(r"^names\s*:", content, re.MULTILINE):
                return _yaml_names(content, file), bool(re.search(r"^kpt_shape\s*:", content, re.MULTILINE))
        if (folder / "classes.txt").is_file():
            return _lines(text(folder / "classes.txt")), False
    return {}, False


def _lines(content: str) -> dict[int, str]:
    return {number: name.strip() for number, name in enumerate(content.splitlines()) if name.strip()}


def _yaml_names(content: str, file: Path) -> dict[int, str]:
    """`names: [a, b]`, `names: {0: a}`, or a line for each below it, with `- a` or `0: a`."""
    after = re.split(r"^names\s*:", content, maxsplit=1, flags=re.MULTILINE)[1]
    if after.lstrip()[:1] in ("[", "{"):
        listed = re.split(r"[\]}]", after.lstrip()[1:], maxsplit=1)[0].replace("\n", " ").split(",")
    else:
        block = re.match(r"[^\n]*\n((?:[ \t]*(?:-|\d+\s*:)[^\n]*\n?|[ \t]*\n)*)", after)
        listed = [line.strip().removeprefix("-") for line in block.group(1).splitlines()] if block else []
    names = {}
    for place, item in enumerate(item.split(" #")[0].strip() for item in listed if item.strip()):
        number, colon, name = item.partition(":")
        key = int(number) if colon and number.strip().isdigit() else place
        names[key] = (name if colon and number.strip().isdigit() else item).strip().strip("'\"")
    if not names:
        raise PointsError(f"{file}: its names are not understood; write names: [person, ...]")
    return names


# XML


def voc(root: Path) -> list[AnnotationRecord]:
    """Pascal VOC: Annotations/*.xml of <object><name><bndbox>, JPEGImages/*.jpg, ImageSets/Main/train.txt, val.txt,
    test.txt; or .xml files beside their images, as labelImg and Roboflow write them."""
    images = Images(root)
    sets = next((path for path in root.glob("**/ImageSets/Main") if path.is_dir()), root)
    names = {"train": "train", "val": "val", "test": "test"}
    if not (sets / "train.txt").is_file():
        names["trainval"] = "train"
    lists = {
        split: set(text(sets / f"{name}.txt").split())
        for name, split in names.items()
        if (sets / f"{name}.txt").is_file()
    }
    entries = []
    for file in files(root, (".xml",), "**/*"):
        tree = attempt(load_xml, file)
        if tree is None or tree.tag != "annotation":
            continue
        image = attempt(_voc_image, tree, file, images)
        if image is not None:
            split = next((name for name, stems in lists.items() if file.stem in stems), split_of(file, root))
            entries.append(AnnotationRecord(image, partial(_voc_marks, tree, file), split))
    return entries


def _voc_image(tree: Element, file: Path, images: Images) -> Path:
    """By the .xml file's own name, which renaming keeps in step; else by <filename>."""
    beside = images.stem(file) or images.stem(file.parent.parent / "JPEGImages" / file.name)
    return beside or images.find(tree.findtext("filename") or file.stem, file, file.parent.parent / "JPEGImages")


def _voc_marks(tree: Element, file: Path) -> Annotations:
    edges = ("xmin", "ymin", "xmax", "ymax")
    return annotations_of(
        [(thing.findtext("name") or "", [thing.findtext(f"bndbox/{edge}") or "" for edge in edges])
         for thing in tree.iter("object")],
        file,
    )  # fmt: skip


def cvat(root: Path) -> list[AnnotationRecord]:
    """CVAT for images 1.1 and CVAT for video 1.1: annotations.xml with the pictures below its folder.

    Points are a person each, boxes, ellipses and masks have their bounding box, polygons theirs; a skeleton is its
    point `head`, `nose` or the first. Lines are passed over. Of a track every frame is taken that is not `outside`;
    frame n is frame_00000n, as CVAT saves it, or where no picture has such a name the n-th in natural order.
    """
    found = [root] if root.is_file() else files(root, (".xml",), "**/*")
    trees = [(file, load_xml(file)) for file in found]
    trees = [(file, tree) for file, tree in trees if tree.tag == "annotations"]
    if not trees:
        raise PointsError(f"{root}: holds no annotations.xml of CVAT; export it as CVAT 1.1")
    return [
        entry for file, tree in trees for entry in _cvat_entries(file, tree, root if root.is_dir() else file.parent)
    ]


def _cvat_entries(file: Path, tree: Element, root: Path) -> list[AnnotationRecord]:
    images = Images(root)
    entries = []
    for element in tree.iter("image"):
        path = attempt(images.find, element.get("name") or "", file, file.parent / "images")
        if path is not None:
            shapes = [(shape.get("label") or "", shape) for shape in element]
            subset = (element.get("subset") or "").lower()
            entries.append(AnnotationRecord(path, partial(_cvat_marks, shapes, file), SPLITS.get(subset, "")))
    frames: dict[int, list[tuple[str, Element]]] = {}
    for track in tree.iter("track"):
        for shape in track:
            if (number := shape.get("frame", "")).isdigit() and shape.get("outside") != "1":
                frames.setdefault(int(number), []).append((track.get("label") or "", shape))
    if frames or tree.find("track") is not None:
        entries += _cvat_frames(frames, images, file, tree.findtext(".//task/size") or "")
    return entries


def _cvat_frames(frames: dict[int, list], images: Images, file: Path, count: str) -> list[AnnotationRecord]:
    named = {int(p.stem[6:]): p for p in images.paths if re.fullmatch(r"frame_\d+", p.stem.lower())}
    numbered = named or dict(enumerate(images.paths))
    if not named and count.isdigit() and int(count) != len(numbered):
        raise PointsError(
            f"{file}: is of {count} frames, and {len(numbered)} pictures lie below; export it with images"
        )
    if missing := sorted(frames.keys() - numbered.keys()):
        raise PointsError(f"{file}: frame {missing[0]} has no picture; export it again, with its images")
    return [AnnotationRecord(path, partial(_cvat_marks, frames.get(n, []), file), "") for n, path in numbered.items()]


def _cvat_marks(shapes: list[tuple[str, Element]], file: Path) -> Annotations:
    return annotations_of([mark for label, shape in shapes for mark in _cvat_shape(label, shape, file)], file)


def _cvat_shape(label: str, shape: Element, file: Path) -> list[Annotation]:
    def values(*keys: str) -> list[str]:
        return [shape.get(key) or "" for key in keys]

    corners = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair]
    try:
        if shape.tag == "box":
            return [(label, values("xtl", "ytl", "xbr", "ybr"))]
        if shape.tag == "points":
            return [(label, corner) for corner in corners]
        if shape.tag == "polygon":
            low, high = np.array(corners, np.float64).min(axis=0), np.array(corners, np.float64).max(axis=0)
            return [(label, (*low, *high))]
        if shape.tag == "ellipse":
            x, y, rx, ry = map(float, values("cx", "cy", "rx", "ry"))
            return [(label, (x - rx, y - ry, x + rx, y + ry))]
        if shape.tag == "mask":
            left, top, w, h = map(float, values("left", "top", "width", "height"))
            return [(label, (left, top, left + w, top + h))]
    except ValueError:
        raise PointsError(f"{file}: a {shape.tag} of '{label}' has no coordinates; export it again") from None
    if shape.tag == "skeleton":
        joints = {j.get("label", ""): j for j in shape if j.get("outside") != "1" and j.get("points")}
        joint = next((joints[name] for name in ("head", "nose") if name in joints), next(iter(joints.values()), None))
        return _cvat_shape(label, joint, file) if joint is not None else []
    return []


# JSON


def labelme(root: Path) -> list[AnnotationRecord]:
    """A .json beside each image, with `imagePath` and `shapes`: points, rectangles, polygons, circles; every shape that
    is not a point has its bounding box."""
    images = Images(root)
    entries = []
    for file in files(root, (".json",), "**/*"):
        data = attempt(load_json, file)
        if not isinstance(data, dict) or "shapes" not in data:
            continue
        image = attempt(images.find, str(data.get("imagePath") or file.stem), file, file.parent)
        if image is not None:
            entries.append(AnnotationRecord(image, partial(_labelme_marks, data["shapes"], file), split_of(file, root)))
    return entries


def _labelme_marks(shapes: Any, file: Path) -> Annotations:
    try:
        return annotations_of([_labelme_shape(shape) for shape in shapes], file)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise PointsError(f"{file}: a shape has no label or no points; save it again in labelme") from None


def _labelme_shape(shape: dict) -> Annotation:
    corners = np.array(shape["points"], np.float64).reshape(-1, 2)
    if shape.get("shape_type") == "point" or len(corners) == 1:
        return str(shape["label"]), corners[0]
    if shape.get("shape_type") == "circle":  # its centre, and a point on it
        radius = np.hypot(*(corners[1] - corners[0]))
        corners = np.array([corners[0] - radius, corners[0] + radius])
    return str(shape["label"]), (*corners.min(axis=0), *corners.max(axis=0))


def labelstudio(root: Path) -> list[AnnotationRecord]:
    """Label Studio's JSON export: a list of tasks, with keypointlabels, rectanglelabels, ellipselabels and
    polygonlabels in hundredths of the image. Of several annotations of a task the last that was not cancelled is taken.

    The image is sought by name below the file's folder: without the address, and without the eight letters that an
    upload puts before its name, where only that is found.
    """
    found = [root] if root.is_file() else files(root, (".json",))
    for file in found:
        tasks = load_json(file)
        if isinstance(tasks, list):
            images = Images(file.parent)
            placed = [(task, attempt(_task_image, task, file, images)) for task in tasks]
            return [
                AnnotationRecord(p, partial(_task_marks, task, p, file), _task_split(task))
                for task, p in placed
                if p is not None
            ]
    raise PointsError(f"{root}: holds no JSON export of Label Studio, a list of tasks; export it again as JSON")


def _task_image(task: Any, file: Path, images: Images) -> Path:
    data = task.get("data", task) if isinstance(task, dict) else {}
    addresses = [str(v) for v in data.values() if isinstance(v, str)] if isinstance(data, dict) else []
    address = next(
        (a for a in addresses if Path(urlsplit(a).path).suffix.lower() in IMAGE_SUFFIXES or "?d=" in a), None
    )
    if address is None:
        raise PointsError(f"{file}: a task names no picture; export it again as JSON")
    parts = urlsplit(address)
    path = unquote(parse_qs(parts.query)["d"][0] if "d" in parse_qs(parts.query) else parts.path)
    inside(images.root, file, path.lstrip("/"), images.root)  # before its name alone is sought
    name = path.rsplit("/", 1)[-1]
    try:
        return images.find(path.lstrip("/"), file)
    except PointsError:
        if not re.match(r"[0-9a-f]{8}-", name):
            raise
        return images.find(name[9:], file)


def _task_split(task: dict) -> str:
    data = task.get("data")
    return SPLITS.get(str(data.get("split", "")).lower(), "") if isinstance(data, dict) else ""


def _task_marks(task: dict, image: Path, file: Path) -> Annotations:
    width, height = size(image)
    try:
        done = [a for a in task.get("annotations", task.get("completions", ())) if not a.get("was_cancelled")]
        results = done[-1]["result"] if done else []
        found = [mark for result in results for mark in _task_mark(result, width, height)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise PointsError(f"{file}: the task of {image.name} is not understood; export it again as JSON") from None
    return annotations_of(found, f"{file}, {image.name}")


def _task_mark(result: dict, width: int, height: int) -> list[Annotation]:
    kind, value = result["type"], result["value"]
    scale = np.array([width, height]) / 100
    label = str(value[kind][0]) if kind.endswith("labels") and value.get(kind) else ""
    if kind == "keypointlabels":
        return [(label, np.array([value["x"], value["y"]], np.float64) * scale)]
    if kind == "polygonlabels":
        corners = np.array(value["points"], np.float64) * scale
    elif kind == "ellipselabels":
        centre, radii = np.array([[value["x"], value["y"]], [value["radiusX"], value["radiusY"]]], np.float64) * scale
        corners = np.array([centre - radii, centre + radii])
    elif kind == "rectanglelabels":  # turned about its upper left corner
        turn = np.deg2rad(value.get("rotation") or 0)
        sides = np.array([(0, 0), (value["width"], 0), (value["width"], value["height"]), (0, value["height"])]) * scale
        spin = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
        corners = np.array([value["x"], value["y"]], np.float64) * scale + sides @ spin
    else:
        return []  # choices, text and the like mark no place
    return [(label, (*corners.min(axis=0), *corners.max(axis=0)))]


# Pictures without marks


def people_free(root: Path) -> list[AnnotationRecord]:
    """Every picture below the folder, with nobody on it: grounds, roofs, woods, what a counter must leave at zero."""
    return [AnnotationRecord(image, Annotations, split_of(image, root)) for image in Images(root).paths]


LABELS: dict[str, Callable[[Path], list[AnnotationRecord]]] = {
    "people_free": people_free,
    "yolo": yolo,
    "voc": voc,
    "cvat": cvat,
    "labelme": labelme,
    "labelstudio": labelstudio,
}

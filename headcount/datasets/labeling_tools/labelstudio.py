"""Label Studio, the JSON export.

Layout:
    A .json file that is a list of tasks, with `keypointlabels`, `rectanglelabels`, `ellipselabels` and `polygonlabels`
    in percent of the image. If a task has several annotations, the last one that was not cancelled is taken. The field
    `split` of a task's data marks its split.

    The image is looked up by name below the folder of the file, without the address. Uploading puts eight characters in
    front of the name. They are removed if no image has the full name.

    A file that headcount writes names an image by its path below the folder that holds the folder of all images, which
    is Label Studio's document root for local files. Estimates are predictions. A task that has nothing else is an
    error, since its heads are not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from headcount.datasets.annotation_files import Json, read_image_size, read_json
from headcount.datasets.annotations import Annotation, AnnotationRecord, Annotations, PointsError, annotations_of
from headcount.datasets.boxes import bounding_box
from headcount.datasets.folders import ImageIndex, list_files, names_below_common_folder, resolve_inside
from headcount.datasets.format import LABEL, RecordFormat
from headcount.datasets.sample import Sample
from headcount.datasets.signs import file_starts
from headcount.datasets.splits import SPLIT_NAMES
from headcount.datasets.tables import exact_points, refuse_rois, with_splits
from headcount.io.files import atomic_write
from headcount.io.images import IMAGE_SUFFIXES

DOT = 0.5  # size of a keypoint in percent of the image's width


def parse_labelstudio(root: Path) -> Iterator[AnnotationRecord | PointsError]:
    """Yield a record for each task of the first file that holds tasks; see the module for the layout."""
    files = [root] if root.is_file() else list_files(root, (".json",))
    for file in files:
        tasks = read_json(file)
        if isinstance(tasks, list):
            yield from _task_records(tasks, file)
            return
    raise PointsError(f"{root}: holds no JSON export of Label Studio, a list of tasks; export it again as JSON")


def _task_records(tasks: list[Json], file: Path) -> Iterator[AnnotationRecord | PointsError]:
    images = ImageIndex(file.parent)
    for task in tasks:
        try:
            image = _find_image(task, file, images)
        except PointsError as error:
            yield error
            continue
        if task.get("predictions") and not (task.get("annotations") or task.get("completions")):
            yield PointsError(f"{file}: {image.name} has estimates that nobody submitted; submit it and export again")
            continue
        yield AnnotationRecord(image, partial(_load, task, image, file), _split(task))


def _find_image(task: Json, file: Path, images: ImageIndex) -> Path:
    path = _image_path(task, file).lstrip("/")
    resolve_inside(images.root, file, path, images.root)  # before the name alone is looked up
    try:
        return images.find(path, file)
    except PointsError:
        name = path.rsplit("/", 1)[-1]
        if not re.match(r"[0-9a-f]{8}-", name):
            raise
        return images.find(name[9:], file)


def _image_path(task: Json, file: Path) -> str:
    """The path in the address of a task's image. Addresses of local files have it in the query, as ?d=path."""
    data = task.get("data", task) if isinstance(task, dict) else {}
    texts = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    for address in texts:
        try:
            parts = urlsplit(address)
            query = parse_qs(parts.query)
        except ValueError:  # not an address at all
            continue
        if Path(parts.path).suffix.lower() in IMAGE_SUFFIXES or "?d=" in address:
            return unquote(query["d"][0] if "d" in query else parts.path)
    raise PointsError(f"{file}: a task names no image; export it again as JSON")


def _split(task: Json) -> str:
    data = task.get("data")
    return SPLIT_NAMES.get(str(data.get("split", "")).lower(), "") if isinstance(data, dict) else ""


def _load(task: Json, image: Path, file: Path) -> Annotations:
    width, height = read_image_size(image)
    try:
        done = [item for item in task.get("annotations", task.get("completions", ())) if not item.get("was_cancelled")]
        results = done[-1]["result"] if done else []
        found = [annotation for result in results for annotation in _annotations_of_result(result, width, height)]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise PointsError(f"{file}: the task of {image.name} is not understood; export it again as JSON") from None
    return annotations_of(found, f"{file}, {image.name}")


def _annotations_of_result(result: Json, width: int, height: int) -> list[Annotation]:
    kind, value = result["type"], result["value"]
    scale = np.array([width, height]) / 100
    label = str(value[kind][0]) if kind.endswith("labels") and value.get(kind) else ""
    if kind == "keypointlabels":
        return [(label, np.array([value["x"], value["y"]], np.float64) * scale)]
    if kind == "polygonlabels":
        return [(label, bounding_box(np.array(value["points"], np.float64) * scale))]
    if kind == "ellipselabels":
        centre = np.array([value["x"], value["y"]], np.float64) * scale
        radii = np.array([value["radiusX"], value["radiusY"]], np.float64) * scale
        return [(label, bounding_box(np.array([centre - radii, centre + radii])))]
    if kind == "rectanglelabels":
        return [(label, bounding_box(_rectangle_corners(value, scale)))]
    return []  # choices, texts and the like mark no place


def _rectangle_corners(value: Json, scale: np.ndarray) -> np.ndarray:
    """The corners (4, 2) in pixels of a rectangle that is rotated about its upper left corner."""
    angle = np.deg2rad(value.get("rotation") or 0)
    width, height = value["width"], value["height"]
    sides = np.array([(0, 0), (width, 0), (width, height), (0, height)]) * scale
    rotation = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return np.array([value["x"], value["y"]], np.float64) * scale + sides @ rotation


def write_labelstudio(samples: Sequence[Sample], path: Path, splits: Sequence[str] = ()) -> None:
    """Write a JSON list of tasks, in which a person is a keypoint `head`.

    Args:
        samples: The annotated images.
        path: The file to write.
        splits: The split of each image, or nothing.

    Raises:
        PointsError: a sample has a region of interest, or the size of an image cannot be read.
    """
    tasks = [{"annotations": [{"result": result}]} for result in _results(samples, path)]
    _write_tasks(samples, tasks, path, splits)


def write_labelstudio_estimates(samples: Sequence[Sample], path: Path, model: str) -> None:
    """The same for the estimates of a model, as predictions."""
    tasks = [{"predictions": [{"model_version": model, "result": result}]} for result in _results(samples, path)]
    _write_tasks(samples, tasks, path)


def _write_tasks(
    samples: Sequence[Sample], tasks: list[dict[str, Json]], path: Path, splits: Sequence[str] = ()
) -> None:
    folder, names = names_below_common_folder([sample.image for sample in samples])
    addresses = [f"/data/local-files/?d={quote(f'{folder.name}/{name}'.lstrip('/'))}" for name in names]
    data = with_splits([{"image": address} for address in addresses], splits)
    with atomic_write(path) as stream:
        stream.write(json.dumps([{"data": facts, **task} for facts, task in zip(data, tasks, strict=True)]))


def _results(samples: Sequence[Sample], path: Path) -> Iterator[list[Json]]:
    """The keypoints of each image, in percent of its size."""
    refuse_rois(samples, path, "labelstudio")
    for number, sample in enumerate(samples):
        width, height = read_image_size(sample.image)
        common = {"from_name": "heads", "to_name": "image", "type": "keypointlabels"}
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        yield [
            {
                "id": f"{number}-{i}",
                **common,
                **size,
                "value": {"x": 100 * x / width, "y": 100 * y / height, "width": DOT, "keypointlabels": [LABEL]},
            }
            for i, (x, y) in enumerate(exact_points(sample.points))
        ]


FORMAT = RecordFormat(
    sign=".json, a list of tasks",
    matches=file_starts(
        ".json",
        lambda start: (
            start.lstrip().startswith("[")
            and bool(re.search(r'"(annotations|predictions|completions|\w*labels)"', start))
        ),
        "*.json",
    ),
    parse=parse_labelstudio,
    write=write_labelstudio,
    write_estimates=write_labelstudio_estimates,
)

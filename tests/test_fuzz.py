"""Every reader with slightly damaged files: it gives a result or one clear line, in bounded time and memory.

HEADCOUNT_FUZZ=5000 tries that many files per reader instead of a few, and different ones each time.
"""

import contextlib
import json
import os
import resource
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers import tiny_onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import headcount
from headcount.cli.rows import READERS
from headcount.datasets import readers
from headcount.inference.engines import open_engine
from headcount.io.images import read_image
from headcount.io.video import read_frames
from headcount.io.video_writer import write_video
from headcount.regions.region import read_regions
from headcount.training.config import load_recipe

EXAMPLES = int(os.environ.get("HEADCOUNT_FUZZ", 40))
SECONDS, MEGABYTES = 20, 600
INTEGERS = [0, 1, 0x7F, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
WORDS = [b"nan", b"1e999", b"-1", b"9" * 400, b"null", b"{}", b"[]", b'""', b"true", b"[" * 5000, b"\x00", b"\xff\xfe"]


@st.composite
def damaged(draw, intact: bytes) -> bytes:
    """A file with a few faults: cut short, bytes replaced, a number or word inserted, parts repeated or left out."""
    data = bytearray(intact)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(data), 4000) - 1)) | st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["cut", "change", "integer", "word", "repeat", "omit"]))
        if kind == "cut":
            del data[place:]
        elif kind == "change":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "integer":
            order = draw(st.sampled_from(["little", "big"]))
            data[place : place + 4] = draw(st.sampled_from(INTEGERS)).to_bytes(4, order)
        elif kind == "word":
            data[place : place + draw(st.integers(0, 6))] = draw(st.sampled_from(WORDS))
        else:
            part = data[place : place + draw(st.integers(1, 200))]
            data[place : place + len(part)] = part * (2 if kind == "repeat" else 0)
    return bytes(data)


# What is damaged. Each function takes an empty folder and gives the file and a function that reads it.


def image(suffix: str, **options):
    def prepare(folder: Path):
        file = folder / f"crowd{suffix}"
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(file, **options)
        return file, lambda: read_image(file, 1_000_000)

    return prepare


def video(suffix: str):
    def prepare(folder: Path):
        file = folder / f"crowd{suffix}"
        write_video(file, [tiny_onnx.dots(n) for n in range(6)], fps=5)
        return file, lambda: list(zip(range(20), read_frames(file, "1f"), strict=False))

    return prepare


def annotated(write, format: str, split: str, pattern: str):
    """A data set; the first file that matches the pattern is damaged."""

    def prepare(folder: Path):
        write(folder)
        return sorted(folder.rglob(pattern))[0], lambda: readers.read(folder, format, split)

    return prepare


def regions(folder: Path):
    file = folder / "zones.json"
    ground = {"image": [[0, 0], [9, 0], [9, 9], [0, 9]], "metres": [[0, 0], [5, 0], [5, 5], [0, 5]]}
    zones = [
        {"name": "gate", "polygon": [[1, 1], [30, 2], [20, 30]], "area": 12.5, "max": 40},
        {"name": "stage", "polygon": [[0, 0], [9, 0], [9, 9], [0, 9]], "ground": ground},
    ]
    file.write_text(json.dumps({"regions": zones}))
    return file, lambda: read_regions(file)


def recipe(folder: Path):
    file = folder / "mine.toml"
    file.write_bytes((Path(headcount.__file__).parent / "recipes" / "tiny.toml").read_bytes())
    return file, lambda: load_recipe(file)


def rows(form: str, text: str):
    def prepare(folder: Path):
        file = folder / f"counts.{form}"
        file.write_text(text)
        return file, lambda: list(READERS[form](file))

    return prepare


def exported(engine: str):
    def prepare(folder: Path):
        file = tiny_onnx.network(folder / "network.onnx")
        return file, lambda: open_engine(file, engine)

    return prepare


TARGETS = {
    "jpeg": image(".jpg"),
    "jpeg, progressive": image(
        ".jpg", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    ),
    "png": image(".png"),
    "webp": image(".webp"),
    "bmp": image(".bmp"),
    "tiff": image(".tif", compression="tiff_lzw"),
    "mp4": video(".mp4"),
    "webm": video(".webm"),
    "shanghaitech": annotated(factory.shanghaitech, "shanghaitech", "test", "test_data/ground-truth/GT_IMG_1.mat"),
    "ucf_qnrf": annotated(factory.ucf_qnrf, "ucf_qnrf", "all", "*_ann.mat"),
    "nwpu": annotated(factory.nwpu, "nwpu", "all", "*.json"),
    "jhu": annotated(factory.jhu, "jhu", "all", "gt/*.txt"),
    "ucsd": annotated(factory.ucsd, "ucsd", "all", "*.mat"),
    "carpk": annotated(factory.carpk, "carpk", "all", "Annotations/*.txt"),
    "trancos": annotated(factory.trancos, "trancos", "all", "*.txt"),
    "visdrone": annotated(factory.visdrone, "visdrone", "all", "annotations/*.txt"),
    "p2pnet": annotated(factory.p2pnet, "p2pnet", "all", "*.list"),
    "scut_head": annotated(factory.scut_head, "scut_head", "part_B-test", "Annotations/PartB_02400.xml"),
    "unity_crowds": annotated(factory.unity_crowds, "unity_crowds", "all", "ground_truth_txt/*.txt"),
    "yolo": annotated(factory.yolo, "yolo", "all", "labels/*/*.txt"),
    "yolo's classes": annotated(factory.yolo, "yolo", "all", "data.yaml"),
    "voc": annotated(factory.voc, "voc", "all", "*.xml"),
    "cvat": annotated(factory.cvat_images, "cvat", "all", "*.xml"),
    "cvat, video": annotated(factory.cvat_video, "cvat", "all", "*.xml"),
    "labelme": annotated(factory.labelme, "labelme", "all", "*.json"),
    "labelstudio": annotated(factory.labelstudio, "labelstudio", "all", "*.json"),
    "csv": annotated(factory.csv_table, "csv", "train", "points.csv"),
    "json": annotated(factory.json_table, "json", "train", "points.json"),
    "coco": annotated(factory.coco, "coco", "all", "person_keypoints.json"),
    "coco, boxes": annotated(factory.coco_boxes, "coco", "all", "*.json"),
    "regions": regions,
    "recipe": recipe,
    "rows of csv": rows("csv", "path,count,low,high,error\na.jpg,12.5,10,14,\nb.jpg,,,,broken\n"),
    "rows of json": rows("jsonl", '{"path": "a.jpg", "count": 12.5}\n{"path": "b.jpg", "error": "broken"}\n'),
    "model in OpenVINO": exported("openvino"),
    "model in ONNX Runtime": exported("onnxruntime"),
}


@contextlib.contextmanager
def bounded(seconds: int):
    """Stop a reader that hangs, and fail for one that takes too much memory."""

    def stop(*_):
        raise TimeoutError(f"still reading after {seconds} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    assert taken < MEGABYTES, f"took {taken:.0f} MB"


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    file, read = TARGETS[name](tmp_path)
    intact = file.read_bytes()
    read()

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES <= 100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(intact))
    def check(data: bytes):
        file.write_bytes(data)
        with warnings.catch_warnings(), bounded(SECONDS):
            warnings.simplefilter("ignore")
            try:
                read()
            except ValueError as error:  # MediaError, PointsError, EngineError, TrainError, RegionError
                assert "\n" not in str(error) and len(str(error)) < 2000, error
                assert type(error).__module__.startswith("headcount"), f"{type(error)}: {error}"

    check()

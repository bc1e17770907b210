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

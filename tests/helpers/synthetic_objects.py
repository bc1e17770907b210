"""Images of things other than people, with their positions: round cells under a microscope, and cars from above."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np


def background(random: np.random.Generator, height: int, width: int, color: tuple[int, ...]) -> np.ndarray:
    """uint8 (H, W, 3): a color that is lighter and darker in wide patches, with fine noise."""
    patches = cv2.resize(random.normal(0, 8, (height // 40 + 2, width // 40 + 2)), (width, height))
    image = np.float64(color) + patches[:, :, None] + random.normal(0, 5, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def spaced_points(random: np.random.Generator, count: int, height: int, width: int, min_distance: float) -> np.ndarray:
    """float64 (N, 2), N at most `count`: points in the image, at least `min_distance` pixels from each other."""
    points: list[np.ndarray] = []
    for point in random.uniform((0, 0), (width, height), (count * 4, 2)):
        if len(points) < count and all(np.hypot(*(point - other)) >= min_distance for other in points):
            points.append(point)
    return np.array(points).reshape(-1, 2)


def cells(seed: int, count: int, width: int = 640, height: int = 480) -> tuple[np.ndarray, np.ndarray]:
    """Violet cells with a dark nucleus, some of them touching: uint8 (H, W, 3), float64 (N, 2)."""
    random = np.random.default_rng([1, seed])
    image = background(random, height, width, (225, 205, 220))
    points = spaced_points(random, count, height, width, 14)
    for x, y in points:
        body = ((int(x), int(y)), tuple(int(r) for r in random.uniform(7, 12, 2)), random.uniform(0, 180), 0, 360)
        cv2.ellipse(image, *body, (180, 130, 190), cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(image, *body, (150, 95, 165), 1, cv2.LINE_AA)
        cv2.circle(image, (int(x), int(y)), int(random.uniform(3, 5)), (95, 50, 120), cv2.FILLED, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.8), points


def cars(seed: int, count: int, width: int = 640, height: int = 480) -> tuple[np.ndarray, np.ndarray]:
    """Cars of all colors in a car park, seen from above: uint8 (H, W, 3), float64 (N, 2)."""
    random = np.random.default_rng([2, seed])
    image = background(random, height, width, (105, 105, 108))
    points = spaced_points(random, count, height, width, 26)
    for x, y in points:
        angle, (length, breadth) = random.uniform(0, 180), random.uniform((20, 9), (26, 12))
        grey = random.choice([random.uniform(20, 60), random.uniform(180, 250)])
        color = tuple(int(c) for c in grey + random.uniform(-15, 5, 3))
        turn = cv2.getRotationMatrix2D((0, 0), -angle, 1)[:, :2]
        for at, part, paint in ((0, 1.0, color), (0.12, 0.2, (40, 45, 50)), (-0.3, 0.12, (40, 45, 50))):
            middle = np.array([x, y]) + turn @ np.array([at * length, 0])
            box = ((*middle,), (length * part, breadth * (1 if part == 1 else 0.8)), angle)
            cv2.fillPoly(image, [np.int32(cv2.boxPoints(box) * 16)], paint, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(image, (0, 0), 0.7), points


Draw = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]  # (seed, count, width, height) -> image, points


def folder(root: Path, draw: Draw, counts: Iterable[int], width: int = 640, height: int = 480) -> Path:
    """Write an image for each count, and their points.csv, as `headcount annotate` does."""
    root.mkdir(parents=True)
    with open(root / "points.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "x", "y", "scene"])
        for number, count in enumerate(counts):
            image, points = draw(number, count, width, height)
            cv2.imwrite(str(root / f"{number}.png"), image[:, :, ::-1])
            table.writerows([f"{number}.png", x, y, ""] for x, y in points.tolist() or [("", "")])
    return root

"""Augmentations of training crops."""

from __future__ import annotations

import cv2
import numpy as np

from headcount.training.config import DataConfig

Cut = tuple[np.ndarray, np.ndarray, np.ndarray]  # uint8 (H,W,3) image, float32 (N,2) heads, float32 (N,) their sigma


def cutmix(crop: Cut, other: Cut, rng: np.random.Generator) -> Cut:
    """`crop` with a rectangle, 0.3 to 0.8 of it high and wide, taken from the same place of `other`."""
    image, heads, sigma = crop
    height, width = (int(side * rng.uniform(0.3, 0.8)) for side in image.shape[:2])
    top, left = int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1))
    mixed = image.copy()  # where nothing was done to it, a crop is a view of its picture
    mixed[top : top + height, left : left + width] = other[0][top : top + height, left : left + width]

    def within(points: np.ndarray) -> np.ndarray:
        return np.asarray(((points >= [left, top]) & (points < [left + width, top + height])).all(axis=1))

    kept, pasted = ~within(heads), within(other[1])
    return mixed, np.concatenate([heads[kept], other[1][pasted]]), np.concatenate([sigma[kept], other[2][pasted]])


def mirror(image: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left-right; a point x becomes w - x, kept below w where x is 0."""
    width = image.shape[1]
    x = np.minimum(width - heads[:, 0], np.nextafter(np.float32(width), np.float32(0)))
    return image[:, ::-1], np.stack([x, heads[:, 1]], axis=1)


def jitter_colours(image: np.ndarray, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """Grey, then contrast, brightness and gamma by one look-up table."""
    if rng.random() < config.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < config.jitter:
        contrast, gamma = np.exp(rng.uniform(-0.3, 0.3, 2))
        brightness = rng.uniform(-0.1, 0.1)
        ramp = np.linspace(0, 1, 256)
        table = (np.clip(ramp**gamma, 0, 1) - 0.5) * contrast + 0.5 + brightness
        image = cv2.LUT(image, (np.clip(table, 0, 1) * 255).round().astype(np.uint8))
    return image


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras and websites do to a picture (H,W,3): blur, noise, or JPEG's blocks."""
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if kind == 1:
        noise = rng.uniform(2, 15) * rng.standard_normal(image.shape, np.float32)
        return (image + noise).clip(0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))

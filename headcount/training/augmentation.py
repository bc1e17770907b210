"""Augmentations of training crops, and their settings.

`augment_view` changes one view of an image; `augment_crop` changes the finished crop and may use a second view. A new
augmentation is a field of AugmentationConfig, a function, and a line in one of these two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np


@dataclass(frozen=True)
class AugmentationConfig:
    """Probabilities of the augmentations, each 0 to 1.

    Attributes:
        mirror: Probability of mirroring left and right.
        grey: Probability of dropping the colors.
        jitter: Probability of changing contrast, brightness and gamma.
        degrade: Probability of blur, noise or JPEG compression.
        cutmix: Probability that a rectangle of the crop shows another image (CutMix, Yun et al., ICCV 2019). Heads
            must then be recognized without the scene around them, which a network memorizes on a small set.
    """

    mirror: float = 0.5
    grey: float = 0.0
    jitter: float = 0.0
    degrade: float = 0.0
    cutmix: float = 0.0


class Crop(NamedTuple):
    """A view of an image with its heads, before targets are made.

    Attributes:
        image: uint8 (H,W,3) RGB.
        heads: float32 (N,2), x then y in pixels.
        sigma: float32 (N,), standard deviation of each head's kernel in pixels. 0 if the recipe fixes it.
        roi: uint8 mask of the region of interest, 1 inside, or None if the set has none. It covers the same view as
            the image and may have another resolution.
    """

    image: np.ndarray
    heads: np.ndarray
    sigma: np.ndarray
    roi: np.ndarray | None = None


def augment_view(crop: Crop, config: AugmentationConfig, rng: np.random.Generator) -> Crop:
    """Mirror the view and change its colors, by chance."""
    if rng.random() < config.mirror:
        crop = mirror(crop)
    return crop._replace(image=jitter_colors(crop.image, config, rng))


def augment_crop(
    crop: Crop, other_view: Callable[[], Crop], config: AugmentationConfig, rng: np.random.Generator
) -> Crop:
    """Mix the crop with another view and degrade it, by chance.

    Args:
        crop: The crop, after `augment_view`.
        other_view: Returns a view of another image, of the same size. It may draw from `rng`.
        config: Probabilities.
        rng: Source of all randomness.
    """
    if config.cutmix and rng.random() < config.cutmix:
        crop = cutmix(crop, other_view(), rng)
    if config.degrade and rng.random() < config.degrade:
        crop = crop._replace(image=degrade(crop.image, rng))
    return crop


def cutmix(crop: Crop, other: Crop, rng: np.random.Generator) -> Crop:
    """Replace a rectangle, 0.3 to 0.8 of the crop's height and width, by the same place of `other`."""
    height, width = (int(side * rng.uniform(0.3, 0.8)) for side in crop.image.shape[:2])
    top = int(rng.integers(crop.image.shape[0] - height + 1))
    left = int(rng.integers(crop.image.shape[1] - width + 1))
    box = slice(top, top + height), slice(left, left + width)
    image = crop.image.copy()  # an unchanged crop is a view of the decoded image
    image[box] = other.image[box]

    def in_box(points: np.ndarray) -> np.ndarray:
        return np.asarray(((points >= [left, top]) & (points < [left + width, top + height])).all(axis=1))

    kept, pasted = ~in_box(crop.heads), in_box(other.heads)
    roi = None
    if crop.roi is not None or other.roi is not None:
        roi = _roi_pixels(crop)
        roi[box] = _roi_pixels(other)[box]
    return Crop(
        image,
        np.concatenate([crop.heads[kept], other.heads[pasted]]),
        np.concatenate([crop.sigma[kept], other.sigma[pasted]]),
        roi,
    )


def _roi_pixels(crop: Crop) -> np.ndarray:
    """A new uint8 (H,W): the region of interest at the resolution of the image."""
    height, width = crop.image.shape[:2]
    if crop.roi is None:
        return np.ones((height, width), np.uint8)
    return cv2.resize(np.ascontiguousarray(crop.roi), (width, height), interpolation=cv2.INTER_NEAREST)


def mirror(crop: Crop) -> Crop:
    """Mirror left and right. A point x becomes W - x, and stays below W where x is 0."""
    width = crop.image.shape[1]
    x = np.minimum(width - crop.heads[:, 0], np.nextafter(np.float32(width), np.float32(0)))
    heads = np.stack([x, crop.heads[:, 1]], axis=1)
    roi = None if crop.roi is None else crop.roi[:, ::-1]
    return Crop(cv2.flip(crop.image, 1), heads, crop.sigma, roi)


def jitter_colors(image: np.ndarray, config: AugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    """Drop the colors, then change contrast, brightness and gamma by one look-up table, each by chance."""
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
    """Degrade an image (H,W,3) as cameras and websites do: by blur, noise or JPEG compression."""
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if kind == 1:
        noise = rng.uniform(2, 15) * rng.standard_normal(image.shape, np.float32)
        return (image + noise).clip(0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))

"""Training data: augment the points, then build the targets, so that a crop's density always sums to its heads.

Crop number i of a run depends on (seed, i) alone, whatever the workers or the order: so a run that is resumed at step k
continues exactly, with no state of a random generator to save. Pictures are decoded once and kept in memory as uint8.
A crop is cut from the original and resized once, straight to its final size; the whole picture is never resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from . import scenes
from .counter import enlarge_to, enlargement, polygon_mask
from .media import read_image
from .metrics import inside
from .points import Sample
from .targets import TRUNCATE, adaptive_sigma, count_map, density_map, mask_map


@dataclass
class DataConfig:
    """What is cut from the pictures, and the targets made of it.

    crop: (height, width) in pixels, multiples of the model's pad; (0, 0) takes whole pictures (batch 1, no jitter).
    scale: range of the scale jitter, log-uniform, on top of the enlargement to min_side.
    min_side: pictures with a shorter short side are enlarged to it before the jitter, in training and in test.
    mirror, grey, jitter: probabilities of mirroring, of dropping colour, of other contrast, brightness and gamma.
    degrade: probability of a worse picture: blurred, noisy, or compressed.
    cutmix: probability that a rectangle of the crop shows another picture: heads must be known by themselves, not by
    the scene around them, which a small set lets a network learn by heart (CutMix, Yun et al., ICCV 2019).
    sigma: of the density's Gaussian in pixels of the crop; 0 is geometry-adaptive.
    radius: a head's foreground reaches so far, in pixels; 0 is the kernel's support, TRUNCATE sigma.
    rendered: share of crops that come from rendered scenes; rendered_scenes: how many are drawn; people_free: the share
    of them without people.
    """

    crop: tuple[int, int] = (256, 256)
    scale: tuple[float, float] = (1.0, 1.0)
    min_side: int = 0
    mirror: float = 0.5
    grey: float = 0.0
    jitter: float = 0.0
    degrade: float = 0.0
    cutmix: float = 0.0
    sigma: float = 4.0
    radius: float = 0.0
    rendered: float = 0.0
    rendered_scenes: int = 40
    people_free: float = 0.5


class Batch(NamedTuple):
    """image: uint8 (N,3,H,W) RGB; density, mask, counts: float32 (N,h,w); number: int64 (N,), the crops' numbers."""

    image: Tensor
    density: Tensor
    mask: Tensor
    counts: Tensor
    number: Tensor


class Picture(NamedTuple):
    image: np.ndarray  # uint8 (H,W,3) RGB
    points: np.ndarray  # float32 (N,2)
    sigma: np.ndarray  # float32 (N,), pixels of this picture; 0 where it is fixed
    name: str
    inside: np.ndarray | None = None  # uint8 (H,W), 1 in the region of interest, where the set has one


Cut = tuple[np.ndarray, np.ndarray, np.ndarray]  # uint8 (H,W,3) image, float32 (N,2) heads, float32 (N,) their sigma


class Crops(Dataset):
    """Crop i, for any i >= 0. `groups`: pictures, and the share of crops that each group gives."""

    def __init__(self, groups: Sequence[tuple[float, list[Picture]]], config: DataConfig, stride: int, seed: int):
        self.groups = [(share, pictures) for share, pictures in groups if share > 0 and pictures]
        if not self.groups:
            raise ValueError("there is no training picture: check the data folder, its format and the split")
        if config.cutmix and config.crop == (0, 0):
            raise ValueError("cutmix needs crops of one size: set crop, or cutmix = 0")
        self.shares = np.array([share for share, _ in self.groups]) / sum(s for s, _ in self.groups)
        self.config, self.stride, self.seed = config, stride, seed

    def describe(self, index: int) -> str:
        """The picture that crop `index` is cut from."""
        return self.pick(np.random.default_rng((self.seed, index)), index).name

    def pick(self, rng: np.random.Generator, index: int) -> Picture:
        """A group by its share, then the group's pictures in a new order each time round."""
        _, pictures = self.groups[rng.choice(len(self.groups), p=self.shares)]
        turn, place = divmod(index, len(pictures))
        return pictures[np.random.default_rng((self.seed, turn)).permutation(len(pictures))[place]]

    def __getitem__(self, index: int) -> Batch:
        config = self.config
        rng = np.random.default_rng((self.seed, index))
        image, heads, sigma = self.cut(self.pick(rng, index), rng)
        if config.cutmix and rng.random() < config.cutmix:
            other = self.pick(rng, int(rng.integers(2**31)))
            image, heads, sigma = cutmix((image, heads, sigma), self.cut(other, rng), rng)
        if config.degrade and rng.random() < config.degrade:
            image = degrade(image, rng)
        return make_targets(image, heads, sigma, config, self.stride, index)

    def cut(self, picture: Picture, rng: np.random.Generator) -> Cut:
        """A crop of the picture, or all of it, perhaps mirrored and in other colours."""
        if self.config.crop == (0, 0):
            image, heads, sigma = whole(picture, self.config)
        else:
            image, heads, sigma = random_crop(picture, self.config, rng)
        if rng.random() < self.config.mirror:
            image, heads = mirror(image, heads)
        return jitter_colours(image, self.config, rng), heads, sigma


def whole(picture: Picture, config: DataConfig) -> Cut:
    """The whole picture as a Counter would see it."""
    image = enlarge_to(picture.image, config.min_side)
    scale = np.float32(image.shape[1] / picture.image.shape[1])
    return image, picture.points * scale, picture.sigma * scale


def random_crop(picture: Picture, config: DataConfig, rng: np.random.Generator) -> Cut:
    """A window of the picture at a random scale, resized to the crop, and the points inside it."""
    height, width = picture.image.shape[:2]
    rows, columns = config.crop
    low, high = np.log(config.scale)
    scale = enlargement(height, width, config.min_side) * float(np.exp(rng.uniform(low, high)))
    scale = max(scale, rows / height, columns / width)  # the crop must fit
    window_h, window_w = min(height, round(rows / scale)), min(width, round(columns / scale))
    top, left = int(rng.integers(height - window_h + 1)), int(rng.integers(width - window_w + 1))
    window = picture.image[top : top + window_h, left : left + window_w]
    zoom = np.array([columns / window_w, rows / window_h], np.float32)  # by rounding not quite `scale`, nor quite equal
    shrinks = window_h > rows
    image = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    heads = (picture.points - np.array([left, top], np.float32)) * zoom
    kept = ((heads >= 0) & (heads < [columns, rows])).all(axis=1)
    return image, heads[kept], picture.sigma[kept] * zoom[1]


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


def make_targets(
    image: np.ndarray, heads: np.ndarray, sigma: np.ndarray, config: DataConfig, stride: int, index: int
) -> Batch:
    height, width = image.shape[:2]
    heads_t = torch.from_numpy(np.ascontiguousarray(heads, dtype=np.float32))
    spread: float | Tensor = config.sigma or torch.from_numpy(np.ascontiguousarray(sigma))
    return Batch(
        torch.from_numpy(image.copy()).permute(2, 0, 1),  # (3,H,W)
        density_map(heads_t, height, width, stride, spread),
        mask_map(heads_t, height, width, stride, config.radius or spread * TRUNCATE),
        count_map(heads_t, height, width, stride),
        torch.tensor(index),
    )


def open_pictures(samples: Sequence[Sample], config: DataConfig) -> list[Picture]:
    """Decode every sample once; a ROI blanks what lies outside it, in the picture and in the points."""
    pictures = []
    for sample in samples:
        image, heads, mask = read_image(sample.image), sample.points, None
        if sample.roi is not None:
            mask = polygon_mask(sample.roi, *image.shape[:2])  # (H,W)
            image, heads = image * mask[..., None], heads[inside(heads, sample.roi)]
        pictures.append(make_picture(image, heads, config, str(sample.image))._replace(inside=mask))
    return pictures


def make_picture(image: np.ndarray, heads: np.ndarray, config: DataConfig, name: str) -> Picture:
    heads = np.asarray(heads, np.float32).reshape(-1, 2)
    fixed = np.zeros(len(heads), np.float32)
    sigma = fixed if config.sigma else adaptive_sigma(torch.from_numpy(heads)).numpy()
    return Picture(image, heads, sigma, name)


def rendered_pictures(config: DataConfig, seed: int) -> list[Picture]:
    """`config.rendered_scenes` rendered scenes, evenly among them the share `config.people_free` without people."""
    pictures = []
    for i in range(config.rendered_scenes):
        empty = int((i + 1) * config.people_free) > int(i * config.people_free)
        scene = scenes.render(seed * 100_003 + i, people=0 if empty else None)
        pictures.append(make_picture(scene.image, scene.points, config, f"rendered scene {i}"))
    return pictures


def loader(crops: Crops, numbers: Sequence[int], batch: int, workers: int) -> DataLoader:
    """The crops of these numbers in batches, in order."""
    return DataLoader(
        crops, batch_size=batch, sampler=numbers, num_workers=workers, collate_fn=default_collate,
        persistent_workers=False, prefetch_factor=4 if workers else None, worker_init_fn=one_thread,
    )  # fmt: skip


def one_thread(_: int) -> None:
    """Targets are tiny products: more threads only wait for each other."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of the file names, sizes and points, to say which data a run saw."""
    import hashlib

    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{Path(sample.image).name}:{Path(sample.image).stat().st_size}".encode())
        digest.update(np.ascontiguousarray(sample.points).tobytes())
    return digest.hexdigest()[:16]

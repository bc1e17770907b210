"""Training data: augment the points, then build the targets, so that a crop's density always sums to its heads.

Crop number i of a run depends on (seed, i) alone, whatever the workers or the order: so a run that is resumed at step k
continues exactly, with no state of a random generator to save. Pictures are decoded once and kept in memory as uint8.
A crop is cut from the original and resized once, straight to its final size; the whole picture is never resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from headcount.datasets.sample import Sample
from headcount.geometry import enlarge_to, enlargement, inside, polygon_mask
from headcount.io.images import read_image
from headcount.synthetic import scenes
from headcount.training.augmentation import Cut, cutmix, degrade, jitter_colours, mirror
from headcount.training.config import DataConfig
from headcount.training.targets import TRUNCATE, adaptive_sigma, count_map, density_map, mask_map


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

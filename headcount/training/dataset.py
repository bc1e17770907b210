"""Training data: crops are cut from decoded images and augmented, and targets are made from the heads of each crop.

Targets are made after augmentation, so the density of a crop always sums to its heads, except for what a region of
interest cuts off. Crop number i of a run depends on the seed and i alone, whatever the workers or the order. A resumed
run therefore continues exactly, with no random state to save. A crop is resized once, straight from the original to its
final size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.geometry import at_cells, enlarge_to, enlargement
from headcount.inference.prefetch import prefetch
from headcount.training.augmentation import Crop, augment_crop, augment_view
from headcount.training.config import DataConfig, TrainConfig, TrainError
from headcount.training.images import ImageList, Images, RenderedScenes, TrainingImage, decode_all
from headcount.training.targets import TRUNCATE, count_map, density_map, mask_map

AHEAD = 4  # batches that are prepared before the network asks for them


class Batch(NamedTuple):
    """Crops with their targets; without the first axis, one crop.

    Attributes:
        image: uint8 (N,3,H,W) RGB.
        density: float32 (N,h,w), people per cell.
        mask: float32 (N,h,w), 1 in foreground cells, else 0.
        counts: float32 (N,h,w), heads per cell.
        indices: int64 (N,), the numbers of the crops.
    """

    image: Tensor
    density: Tensor
    mask: Tensor
    counts: Tensor
    indices: Tensor


class TrainingData(NamedTuple):
    """The data of a run.

    Attributes:
        crops: Training crops.
        validation: Images to validate on, by set.
        image_count: Number of training images, rendered scenes included.
        fingerprint: Hash of the training samples.
    """

    crops: Crops
    validation: dict[str, Images]
    image_count: int
    fingerprint: str


class Crops(Dataset):
    """Crop i of a run, for any i >= 0.

    Args:
        groups: Images in groups, each with its share of the crops. Shares are relative to each other.
        config: Crops, augmentations and targets.
        stride: Pixels per cell of the targets.
        seed: Seed of all crops.

    Raises:
        ValueError: There is no image, or `cutmix` is combined with whole images.
    """

    def __init__(self, groups: Sequence[tuple[float, ImageList]], config: DataConfig, stride: int, seed: int):
        self.groups = [(share, images) for share, images in groups if share > 0 and len(images)]
        if not self.groups:
            raise ValueError("there is no training image: check the data folder, its format and the split")
        if config.cutmix and config.crop == (0, 0):
            raise ValueError("cutmix needs crops of one size: set crop, or cutmix = 0")
        self.shares = np.array([share for share, _ in self.groups]) / sum(share for share, _ in self.groups)
        self.config, self.stride, self.seed = config, stride, seed

    def describe(self, index: int) -> str:
        """The name of the image that a crop is cut from."""
        return self._pick(np.random.default_rng((self.seed, index)), index).name

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        crop = self.view(self._pick(rng, index), rng)

        def other_view() -> Crop:
            return self.view(self._pick(rng, int(rng.integers(2**31))), rng)

        crop = augment_crop(crop, other_view, self.config, rng)
        return make_targets(crop, self.config, self.stride, index)

    def view(self, image: TrainingImage, rng: np.random.Generator) -> Crop:
        """A random crop of an image, or all of it, after `augment_view`."""
        if self.config.crop == (0, 0):
            crop = whole_image(image, self.config)
        else:
            crop = random_crop(image, self.config, rng)
        return augment_view(crop, self.config, rng)

    def _pick(self, rng: np.random.Generator, index: int) -> TrainingImage:
        """Draw a group by its share, then take the group's images in a new order in each round."""
        _, images = self.groups[rng.choice(len(self.groups), p=self.shares)]
        turn, place = divmod(index, len(images))
        return images[np.random.default_rng((self.seed, turn)).permutation(len(images))[place]]


def whole_image(image: TrainingImage, config: DataConfig) -> Crop:
    """The whole image, enlarged as a Counter enlarges it."""
    enlarged = enlarge_to(image.image, config.min_side)
    scale = np.float32(enlarged.shape[1] / image.image.shape[1])
    return Crop(enlarged, image.points * scale, image.sigma * scale, image.roi)


def random_crop(image: TrainingImage, config: DataConfig, rng: np.random.Generator) -> Crop:
    """A window of the image, resized to the crop by a random scale or not at all, with the heads inside it."""
    height, width = image.image.shape[:2]
    rows, columns = config.crop
    low, high = np.log(config.scale)
    scale = enlargement(height, width, config.min_side)
    if not (config.unscaled and rng.random() < config.unscaled):
        scale *= float(np.exp(rng.uniform(low, high)))
    scale = max(scale, rows / height, columns / width)  # the crop must fit
    window_h, window_w = min(height, round(rows / scale)), min(width, round(columns / scale))
    top, left = int(rng.integers(height - window_h + 1)), int(rng.integers(width - window_w + 1))
    box = slice(top, top + window_h), slice(left, left + window_w)
    zoom = np.array([columns / window_w, rows / window_h], np.float32)  # `scale`, but for the rounding of each side
    interpolation = cv2.INTER_AREA if window_h > rows else cv2.INTER_LINEAR
    pixels = cv2.resize(image.image[box], (columns, rows), interpolation=interpolation)
    heads = (image.points - np.array([left, top], np.float32)) * zoom
    kept = ((heads >= 0) & (heads < [columns, rows])).all(axis=1)
    roi = None if image.roi is None else image.roi[box]
    return Crop(pixels, heads[kept], image.sigma[kept] * zoom[1], roi)


def make_targets(crop: Crop, config: DataConfig, stride: int, index: int) -> Batch:
    """Make the targets of one crop.

    Outside a region of interest, density and mask are 0, as in the paper. A kernel that reaches over its border loses
    the mass beyond.

    Args:
        crop: The crop after augmentation.
        config: sigma and radius.
        stride: Pixels per cell.
        index: Number of the crop.

    Returns:
        A Batch without its first axis.
    """
    height, width = crop.image.shape[:2]
    heads = torch.from_numpy(np.ascontiguousarray(crop.heads, dtype=np.float32))
    sigma: float | Tensor = config.sigma or torch.from_numpy(np.ascontiguousarray(crop.sigma))
    density = density_map(heads, height, width, stride, sigma)
    mask = mask_map(heads, height, width, stride, config.radius or sigma * TRUNCATE)
    if crop.roi is not None:
        counted = torch.from_numpy(cells_in_roi(crop.roi, crop.image, density.shape, stride))
        density, mask = density * counted, mask * counted
    return Batch(
        torch.from_numpy(crop.image.copy()).permute(2, 0, 1),  # (3,H,W)
        density,
        mask,
        count_map(heads, height, width, stride),
        torch.tensor(index),
    )


def cells_in_roi(roi: np.ndarray, image: np.ndarray, cells: Sequence[int], stride: int) -> np.ndarray:
    """Which cells of a density are counted: those whose center is inside the region of interest.

    Args:
        roi: uint8 mask of the view that the image shows, at any resolution.
        image: (H,W,3), as the network sees it.
        cells: (h, w) of the density.
        stride: Pixels of the image per cell.

    Returns:
        float32 (h,w), 0 or 1.
    """
    return at_cells(roi, cells[0], cells[1], stride * roi.shape[1] / image.shape[1])


def read_training_data(config: TrainConfig, folder: Path, stride: int, max_bytes: int) -> TrainingData:
    """Read the training and validation splits of every set of a recipe, and no other split.

    Every image is decoded once, so that a damaged one ends the run before it begins.

    Args:
        config: The recipe.
        folder: The data folder, under which the sets are.
        stride: Pixels per cell of the model.
        max_bytes: Memory for images that stay decoded, rendered scenes included.

    Raises:
        TrainError: A set names a test split.
        ValueError: A set cannot be read, or there is no training image.
    """
    sets: list[tuple[float, Images]] = []
    validation: dict[str, Images] = {}
    for name, dataset in config.sets.items():
        for split in (dataset.train, dataset.val):
            if split == "test" or split.endswith("-test"):
                raise TrainError(f"set {name!r} names the split {split!r}: training never reads a test split")
        samples = readers.read(folder / dataset.folder, dataset.format, dataset.train)
        sets.append((dataset.share * (1 - config.data.rendered), Images(samples, config.data)))
        if dataset.val:
            held_out = readers.read(folder / dataset.folder, dataset.format, dataset.val)
            validation[name] = Images(held_out, config.data)
    groups: list[tuple[float, ImageList]] = list(sets)
    if config.data.rendered:
        rendered = RenderedScenes(config.data, config.seed, config.workers)
        share = sum(dataset.share for dataset in config.sets.values()) or 1.0
        groups.append((config.data.rendered * share, rendered))
        max_bytes -= rendered.kept_bytes
    crops = Crops(groups, config.data, stride, config.seed)
    decode_all(sets, max_bytes)
    decode_all([(0.0, images) for images in validation.values()], 0)
    image_count = sum(len(images) for _, images in groups)
    return TrainingData(crops, validation, image_count, fingerprint([s for _, part in sets for s in part.samples]))


def loader(crops: Crops, indices: Sequence[int], batch: int, workers: int) -> Generator[Batch, None, None]:
    """The crops of these numbers in batches, in order, prepared ahead of their use until the generator is closed.

    Args:
        crops: The crops of a run.
        indices: Numbers of the crops.
        batch: Crops per batch. The last batch may have fewer.
        workers: Processes that prepare crops. 0 prepares them in a thread of this process.
    """
    batches: DataLoader = DataLoader(
        crops,
        batch_size=batch,
        sampler=indices,
        num_workers=workers,
        collate_fn=default_collate,
        persistent_workers=False,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=torch.cuda.is_available(),  # a GPU copies from pinned memory while it computes
        worker_init_fn=_use_one_thread,
    )
    yield from batches if workers else prefetch(_in_one_thread(batches), AHEAD)


def _in_one_thread(batches: DataLoader) -> Iterator[Batch]:
    """The batches, prepared by torch operations that use one thread. Other threads of the process are not affected."""
    torch.set_num_threads(1)
    yield from batches


def _use_one_thread(_: int) -> None:
    """Targets are tiny products: more threads would only wait for each other."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of the names, sizes and points of the samples, to record which data a run used."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{Path(sample.image).name}:{Path(sample.image).stat().st_size}".encode())
        digest.update(np.ascontiguousarray(sample.points).tobytes())
    return digest.hexdigest()[:16]

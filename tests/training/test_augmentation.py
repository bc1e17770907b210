"""Augmentations change an image and its heads together, and leave crops alone where they are switched off."""

import numpy as np
import pytest
import torch
from helpers.dotted_images import dot_centres, dots_under, dotted

from headcount.training.augmentation import Crop, cutmix, jitter_colors, mirror
from headcount.training.config import DataConfig
from headcount.training.dataset import Crops


def test_a_mirrored_point_is_w_minus_x():
    image = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    heads = np.array([[0.0, 0.5], [0.5, 0.5], [2.5, 1.0], [4.75, 1.9]], np.float32)
    roi = np.arange(10, dtype=np.uint8).reshape(2, 5)
    flipped = mirror(Crop(image, heads, np.zeros(4), roi))
    assert np.array_equal(flipped.image, np.fliplr(image)) and np.array_equal(flipped.roi, np.fliplr(roi))
    np.testing.assert_allclose(flipped.heads, [[5, 0.5], [4.5, 0.5], [2.5, 1.0], [0.25, 1.9]], rtol=1e-6)
    assert (flipped.heads[:, 0] < 5).all()  # on the left border it would be w, which is outside
    back = mirror(flipped)
    assert np.array_equal(back.image, image)
    np.testing.assert_allclose(back.heads, heads, atol=1e-5)


def test_colors_change_by_chance_and_points_do_not():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    same = jitter_colors(image, DataConfig(), np.random.default_rng(0))
    assert np.array_equal(same, image)
    grey = jitter_colors(image, DataConfig(grey=1.0), np.random.default_rng(0))
    assert (grey[..., 0] == grey[..., 2]).all()
    changed = jitter_colors(image, DataConfig(jitter=1.0), np.random.default_rng(0))
    assert changed.dtype == np.uint8 and not np.array_equal(changed, image)
    order = image.flatten().argsort()
    assert (np.diff(changed.flatten()[order].astype(int)) >= 0).all()  # brighter stays brighter


def test_a_mirrored_crop_may_be_greyed_and_jittered():
    """The mirrored image is a view with a negative stride, which OpenCV must accept."""
    config = DataConfig(crop=(32, 32), mirror=1.0, grey=1.0, jitter=1.0)
    crop = Crops([(1.0, [dotted()])], config, 4, seed=0)[0]
    assert (crop.image[0] == crop.image[1]).all()


def test_a_degraded_image_keeps_its_targets():
    """Blur, noise and compression change the pixels only."""
    plain, degraded = (Crops([(1.0, [dotted()])], DataConfig(crop=(32, 32), degrade=p), 4, seed=0) for p in (0.0, 1.0))
    for i in range(9):
        assert torch.equal(plain[i].density, degraded[i].density)
        change = (plain[i].image.float() - degraded[i].image.float()).abs().mean()
        assert 0 < change < 60


def test_a_rectangle_of_another_image_comes_with_its_heads():
    """Every head is still on its dot, and every dot has a head, except where the seam cuts it."""
    config = DataConfig(crop=(96, 128), cutmix=1.0, mirror=0.0)
    crops = Crops([(1.0, [dotted(s) for s in range(4)])], config, 4, seed=0)
    plain = Crops([(1.0, [dotted(s) for s in range(4)])], DataConfig(crop=(96, 128), mirror=0.0), 4, seed=0)
    assert sum(not torch.equal(crops[i].image, plain[i].image) for i in range(8)) == 8
    one, two = plain.view(dotted(0), np.random.default_rng(1)), plain.view(dotted(1), np.random.default_rng(2))
    image, heads, sigma, _ = cutmix(one, two, np.random.default_rng(3))
    assert dots_under(image, heads).all() and len(heads) == len(sigma)
    whole_dots = dot_centres(image)
    nearest = np.linalg.norm(whole_dots[:, None] - heads[None], axis=2).min(1)
    assert len(whole_dots) > 4 and (nearest < 1.5).mean() > 0.7
    with pytest.raises(ValueError, match="crops of one size"):
        Crops([(1.0, [dotted()])], DataConfig(crop=(0, 0), cutmix=0.5), 4, seed=0)


def test_a_rectangle_of_another_image_comes_with_its_region_of_interest():
    """The masks may have another resolution than the crops, and one may be missing."""
    pixels, heads = np.zeros((40, 60, 3), np.uint8), np.zeros((0, 2), np.float32)
    outside = Crop(pixels, heads, np.zeros(0), np.zeros((20, 30), np.uint8))
    everywhere = Crop(pixels + 255, heads, np.zeros(0))
    mixed = cutmix(outside, everywhere, np.random.default_rng(0))
    assert np.array_equal(mixed.roi, mixed.image[..., 0] // 255) and 0 < mixed.roi.mean() < 1
    assert not outside.roi.any() and cutmix(everywhere, everywhere, np.random.default_rng(0)).roi is None

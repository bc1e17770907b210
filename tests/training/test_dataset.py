"""Crops keep images and heads together, and crop i is the same whoever makes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory
from helpers.dotted_images import dot_centres, dots_under, dotted

from headcount.datasets.sample import Sample
from headcount.geometry import enlargement, inside
from headcount.training.augmentation import Crop, mirror
from headcount.training.config import DataConfig
from headcount.training.dataset import (
    Crops,
    fingerprint,
    loader,
    make_targets,
    random_crop,
    whole_image,
)
from headcount.training.images import Images, make_training_image

CONFIGS = [
    DataConfig(crop=(64, 96), scale=(1.0, 1.0)),
    DataConfig(crop=(64, 64), scale=(0.5, 2.0)),
    DataConfig(crop=(96, 64), scale=(0.75, 1.8), min_side=300),
    DataConfig(crop=(256, 256), scale=(0.5, 1.0)),  # larger than the image, which is enlarged so that the crop fits
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.crop}-{c.scale}-{c.min_side}")
def test_a_drawn_dot_stays_under_its_point(config):
    for seed in range(25):
        source = dotted(seed)
        image, heads, _, _ = random_crop(source, config, np.random.default_rng(seed))
        assert image.shape == (*config.crop, 3) and image.dtype == np.uint8
        assert (heads >= 0).all() and (heads < [config.crop[1], config.crop[0]]).all()
        assert (dots_under(image, heads) > 100).all()
        mirrored = mirror(Crop(image, heads, np.zeros(len(heads))))
        assert (dots_under(mirrored.image, mirrored.heads) > 100).all()
        centres = dot_centres(image)  # and every whole dot has its point, within the pixel it was drawn to
        if len(centres):
            nearest = np.abs(centres[:, None] - heads[None]).max(axis=2).min(axis=1)
            zoom = config.crop[0] / 64 * 4
            assert nearest.max() <= max(zoom, 4)


def test_a_crop_keeps_exactly_the_points_in_its_window():
    """At scale 1 a crop is a shift by whole pixels."""
    source = dotted(3)
    config = DataConfig(crop=(64, 96))
    for seed in range(20):
        rng, again = np.random.default_rng(seed), np.random.default_rng(seed)
        image, heads, _, _ = random_crop(source, config, rng)
        again.uniform()  # the scale
        top, left = int(again.integers(150 - 64 + 1)), int(again.integers(210 - 96 + 1))
        assert np.array_equal(image, source.image[top : top + 64, left : left + 96])
        moved = source.points - np.float32([left, top])
        inside = [0 <= x < 96 and 0 <= y < 64 for x, y in moved]
        np.testing.assert_array_equal(heads, moved[inside])


def test_unscaled_crops_have_the_pixels_of_the_file():
    """They are as common as the recipe says, and the others are resized."""
    source = dotted(3)
    config = DataConfig(crop=(64, 96), scale=(0.5, 0.7), unscaled=0.4)
    windows = np.lib.stride_tricks.sliding_window_view(source.image, (64, 96, 3))[:, :, 0]  # (87,115,64,96,3)
    corners = windows[:, :, :2, :2].reshape(*windows.shape[:2], -1)
    unscaled = 0
    for seed in range(100):
        image = random_crop(source, config, np.random.default_rng(seed))[0]
        places = np.argwhere((corners == image[:2, :2].ravel()).all(axis=2))
        unscaled += any(np.array_equal(windows[top, left], image) for top, left in places)
    assert 30 <= unscaled <= 50


def test_short_sides_are_enlarged_to_min_side():
    assert enlargement(200, 300, 400) == 2.0
    assert enlargement(500, 300, 0) == enlargement(500, 300, 300) == enlargement(500, 600, 300) == 1.0
    image, heads, sigma, _ = whole_image(dotted(1), DataConfig(crop=(0, 0), min_side=300))
    assert image.shape == (300, 420, 3)
    np.testing.assert_allclose(heads, dotted(1).points * 2)
    assert (dots_under(image, heads) > 100).all()
    image, heads, _, _ = whole_image(dotted(1), DataConfig(crop=(0, 0)))
    assert np.array_equal(image, dotted(1).image) and np.array_equal(heads, dotted(1).points)


def test_every_crop_has_a_density_that_sums_to_its_heads():
    config = DataConfig(crop=(64, 96), scale=(0.5, 2.0), mirror=0.5, jitter=1.0, grey=0.5)
    for sigma in (4.0, 0.0):
        settings = DataConfig(**{**vars(config), "sigma": sigma})
        images = [make_training_image(*dotted(seed)[:2], settings, f"{seed}") for seed in range(5)]
        crops = Crops([(1.0, images)], settings, stride=8, seed=1)
        for i in range(30):
            crop = crops[i]
            assert crop.image.shape == (3, 64, 96) and crop.image.dtype == torch.uint8
            assert crop.density.shape == crop.mask.shape == crop.counts.shape == (8, 12)
            assert float(crop.density.double().sum()) == pytest.approx(float(crop.counts.sum()), rel=1e-4)
            assert crop.counts.sum() > 0
            assert ((crop.mask == 0) | (crop.mask == 1)).all()
            assert (crop.mask[crop.counts > 0] == 1).all()


def test_adaptive_sigma_grows_with_the_image():
    """sigma is 0.3 of the distance of neighbors, which are twice as far apart in an image enlarged twice."""
    config = DataConfig(crop=(300, 420), sigma=0.0)
    source = make_training_image(*dotted(0)[:2], config, "")
    assert source.sigma.min() > 0
    _, heads, sigma, _ = random_crop(source, config, np.random.default_rng(0))
    assert len(heads) == len(source.points)
    np.testing.assert_allclose(sigma, 2 * source.sigma, rtol=1e-6)


def test_the_mask_reaches_the_radius_or_else_the_kernel():
    image, head = np.zeros((64, 64, 3), np.uint8), np.float32([[30, 30]])
    for radius, cells in ((8.0, 3), (0.0, 5)):  # 22..38 and, for four sigma, 14..46, in cells of 8 pixels
        target = make_targets(Crop(image, head, np.zeros(1)), DataConfig(sigma=4.0, radius=radius), 8, 0)
        assert int(target.mask.sum()) == cells**2


# Crop i


def a_run_of_crops(seed=5) -> Crops:
    config = DataConfig(crop=(32, 32), scale=(0.5, 2.0), jitter=0.5, grey=0.5)
    return Crops([(3.0, [dotted(s) for s in range(4)]), (1.0, [dotted(s) for s in range(4, 7)])], config, 4, seed)


def test_crop_i_depends_on_the_seed_and_i_alone():
    one, two = a_run_of_crops(), a_run_of_crops()
    backwards = {i: two[i] for i in reversed(range(12))}
    for i in range(12):
        assert all(torch.equal(a, b) for a, b in zip(one[i], backwards[i], strict=True))
    other = a_run_of_crops(seed=6)
    assert any(not torch.equal(one[i].image, other[i].image) for i in range(12))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_resumes_where_a_run_stopped(workers):
    crops = a_run_of_crops()
    whole_run = [batch for batch in loader(crops, range(12), batch=3, workers=0)]
    resumed = [batch for batch in loader(crops, range(6, 12), batch=3, workers=workers)]
    assert [b.indices.tolist() for b in resumed] == [[6, 7, 8], [9, 10, 11]]
    for ours, theirs in zip(resumed, whole_run[2:], strict=True):
        assert ours.image.shape == (3, 3, 32, 32)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_each_round_shows_every_image_once():
    config = DataConfig(crop=(32, 32))
    crops = Crops([(1.0, [dotted(s) for s in range(5)])], config, 4, seed=0)
    rounds = [[crops.describe(i) for i in range(5 * r, 5 * r + 5)] for r in range(4)]
    assert all(sorted(r) == [f"dotted {s}" for s in range(5)] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1  # in another order


def test_sets_give_crops_by_their_shares():
    crops = a_run_of_crops()
    large = sum(crops.describe(i) in {f"dotted {s}" for s in range(4)} for i in range(2000))
    assert large / 2000 == pytest.approx(0.75, abs=0.03)


def test_without_images_there_is_nothing_to_train_on():
    with pytest.raises(ValueError, match="no training image"):
        Crops([(1.0, []), (0.0, [dotted()])], DataConfig(), 4, 0)


# The fingerprint


def test_the_fingerprint_tells_data_sets_apart(tmp_path):
    path = factory.photo(tmp_path / "a.png", np.zeros((0, 2)))
    heads = np.float32([(3, 4), (5, 6)])
    prints = [
        fingerprint([Sample(path, heads)]), fingerprint([Sample(Path(path), heads.copy())]),
        fingerprint([Sample(path, heads + 1)]), fingerprint([Sample(path, heads[:1])]), fingerprint([]),
    ]  # fmt: skip
    path.write_bytes(path.read_bytes() + b"\0")
    prints.append(fingerprint([Sample(path, heads)]))
    assert prints[0] == prints[1] and len(set(prints)) == 5


# Regions of interest


def test_the_density_is_zero_in_cells_outside_a_roi(tmp_path):
    """A cell counts if its center is inside, as in validation and in a Counter. Here the image keeps its size."""
    roi, stride = np.float32([(9, 9), (89, 9), (89, 57), (9, 57)]), 8
    config = DataConfig(crop=(0, 0), mirror=0.0, sigma=8.0, radius=12.0)
    heads = [np.float32([(12, 12), (40, 30)]), np.float32([(87, 55)])]
    samples = [Sample(factory.photo(tmp_path / f"{i}.jpg", points), points, roi) for i, points in enumerate(heads)]
    for source in Images(samples, config):
        target = Crops([(1.0, [source])], config, stride, seed=0)[0]
        h, w = target.density.shape
        centers = np.stack(np.meshgrid((np.arange(w) + 0.5) * stride, (np.arange(h) + 0.5) * stride), -1)
        outside = ~inside(centers.reshape(-1, 2), roi).reshape(h, w)
        assert outside.any() and target.density[outside].abs().max() == 0 and target.mask[outside].max() == 0
        whole = make_targets(whole_image(source, config)._replace(roi=None), config, stride, 0)
        kept = torch.from_numpy(~outside)
        assert torch.equal(target.density[kept], whole.density[kept]) and torch.equal(target.counts, whole.counts)
        assert 0 < target.density.sum() < whole.density.sum() == pytest.approx(len(source.points), rel=1e-4)


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_crops_mask_the_density_where_their_pixels_are_black(cutmix):
    """Pixels outside a region are black, whatever is cropped, resized, mirrored and mixed."""
    roi = np.zeros((150, 210), np.uint8)
    roi[:, :90] = 1
    white = np.full((150, 210, 3), 255, np.uint8) * roi[..., None]
    heads = np.stack(np.meshgrid(np.arange(5.0, 90, 9), np.arange(5.0, 150, 9)), -1).reshape(-1, 2)
    config = DataConfig(crop=(64, 96), scale=(0.7, 1.4), mirror=0.5, cutmix=cutmix, sigma=6.0)
    source = make_training_image(white, heads, config, "half")._replace(roi=roi)
    crops = Crops([(1.0, [source])], config, stride=4, seed=0)
    partly = 0
    for i in range(20):
        crop = crops[i]
        near_centers = torch.stack([crop.image[0, y::4, x::4] for y in (1, 2) for x in (1, 2)])  # (4,h,w)
        black, white_cells = (near_centers == 0).all(0), (near_centers == 255).all(0)
        assert (crop.density[black] == 0).all() and (crop.mask[black] == 0).all()
        assert (crop.density[white_cells] > 0).all()
        partly += bool(black.any() and white_cells.any())
    assert partly > 5

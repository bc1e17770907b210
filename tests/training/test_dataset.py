"""Crops: whatever is done to a picture is done to its points, and crop i is the same whoever makes it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory

from headcount.datasets import readers
from headcount.datasets.sample import Sample
from headcount.geometry import enlargement
from headcount.training.augmentation import cutmix, jitter_colours, mirror
from headcount.training.config import DataConfig
from headcount.training.dataset import (
    Crops,
    Picture,
    fingerprint,
    loader,
    make_picture,
    make_targets,
    open_pictures,
    random_crop,
    rendered_pictures,
    whole,
)


def dotted(seed=0, height=150, width=210, spacing=30) -> Picture:
    """A black picture with a bright dot of 9 pixels around every head; heads are well apart."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(spacing / 2, width, spacing), np.arange(spacing / 2, height, spacing)), -1)
    heads = (grid.reshape(-1, 2) + random.uniform(-6, 6, (grid.size // 2, 2))).astype(np.float32)
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in heads.astype(int):
        image[y - 4 : y + 5, x - 4 : x + 5] = 255
    return make_picture(image, heads, DataConfig(), f"dotted {seed}")


def dots_under(image: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Brightness (N,) of the pixel that each head lies in: pixel i covers [i, i+1)."""
    return image[heads[:, 1].astype(int), heads[:, 0].astype(int), 0]


def dot_centres(image: np.ndarray) -> np.ndarray:
    """Centres (N,2) of the bright dots that no border cuts, in continuous coordinates."""
    bright = cv2.threshold(image[..., 0], 127, 255, cv2.THRESH_BINARY)[1]
    _, _, boxes, centres = cv2.connectedComponentsWithStats(bright)
    left, top, width, height = boxes[1:, :4].T
    inner = (left > 0) & (top > 0) & (left + width < image.shape[1]) & (top + height < image.shape[0])
    return centres[1:][inner] + 0.5


CONFIGS = [
    DataConfig(crop=(64, 96), scale=(1.0, 1.0)),
    DataConfig(crop=(64, 64), scale=(0.5, 2.0)),
    DataConfig(crop=(96, 64), scale=(0.75, 1.8), min_side=300),
    DataConfig(crop=(256, 256), scale=(0.5, 1.0)),  # larger than the picture: it is enlarged so that the crop fits
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.crop}-{c.scale}-{c.min_side}")
def test_a_drawn_dot_stays_under_its_point(config):
    for seed in range(25):
        picture = dotted(seed)
        image, heads, _ = random_crop(picture, config, np.random.default_rng(seed))
        assert image.shape == (*config.crop, 3) and image.dtype == np.uint8
        assert (heads >= 0).all() and (heads < [config.crop[1], config.crop[0]]).all()
        assert (dots_under(image, heads) > 100).all()
        flipped, moved = mirror(image, heads)
        assert (dots_under(flipped, moved) > 100).all()
        centres = dot_centres(image)  # and every whole dot has its point, within the pixel it was drawn to
        if len(centres):
            nearest = np.abs(centres[:, None] - heads[None]).max(axis=2).min(axis=1)
            zoom = config.crop[0] / 64 * 4
            assert nearest.max() <= max(zoom, 4)


def test_a_mirrored_point_is_w_minus_x():
    image = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    heads = np.array([[0.0, 0.5], [0.5, 0.5], [2.5, 1.0], [4.75, 1.9]], np.float32)
    flipped, moved = mirror(image, heads)
    assert np.array_equal(flipped, np.fliplr(image))
    np.testing.assert_allclose(moved, [[5, 0.5], [4.5, 0.5], [2.5, 1.0], [0.25, 1.9]], rtol=1e-6)
    assert (moved[:, 0] < 5).all()  # on the left border it would be w, which is outside
    back, again = mirror(*mirror(image, heads))
    assert np.array_equal(back, image)
    np.testing.assert_allclose(again, heads, atol=1e-5)


def test_cropping_keeps_all_points_in_the_window_and_no_other():
    """With the scale at 1 a crop is a shift by whole pixels: every point is at the same place in its dot."""
    picture = dotted(3)
    config = DataConfig(crop=(64, 96))
    for seed in range(20):
        rng, again = np.random.default_rng(seed), np.random.default_rng(seed)
        image, heads, _ = random_crop(picture, config, rng)
        again.uniform()  # the scale
        top, left = int(again.integers(150 - 64 + 1)), int(again.integers(210 - 96 + 1))
        assert np.array_equal(image, picture.image[top : top + 64, left : left + 96])
        moved = picture.points - np.float32([left, top])
        inside = [0 <= x < 96 and 0 <= y < 64 for x, y in moved]
        np.testing.assert_array_equal(heads, moved[inside])


def test_short_sides_are_enlarged_to_min_side():
    assert enlargement(200, 300, 400) == 2.0
    assert enlargement(500, 300, 0) == enlargement(500, 300, 300) == enlargement(500, 600, 300) == 1.0
    image, heads, sigma = whole(dotted(1), DataConfig(crop=(0, 0), min_side=300))
    assert image.shape == (300, 420, 3)
    np.testing.assert_allclose(heads, dotted(1).points * 2)
    assert (dots_under(image, heads) > 100).all()
    image, heads, _ = whole(dotted(1), DataConfig(crop=(0, 0)))
    assert np.array_equal(image, dotted(1).image) and np.array_equal(heads, dotted(1).points)


def test_every_crop_has_a_density_that_sums_to_its_heads():
    config = DataConfig(crop=(64, 96), scale=(0.5, 2.0), mirror=0.5, jitter=1.0, grey=0.5)
    for sigma in (4.0, 0.0):
        settings = DataConfig(**{**vars(config), "sigma": sigma})
        pictures = [make_picture(*dotted(seed)[:2], settings, f"{seed}") for seed in range(5)]
        crops = Crops([(1.0, pictures)], settings, stride=8, seed=1)
        for i in range(30):
            crop = crops[i]
            assert crop.image.shape == (3, 64, 96) and crop.image.dtype == torch.uint8
            assert crop.density.shape == crop.mask.shape == crop.counts.shape == (8, 12)
            assert float(crop.density.double().sum()) == pytest.approx(float(crop.counts.sum()), rel=1e-4)
            assert crop.counts.sum() > 0
            assert ((crop.mask == 0) | (crop.mask == 1)).all()
            assert (crop.mask[crop.counts > 0] == 1).all()


def test_adaptive_sigma_grows_with_the_picture():
    """sigma is 0.3 of the neighbours' distance; enlarged twice, heads are twice as far apart."""
    config = DataConfig(crop=(300, 420), sigma=0.0)
    picture = make_picture(*dotted(0)[:2], config, "")
    assert picture.sigma.min() > 0
    _, heads, sigma = random_crop(picture, config, np.random.default_rng(0))
    assert len(heads) == len(picture.points)
    np.testing.assert_allclose(sigma, 2 * picture.sigma, rtol=1e-6)


def test_the_mask_reaches_the_radius_or_else_the_kernel():
    image, head = np.zeros((64, 64, 3), np.uint8), np.float32([[30, 30]])
    for radius, cells in ((8.0, 3), (0.0, 5)):  # 22..38 and, for four sigma, 14..46, in cells of 8 pixels
        target = make_targets(image, head, np.zeros(1), DataConfig(sigma=4.0, radius=radius), 8, 0)
        assert int(target.mask.sum()) == cells**2


def test_colours_change_by_chance_and_points_do_not():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    same = jitter_colours(image, DataConfig(), np.random.default_rng(0))
    assert np.array_equal(same, image)
    grey = jitter_colours(image, DataConfig(grey=1.0), np.random.default_rng(0))
    assert (grey[..., 0] == grey[..., 2]).all()
    changed = jitter_colours(image, DataConfig(jitter=1.0), np.random.default_rng(0))
    assert changed.dtype == np.uint8 and not np.array_equal(changed, image)
    order = image.flatten().argsort()
    assert (np.diff(changed.flatten()[order].astype(int)) >= 0).all()  # brighter stays brighter


def test_a_mirrored_crop_may_be_greyed_and_jittered():
    """The mirrored picture is a view with a negative stride, which OpenCV must take."""
    config = DataConfig(crop=(32, 32), mirror=1.0, grey=1.0, jitter=1.0)
    crop = Crops([(1.0, [dotted()])], config, 4, seed=0)[0]
    assert (crop.image[0] == crop.image[1]).all()


def test_a_worse_picture_is_of_the_same_people():
    """Blurred, noisy or compressed: other pixels, the same targets; and without it crops are what they were."""
    plain, worse = (Crops([(1.0, [dotted()])], DataConfig(crop=(32, 32), degrade=p), 4, seed=0) for p in (0.0, 1.0))
    for i in range(9):
        assert torch.equal(plain[i].density, worse[i].density)
        change = (plain[i].image.float() - worse[i].image.float()).abs().mean()
        assert 0 < change < 60


def test_a_rectangle_of_another_picture_comes_with_its_heads():
    """Every head is still on its dot, and no dot is left without one, but for those that the seam cuts."""
    config = DataConfig(crop=(96, 128), cutmix=1.0, mirror=0.0)
    crops = Crops([(1.0, [dotted(s) for s in range(4)])], config, 4, seed=0)
    plain = Crops([(1.0, [dotted(s) for s in range(4)])], DataConfig(crop=(96, 128), mirror=0.0), 4, seed=0)
    assert sum(not torch.equal(crops[i].image, plain[i].image) for i in range(8)) == 8
    one, two = plain.cut(dotted(0), np.random.default_rng(1)), plain.cut(dotted(1), np.random.default_rng(2))
    image, heads, sigma = cutmix(one, two, np.random.default_rng(3))
    assert dots_under(image, heads).all() and len(heads) == len(sigma)
    whole_dots = dot_centres(image)
    nearest = np.linalg.norm(whole_dots[:, None] - heads[None], axis=2).min(1)
    assert len(whole_dots) > 4 and (nearest < 1.5).mean() > 0.7
    with pytest.raises(ValueError, match="crops of one size"):
        Crops([(1.0, [dotted()])], DataConfig(crop=(0, 0), cutmix=0.5), 4, seed=0)


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
def test_the_loader_goes_on_where_a_run_stopped(workers):
    crops = a_run_of_crops()
    whole_run = [batch for batch in loader(crops, range(12), batch=3, workers=0)]
    resumed = [batch for batch in loader(crops, range(6, 12), batch=3, workers=workers)]
    assert [b.number.tolist() for b in resumed] == [[6, 7, 8], [9, 10, 11]]
    for ours, theirs in zip(resumed, whole_run[2:], strict=True):
        assert ours.image.shape == (3, 3, 32, 32)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_each_time_round_every_picture_is_seen_once():
    config = DataConfig(crop=(32, 32))
    crops = Crops([(1.0, [dotted(s) for s in range(5)])], config, 4, seed=0)
    rounds = [[crops.describe(i) for i in range(5 * r, 5 * r + 5)] for r in range(4)]
    assert all(sorted(r) == [f"dotted {s}" for s in range(5)] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1  # in another order


def test_sets_give_crops_by_their_shares():
    crops = a_run_of_crops()
    large = sum(crops.describe(i) in {f"dotted {s}" for s in range(4)} for i in range(2000))
    assert large / 2000 == pytest.approx(0.75, abs=0.03)


def test_without_pictures_there_is_nothing_to_train_on():
    with pytest.raises(ValueError, match="no training picture"):
        Crops([(1.0, []), (0.0, [dotted()])], DataConfig(), 4, 0)


# Pictures


def test_samples_are_opened_as_they_are_annotated(tmp_path):
    truth = factory.shanghaitech(tmp_path)
    samples = readers.read(tmp_path, "shanghaitech", "test")
    pictures = open_pictures(samples, DataConfig())
    assert [p.image.shape for p in pictures] == [(64, 96, 3)] * 2  # the grey one too
    for picture, sample in zip(pictures, samples, strict=True):
        np.testing.assert_allclose(picture.points, truth["test"][sample.name], rtol=1e-6)
        assert picture.name == str(sample.image)
        assert (dots_under(picture.image, picture.points) < 110).all()  # factory.py draws dark discs


def test_outside_a_roi_are_neither_pixels_nor_people(tmp_path):
    path = factory.photo(tmp_path / "a.png", np.zeros((0, 2)))
    roi = np.float32([(20, 10), (60, 10), (60, 50), (20, 50)])
    heads = np.float32([(30, 30), (10, 30), (95.9, 63.9), (59, 49)])
    (picture,) = open_pictures([Sample(path, heads, roi)], DataConfig())
    assert picture.points.tolist() == [[30, 30], [59, 49]]
    assert picture.image[12:48, 22:58].min() > 0
    picture.image[10:51, 20:61] = 0
    assert picture.image.max() == 0


@pytest.mark.parametrize("people_free, filled", [(0.5, [True, False, True, False]), (0.0, [True]), (1.0, [False])])
def test_a_share_of_the_rendered_scenes_is_without_people(people_free, filled):
    config = DataConfig(rendered_scenes=len(filled), people_free=people_free)
    pictures = rendered_pictures(config, seed=3)
    assert [len(p.points) > 0 for p in pictures] == filled
    again = rendered_pictures(config, seed=3)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(pictures, again, strict=True))


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

"""Density, mask and count maps are made from points alone, and the density always sums to the heads."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from headcount.training.targets import TRUNCATE, adaptive_sigma, count_map, density_map, mask_map

SIZES = [(64, 96), (61, 50), (8, 8), (33, 47)]


def heads(seed, count, height, width):
    """(N,2) points inside the image, the first ones in its corners and on its borders."""
    random = np.random.default_rng((seed, count))
    points = random.uniform((0, 0), (width, height), (count, 2)).astype(np.float32)
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float32)
    limit = np.nextafter(np.array([width, height], np.float32), np.float32(0))
    points[:4] = np.minimum(corners, limit)[:count]
    return torch.from_numpy(np.minimum(points, limit))


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("size", SIZES)
def test_density_sums_to_the_heads_wherever_they_are(stride, size):
    for seed in range(12):
        count = [0, 1, 3, 40, 500][seed % 5]
        points = heads(seed, count, *size)
        sigma = [0.3, 4.0, 40.0][seed % 3] if seed % 2 else torch.rand(count) * 14 + 1
        density = density_map(points, *size, stride, sigma)
        assert density.shape == (math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        assert density.dtype == torch.float32
        assert (density >= 0).all()
        assert float(density.double().sum()) == pytest.approx(count, rel=1e-4)


def test_density_sums_to_the_heads_after_crop_scale_and_flip():
    random = np.random.default_rng(0)
    points = heads(1, 300, 120, 160)
    for _ in range(30):
        top, left = random.integers(0, 60), random.integers(0, 80)
        scale = np.exp(random.uniform(-0.7, 0.7))
        height, width = round(60 * scale), round(80 * scale)
        moved = (points - torch.tensor([left, top])) * torch.tensor([width / 80, height / 60])
        moved = moved[((moved >= 0) & (moved < torch.tensor([width, height]))).all(dim=1)]
        flipped = torch.stack([width - moved[:, 0], moved[:, 1]], dim=1)
        density, mirrored = (density_map(p.float(), height, width, 1, 4.0) for p in (moved, flipped))
        assert float(density.double().sum()) == pytest.approx(len(moved), rel=1e-4)
        torch.testing.assert_close(mirrored, density.flip(1), atol=2e-5, rtol=0)  # a mirrored x is w - x


@pytest.mark.parametrize("stride, sigma", [(1, 2.0), (4, 4.0), (8, 3.0)])
def test_density_is_the_integral_of_the_cut_gaussian_over_each_cell(stride, sigma):
    height, width = 21, 30
    points = torch.tensor([[3.3, 2.1], [17.0, 20.9], [29.9, 11.5]])

    def share(at, low, high, size):
        """The share of one head along one axis: its integral over [low, high] over that inside the image."""
        start, stop = max(0, at - TRUNCATE * sigma), min(size, at + TRUNCATE * sigma)
        bell = lambda x: math.exp(-0.5 * ((x - at) / sigma) ** 2)  # noqa: E731
        low, high = max(low, start), min(high, stop)
        return quad(bell, low, high)[0] / quad(bell, start, stop)[0] if high > low else 0.0

    density = density_map(points, height, width, stride, sigma)
    expected = np.zeros(density.shape)
    for i, j in np.ndindex(*expected.shape):
        for x, y in points.tolist():
            across = share(x, j * stride, (j + 1) * stride, width)
            expected[i, j] += across * share(y, i * stride, (i + 1) * stride, height)
    np.testing.assert_allclose(density.numpy(), expected, atol=2e-6)


def test_one_head_by_hand():
    """A head on the corner of four cells gives each a quarter; one mid-cell with a small sigma gives that cell all."""
    quarter = density_map(torch.tensor([[8.0, 8.0]]), 16, 16, 8, 1.0)
    torch.testing.assert_close(quarter, torch.full((2, 2), 0.25))
    whole = density_map(torch.tensor([[4.0, 12.0]]), 16, 16, 8, 0.5)
    torch.testing.assert_close(whole, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))


def test_coincident_heads_add_up():
    one = density_map(torch.tensor([[5.0, 6.0]]), 16, 16, 4, 2.0)
    three = density_map(torch.tensor([[5.0, 6.0]] * 3), 16, 16, 4, 2.0)
    torch.testing.assert_close(three, 3 * one)
    assert count_map(torch.tensor([[5.0, 6.0]] * 3), 16, 16, 4)[1, 1] == 3
    assert mask_map(torch.tensor([[5.0, 6.0]] * 3), 16, 16, 4, 2.0).max() == 1


def test_no_heads_give_zeros():
    none = torch.zeros(0, 2)
    for target in (
        density_map(none, 20, 30, 8, 4.0), density_map(none, 20, 30, 8, torch.zeros(0)),
        mask_map(none, 20, 30, 8, 16.0), count_map(none, 20, 30, 8),
    ):  # fmt: skip
        assert target.shape == (3, 4)
        assert target.dtype == torch.float32
        assert not target.any()
    assert adaptive_sigma(none).shape == (0,)


def test_mask_by_hand():
    """Radius 3 around (10, 10) reaches 7..13: at stride 4 the cells 4..8, 8..12 and 12..16 of each axis."""
    mask = mask_map(torch.tensor([[10.0, 10.0]]), 24, 24, 4, 3.0)
    expected = torch.zeros(6, 6)
    expected[1:4, 1:4] = 1
    assert torch.equal(mask, expected)
    touching = mask_map(torch.tensor([[6.0, 6.0]]), 24, 24, 4, 2.0)  # 4..8: it ends where the next cells begin
    assert touching.sum() == 1 and touching[1, 1] == 1
    pair = mask_map(torch.tensor([[2.0, 2.0], [22.0, 2.0]]), 8, 24, 4, torch.tensor([1.0, 5.0]))  # each its own
    assert pair.tolist() == [[1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_mask_is_the_sign_of_the_cut_kernel(stride):
    """M = sign(d) where d is cut at 4 sigma: so by brute force over heads and cells, and by the density map itself."""
    for seed in range(6):
        height, width = SIZES[seed % len(SIZES)]
        points, sigma = heads(seed, 5, height, width), [1.0, 2.5][seed % 2]
        mask = mask_map(points, height, width, stride, TRUNCATE * sigma)
        density = density_map(points, height, width, stride, sigma)
        overlap = np.zeros(mask.shape)  # pixels by which some kernel reaches into the cell
        for i, j in np.ndindex(*overlap.shape):
            for x, y in points.double().tolist():
                reach = [
                    min((cell + 1) * stride, at + 4 * sigma) - max(cell * stride, at - 4 * sigma)
                    for cell, at in ((i, y), (j, x))
                ]
                overlap[i, j] = max(overlap[i, j], min(reach))
        assert np.array_equal(mask.numpy() > 0, overlap > 0)
        assert not (density.numpy() > 0)[overlap <= 0].any()
        assert (density.numpy() > 0)[overlap > 0.05].all()  # less has no mass in float32


def test_mask_comes_from_points_not_from_a_threshold():
    """Ten thousand heads' worth of density elsewhere does not move the mask of one head, nor does a wide sigma."""
    crowd = torch.cat([torch.full((10_000, 2), 100.0), torch.tensor([[20.0, 20.0]])])
    alone = mask_map(torch.tensor([[20.0, 20.0]]), 128, 128, 8, 8.0)
    assert torch.equal(mask_map(crowd, 128, 128, 8, 8.0)[:8, :8], alone[:8, :8])


def test_count_map_counts_heads_per_cell():
    for seed in range(8):
        (height, width), stride = SIZES[seed % 4], [1, 4, 8][seed % 3]
        points = heads(seed, 60, height, width)
        expected = np.zeros((math.ceil(height / stride), math.ceil(width / stride)))
        for x, y in points.tolist():
            expected[int(y // stride), int(x // stride)] += 1
        assert np.array_equal(count_map(points, height, width, stride).numpy(), expected)


def test_adaptive_sigma_is_a_share_of_the_distance_to_the_neighbours():
    """On a grid of 20 pixels the three nearest of a corner head are at 20, 20 and 28.3 pixels."""
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)) * 20
    corner = 0.3 * (20 + 20 + 20 * math.sqrt(2)) / 3
    assert float(adaptive_sigma(grid)[0]) == pytest.approx(corner, rel=1e-5)
    assert float(adaptive_sigma(grid)[12]) == pytest.approx(6.0)  # the middle: three at 20
    random = torch.rand(40, 2) * 200
    distance = torch.cdist(random, random).sort(dim=1).values[:, 1:4].mean(dim=1)
    torch.testing.assert_close(adaptive_sigma(random), (0.3 * distance).clamp(1, 15), rtol=1e-4, atol=1e-4)


def test_adaptive_sigma_has_bounds():
    assert adaptive_sigma(torch.zeros(4, 2)).tolist() == [1.0] * 4  # coincident: a kernel cannot be a point
    assert adaptive_sigma(torch.tensor([[0.0, 0.0], [900.0, 0.0]])).tolist() == [15.0] * 2
    assert adaptive_sigma(torch.tensor([[3.0, 4.0]])).tolist() == [15.0]  # nobody near

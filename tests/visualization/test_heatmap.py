"""Density maps as images: sums are kept, empty places stay clear, images of any size work."""

import cv2
import numpy as np
import pytest

from headcount.visualization import heatmap

GREY = np.full((296, 400, 3), 120, np.uint8)


@pytest.fixture
def density():
    """37 x 50 cells of 8 pixels: about 60 people in two groups on the left, nobody on the right."""
    rng = np.random.default_rng(0)
    cells = np.zeros((37, 50), np.float32)
    cells[5:15, 4:14] = rng.random((10, 10))
    cells[30:37, 0:6] = rng.random((7, 6)) * 0.4
    return cells


def changed(drawn, photo):
    """Where an image differs from the photo below it: bool (H,W)."""
    return (drawn != photo).any(axis=2)


def people_at(density, stride, height, width, margin=0):
    """The pixels of cells with people and of a margin around them: bool (height,width)."""
    cells = np.kron(density > 0, np.ones((stride, stride))).astype(np.uint8)[:height, :width]
    return cv2.dilate(cells, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def bounds(mask):
    """(left, top, right, bottom) of the True pixels."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("factor", [1, 2, 3, 8, 64])
def test_downsampling_sums_cells(density, factor):
    small = heatmap.downsample(density, factor)
    assert small.shape == (-(-37 // factor), -(-50 // factor))
    assert small.sum() == pytest.approx(density.sum(), rel=1e-6)
    assert small[0, 0] == pytest.approx(density[:factor, :factor].sum(), abs=1e-5)


def test_downsampling_by_zero_is_an_error(density):
    with pytest.raises(ValueError, match="factor is 0"):
        heatmap.downsample(density, 0)


@pytest.mark.parametrize(
    ("height", "width", "stride"),
    [(296, 400, None), (293, 397, 8), (301, 409, 8), (20, 17, None), (585, 793, 16), (1, 1, None), (220, 296, 5.93)],
)
def test_resizing_keeps_the_sum(density, height, width, stride):
    large = heatmap.resize_density(density, height, width, stride)
    assert large.shape == (height, width) and large.dtype == np.float32
    assert large.sum(dtype=np.float64) == pytest.approx(density.sum(), rel=1e-5)
    assert large.min() >= 0


def test_a_stride_puts_cells_where_they_belong():
    cells = np.zeros((13, 13), np.float32)
    cells[6, 6] = 1  # pixels 48 to 56 at stride 8, whether the image is 104 pixels wide or 100
    for size in (104, 100):
        large = heatmap.resize_density(cells, size, size, stride=8)
        assert (large.sum(axis=0) * (np.arange(size) + 0.5)).sum() == pytest.approx(52, abs=0.05)


def test_an_empty_map_stays_empty():
    assert heatmap.resize_density(np.zeros((4, 5), np.float32), 40, 50).sum() == 0


def test_an_overlay_colors_the_crowd_and_nothing_else(density):
    photo = GREY.copy()
    drawn = heatmap.overlay(photo, density, stride=8)
    assert drawn.shape == photo.shape and drawn.dtype == np.uint8 and (photo == 120).all()
    empty = ~people_at(density, 8, 296, 400, margin=24)
    without_text = changed(drawn, photo) & ~changed(heatmap.overlay(photo, 0 * density, count=59), photo)
    caption_and_legend = changed(heatmap.overlay(photo, 0 * density), photo)
    plates = cv2.dilate(caption_and_legend.astype(np.uint8), np.ones((41, 41))) > 0  # numbers differ in width
    assert not (without_text & empty & ~plates).any()
    dense = people_at(density * (density > 0.7), 8, 296, 400) & ~plates
    assert np.abs(drawn[dense].astype(int) - 120).max(axis=1).mean() > 60


def test_an_overlay_is_strongest_where_people_are_densest(density):
    colors, alpha, peak = heatmap.overlay_layers(density, 296, 400, stride=8)
    assert colors.shape == (296, 400, 3) and alpha.shape == (296, 400) and 0 <= alpha.min() <= alpha.max() <= 1
    assert (alpha[~people_at(density, 8, 296, 400, margin=24)] == 0).all()
    dense, sparse = alpha[40:120, 32:112].mean(), alpha[240:296, 0:48].mean()
    assert dense > sparse > 0
    assert 0.8 * density.max() < peak / 10_000 * 64 < density.max(), "people per 100 x 100 pixels, near the maximum"


def test_the_legend_is_in_the_lower_left_and_the_caption_in_the_upper_left(density):
    drawn = changed(heatmap.overlay(GREY, 0 * density), GREY)
    _, _, right, bottom = bounds(drawn[:148])
    assert right < 200 and bottom < 74, "the caption"
    _, top, right, _ = bounds(drawn[148:])
    assert right < 200 and top > 50, "the legend"
    small = np.full((100, 200, 3), 120, np.uint8)
    assert not changed(heatmap.overlay(small, np.zeros((13, 25), np.float32)), small)[50:].any(), "no space for one"


def test_the_caption_states_the_count(density):
    plates = [heatmap.overlay(GREY, density, count)[:60, :200] for count in (None, density.sum(), 7, 1234.4)]
    assert (plates[0] == plates[1]).all()
    assert (plates[0] != plates[2]).any() and (plates[2] != plates[3]).any()


@pytest.mark.parametrize("value", [0.0, 1e-6])
def test_an_image_without_people_stays_clear(value):
    _, alpha, _ = heatmap.overlay_layers(np.full((38, 50), value, np.float32), 300, 400)
    assert (alpha == 0).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 300), (300, 9), (40, 60), (161, 241), (2400, 3200)])
def test_images_of_any_size_are_overlaid_all_over(height, width):
    cells = np.ones((-(-height // 8), -(-width // 8)), np.float32)
    black = np.zeros((height, width, 3), np.uint8)
    drawn = heatmap.overlay(black, cells, 12_345_678, stride=8)
    assert drawn.shape == (height, width, 3)
    _, alpha, _ = heatmap.overlay_layers(cells, height, width, stride=8)
    assert max(alpha.shape) <= 1000 and alpha.min() > 0.5  # people everywhere
    if min(height, width) > 9:  # on thinner images, the caption covers most
        assert changed(drawn, black).mean() > 0.9


def test_a_mask_layer_has_the_overlays_size_and_the_masks_values():
    mask = np.zeros((38, 50), np.float32)
    mask[:, 25:] = 1  # from pixel 200 on
    for height, width in ((300, 400), (297, 395), (310, 400)):
        layer = heatmap.mask_layer(mask, height, width, stride=8)
        assert layer.shape == heatmap.overlay_layers(mask, height, width, stride=8)[1].shape == (height, width)
        assert (layer[:, :190] == 0).all() and (layer[:, 210:] == 1).all()
    assert heatmap.mask_layer(np.ones((250, 500)), 2000, 4000, stride=8).shape == (500, 1000)


def test_a_heat_map_is_black_where_nobody_is_and_brightest_at_the_peak(density):
    drawn = heatmap.heatmap_image(density, 296, 400)
    assert (drawn[~people_at(density, 8, 296, 400, margin=8)] == 0).all()
    assert drawn[people_at(density * (density > 0.9), 8, 296, 400)].max() > 200
    dim = heatmap.heatmap_image(density, 296, 400, peak=1e4)
    assert dim.sum() < drawn.sum() / 5


def test_maps_that_are_compared_share_a_peak(density):
    peak = heatmap.heatmap_peak(density, 293, 397, stride=8)
    own = heatmap.heatmap_image(density, 293, 397, stride=8)
    assert (heatmap.heatmap_image(density, 293, 397, peak, stride=8) == own).all()
    assert heatmap.heatmap_image(density / 2, 293, 397, peak, stride=8).sum() < 0.8 * own.sum()
    assert heatmap.heatmap_peak(density * 2, 293, 397, stride=8) == pytest.approx(2 * peak, rel=1e-3)

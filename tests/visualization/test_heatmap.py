"""Density maps as pictures: sums are kept, empty places stay clear, any size of picture works."""

import numpy as np
import pytest

from headcount.visualization import heatmap, panels, text


@pytest.fixture
def density():
    """37 x 50 cells of 8 pixels: about 60 people in two groups on the left, nobody on the right."""
    rng = np.random.default_rng(0)
    cells = np.zeros((37, 50), np.float32)
    cells[5:15, 4:14] = rng.random((10, 10))
    cells[30:37, 0:6] = rng.random((7, 6)) * 0.4
    return cells


@pytest.mark.parametrize("factor", [1, 2, 3, 8, 64])
def test_reducing_sums_cells(density, factor):
    small = heatmap.reduce(density, factor)
    assert small.shape == (-(-37 // factor), -(-50 // factor))
    assert small.sum() == pytest.approx(density.sum(), rel=1e-6)
    assert small[0, 0] == pytest.approx(density[:factor, :factor].sum(), abs=1e-5)


def test_reducing_by_nothing_is_an_error(density):
    with pytest.raises(ValueError, match="factor is 0"):
        heatmap.reduce(density, 0)


@pytest.mark.parametrize(
    ("height", "width", "stride"),
    [(296, 400, None), (293, 397, 8), (301, 409, 8), (20, 17, None), (585, 793, 16), (1, 1, None), (220, 296, 5.93)],
)
def test_enlarging_keeps_the_sum(density, height, width, stride):
    large = heatmap.enlarge(density, height, width, stride)
    assert large.shape == (height, width) and large.dtype == np.float32
    assert large.sum(dtype=np.float64) == pytest.approx(density.sum(), rel=1e-5)
    assert large.min() >= 0


def test_a_stride_puts_cells_where_they_belong():
    cells = np.zeros((13, 13), np.float32)
    cells[6, 6] = 1  # pixels 48 to 56 at stride 8, whether the picture is 104 pixels wide or 100
    for size in (104, 100):
        large = heatmap.enlarge(cells, size, size, stride=8)
        assert (large.sum(axis=0) * (np.arange(size) + 0.5)).sum() == pytest.approx(52, abs=0.05)


def test_nobody_enlarges_to_nobody():
    assert heatmap.enlarge(np.zeros((4, 5), np.float32), 40, 50).sum() == 0


def test_an_overlay_colours_the_crowd_and_leaves_the_rest(density):
    photo = np.full((296, 400, 3), 120, np.uint8)
    picture = heatmap.overlay(photo, density, stride=8)
    assert picture.shape == photo.shape and picture.dtype == np.uint8
    assert (photo == 120).all()  # the photo itself is not painted on
    assert (picture[40:220, 220:] == 120).all()  # nobody there
    crowd = picture[70:110, 50:100].astype(int)
    assert np.abs(crowd - 120).max(axis=2).mean() > 60


def test_the_caption_says_the_count(density):
    photo = np.full((296, 400, 3), 120, np.uint8)
    plates = [heatmap.overlay(photo, density, count)[:60, :200] for count in (None, density.sum(), 7, 1234.4)]
    assert (plates[0] == plates[1]).all()
    assert (plates[0] != plates[2]).any() and (plates[2] != plates[3]).any()


@pytest.mark.parametrize("value", [0.0, 1e-6])
def test_a_people_free_picture_stays_clear(value):
    photo = np.full((300, 400, 3), 200, np.uint8)
    picture = heatmap.overlay(photo, np.full((38, 50), value, np.float32))
    assert (picture[80:200] == 200).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 300), (300, 9), (40, 60), (161, 241), (2400, 3200)])
def test_any_size_of_picture(height, width):
    cells = np.ones((-(-height // 8), -(-width // 8)), np.float32)
    picture = heatmap.overlay(np.zeros((height, width, 3), np.uint8), cells, 12_345_678, stride=8)
    assert picture.shape == (height, width, 3)


def test_heat_is_black_where_nobody_is_and_brightest_at_the_peak(density):
    picture = heatmap.heat(density, 296, 400)
    assert (picture[:, 300:] == 0).all() and picture[40:120, 32:112].max() > 200
    dim = heatmap.heat(density, 296, 400, peak=1e4)
    assert dim.sum() < picture.sum() / 5


def test_maps_that_are_compared_share_a_peak(density):
    peak = heatmap.brightest(density, 293, 397, stride=8)
    own = heatmap.heat(density, 293, 397, stride=8)
    assert (heatmap.heat(density, 293, 397, peak, stride=8) == own).all()
    assert heatmap.heat(density / 2, 293, 397, peak, stride=8).sum() < 0.8 * own.sum()
    assert heatmap.brightest(density * 2, 293, 397, stride=8) == pytest.approx(2 * peak, rel=1e-3)


@pytest.mark.parametrize("caption", ["solution 5: 182", "caf\u00e9: 12,345", "a"])
def test_a_panel_as_wide_as_its_caption_shows_all_of_it(caption):
    wide = text.caption_width(caption)
    strips = [panels.side_by_side([np.zeros((20, w, 3), np.uint8)], [caption], 20)[-35:, 10:-10] for w in (wide, 400)]
    assert (strips[0] == strips[1][:, :wide]).all() and (strips[1][:, wide:] == 255).all()


def test_panels_and_sheets_hold_pictures_of_any_size(density):
    photos = [np.full(shape, 90, np.uint8) for shape in ((300, 400, 3), (50, 20, 3), (1000, 3000, 3))]
    row = panels.side_by_side(photos, ["image", "density"], height=100)
    assert row.shape == (100 + 30 + 20, 133 + 40 + 300 + 4 * 10, 3)
    sheet = panels.contact_sheet(photos, ["a long caption that cannot fit " * 3, "caf\u00e9"], width=80, height=60)
    assert sheet.shape == (2 * (60 + 30 + 10) + 10, 2 * 90 + 10, 3)
    for make in (panels.side_by_side, panels.contact_sheet):
        with pytest.raises(ValueError, match="no pictures"):
            make([])


def test_bars_are_as_tall_as_their_values():
    chart = panels.bar_chart({"low": {"plain": 10.0, "solution 5": 5.0}, "high": {"plain": 20.0}}, "MAE by level")
    assert chart.shape == (480, 900, 3)
    tint = chart[430, 100]
    tall = [(chart[90:435, x] == tint).all(axis=1).sum() for x in (100, 530)]
    assert tall[1] == pytest.approx(2 * tall[0], rel=0.05)

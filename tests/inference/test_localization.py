"""Head positions are where the people are, as many as were counted, in sparse and in packed crowds."""

import cv2
import numpy as np
import pytest

from headcount.evaluation.metrics import localize
from headcount.inference.localization import head_points
from headcount.visualization.heatmap import downsample

WIDTH, HEIGHT = 600, 400


def crowd(people, gap, seed=0):
    """Heads (N,2) at least `gap` pixels apart."""
    random, heads = np.random.default_rng(seed), np.zeros((0, 2))
    while len(heads) < people:
        one = random.uniform((5, 5), (WIDTH - 5, HEIGHT - 5))
        if not len(heads) or np.linalg.norm(heads - one, axis=1).min() >= gap:
            heads = np.vstack([heads, one])
    return heads


def density_of(heads, stride, sigma):
    """float32 (h,w): a Gaussian of `sigma` pixels per head."""
    pixels = np.zeros((HEIGHT, WIDTH), np.float32)
    np.add.at(pixels, tuple(heads[:, ::-1].astype(int).T), 1)
    return downsample(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), stride)


def positions_of(density, stride=8, width=None, height=None):
    """Where the mask says nothing."""
    return head_points(density, np.ones_like(density), stride, width, height)


@pytest.mark.parametrize(
    ("people", "gap", "stride", "sigma", "radius", "least"),
    [
        (30, 40, 8, 4, 2, 0.99),  # alone
        (30, 40, 8, 15, 8, 0.95),  # alone, and each over many cells
        (300, 14, 8, 4, 4, 0.97),
        (900, 10, 8, 4, 4, 0.75),  # shoulder to shoulder
        (900, 10, 4, 4, 2, 0.95),
        (900, 10, 16, 8, 8, 0.7),  # one in each cell; positions thrown at random reach 0.52
    ],
)
def test_positions_are_where_the_heads_are(people, gap, stride, sigma, radius, least):
    heads = crowd(people, gap)
    positions = positions_of(density_of(heads, stride, sigma), stride, WIDTH, HEIGHT)
    assert positions.shape == (people, 2) and positions.dtype == np.float32
    assert localize(heads, positions, radius).f1 > least


def test_one_head_is_found_to_a_tenth_of_a_cell():
    head = np.array([[303.0, 205.5]])
    assert positions_of(density_of(head, 8, 6)) == pytest.approx(head + [0.5, 0], abs=0.8)  # drawn in a pixel's middle


def test_there_are_as_many_as_the_rounded_count_all_different_and_inside():
    density = np.random.default_rng(0).random((17, 23)).astype(np.float32) ** 6
    for people in (0, 0.4, 1, 2.4, 300, 4000.6):  # the last is ten in a cell
        given = density * np.float32(people / density.sum())
        positions = positions_of(given, 8, 179, 131)  # the last cells reach past the image
        assert len(positions) == round(people) == len(np.unique(positions, axis=0))
        assert (positions >= 0).all() and (positions < [179, 131]).all()
        assert np.array_equal(positions, positions_of(given, 8, 179, 131))


@pytest.mark.parametrize("cell", [(0, 0), (4, 0), (2, 3), (4, 6)])
def test_many_people_in_one_cell_stand_apart_and_near_it(cell):
    density = np.zeros((5, 7), np.float32)
    density[cell] = 12
    positions = positions_of(density, 8)
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)[~np.eye(12, dtype=bool)]
    assert len(positions) == 12 and apart.min() > 0.3
    assert (np.abs(positions - (np.array(cell[::-1]) + 0.5) * 8) <= 4).all()


def test_people_in_crumbs_far_apart_are_counted_too():
    density = np.zeros((60, 80), np.float32)
    density[::10, ::10] = 0.1  # 48 crumbs: 4.8 people, none of them in one place
    assert len(positions_of(density)) == 5


def test_less_than_nothing_is_nobody():
    assert positions_of(np.full((5, 5), -0.1, np.float32)).shape == (0, 2)
    some = np.full((5, 5), -0.01, np.float32)
    some[2, 2] = 2.24  # two people, less what is missing around them
    assert len(positions_of(some)) == 2
    assert positions_of(np.zeros((0, 0), np.float32)).shape == (0, 2)  # of an image that could not be read


def test_no_dot_stands_on_background():
    density = np.full((40, 60), 0.004, np.float32)  # ten people's worth of it strewn about
    mask = np.zeros((40, 60), np.float32)
    density[10:14, 10:20] += 0.5
    mask[10:14, 10:20] = 1
    positions = head_points(density, mask, 8)
    assert len(positions) == round(density.sum()) == 30
    assert ((positions >= (80, 80)) & (positions < (160, 112))).all()


def test_pixels_follow_a_fractional_stride():
    heads = crowd(30, 40)
    density = density_of(heads, 8, 4)  # as of the image at half its width, enlarged to be counted
    assert positions_of(density, 4, 300, 200) == pytest.approx(positions_of(density, 8, 600, 400) / 2)


class CountedCells:
    """A numpy function that also counts the cells that it was called on."""

    def __init__(self, function):
        self.function, self.cells = function, 0

    def __call__(self, cells, *args, **kwargs):
        self.cells += np.size(cells)
        return self.function(cells, *args, **kwargs)


def test_work_per_person_does_not_grow_with_the_image(monkeypatch):
    """Taking a person blurs a neighbourhood of a fixed size, so a large crowd in a large image stays affordable."""
    density = cv2.GaussianBlur(np.random.default_rng(0).random((192, 256)).astype(np.float32) ** 8, (0, 0), 2)
    density *= 3000 / density.sum()
    blur = CountedCells(cv2.GaussianBlur)
    monkeypatch.setattr(cv2, "GaussianBlur", blur)
    positions = positions_of(density)
    assert len(positions) == 3000
    whole_image, window = (192 + 8) * (256 + 8), 9 * 9
    assert blur.cells <= whole_image + 3000 * window

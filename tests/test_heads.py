import cv2
import numpy as np
import pytest

from headcount.heads import head_points
from headcount.metrics import localise


def crowd(people, height=400, width=600, gap=10, seed=0):
    """Heads (N,2) at least `gap` pixels apart."""
    random, heads = np.random.default_rng(seed), np.zeros((0, 2))
    while len(heads) < people:
        one = random.uniform((5, 5), (width - 5, height - 5))
        if not len(heads) or np.linalg.norm(heads - one, axis=1).min() >= gap:
            heads = np.vstack([heads, one])
    return heads


def density_of(heads, stride=8, blur=0.7, height=400, width=600):
    """float32 (h,w): a blob of sum 1 per head."""
    cells = np.zeros((height // stride, width // stride), np.float32)
    np.add.at(cells, tuple((heads[:, ::-1] // stride).astype(int).T), 1)
    return cv2.GaussianBlur(cells, (0, 0), blur, borderType=cv2.BORDER_REFLECT) if blur else cells


@pytest.mark.parametrize(("people", "gap", "stride", "blur"), [(30, 40, 8, 0.7), (300, 14, 8, 0.7), (900, 8, 4, 1.0)])
def test_dots_are_where_the_heads_are(people, gap, stride, blur):
    heads = crowd(people, gap=gap)
    density = density_of(heads, stride, blur)
    dots = head_points(density, np.ones_like(density), stride, 600, 400)
    assert dots.shape == (people, 2) and dots.dtype == np.float32
    assert localise(heads, dots, 8).f1 > 0.85


def test_there_are_as_many_as_the_rounded_count_all_different_and_inside():
    random = np.random.default_rng(0)
    density = random.random((37, 53)).astype(np.float32) ** 6
    for people in (0, 1, 2.4, 700, 5000.6):  # the last is more than two in a cell
        given = density * np.float32(people / density.sum())
        dots = head_points(given, np.ones_like(given), 8, 419, 291)  # the last cells reach past the picture
        assert len(dots) == round(people) == len(np.unique(dots, axis=0))
        assert (dots >= 0).all() and (dots < [419, 291]).all()
        assert np.array_equal(dots, head_points(given, np.ones_like(given), 8, 419, 291))


def test_no_dot_stands_on_background():
    density = np.full((40, 60), 0.004, np.float32)  # ten people's worth of it strewn about
    mask = np.zeros((40, 60), np.float32)
    density[10:14, 10:20] += 0.5
    mask[10:14, 10:20] = 1
    dots = head_points(density, mask, 8)
    assert len(dots) == round(density.sum()) == 30
    near_people = (dots[:, 0] > 60) & (dots[:, 0] < 180) & (dots[:, 1] > 60) & (dots[:, 1] < 132)
    assert near_people.all()


def test_less_than_nothing_is_nobody():
    assert head_points(np.full((5, 5), -0.1, np.float32), np.ones((5, 5), np.float32), 8).shape == (0, 2)


def test_heads_and_dots_are_matched_one_to_one():
    true = np.array([[10, 10], [20, 10], [100, 100]])
    found = localise(true, np.array([[15, 10], [16, 10], [17, 10], [300, 300]]), 8)
    assert (found.matched, found.predicted, found.true) == (
        2,
        4,
        3,
    )  # a greedy match could take (15,10) for (20,10) twice
    assert (found.precision, found.recall, found.f1) == (0.5, pytest.approx(2 / 3), pytest.approx(4 / 7))
    assert localise(true, true + [8, 0], 8).f1 == 1 and localise(true, true + [8.1, 0], 8).matched == 1


def test_pooled_over_images_and_of_nobody():
    true = np.array([[10.0, 10.0]])
    nobody = np.zeros((0, 2))
    assert localise(nobody, nobody, 4).f1 == 1
    both = localise(true, true, 4) + localise(nobody, true, 4) + localise(true, nobody, 4)
    assert (both.matched, both.predicted, both.true, both.radius) == (1, 2, 2, 4)
    assert both.to_dict() == {"radius": 4, "precision": 0.5, "recall": 0.5, "f1": 0.5}

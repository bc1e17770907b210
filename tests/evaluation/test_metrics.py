"""Metrics: every figure against one worked out by hand or by brute force."""

import sys

import numpy as np
import pytest

from headcount.evaluation.metrics import (
    CROWD_LEVELS,
    LEVELS,
    CountMetrics,
    bootstrap_interval,
    game,
    level_of,
    localize,
    root_mean_square,
)
from headcount.geometry import inside

TRUE = [0, 100, 300, 301, 700, 701]
PREDICTED = [2, 90, 330, 301, 600, 901]  # errors +2 -10 +30 0 -100 +200


def test_the_four_figures_by_hand():
    metrics = CountMetrics(TRUE, PREDICTED)
    assert metrics.mae == pytest.approx(342 / 6)
    assert metrics.rmse == pytest.approx(np.sqrt((4 + 100 + 900 + 0 + 10000 + 40000) / 6))
    assert metrics.bias == pytest.approx(122 / 6)
    # the image without people is left out of NAE: five remain
    assert metrics.nae == pytest.approx((10 / 100 + 30 / 300 + 0 + 100 / 700 + 200 / 701) / 5)
    assert metrics.game == [metrics.mae]  # nothing more is known without density maps


def test_levels_have_the_papers_bounds_and_empty_images_are_apart():
    levels = CountMetrics(TRUE, PREDICTED, names=list("abcdef")).by_level()
    assert {name: part.names for name, part in levels.items()} == {
        "none": ["a"], "low": ["b", "c"], "middle": ["d", "e"], "high": ["f"],
    }  # fmt: skip
    assert levels["low"].mae == 20 and levels["high"].bias == 200
    assert list(CountMetrics([5], [6]).by_level()) == ["low"]  # levels without images are not there


def test_levels_meet_without_gap_or_overlap():
    assert {name: level.label for name, level in LEVELS.items()} == {
        "none": "nobody", "low": "1-300", "middle": "301-700", "high": "701-",
    }  # fmt: skip
    assert list(CROWD_LEVELS) == ["low", "middle", "high"]
    counts = np.arange(2000)
    names = np.array(list(LEVELS))[level_of(counts)]
    for name, level in LEVELS.items():
        assert np.array_equal(counts[names == name], counts[(level.min_count <= counts) & (counts <= level.max_count)])


def test_the_bootstrap_interval_is_that_of_resampled_means():
    values = np.random.default_rng(0).exponential(10, 60)
    draws = np.random.default_rng(0).integers(0, 60, (2000, 60), np.int32)
    expected = np.quantile([values[draw].mean() for draw in draws], [0.025, 0.975])
    assert bootstrap_interval(values) == pytest.approx(tuple(expected))
    assert bootstrap_interval(list(values)) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    low, high = bootstrap_interval(values, level=0.5)
    assert expected[0] < low < values.mean() < high < expected[1]
    roots = bootstrap_interval(values**2, root=True)
    assert roots == pytest.approx(tuple(np.quantile([(values[d] ** 2).mean() ** 0.5 for d in draws], [0.025, 0.975])))
    assert np.isnan(bootstrap_interval([])).all()


def test_the_metrics_use_the_same_bootstrap_and_root():
    metrics = CountMetrics(TRUE, PREDICTED)
    errors = np.subtract(PREDICTED, TRUE)
    assert metrics.interval("mae") == bootstrap_interval(np.abs(errors))
    assert metrics.interval("rmse") == bootstrap_interval(errors**2, root=True)
    assert metrics.rmse == root_mean_square(errors)


def test_only_people_free_images_have_no_nae():
    metrics = CountMetrics([0, 0], [0.5, 0])
    assert metrics.mae == 0.25 and np.isnan(metrics.nae)
    assert metrics.to_dict()["nae"] is None and metrics.to_dict()["intervals"]["nae"] == [None, None]


def test_scenes_are_averaged_as_scenes_and_not_as_images():
    metrics = CountMetrics([10, 10, 10, 10], [12, 12, 12, 20], scenes=["s1", "s1", "s1", "s2"])
    assert {name: part.mae for name, part in metrics.by_scene().items()} == {"s1": 2, "s2": 10}
    assert metrics.scene_mae == 6 and metrics.mae == 4
    assert CountMetrics([10], [12]).by_scene() == {} and CountMetrics([10], [12]).scene_mae == 2


def test_to_dict_is_plain_numbers():
    values = CountMetrics(TRUE, PREDICTED, games=np.ones((6, 3))).to_dict()
    assert {"n", "mae", "rmse", "nae", "bias"} <= set(values)
    assert values["n"] == 6 and values["mae"] == 57.0 and values["game"] == [57.0, 1.0, 1.0, 1.0]
    low, high = values["intervals"]["mae"]
    assert low < 57 < high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"true": [], "predicted": []}, "no images"),
        ({"true": [1, 2], "predicted": [1]}, "as many"),
        ({"true": [1, 2], "predicted": [1, np.nan], "names": ["a", "crowd"]}, "crowd: .*not a finite count"),
        ({"true": [np.inf], "predicted": [1]}, "image 0"),
        ({"true": [3, -1], "predicted": [1, 1]}, "image 1: the true count, -1, is below zero"),
        ({"true": [1], "predicted": [1], "names": ["a", "b"]}, "2 names for 1 images"),
        ({"true": [1], "predicted": [1], "games": [1.0]}, "games is an array"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        CountMetrics(**arguments)
    assert "\n" not in str(error.value)


def test_unknown_metric_is_named():
    with pytest.raises(ValueError, match="'mse'"):
        CountMetrics([1], [1]).interval("mse")


def test_interval_is_repeatable_and_narrows_with_more_images():
    rng = np.random.default_rng(1)
    predicted = 100 + rng.normal(0, 10, 400)
    few, many = (CountMetrics(np.full(n, 100), predicted[:n]) for n in (25, 400))
    for name in ("mae", "rmse", "nae", "bias"):
        low, high = many.interval(name)
        assert low < getattr(many, name) < high
        assert many.interval(name) == (low, high) != many.interval(name, seed=1)
        assert high - low < few.interval(name)[1] - few.interval(name)[0]
    assert CountMetrics([10], [13]).interval("rmse") == (3, 3)


def test_a_95_percent_interval_covers_the_truth_about_so_often():
    rng = np.random.default_rng(0)
    truth, hits = 10 * np.sqrt(2 / np.pi), 0  # the mean of |N(0, 10)|
    for _ in range(200):
        low, high = CountMetrics(np.full(80, 50), 50 + rng.normal(0, 10, 80)).interval("mae")
        hits += low < truth < high
    assert 0.88 <= hits / 200 <= 0.99


def brute_force_game(density, points, level, stride, width, height):
    """Every cell as a fine grid of equal crumbs, every point looked up by comparing."""
    side, total, fine = 2**level, 0.0, 28
    mass = np.zeros((side, side))
    for i, j in np.ndindex(*density.shape):
        y1, x1 = min((i + 1) * stride, height), min((j + 1) * stride, width)
        for v, u in np.ndindex(fine, fine):
            y, x = (
                i * stride + (v + 0.5) / fine * (y1 - i * stride),
                j * stride + (u + 0.5) / fine * (x1 - j * stride),
            )
            mass[int(y * side / height), int(x * side / width)] += density[i, j] / fine**2
    for r, c in np.ndindex(side, side):
        heads = sum(r <= y * side / height < r + 1 and c <= x * side / width < c + 1 for x, y in points)
        total += abs(mass[r, c] - heads)
    return total


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(("width", "height"), [(48, 32), (54, 30)])
def test_game_against_brute_force(level, width, height):
    rng = np.random.default_rng(level)
    density = rng.random((4, -(-width // 8))).astype(np.float32)  # stride 8; the last cells stick out of 54 x 30
    points = rng.random((25, 2)) * (width, height)
    found = game(density, points, level, 8, width, height)
    assert found == pytest.approx(brute_force_game(density, points, level, 8, width, height), rel=0.01)


def test_game_by_hand():
    density = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)  # stride 4, image 8 x 8
    points = np.array([[1.0, 1.0], [6.0, 1.0]])  # one person upper left, one upper right
    assert game(density, points, 0, 4, 8, 8) == 1
    assert game(density, points, 1, 4, 8, 8) == 1 + 1 + 0 + 1
    assert game(density, np.zeros((0, 2)), 1, 4, 8, 8) == 3  # nobody there


def test_game_splits_a_cell_by_area_and_never_falls_with_the_level():
    assert game(np.array([[4.0]], np.float32), np.array([[1.0, 1.0]]), 1, 8, 8, 8) == 3  # |1-1| + 1 + 1 + 1
    rng = np.random.default_rng(3)
    density, points = rng.random((9, 13)).astype(np.float32), rng.random((60, 2)) * (101, 70)
    levels = [game(density, points, level, 8, 101, 70) for level in range(4)]
    assert levels == sorted(levels) and levels[0] == pytest.approx(abs(density.sum() - 60), rel=1e-4)


def test_game_takes_the_fractional_stride_of_an_enlarged_image():
    # 50 x 33 enlarged to 485 x 320: 61 x 40 cells of 8 pixels there, of 0.8247 x 0.825 pixels here
    density = np.full((40, 61), 0.01, np.float32)
    total = game(density, np.zeros((0, 2)), 2, 8 * 50 / 485, 50, 33)
    assert total == pytest.approx(density.sum(), rel=1e-6)
    with pytest.raises(ValueError, match="check the stride"):
        game(density, np.zeros((0, 2)), 2, 8, 50, 33)


def test_inside_a_concave_polygon_and_on_its_edges():
    hook = np.array([[0, 0], [10, 0], [10, 10], [6, 10], [6, 4], [0, 4]])
    points = np.array([[1, 1], [8, 8], [3, 8], [-1, 1], [11, 11]])
    assert inside(points, hook).tolist() == [True, True, False, False, False]
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    edges = np.array([[0, 2], [2, 0], [4, 2], [2, 4]])  # left, upper, right, lower
    assert inside(edges, square).tolist() == [True, True, False, False]
    assert inside(edges, square[::-1]).tolist() == [True, True, False, False]  # whichever way it runs
    assert inside(np.zeros((0, 2)), square).shape == (0,)
    with pytest.raises(ValueError, match="P >= 3"):
        inside(points, square[:2])


def test_neighbouring_polygons_share_no_point():
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    left, right = [[0, 0], [5, 0], [2, 8], [0, 8]], [[5, 0], [8, 0], [8, 8], [2, 8]]
    assert (inside(grid, left).astype(int) + inside(grid, right) == 1).all()


def test_heads_and_dots_are_matched_one_to_one():
    true = np.array([[10, 10], [20, 10], [100, 100]])
    found = localize(true, np.array([[15, 10], [16, 10], [17, 10], [300, 300]]), 8)
    assert (found.matched, found.predicted, found.true) == (2, 4, 3)
    assert (found.precision, found.recall, found.f1) == (0.5, pytest.approx(2 / 3), pytest.approx(4 / 7))
    assert localize(true, true + [8, 0], 8).f1 == 1 and localize(true, true + [8.1, 0], 8).matched == 1


def test_as_many_pairs_are_made_as_can_be():
    # nearest first, the dot at 4 takes the head at 5, and the dot at 9 has none left
    found = localize(np.array([[0, 0], [5, 0]]), np.array([[4, 0], [9, 0]]), 4)
    assert found.matched == 2


def test_localization_is_pooled_over_images_and_nobody_is_right():
    true, nobody = np.array([[10.0, 10.0]]), np.zeros((0, 2))
    assert localize(nobody, nobody, 4).to_dict() == {"radius": 4, "precision": 1, "recall": 1, "f1": 1}
    assert (localize(true, nobody, 4).precision, localize(true, nobody, 4).recall) == (1, 0)
    both = localize(true, true, 4) + localize(nobody, true, 4) + localize(true, nobody, 4)
    assert (both.matched, both.predicted, both.true) == (1, 2, 2)
    assert both.to_dict() == {"radius": 4, "precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_a_radius_is_above_zero():
    for radius in (0, -4, np.nan, np.inf):
        with pytest.raises(ValueError, match="number of pixels above 0, got"):
            localize(np.zeros((0, 2)), np.zeros((0, 2)), radius)


def test_matching_without_scipy_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[train\]'"):
        localize(np.zeros((1, 2)), np.zeros((1, 2)), 4)

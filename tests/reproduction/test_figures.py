"""Figures: counts in captions, heads at their places, one color scale per row, nothing cut, exact numbers."""

import csv
import io

import numpy as np
import pytest
import torch

from headcount.reproduction import figures
from headcount.reproduction.figures import Comparison, comparison_panels, figure4, figure5, figure6
from headcount.training.targets import density_map
from headcount.visualization import heatmap, panels, text

HEADS = np.array([[20, 30], [21, 31], [90, 70]], np.float32)


def photo(height: int = 96, width: int = 128) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


def density(points: np.ndarray = HEADS, stride: int = 8, height: int = 96, width: int = 128) -> np.ndarray:
    return density_map(torch.from_numpy(points), height, width, stride, 4.0).numpy()


def test_figure_4_says_the_counts():
    cells = density()
    row = Comparison(photo(), HEADS, {"solution 5": (cells * 500, 8), "MCNN": (cells * 0, 8)}, name="street")
    captions = [caption for caption, _ in comparison_panels(row)]
    assert captions == ["street", "ground truth: 3", "solution 5: 1,500", "MCNN: 0"]


def test_figure_4_lights_up_where_the_heads_are_and_nowhere_else():
    panels = dict(comparison_panels(Comparison(photo(), HEADS, {"ours": (density(), 8)})))
    for caption in ("ground truth: 3", "ours: 3"):
        panel = panels[caption].max(axis=2)
        assert panel.shape == (96, 128)
        assert panel[30, 20] > 150 and panel[70, 90] > 100
        assert (panel[:, 50:70] == 0).all() and (panel[:20, 80:] == 0).all()


def test_a_stride_that_reaches_past_the_edge_does_not_move_the_heads():
    lone = np.array([[97, 70]], np.float32)  # of 100 columns: cells of 16 pixels reach to 112
    cells = density(lone, 16, 96, 100)
    panel = dict(comparison_panels(Comparison(photo(96, 100), lone, {"ours": (cells, 16)})))["ours: 1"]
    assert panel[:, 88:].max() > panel[:, :71].max() == 0  # colors reach half a cell past cell 5, from 80


def test_the_panels_of_a_row_share_the_colors_of_the_truth():
    cells = density(stride=4)
    panels = dict(comparison_panels(Comparison(photo(), HEADS, {"same": (cells, 4), "half": (cells / 2, 4)})))
    np.testing.assert_array_equal(panels["same: 3"], panels["ground truth: 3"])
    assert panels["half: 2"].sum() < 0.8 * panels["ground truth: 3"].sum()
    own_peak = heatmap.heatmap_image(cells, 96, 128, stride=4)
    np.testing.assert_array_equal(panels["ground truth: 3"], own_peak)


def test_an_image_without_people_is_a_row_too():
    nobody = np.zeros((0, 2), np.float32)
    haze, ghost = np.full((12, 16), 0.01, np.float32), density(HEADS[2:], 4)
    panels = dict(comparison_panels(Comparison(photo(), nobody, {"haze": (haze, 8), "ghost": (ghost, 4)})))
    assert panels["ground truth: 0"].max() == 0
    assert panels["haze: 2"].max() < 30  # 1.6 people per 100 x 100 px: dark, not dazzling
    assert panels["ghost: 1"][70, 90].max() > 200


def test_rows_of_any_shape_stack_in_columns_with_no_caption_cut(monkeypatch):
    label = "zero-inflated likelihood, tuned, on the light backbone"
    shapes = [(60, 200), (200, 90), (97, 131)]
    rows = [Comparison(photo(h, w), HEADS[:1], {label: (density(HEADS[:1], 8, h, w), 8)}) for h, w in shapes]
    rows.append(Comparison(photo(), HEADS))  # fewer panels than the others
    strips = []
    monkeypatch.setattr(
        figures, "side_by_side", lambda *row: strips.append((row, panels.side_by_side(*row))) or strips[-1][1]
    )
    sheet = figure4(rows)
    assert sheet.dtype == np.uint8 and sheet.shape[0] == sum(len(strip) for _, strip in strips)
    for (images, captions, height), strip in strips:
        wide = round(images[0].shape[1] * height / images[0].shape[0])
        assert 0 <= wide - text.caption_width(f"{label}: 1") <= 4  # the longest fits; columns of one width, nearly
        assert strip.shape[1] <= sheet.shape[1]
        assert text.caption_width(max(captions, key=len)) <= wide
    assert (sheet[-300:, 2 * wide + 60 :] == 255).all()  # the short row ends in white


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match="nothing to compare"):
        figure4([])


def map_pair(name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    caption, panel = figures.map_panel(name, values, photo())
    return panel, caption


def test_figure_5_colors_each_map_over_its_own_range():
    ramp = np.linspace(-3, 5, 16, dtype=np.float32)[None].repeat(12, axis=0)  # dark left, bright right
    for scale in (1, 1000):
        caption, panel = figures.map_panel("ramp", ramp * scale, photo())
        assert panel.shape == (96, 128, 3)
        assert (panel[:, 0] == heatmap.color_map(np.zeros((1, 1)))[0, 0]).all()
        assert (panel[:, -1] == heatmap.color_map(np.ones((1, 1)))[0, 0]).all()
        assert caption == ("ramp, -3 to 5" if scale == 1 else "ramp, -3e+03 to 5e+03")
    sheet = figure5(photo(), {"ramp": ramp, "flat": np.full((12, 16), 0.5, np.float32)})
    shown = [(photo(), "input"), map_pair("ramp", ramp), map_pair("flat", np.full((12, 16), 0.5, np.float32))]
    expected = panels.side_by_side([image for image, _ in shown], [caption for _, caption in shown], 240)
    np.testing.assert_array_equal(sheet, expected)


LEVELS = {
    "baseline 1": {"low": 20.5, "middle": 60.25, "high": 210.0},
    "solution 5": {"low": 10.25, "middle": 30.0, "high": float("nan")},
}


def test_figure_6_is_also_numbers():
    _, numbers = figure6(LEVELS, {"low": 96, "middle": 62})
    rows = list(csv.DictReader(io.StringIO(numbers)))
    assert {(r["row"], r["level"]): float(r["mae"]) for r in rows} == {
        ("baseline 1", "low"): 20.5,
        ("baseline 1", "middle"): 60.25,
        ("baseline 1", "high"): 210.0,
        ("solution 5", "low"): 10.25,
        ("solution 5", "middle"): 30.0,
    }
    assert [r["range"] for r in rows] == ["1-300", "1-300", "301-700", "301-700", "701-"]
    assert [r["images"] for r in rows] == ["96", "96", "62", "62", "0"]
    assert {r["split"] for r in rows} == {"test"}


def test_figure_6_draws_each_number_as_a_bar(monkeypatch):
    charts = []
    monkeypatch.setattr(
        figures, "bar_chart", lambda *arguments: charts.append(arguments) or panels.bar_chart(*arguments)
    )
    chart, _ = figure6(LEVELS, {"low": 96, "middle": 62})
    (groups, title, width), *_ = charts
    assert groups == {
        "low 1-300 (96 images)": {"baseline 1": 20.5, "solution 5": 10.25},
        "middle 301-700 (62 images)": {"baseline 1": 60.25, "solution 5": 30.0},
        "high 701- (0 images)": {"baseline 1": 210.0},
    }
    assert title == "MAE by people in the image"
    np.testing.assert_array_equal(chart, panels.bar_chart(groups, title, width))


def test_figure_6_has_bars_in_proportion():
    chart, _ = figure6({"ours": {"low": 10.0, "high": 20.0}}, {"low": 1, "high": 1})
    tints, pixels = np.unique(
        chart[90:430].reshape(-1, 3), axis=0, return_counts=True
    )  # between the legend and the axis
    color = tints[np.argsort(pixels)[-2]]  # the most frequent one but white
    thirds = np.array_split((chart[90:430] == color).all(axis=2), 3, axis=1)  # low, middle, high
    low, middle, high = (int(third.any(axis=1).sum()) for third in thirds)
    assert high == pytest.approx(2 * low, rel=0.05) and low > 100 and middle == 0


def test_figure_6_says_when_the_validation_list_stood_in():
    _, numbers = figure6(LEVELS, {"low": 3}, "val")
    assert {row["split"] for row in csv.DictReader(io.StringIO(numbers))} == {"val"}
    assert figures.chart_title("val") == "MAE by people in the image (validation list: no test split)"


def test_another_level_is_an_error():
    with pytest.raises(ValueError, match="unknown levels medium; use low, middle, high"):
        figure6({"ours": {"medium": 3.0}}, {})

"""Rows, contact sheets and bar charts."""

import cv2
import numpy as np
import pytest

from headcount.visualization import panels, text


@pytest.mark.parametrize("caption", ["solution 5: 182", "caf\u00e9: 12,345", "a"])
def test_a_panel_as_wide_as_its_caption_shows_all_of_it(caption):
    width = text.caption_width(caption)
    strips = [panels.side_by_side([np.zeros((20, w, 3), np.uint8)], [caption], 20)[-35:, 10:-10] for w in (width, 400)]
    assert (strips[0] == strips[1][:, :width]).all() and (strips[1][:, width:] == 255).all()


def blocks(image, color):
    """(left, top, width, height) of each rectangle of exactly this color, from left to right."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((image == color).all(axis=2).astype(np.uint8), connectivity=4)
    return sorted(tuple(stats[i, : cv2.CC_STAT_AREA].tolist()) for i in range(1, count) if stats[i, -1] > 50)


COLORS = [(90, 30, 20), (20, 90, 160), (200, 160, 40)]
PHOTOS = [
    np.full((*size, 3), color, np.uint8)
    for size, color in zip([(300, 400), (50, 20), (1000, 3000)], COLORS, strict=True)
]


def test_a_row_shows_each_image_at_one_height():
    row = panels.side_by_side(PHOTOS, ["image", "density"], height=100)
    assert row.shape == (100 + 30 + 20, 133 + 40 + 300 + 4 * 10, 3)
    shown = [blocks(row, color) for color in COLORS]
    assert shown == [[(10, 10, 133, 100)], [(153, 10, 40, 100)], [(203, 10, 300, 100)]]
    captions = row[110:140] != 255
    assert captions[:, 10:143].any() and captions[:, 153:193].any() and not captions[:, 203:].any()


def test_a_contact_sheet_shows_each_image_whole_in_its_cell():
    sheet = panels.contact_sheet(PHOTOS, ["a long caption that cannot fit " * 3, "caf\u00e9"])
    cell = np.array([320, 240 + 30]) + 10
    assert sheet.shape == (2 * cell[1] + 10, 2 * cell[0] + 10, 3), "three images are in two rows"
    shown = [blocks(sheet, color) for color in COLORS]
    assert shown == [[(10, 10, 320, 240)], [(340 + 112, 10, 96, 240)], [(10, 290 + 66, 320, 107)]]
    assert (sheet[250:280, 330:340] == 255).all(), "the long caption ends with its cell"


def test_nothing_to_arrange_is_an_error():
    for make in (panels.side_by_side, panels.contact_sheet):
        with pytest.raises(ValueError, match="there are no images"):
            make([])


def test_bars_are_as_tall_as_their_values_and_colored_by_name():
    chart = panels.bar_chart({"low": {"plain": 10.0, "solution 5": 5.0}, "high": {"plain": 20.0}}, "MAE by level", 700)
    assert chart.shape == (480, 700, 3)
    colored = np.unique(chart[(np.ptp(chart.astype(int), axis=2) > 40)], axis=0, return_counts=True)
    plain, other = sorted(colored[0][np.argsort(colored[1])[-2:]].tolist(), key=lambda c: -len(blocks(chart, c)))
    key, low, high = blocks(chart, plain)
    other_key, bar = blocks(chart, other)
    assert key[2:] == other_key[2:] == (13, 13) and key[1] == other_key[1] and key[0] < other_key[0]
    heights = [height for _, _, _, height in (bar, low, high)]
    assert np.array(heights) / heights[2] == pytest.approx([0.25, 0.5, 1], abs=0.01)
    assert len({top + height for _, top, _, height in (bar, low, high)}) == 1, "they stand on one line"
    assert low[0] < bar[0] < high[0]


def test_a_chart_without_bars_has_its_title():
    chart = panels.bar_chart({}, "nothing yet")
    assert (chart[:40] != 255).any() and (chart[90:430] == 255).all()

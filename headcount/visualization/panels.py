"""Arranging images in rows, contact sheets and charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from headcount.visualization.heatmap import color_map
from headcount.visualization.text import CAPTION_SCALE, INK, caption_width, draw_text

GAP = 10  # pixels between cells
CAPTION_HEIGHT = 30  # pixels
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 320, 240  # pixels
THUMBNAIL_GREY = 238  # around images of another shape
CHART_HEIGHT = 480  # pixels
CHART_MARGIN = 24  # pixels left and right of the bars
CHART_TOP, CHART_BOTTOM = 84, CHART_HEIGHT - 44  # rows between which the bars stand


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str] = (), height: int = 480) -> np.ndarray:
    """Put images of any size in one row.

    Args:
        images: uint8 (H,W,3) each, at least one.
        captions: Text below each image; missing ones are empty.
        height: Height of each image in the row, in pixels.

    Returns:
        uint8 (H,W,3).

    Raises:
        ValueError: If there are no images.
    """
    if not len(images):
        raise ValueError("there are no images to put side by side; give at least one")
    panels = [_resize(image, height, max(1, round(image.shape[1] * height / image.shape[0]))) for image in images]
    return _grid(_captioned(panels, captions), len(panels))


def contact_sheet(images: Sequence[np.ndarray], captions: Sequence[str] = ()) -> np.ndarray:
    """Put thumbnails of images of any size in a grid that is about square.

    Args:
        images: uint8 (H,W,3) each, at least one.
        captions: Text below each thumbnail; missing ones are empty.

    Returns:
        uint8 (H,W,3). Each thumbnail has THUMBNAIL_WIDTH x THUMBNAIL_HEIGHT pixels.

    Raises:
        ValueError: If there are no images.
    """
    if not len(images):
        raise ValueError("there are no images for a contact sheet; give at least one")
    thumbnails = [_thumbnail(image) for image in images]
    return _grid(_captioned(thumbnails, captions), math.ceil(math.sqrt(len(thumbnails))))


def bar_chart(groups: dict[str, dict[str, float]], title: str = "", width: int = 900) -> np.ndarray:
    """Draw grouped bars, as in Figure 6 of the paper.

    Args:
        groups: The bars by group and name, 0 or more: {"low 1-300": {"baseline 1": 20.1, ...}, ...}. A name has the
            same color in every group.
        title: Text at the top.
        width: Width of the chart in pixels.

    Returns:
        uint8 (CHART_HEIGHT,width,3).
    """
    chart = np.full((CHART_HEIGHT, width, 3), 255, np.uint8)
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    tints = color_map(np.linspace(0.08, 0.85, max(1, len(names)))[None])[0].tolist()
    draw_text(chart, title, CHART_MARGIN, 30, 0.65)
    _draw_key(chart, names, tints)
    highest = max((value for bars in groups.values() for value in bars.values()), default=0) or 1
    slot = (width - 2 * CHART_MARGIN) / max(1, len(groups))
    bar = slot * 0.84 / max(1, len(names))
    for i, (group, bars) in enumerate(groups.items()):
        start = CHART_MARGIN + i * slot + slot * 0.08
        for j, name in enumerate(names):
            if name in bars:
                left, top = start + j * bar, round(CHART_BOTTOM - (CHART_BOTTOM - CHART_TOP) * bars[name] / highest)
                cv2.rectangle(chart, (round(left), top), (round(left + bar * 0.86), CHART_BOTTOM), tints[j], -1)
                draw_text(chart, f"{bars[name]:.1f}", round(left), top - 5, min(0.42, bar / 90))
        draw_text(chart, group, round(start), CHART_BOTTOM + 24, 0.5)
    cv2.line(chart, (CHART_MARGIN, CHART_BOTTOM), (width - CHART_MARGIN, CHART_BOTTOM), INK, 1)
    return chart


def _draw_key(chart: np.ndarray, names: Sequence[str], tints: Sequence[Sequence[float]]) -> None:
    """Draw which name has which color, in one row."""
    x = CHART_MARGIN
    for name, tint in zip(names, tints, strict=False):
        cv2.rectangle(chart, (x, 48), (x + 12, 60), tint, -1)
        x += 30 + draw_text(chart, name, x + 18, 60, 0.45)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    shrinks = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink or enlarge an image to fit the thumbnail's size, centred on grey."""
    scale = min(THUMBNAIL_WIDTH / image.shape[1], THUMBNAIL_HEIGHT / image.shape[0])
    small = _resize(image, max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    cell = np.full((THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, 3), THUMBNAIL_GREY, np.uint8)
    y, x = (THUMBNAIL_HEIGHT - small.shape[0]) // 2, (THUMBNAIL_WIDTH - small.shape[1]) // 2
    cell[y : y + small.shape[0], x : x + small.shape[1]] = small
    return cell


def _captioned(images: Sequence[np.ndarray], captions: Sequence[str]) -> list[np.ndarray]:
    return [_with_caption(image, captions[i] if i < len(captions) else "") for i, image in enumerate(images)]


def _with_caption(image: np.ndarray, caption: str) -> np.ndarray:
    """Put an image above a white strip with its caption, shortened to fit."""
    strip = np.full((CAPTION_HEIGHT, image.shape[1], 3), 255, np.uint8)
    while caption and caption_width(caption) > image.shape[1]:
        caption = caption[:-4] + "..." if len(caption) > 5 else ""
    draw_text(strip, caption, 2, 20, CAPTION_SCALE)
    return np.vstack([image, strip])


def _grid(cells: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Put cells of one height on white, row by row."""
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    width = max(sum(cell.shape[1] + GAP for cell in row) for row in rows) + GAP
    row_height = cells[0].shape[0] + GAP
    sheet = np.full((len(rows) * row_height + GAP, width, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        x, y = GAP, GAP + i * row_height
        for cell in row:
            sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
            x += cell.shape[1] + GAP
    return sheet

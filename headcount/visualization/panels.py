"""Arranging images in rows, sheets and charts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from headcount.visualization.heatmap import colours
from headcount.visualization.text import INK, caption_width, draw_text


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str] = (), height: int = 480) -> np.ndarray:
    """Pictures of any size in one row, all `height` pixels tall, each under its caption."""
    if not len(images):
        raise ValueError("there are no pictures to put side by side; give at least one")
    panels = [_fit(image, height, max(1, round(image.shape[1] * height / image.shape[0]))) for image in images]
    return _grid([_titled(p, captions[i] if i < len(captions) else "") for i, p in enumerate(panels)], len(panels))


def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    columns: int | None = None,
    width: int = 320,
    height: int = 240,
) -> np.ndarray:
    """Pictures of any size as thumbnails of at most width x height in a grid, each under its caption."""
    if not len(images):
        raise ValueError("there are no pictures for a contact sheet; give at least one")
    cells = []
    for i, image in enumerate(images):
        scale = min(width / image.shape[1], height / image.shape[0])
        small = _fit(image, max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        cell = np.full((height, width, 3), 238, np.uint8)
        y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        cell[y : y + small.shape[0], x : x + small.shape[1]] = small
        cells.append(_titled(cell, captions[i] if i < len(captions) else ""))
    return _grid(cells, columns or int(np.ceil(np.sqrt(len(cells)))))


def bar_chart(groups: dict[str, dict[str, float]], title: str = "", width: int = 900, height: int = 480) -> np.ndarray:
    """Grouped bars, as in the paper's figure 6: {"low 1-300": {"baseline 1": 20.1, ...}, ...}, values 0 or more."""
    chart = np.full((height, width, 3), 255, np.uint8)
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    tints = colours(np.linspace(0.08, 0.85, max(1, len(names)))[None])[0].tolist()
    highest = max((v for bars in groups.values() for v in bars.values()), default=0) or 1
    left, floor, ceiling = 24, height - 44, 84
    draw_text(chart, title, left, 30, 0.65)
    x = left
    for name, tint in zip(names, tints, strict=True):
        cv2.rectangle(chart, (x, 48), (x + 12, 60), tint, -1)
        x += 30 + draw_text(chart, name, x + 18, 60, 0.45)
    for i, (group, bars) in enumerate(groups.items()):
        slot = (width - 2 * left) / len(groups)
        bar = slot * 0.84 / max(1, len(names))
        for j, name in enumerate(names):
            x0 = left + i * slot + slot * 0.08 + j * bar
            if name in bars:
                y0 = round(floor - (floor - ceiling) * bars[name] / highest)
                cv2.rectangle(chart, (round(x0), y0), (round(x0 + bar * 0.86), floor), tints[j], -1)
                draw_text(chart, f"{bars[name]:.1f}", round(x0), y0 - 5, min(0.42, bar / 90))
        draw_text(chart, group, round(left + i * slot + slot * 0.08), floor + 24, 0.5)
    cv2.line(chart, (left, floor), (width - left, floor), INK, 1)
    return chart


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how)


def _titled(image: np.ndarray, caption: str) -> np.ndarray:
    """The picture over a white strip with its caption, cut where it would not fit."""
    strip = np.full((30, image.shape[1], 3), 255, np.uint8)
    while caption and caption_width(caption) > image.shape[1]:
        caption = caption[:-4] + "..." if len(caption) > 5 else ""
    draw_text(strip, caption, 2, 20, 0.5)
    return np.vstack([image, strip])


def _grid(cells: Sequence[np.ndarray], columns: int, gap: int = 10) -> np.ndarray:
    """Cells of one height on white, row by row."""
    columns = max(1, min(columns, len(cells)))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    width = max(sum(c.shape[1] + gap for c in row) for row in rows) + gap
    sheet = np.full((len(rows) * (cells[0].shape[0] + gap) + gap, width, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        x, y = gap, gap + r * (cells[0].shape[0] + gap)
        for cell in row:
            sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
            x += cell.shape[1] + gap
    return sheet

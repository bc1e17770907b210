"""The paper's figures 4 to 6 as pictures: solutions beside the truth, the inside of a network, errors by level.

What is unusual: every panel of a sheet has one width, as wide as its longest caption needs, and its picture's own
height; so rows of any shape stack in columns, and no caption is cut. All figures are uint8 (H,W,3) RGB, for
`media.write_image`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from headcount.evaluation.metrics import LEVEL_RANGES
from headcount.training.targets import density_map
from headcount.visualization.heatmap import PATCH, colour_map, heatmap_image, heatmap_peak, resize_density
from headcount.visualization.panels import bar_chart, side_by_side
from headcount.visualization.text import caption_width

PANEL = 320  # pixels, the least width of a panel
STRIDE, SIGMA = 4, 4.0  # of the true density that is shown, pixels
LONE_HEAD = PATCH / (2 * math.pi * SIGMA**2)  # people per 100 x 100 px where one head is: a scale for empty pictures
LEVELS = ("low", "middle", "high")

Panels = list[tuple[str, np.ndarray]]  # (caption, uint8 (H,W,3)), left to right


@dataclass(frozen=True)
class Comparison:
    """One picture, the truth, and what some networks made of it.

    image: uint8 (H,W,3) RGB. points: float32 (N,2), pixels.
    densities: label -> ((h,w) people per cell, pixels of the picture per cell), such as `density` and `stride` of a
        CountResult; the captions give their sums.
    name: the caption of the picture itself.
    """

    image: np.ndarray
    points: np.ndarray
    densities: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    name: str = "image"


def figure4(rows: Sequence[Comparison]) -> np.ndarray:
    """Figure 4: a row per picture: itself, its true density, and each density given, all with their counts.

    The densities of a row share the colours that the true one gets by itself; rows do not. Where nobody is, the
    brightest colour is that of a lone head.

    Raises:
        ValueError: for no rows.
    """
    if not rows:
        raise ValueError("figure4: there is nothing to compare; give at least one picture")
    return _stack([comparison_panels(row) for row in rows])


def comparison_panels(row: Comparison) -> Panels:
    """A row of figure 4."""
    height, width = row.image.shape[:2]
    points = torch.from_numpy(np.ascontiguousarray(row.points, np.float32).reshape(-1, 2))
    truth = density_map(points, height, width, STRIDE, SIGMA).numpy()  # (h,w)
    peak = heatmap_peak(truth, height, width, STRIDE) if len(points) else LONE_HEAD
    panels = [(row.name, row.image)]
    for label, (density, stride) in {"ground truth": (truth, STRIDE), **row.densities}.items():
        count = round(float(density.sum(dtype=np.float64)))
        panels.append((f"{label}: {count:,}", heatmap_image(density, height, width, peak, stride)))
    return panels


def figure5(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> np.ndarray:
    """Figure 5: a picture uint8 (H,W,3) and what a network makes of it on the way, `diagnose.feature_maps`.

    `maps`: caption -> (h,w), spanning the picture. Each is coloured over its own range, which its caption states.
    """
    return _stack([[("input", image), *(map_panel(name, values, image) for name, values in maps.items())]])


def map_panel(name: str, values: np.ndarray, image: np.ndarray) -> tuple[str, np.ndarray]:
    """A map (h,w) in the size of `image`: dark violet at its lowest value, pale yellow at its highest."""
    low, high = float(values.min()), float(values.max())
    level = resize_density(values - low, *image.shape[:2])
    return f"{name}, {low:.2g} to {high:.2g}", colour_map(level / (level.max() or 1))


def figure6(
    levels: Mapping[str, Mapping[str, float]], images: Mapping[str, int] | None = None
) -> tuple[np.ndarray, str]:
    """Figure 6: MAE by level of crowding, as a bar chart and as CSV text.

    Args:
        levels: row label -> {"low": MAE, "middle": MAE, "high": MAE}. A level without images is left out or nan.
        images: level -> how many images it has, for the group's label and a column more.

    The CSV's columns are row, level, range (true people) and mae, and images where given.

    Raises:
        ValueError: for another level.
    """
    unknown = {level for row in levels.values() for level in row} - set(LEVELS)
    if unknown:
        raise ValueError(f"figure6: unknown levels {', '.join(sorted(unknown))}; use {', '.join(LEVELS)}")
    groups: dict[str, dict[str, float]] = {}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["row", "level", "range", "mae"] + ["images"] * (images is not None))
    for level in LEVELS:
        title = f"{level} {LEVEL_RANGES[level]}" + (f" ({images.get(level, 0)} images)" if images is not None else "")
        groups[title] = {row: mae[level] for row, mae in levels.items() if not math.isnan(mae.get(level, math.nan))}
        for row, mae in groups[title].items():
            counted = [] if images is None else [images.get(level, 0)]
            table.writerow([row, level, LEVEL_RANGES[level], round(mae, 4), *counted])
    width = max(900, 180 * len(levels))  # so that the numbers over the bars, and the names, stay apart
    return bar_chart(groups, "MAE by people in the picture", width), text.getvalue()


def _stack(rows: Sequence[Panels]) -> np.ndarray:
    """Rows of panels of one width on a white sheet."""
    wide = max([PANEL, *(caption_width(caption) for row in rows for caption, _ in row)])
    strips = []
    for row in rows:
        captions, pictures = zip(*row, strict=True)
        height = math.ceil(wide * pictures[0].shape[0] / pictures[0].shape[1])  # never narrower than `wide`
        strips.append(side_by_side(pictures, captions, height))
    sheet = np.full((sum(len(s) for s in strips), max(s.shape[1] for s in strips), 3), 255, np.uint8)
    top = 0
    for strip in strips:
        sheet[top : top + len(strip), : strip.shape[1]] = strip
        top += len(strip)
    return sheet

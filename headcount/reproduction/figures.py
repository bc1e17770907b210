"""The paper's figures 4 to 6: solutions beside the truth, the inside of a network, and errors by level of crowding.

All panels of a sheet have one width, which fits the longest caption; heights follow the images. Rows of any shape
therefore align in columns, and no caption is cut. All figures are uint8 (H,W,3) RGB.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from headcount.evaluation.metrics import CROWD_LEVELS
from headcount.training.targets import density_map
from headcount.visualization.heatmap import PATCH, color_map, heatmap_image, heatmap_peak, resize_density
from headcount.visualization.panels import bar_chart, side_by_side
from headcount.visualization.text import caption_width

PANEL = 320  # pixels, the least width of a panel
STRIDE, SIGMA = 4, 4.0  # of the true density that is shown, pixels
LONE_HEAD = PATCH / (2 * math.pi * SIGMA**2)  # people per 100 x 100 px at a single head: a scale for empty images

Panels = list[tuple[str, np.ndarray]]  # (caption, uint8 (H,W,3)), left to right


@dataclass(frozen=True)
class Comparison:
    """One image, the truth, and the densities that some networks predict for it.

    Attributes:
        image: uint8 (H,W,3) RGB.
        points: float32 (N,2) heads, x then y, pixels.
        densities: Label -> ((h,w) people per cell, pixels of the image per cell), such as `density` and `stride` of a
            CountResult. Captions give the sums.
        name: Caption of the image.
    """

    image: np.ndarray
    points: np.ndarray
    densities: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    name: str = "image"


def figure4(rows: Sequence[Comparison]) -> np.ndarray:
    """Draw figure 4: one row per image, with its true density and each predicted density, all with their counts.

    The densities of a row share the color scale of the true one; rows have scales of their own. In an image without
    people, the brightest color is that of a lone head.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("figure4: there is nothing to compare; give at least one image")
    return _stack([comparison_panels(row) for row in rows])


def comparison_panels(row: Comparison) -> Panels:
    """One row of figure 4."""
    height, width = row.image.shape[:2]
    points = torch.from_numpy(np.ascontiguousarray(row.points, np.float32).reshape(-1, 2))
    truth = density_map(points, height, width, STRIDE, SIGMA).numpy()  # (h,w)
    peak = heatmap_peak(truth, height, width, STRIDE) if len(points) else LONE_HEAD
    panels = [(row.name, row.image)]
    for label, (density, stride) in {"ground truth": (truth, STRIDE), **row.densities}.items():
        count = round(float(density.sum(dtype=np.float64)))
        panels.append((f"{label}: {count:,}", heatmap_image(density, height, width, peak, stride)))
    return panels


def figure5(image: np.ndarray, maps: Mapping[str, np.ndarray], name: str = "input") -> np.ndarray:
    """Draw figure 5: an image and the maps inside a network.

    Args:
        image: uint8 (H,W,3) RGB.
        maps: Caption -> (h,w) that spans the image, as `diagnostics.feature_maps` returns them. Each map is colored
            over its own range, and its caption states the range.
        name: Caption of the image.
    """
    return _stack([[(name, image), *(map_panel(caption, values, image) for caption, values in maps.items())]])


def map_panel(name: str, values: np.ndarray, image: np.ndarray) -> tuple[str, np.ndarray]:
    """A map (h,w) in the size of `image`: dark violet at its lowest value, pale yellow at its highest."""
    low, high = float(values.min()), float(values.max())
    level = resize_density(values - low, *image.shape[:2])
    return f"{name}, {low:.2g} to {high:.2g}", color_map(level / (level.max() or 1))


def figure6(
    levels: Mapping[str, Mapping[str, float]], images: Mapping[str, int], split: str = "test"
) -> tuple[np.ndarray, str]:
    """Draw figure 6: MAE by level of crowding.

    Args:
        levels: Row label -> {"low": MAE, "middle": MAE, "high": MAE}. A level without images is missing or nan.
        images: Level -> number of its images.
        split: "test", or "val" where the validation list stands in for a missing test split. The chart states it.

    Returns:
        The bar chart, and its numbers as CSV: row, level, range (of true people), mae, images, split.

    Raises:
        ValueError: A level is unknown.
    """
    unknown = {level for row in levels.values() for level in row} - set(CROWD_LEVELS)
    if unknown:
        raise ValueError(f"figure6: unknown levels {', '.join(sorted(unknown))}; use {', '.join(CROWD_LEVELS)}")
    groups: dict[str, dict[str, float]] = {}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["row", "level", "range", "mae", "images", "split"])
    for level, people in CROWD_LEVELS.items():
        number = images.get(level, 0)
        bars = {row: mae[level] for row, mae in levels.items() if not math.isnan(mae.get(level, math.nan))}
        groups[f"{level} {people.label} ({number} images)"] = bars
        table.writerows([row, level, people.label, round(mae, 4), number, split] for row, mae in bars.items())
    width = max(900, 180 * len(levels))  # keeps the numbers over the bars, and the names, apart
    return bar_chart(groups, chart_title(split), width), text.getvalue()


def chart_title(split: str) -> str:
    """The title of figure 6, which states that the validation list stands in for a missing test split, if it does."""
    title = "MAE by people in the image"
    return title if split == "test" else f"{title} (validation list: no test split)"


def _stack(rows: Sequence[Panels]) -> np.ndarray:
    """Rows of panels of one width on a white sheet."""
    wide = max([PANEL, *(caption_width(caption) for row in rows for caption, _ in row)])
    strips = []
    for row in rows:
        captions, images = zip(*row, strict=True)
        height = math.ceil(wide * images[0].shape[0] / images[0].shape[1])  # never narrower than `wide`
        strips.append(side_by_side(images, captions, height))
    sheet = np.full((sum(len(s) for s in strips), max(s.shape[1] for s in strips), 3), 255, np.uint8)
    top = 0
    for strip in strips:
        sheet[top : top + len(strip), : strip.shape[1]] = strip
        top += len(strip)
    return sheet

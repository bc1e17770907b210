"""Density maps as images: overlays with a legend, and heat maps.

A density map holds people per cell, so resampling it must keep its sum: `downsample` and `resize_density` do. Colors
stand for people per 100 x 100 pixels, which means the same at any stride. All images are uint8 (H,W,3) RGB, and all
text is plain ASCII, which every build of OpenCV can draw.
"""

from __future__ import annotations

import cv2
import numpy as np

from headcount.visualization.text import FONT, PAPER, darken, draw_text, stroke_width

MAX_LAYER_SIDE = 1000  # pixels; smooth colors need no more, and large photos stay fast
PATCH = 10_000  # the legend's unit of area in pixels: 100 x 100
LOWEST_PEAK = 1 / 9  # people per PATCH, one per 300 x 300 pixels: a model's faint haze on an empty image stays clear
OPACITY = 0.82  # of the overlay where people are densest


def downsample(density: np.ndarray, factor: int) -> np.ndarray:
    """Sum blocks of factor x factor cells.

    Args:
        density: (h,w) people per cell.
        factor: Cells per block and side, 1 or more. Blocks at the lower and right edge may be incomplete.

    Returns:
        float32 (ceil(h/factor), ceil(w/factor)) people per block.

    Raises:
        ValueError: If the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}; give 1 or more")
    h, w = density.shape
    rows, columns = -(-h // factor), -(-w // factor)
    padded = np.zeros((rows * factor, columns * factor), np.float64)
    padded[:h, :w] = density
    return padded.reshape(rows, factor, columns, factor).sum(axis=(1, 3)).astype(np.float32)


def resize_density(density: np.ndarray, height: int, width: int, stride: float | None = None) -> np.ndarray:
    """Resample a density map to the pixels of an image; the sum stays the same.

    Args:
        density: (h,w) people per cell.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: Pixels per cell, for maps whose last cells extend past the edge of the image. Without it, the map
            covers the image exactly.

    Returns:
        float32 (height,width) people per pixel.
    """
    total = float(density.sum(dtype=np.float64))
    h, w = density.shape
    full_height, full_width = (height, width) if stride is None else (round(h * stride), round(w * stride))
    interpolation = cv2.INTER_AREA if full_height < h else cv2.INTER_LINEAR
    size = (max(1, full_width), max(1, full_height))
    full = cv2.resize(density.astype(np.float32), size, interpolation=interpolation)[:height, :width]
    if full.shape != (height, width):  # the last cells end short of the edge
        full = np.pad(full, ((0, height - full.shape[0]), (0, width - full.shape[1])))
    mass = float(full.sum(dtype=np.float64))
    return full * np.float32(total / mass) if mass else full


def color_map(level: np.ndarray) -> np.ndarray:
    """Turn levels (H,W) in 0..1 into uint8 (H,W,3): inferno without its black end, dark violet to pale yellow."""
    index = (56 + 199 * np.clip(level, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def heatmap_image(
    density: np.ndarray, height: int, width: int, peak: float | None = None, stride: float | None = None
) -> np.ndarray:
    """Draw a density map alone, black where nobody is.

    Args:
        density: (h,w) people per cell.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        peak: People per 100 x 100 pixels that get the brightest color; by default `heatmap_peak` of this map. Give
            the same value for maps that are compared.
        stride: As for `resize_density`.

    Returns:
        uint8 (height,width,3).
    """
    crowding = resize_density(density, height, width, stride) * PATCH
    level = np.clip(crowding / (peak or _peak(crowding)), 0, 1)
    return (color_map(level) * np.minimum(1, level * 8)[:, :, None]).astype(np.uint8)


def heatmap_peak(density: np.ndarray, height: int, width: int, stride: float | None = None) -> float:
    """Return the `peak` that `heatmap_image` chooses for this map, in people per 100 x 100 pixels."""
    return _peak(resize_density(density, height, width, stride) * PATCH)


def overlay(
    image: np.ndarray,
    density: np.ndarray,
    count: float | None = None,
    stride: float | None = None,
    unit: str = "people",
) -> np.ndarray:
    """Draw a density map over its image, with the count and, if the image is large enough, a legend.

    Args:
        image: uint8 (H,W,3); not changed.
        density: (h,w) people per cell.
        count: The number in the caption; by default the sum of the density.
        stride: As for `resize_density`.
        unit: What is counted, for the caption and the legend.

    Returns:
        uint8 (H,W,3). Empty places look as in `image`.
    """
    height, width = image.shape[:2]
    tint, alpha, peak = overlay_layers(density, height, width, stride)
    tint, alpha = cv2.resize(tint, (width, height)), cv2.resize(alpha, (width, height))
    blended: np.ndarray = cv2.blendLinear(np.ascontiguousarray(image), tint, 1 - alpha, alpha)
    people = float(density.sum(dtype=np.float64)) if count is None else count
    _draw_caption(blended, f"{people:,.0f} {'person' if unit == 'people' and round(people) == 1 else unit}")
    if height >= 160 and width >= 240:
        _draw_legend(blended, peak, unit)
    return blended


def overlay_layers(
    density: np.ndarray, height: int, width: int, stride: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Compute what `overlay` blends with an image.

    Args:
        density: (h,w) people per cell.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: As for `resize_density`.

    Returns:
        The colors, uint8 (h,w,3); their opacity, float32 (h,w) in 0..1; and the legend's peak in people per
        100 x 100 pixels. Both layers cover the image and have at most MAX_LAYER_SIDE pixels per side.
    """
    layer_height, layer_width = layer_size(height, width)
    area = layer_height * layer_width / (height * width)
    layer_stride = None if stride is None else stride * layer_width / width
    crowding: np.ndarray = resize_density(density, layer_height, layer_width, layer_stride).clip(0)
    crowding = crowding * np.float32(PATCH * area)
    crowding = cv2.GaussianBlur(crowding, (0, 0), max(0.5, min(layer_height, layer_width) / 110))
    peak = _peak(crowding)
    level: np.ndarray = (crowding / np.float32(peak)).clip(0, 1)
    alpha: np.ndarray = np.float32(OPACITY) * ((level - 0.03) / 0.45).clip(0, 1) ** np.float32(0.7)
    return color_map(level), alpha, peak


def mask_layer(mask: np.ndarray, height: int, width: int, stride: float) -> np.ndarray:
    """Resample a predicted foreground mask to the size of `overlay_layers`.

    Args:
        mask: (h,w), the probability of people per cell.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        stride: Pixels per cell.

    Returns:
        float32 in 0..1, of the size that `layer_size` gives.
    """
    layer_height, layer_width = layer_size(height, width)
    h, w = mask.shape
    scale = layer_width / width
    full = cv2.resize(mask.astype(np.float32), (max(1, round(w * stride * scale)), max(1, round(h * stride * scale))))
    missing = ((0, max(0, layer_height - full.shape[0])), (0, max(0, layer_width - full.shape[1])))
    return np.pad(full, missing, mode="edge")[:layer_height, :layer_width].clip(0, 1)


def layer_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) of the layers over an image of this size."""
    scale = min(1.0, MAX_LAYER_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _peak(crowding: np.ndarray) -> float:
    """Return the crowding that gets the brightest color: near the map's maximum, at least LOWEST_PEAK."""
    busy = crowding[crowding > 0.02 * crowding.max()] if crowding.max() > 0 else crowding[:0]
    return max(float(np.percentile(busy, 99)) if busy.size else 0.0, LOWEST_PEAK)


def _draw_caption(image: np.ndarray, text: str) -> None:
    """Draw the count on a dark plate in the upper left corner, in a size that suits the image."""
    height, width = image.shape[:2]
    scale = max(min(height, width) / 620, 0.28)
    (w, h), _ = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    scale *= min(1, 0.86 * width / w, 0.5 * height / h)
    (w, h), _ = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    pad = max(1, round(0.5 * h))
    darken(image, pad, pad, w + 2 * pad, h + 2 * pad)
    draw_text(image, text, 2 * pad, 2 * pad + h, scale, PAPER)


def _draw_legend(image: np.ndarray, peak: float, unit: str) -> None:
    """Draw a color bar with its scale in the lower left corner, if there is space."""
    height, width = image.shape[:2]
    scale = min(height, width) / 1400 if min(height, width) > 500 else 0.36
    text = f"{unit} per 100 x 100 px"
    (w, h), _ = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    pad, bar = round(0.9 * h), max(4, round(0.9 * h))
    plate_height = 2 * h + bar + 4 * pad
    x, y = pad, height - plate_height - pad
    if w + 4 * pad > width or y < height // 3:
        return
    darken(image, x, y, w + 2 * pad, plate_height)
    draw_text(image, text, x + pad, y + pad + h, scale, PAPER)
    y += 2 * pad + h
    image[y : y + bar, x + pad : x + pad + w] = color_map(np.linspace(0, 1, w)[None].repeat(bar, 0))
    top = f"{peak:.2g}" if peak < 10 else f"{peak:,.0f}"
    (top_width, _), _ = cv2.getTextSize(top, FONT, scale, stroke_width(scale))
    draw_text(image, "0", x + pad, y + bar + pad // 2 + h, scale, PAPER)
    draw_text(image, top, x + pad + w - top_width, y + bar + pad // 2 + h, scale, PAPER)

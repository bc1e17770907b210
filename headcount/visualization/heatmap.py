"""Density maps as pictures: overlays with a legend, panels side by side, contact sheets.

What is unusual: a density map is people per cell, so changing its size must not change its sum. `reduce` and `enlarge`
keep it; colours are chosen from people per 100 x 100 pixels, which means the same at any stride.
All pictures are uint8 (H,W,3) RGB, and all text is plain ASCII, which every OpenCV can draw.
"""

from __future__ import annotations

import cv2
import numpy as np

from headcount.visualization.text import FONT, PAPER, darken, draw_text, stroke_width

SMOOTH = 1000  # pixels a side: smooth colours need no more, and large photos stay quick
PATCH = 10_000  # the legend's unit of area: 100 x 100 pixels


def reduce(density: np.ndarray, factor: int) -> np.ndarray:
    """Sum blocks of factor x factor cells: (h,w) people per cell -> float32 (ceil(h/factor), ceil(w/factor))."""
    if factor < 1:
        raise ValueError(f"factor is {factor}; give 1 or more")
    h, w = density.shape
    rows, columns = -(-h // factor), -(-w // factor)
    padded = np.zeros((rows * factor, columns * factor), np.float64)
    padded[:h, :w] = density
    return padded.reshape(rows, factor, columns, factor).sum(axis=(1, 3)).astype(np.float32)


def enlarge(density: np.ndarray, height: int, width: int, stride: float | None = None) -> np.ndarray:
    """Resample (h,w) people per cell to float32 (height,width) people per pixel; the sum stays the same.

    `stride` is the size of a cell in pixels, for maps whose last cells reach past the picture's edge; without it the
    map spans the picture exactly.
    """
    total = float(density.sum(dtype=np.float64))
    h, w = density.shape
    full_height, full_width = (height, width) if stride is None else (round(h * stride), round(w * stride))
    how = cv2.INTER_AREA if full_height < h else cv2.INTER_LINEAR
    size = (max(1, full_width), max(1, full_height))
    full = cv2.resize(density.astype(np.float32), size, interpolation=how)[:height, :width]
    if full.shape != (height, width):  # a stride that ends short of the edge
        full = np.pad(full, ((0, height - full.shape[0]), (0, width - full.shape[1])))
    mass = float(full.sum(dtype=np.float64))
    return full * np.float32(total / mass) if mass else full


def colours(level: np.ndarray) -> np.ndarray:
    """Levels (H,W), 0 to 1, as uint8 (H,W,3) RGB: inferno without its black end, dark violet to pale yellow."""
    index = (56 + 199 * np.clip(level, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def heat(
    density: np.ndarray, height: int, width: int, peak: float | None = None, stride: float | None = None
) -> np.ndarray:
    """A density map alone, uint8 (height,width,3): black where nobody is. `stride` as for `enlarge`.

    `peak` is what gets the brightest colour, in people per 100 x 100 px: give the same, such as `brightest` of one of
    them, to maps that are compared.
    """
    crowding = enlarge(density, height, width, stride) * PATCH
    level = np.clip(crowding / (peak or _peak(crowding)), 0, 1)
    return (colours(level) * np.minimum(1, level * 8)[:, :, None]).astype(np.uint8)


def brightest(density: np.ndarray, height: int, width: int, stride: float | None = None) -> float:
    """The `peak` that `heat` chooses for this map by itself, people per 100 x 100 px."""
    return _peak(enlarge(density, height, width, stride) * PATCH)


def overlay(
    image: np.ndarray, density: np.ndarray, count: float | None = None, stride: float | None = None
) -> np.ndarray:
    """The photo uint8 (H,W,3) under its density (h,w): same size, with the count and a legend where there is room.

    Empty places stay clear. `count` is what the caption says, the density's sum when None; `stride` as for `enlarge`.
    """
    height, width = image.shape[:2]
    tint, alpha, peak = veil(density, height, width, stride)
    tint, alpha = cv2.resize(tint, (width, height)), cv2.resize(alpha, (width, height))
    picture: np.ndarray = cv2.blendLinear(np.ascontiguousarray(image), tint, 1 - alpha, alpha)
    people = float(density.sum(dtype=np.float64)) if count is None else count
    _caption(picture, f"{people:,.0f} {'person' if round(people) == 1 else 'people'}")
    if height >= 160 and width >= 240:
        _legend(picture, peak)
    return picture


def veil(
    density: np.ndarray, height: int, width: int, stride: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """What `overlay` lays on a picture of height x width pixels: its colours, uint8 (h,w,3), and how much they cover,
    float32 (h,w) 0..1, which span the picture with at most SMOOTH pixels a side; and the `peak` of the legend."""
    low_height, low_width = smooth_size(height, width)
    area = low_height * low_width / (height * width)
    crowding: np.ndarray = enlarge(density, low_height, low_width, stride and stride * low_width / width).clip(0)
    crowding = crowding * np.float32(PATCH * area)
    crowding = cv2.GaussianBlur(crowding, (0, 0), max(0.5, min(low_height, low_width) / 110))
    peak = _peak(crowding)
    level: np.ndarray = (crowding / np.float32(peak)).clip(0, 1)
    alpha: np.ndarray = np.float32(0.82) * ((level - 0.03) / 0.45).clip(0, 1) ** np.float32(0.7)
    return colours(level), alpha, peak


def mask_veil(mask: np.ndarray, height: int, width: int, stride: float) -> np.ndarray:
    """How likely people are, float32 0..1, in the size of `veil`; mask: (h,w), cells of `stride` pixels."""
    low_height, low_width = smooth_size(height, width)
    h, w = mask.shape
    scale = low_width / width
    full = cv2.resize(mask.astype(np.float32), (max(1, round(w * stride * scale)), max(1, round(h * stride * scale))))
    missing = ((0, max(0, low_height - full.shape[0])), (0, max(0, low_width - full.shape[1])))
    return np.pad(full, missing, mode="edge")[:low_height, :low_width].clip(0, 1)


def smooth_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SMOOTH / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _peak(crowding: np.ndarray) -> float:
    """The crowding that gets the brightest colour: near the top of what the picture holds, and never 0.

    At least a person per 300 x 300 px: the faint haze a model leaves on an empty picture stays clear.
    """
    busy = crowding[crowding > 0.02 * crowding.max()] if crowding.max() > 0 else crowding[:0]
    return max(float(np.percentile(busy, 99)) if busy.size else 0.0, 1 / 9)


def _caption(picture: np.ndarray, text: str) -> None:
    """The count on a dark plate in the upper left, sized to the picture."""
    height, width = picture.shape[:2]
    scale = max(min(height, width) / 620, 0.28)
    (w, h), _ = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    scale *= min(1, 0.86 * width / w, 0.5 * height / h)
    (w, h), below = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    pad = max(1, round(0.5 * h))
    darken(picture, pad, pad, w + 2 * pad, h + 2 * pad)
    draw_text(picture, text, 2 * pad, 2 * pad + h, scale, PAPER)


def _legend(picture: np.ndarray, peak: float) -> None:
    """A colour bar with its scale in the lower left."""
    height, width = picture.shape[:2]
    scale = min(height, width) / 1400 if min(height, width) > 500 else 0.36
    text = "people per 100 x 100 px"
    (w, h), _ = cv2.getTextSize(text, FONT, scale, stroke_width(scale))
    pad, bar = round(0.9 * h), max(4, round(0.9 * h))
    tall = 2 * h + bar + 4 * pad
    x, y = pad, height - tall - pad
    if w + 4 * pad > width or y < height // 3:
        return
    darken(picture, x, y, w + 2 * pad, tall)
    draw_text(picture, text, x + pad, y + pad + h, scale, PAPER)
    y += 2 * pad + h
    picture[y : y + bar, x + pad : x + pad + w] = colours(np.linspace(0, 1, w)[None].repeat(bar, 0))
    top = f"{peak:.2g}" if peak < 10 else f"{peak:,.0f}"
    (tw, _), _ = cv2.getTextSize(top, FONT, scale, stroke_width(scale))
    draw_text(picture, "0", x + pad, y + bar + pad // 2 + h, scale, PAPER)
    draw_text(picture, top, x + pad + w - tw, y + bar + pad // 2 + h, scale, PAPER)

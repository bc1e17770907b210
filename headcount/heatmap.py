"""Density maps as pictures: overlays with a legend, panels side by side, contact sheets.

What is unusual: a density map is people per cell, so changing its size must not change its sum. `reduce` and `enlarge`
keep it; colours are chosen from people per 100 x 100 pixels, which means the same at any stride.
All pictures are uint8 (H,W,3) RGB, and all text is plain ASCII, which every OpenCV can draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
SMOOTH = 1000  # pixels a side: smooth colours need no more, and large photos stay quick
PATCH = 10_000  # the legend's unit of area: 100 x 100 pixels
INK, PAPER = (32, 34, 40), (255, 255, 255)


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


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str] = (), height: int = 480) -> np.ndarray:
    """Pictures of any size in one row, all `height` pixels tall, each under its caption."""
    if not len(images):
        raise ValueError("there are no pictures to put side by side; give at least one")
    panels = [_fit(image, height, max(1, round(image.shape[1] * height / image.shape[0]))) for image in images]
    return _grid([_titled(p, captions[i] if i < len(captions) else "") for i, p in enumerate(panels)], len(panels))


def caption_width(caption: str) -> int:
    """Pixels that a caption takes: a panel at least so wide shows all of it."""
    return cv2.getTextSize(ascii_only(caption), FONT, 0.5, 1)[0][0] + 4


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


def darken(picture: np.ndarray, x: int, y: int, w: int, h: int) -> None:
    """Darken a rectangle so that white text on it can be read on any photo."""
    part = picture[y : y + h, x : x + w]
    part[:] = (part * 0.28 + np.array(INK, np.float32) * 0.5).astype(np.uint8)


def stroke_width(scale: float) -> int:
    return max(1, round(1.7 * scale))


def ascii_only(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def draw_text(picture: np.ndarray, text: str, x: int, y: int, scale: float, colour=INK) -> int:
    """Draw text with its baseline at y; returns its width."""
    plain = ascii_only(text)
    cv2.putText(picture, plain, (x, y), FONT, scale, colour, stroke_width(scale), cv2.LINE_AA)
    return cv2.getTextSize(plain, FONT, scale, stroke_width(scale))[0][0]


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

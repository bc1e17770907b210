"""What is behind and between the people of a rendered scene.

Everything draws in place on uint8 (H,W,3) RGB arrays, and takes all its randomness from the generator that it is given.
Light falls from the upper left. Many things are round and as large as heads on purpose, such as lamps and balloons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import cv2
import numpy as np

Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Rng: TypeAlias = np.random.Generator
Thing: TypeAlias = Callable[[Rng, np.ndarray, float, float, float], list[Box]]  # rng, image, x, y, metre

GREENS = [(46, 82, 38), (62, 98, 44), (84, 116, 52), (52, 90, 62), (104, 122, 58), (128, 108, 48)]
WALLS = [
    (196, 178, 154),
    (168, 146, 124),
    (150, 92, 74),
    (188, 188, 184),
    (124, 130, 138),
    (216, 204, 182),
    (98, 96, 100),
]
BRIGHT = [(200, 56, 48), (232, 168, 48), (52, 112, 176), (240, 240, 236), (64, 140, 92), (212, 108, 60), (120, 76, 148)]


# Drawing tools ------------------------------------------------------------------------------------------------------


def pick(rng: Rng, colors: Sequence[Color], jitter: float = 10) -> Color:
    """Return one of the colors, slightly changed."""
    color = np.asarray(colors[int(rng.integers(len(colors)))]) + rng.normal(0, jitter, 3) + rng.normal(0, jitter)
    red, green, blue = (int(c) for c in color.clip(0, 255))
    return red, green, blue


def shade(color: Color, factor: float) -> Color:
    """Return a color in stronger or weaker light."""
    red, green, blue = (int(min(255, max(0, c * factor))) for c in color)
    return red, green, blue


def noise(rng: Rng, height: int, width: int, cell: float, octaves: int = 1) -> np.ndarray:
    """Return smooth noise.

    Args:
        rng: The source of randomness.
        height: Rows.
        width: Columns.
        cell: Size of the largest blobs in pixels.
        octaves: How many sizes of blobs are added, each half as large as the one before.

    Returns:
        float32 (height,width) of mean 0 and standard deviation about 1.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        size = max(1.0, cell / 2**octave)
        grid = rng.standard_normal((int(height / size) + 3, int(width / size) + 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return total / max(float(total.std()), 0.1)


def speckle(rng: Rng, image: np.ndarray, cell: float, strength: float, octaves: int = 1) -> np.ndarray:
    """Return an image, lightened and darkened by smooth noise: uint8 (H,W,3)."""
    field = 1 + strength * noise(rng, image.shape[0], image.shape[1], cell, octaves)
    return (image * field[:, :, None]).clip(0, 255).astype(np.uint8)


def fade(height: int, width: int, top: Color, bottom: Color) -> np.ndarray:
    """Return a vertical gradient, uint8 (height,width,3)."""
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - t) + np.array(bottom, np.float32) * t
    return np.repeat(rows, width, axis=1).clip(0, 255).astype(np.uint8)


def polygon(image: np.ndarray, points: Sequence[Point], color: Color) -> None:
    """Fill a polygon."""
    corners = np.round(np.array(points, np.float64) * 16).astype(np.int32)
    cv2.fillPoly(image, [corners], color, cv2.LINE_AA, shift=4)


def box(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
    """Fill a rectangle."""
    polygon(image, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)


def ellipse(image: np.ndarray, x: float, y: float, rx: float, ry: float, color: Color | int) -> None:
    """Fill an ellipse, on an image or on a mask (H,W)."""
    centre, axes = (round(x * 16), round(y * 16)), (max(1, round(rx * 16)), max(1, round(ry * 16)))
    cv2.ellipse(image, centre, axes, 0, 0, 360, np.atleast_1d(color).tolist(), -1, cv2.LINE_AA, shift=4)


def ball(image: np.ndarray, x: float, y: float, rx: float, ry: float, color: Color) -> None:
    """Fill an ellipse that is lit from the upper left."""
    for step, light in ((0.0, 0.62), (0.12, 0.84), (0.24, 1.0), (0.4, 1.16)):
        small, lit = 1 - step, shade(color, light)
        ellipse(image, x - rx * step * 0.7, y - ry * step * 0.8, rx * small, ry * small, lit)


def line(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, color: Color, thickness: float) -> None:
    """Draw a line."""
    start, end = (round(x0 * 16), round(y0 * 16)), (round(x1 * 16), round(y1 * 16))
    cv2.line(image, start, end, color, max(1, round(thickness)), cv2.LINE_AA, shift=4)


# Sky, facades, ground -----------------------------------------------------------------------------------------------

SKIES = [
    ((86, 138, 196), (208, 224, 236)),
    ((128, 150, 176), (216, 218, 220)),
    ((176, 182, 190), (226, 226, 224)),
    ((62, 84, 140), (244, 190, 140)),
    ((18, 22, 44), (70, 66, 86)),
]


def sky(rng: Rng, height: int, width: int) -> np.ndarray:
    """Return a sky with clouds, uint8 (height,width,3)."""
    image = fade(height, width, *SKIES[rng.choice(len(SKIES), p=[0.45, 0.2, 0.15, 0.12, 0.08])]).astype(np.float32)
    cloud = noise(rng, height, width, max(width, height) / 4, 5) * 0.4 + rng.uniform(-0.4, 0.3)
    cloud = cloud.clip(0, 0.85)[:, :, None]
    white = 0.35 * image.mean() + np.array((150, 150, 154), np.float32)
    return (image * (1 - cloud) + white * cloud).clip(0, 255).astype(np.uint8)


def facades(rng: Rng, image: np.ndarray, base: float, metre: float) -> None:
    """Draw a row of houses with windows, shops and awnings.

    Args:
        rng: The source of randomness.
        image: uint8 (H,W,3).
        base: Row of the ground in front of the houses.
        metre: Pixels per metre.
    """
    x = -rng.uniform(0, 6) * metre
    while x < image.shape[1]:
        x += _house(rng, image, x, base, metre)
        if rng.random() < 0.15:
            x += rng.uniform(2, 6) * metre


def _house(rng: Rng, image: np.ndarray, x: float, base: float, metre: float) -> float:
    """Draw a house from column x on, and return its width in pixels."""
    wide, floors = rng.uniform(7, 16) * metre, int(rng.integers(2, 7))
    wall, roof = pick(rng, WALLS, 5), base - (floors * 3.2 + 1.2) * metre
    box(image, x, roof, x + wide, base, wall)
    box(image, x, roof, x + wide, roof + 0.5 * metre, shade(wall, 0.75))
    box(image, x + wide - 0.25 * metre, roof, x + wide, base, shade(wall, 0.7))
    if metre > 8 and rng.random() < 0.6:
        for course in np.arange(roof, base, 0.4 * metre):
            line(image, x, course, x + wide - 0.3 * metre, course, shade(wall, 0.94), 1)
    glass, columns = pick(rng, [(70, 84, 98), (48, 56, 66), (120, 138, 150)]), max(2, int(wide / metre / 2.4))
    for floor in range(1, floors):
        for column in range(columns):
            left, top = x + wide * (column + 0.28) / columns, roof + ((floor - 1) * 3.2 + 1.7) * metre
            _window(rng, image, (left, top, left + wide * 0.44 / columns, top + 1.8 * metre), wall, glass, metre)
    shop = shade(glass, rng.uniform(0.6, 1.3))
    box(image, x + 0.5 * metre, base - 2.9 * metre, x + wide - 0.5 * metre, base, shop)
    if rng.random() < 0.6:
        cloth = pick(rng, BRIGHT)
        for i in range(8):
            left = x + 0.4 * metre + i * (wide - 0.8 * metre) / 8
            right = left + (wide - 0.8 * metre) / 8
            stripe = cloth if i % 2 else shade((250, 246, 238), 0.95)
            box(image, left, base - 3.3 * metre, right, base - 2.5 * metre, stripe)
    return wide


def _window(rng: Rng, image: np.ndarray, outline: Box, wall: Color, glass: Color, metre: float) -> None:
    left, top, right, bottom = outline
    middle = (left + right) / 2
    box(image, left - 1, top - 1, right + 1, bottom + 1, shade(wall, 1.2))
    box(image, left, top, right, bottom, shade(glass, rng.uniform(0.7, 1.4)))
    polygon(image, [(left, bottom), (left, top), (right, top)], shade(glass, rng.uniform(1.0, 1.6)))
    line(image, middle, top, middle, bottom, shade(wall, 1.2), 0.08 * metre)
    box(image, left - 0.15 * metre, bottom, right + 0.15 * metre, bottom + 0.15 * metre, shade(wall, 0.65))


def texture(rng: Rng, kind: str) -> np.ndarray:
    """Return a square of ground, uint8 (512,512,3), 8 m wide. `kind` is one of GROUNDS."""
    base = {
        "asphalt": [(104, 104, 108), (86, 86, 90)],
        "grass": [(92, 122, 58), (110, 130, 66)],
        "sand": [(206, 184, 146), (188, 164, 128)],
        "paving": [(168, 160, 148), (150, 148, 146), (176, 154, 132)],
        "tiles": [(196, 188, 176), (140, 140, 148)],
        "gravel": [(150, 142, 132)],
    }[kind]
    image = np.full((512, 512, 3), pick(rng, base, 4), np.uint8)
    if kind in ("paving", "tiles"):
        size = int(rng.choice([32, 64, 128]))
        tones = rng.normal(1, 0.15 if kind == "tiles" else 0.07, (512 // size, 512 // size, 1)).astype(np.float32)
        image = (image * np.kron(tones, np.ones((size, size, 1), np.float32))).clip(0, 255).astype(np.uint8)
        for start in range(0, 512, size):
            for joint in (image[start : start + 2], image[:, start : start + 2]):
                joint[:] = joint * 0.7
    image = speckle(rng, image, 160, 0.06, 2)
    return speckle(rng, image, 3, {"grass": 0.2, "gravel": 0.25, "asphalt": 0.1}.get(kind, 0.05), 2)


GROUNDS = ("asphalt", "grass", "sand", "paving", "paving", "tiles", "gravel")


def ground(rng: Rng, image: np.ndarray, horizon: float, metre_per_row: float, kind: str) -> None:
    """Paint the ground below the horizon, in perspective.

    Args:
        rng: The source of randomness.
        image: uint8 (H,W,3).
        horizon: Row of the horizon.
        metre_per_row: Pixels per metre, per row below the horizon.
        kind: One of GROUNDS.
    """
    height, width = image.shape[:2]
    first = int(max(0, np.ceil(horizon + 1)))
    if first >= height:
        return
    rows = np.arange(first, height, dtype=np.float32) - np.float32(horizon)
    metre = (rows * metre_per_row)[:, None]  # (rows, 1)
    across = (np.arange(width, dtype=np.float32)[None] - width / 2) / metre  # metres, (rows, width)
    away = np.broadcast_to(1.4 * (height - horizon) / metre, across.shape)
    surface = texture(rng, kind)
    projected = cv2.remap(
        surface, across * 64 + 256, np.ascontiguousarray(away * 64), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    sharp = (metre / 40).clip(0.15, 1)[:, :, None]  # distant texture blurs
    plain = surface.reshape(-1, 3).mean(axis=0)
    image[first:] = (projected * sharp + plain * (1 - sharp)).clip(0, 255)


# Things on the ground: drawn with the foot at (x, y), at `metre` pixels per metre; each returns the boxes it hides ----


def tree(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    tall, wide, green = rng.uniform(5, 9) * metre, rng.uniform(1.6, 2.8) * metre, pick(rng, GREENS)
    line(image, x, y, x, y - tall * 0.6, (74, 58, 44), 0.3 * metre)
    leaf, leaves = (0.22, 60) if metre < 12 else (0.12, 220)
    for _ in range(leaves):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        dx, dy = np.cos(angle) * reach, np.sin(angle) * reach
        light = 0.85 - 0.25 * dx - 0.35 * dy + rng.normal(0, 0.12)
        cx, cy = x + dx * wide, y - tall * (0.72 - 0.3 * dy)
        ellipse(image, cx, cy, wide * leaf, wide * leaf * 0.8, shade(green, light))
    return [
        (x - wide * 1.1, y - tall * 1.05, x + wide * 1.1, y - tall * 0.4),
        (x - 0.4 * metre, y - tall, x + 0.4 * metre, y),
    ]


def lamp(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    top, metal = y - rng.uniform(3.5, 5) * metre, pick(rng, [(50, 52, 56), (70, 84, 78)])
    line(image, x, y, x, top, metal, 0.12 * metre)
    for side in (-0.5, 0.5) if rng.random() < 0.5 else (0,):
        line(image, x, top, x + side * metre, top, metal, 0.08 * metre)
        ball(
            image,
            x + side * metre,
            top - 0.18 * metre,
            0.2 * metre,
            0.2 * metre,
            pick(rng, [(244, 236, 210), (220, 224, 228)]),
        )
    return [(x - 0.75 * metre, top - 0.45 * metre, x + 0.75 * metre, top + 0.2 * metre)]


def parasol(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    top, radius, cloth = y - rng.uniform(2.3, 2.9) * metre, rng.uniform(1.1, 1.7) * metre, pick(rng, BRIGHT)
    line(image, x, y, x, top, (130, 116, 96), 0.07 * metre)
    rim = [(x + radius * np.cos(a), top + 0.62 * metre + 0.18 * metre * np.sin(a)) for a in np.linspace(np.pi, 0, 9)]
    for i, (a, b) in enumerate(zip(rim[:-1], rim[1:], strict=True)):
        polygon(image, [(x, top), a, b], shade(cloth if i % 2 else (244, 240, 230), 1.08 - 0.05 * i))
    return [(x - radius, top - 0.1 * metre, x + radius, top + 0.9 * metre)]


def stall(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    wide, cloth = rng.uniform(1.3, 2.2) * metre, pick(rng, BRIGHT)
    box(image, x - wide, y - 1 * metre, x + wide, y, pick(rng, [(132, 98, 66), (196, 190, 180)]))
    for _ in range(24):  # goods that are round, such as fruit
        fx, fy = x + rng.uniform(-0.9, 0.9) * wide, y - rng.uniform(1.0, 1.2) * metre
        ball(image, fx, fy, 0.1 * metre, 0.1 * metre, pick(rng, BRIGHT, 25))
    for side in (-1, 1):
        line(image, x + side * wide, y, x + side * wide, y - 2.3 * metre, (110, 100, 90), 0.08 * metre)
    for i in range(8):
        left, right = (wide * (0.2875 * edge - 1.15) for edge in (i, i + 1))
        polygon(
            image,
            [
                (x + left * 0.86, y - 2.9 * metre),
                (x + right * 0.86, y - 2.9 * metre),
                (x + right, y - 2.2 * metre),
                (x + left, y - 2.2 * metre),
            ],
            cloth if i % 2 else (240, 236, 228),
        )
    return [(x - wide * 1.15, y - 2.95 * metre, x + wide * 1.15, y)]


def car(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    paint = pick(rng, [(196, 198, 202), (60, 64, 70), (150, 36, 34), (44, 72, 120), (236, 236, 232), (200, 164, 60)])

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + dx * metre, y - dy * metre

    polygon(image, [at(-1.3, 0.85), at(-0.9, 1.45), at(0.75, 1.45), at(1.35, 0.85)], shade(paint, 1.05))
    polygon(image, [at(-1.1, 0.88), at(-0.8, 1.36), at(-0.1, 1.36), at(-0.1, 0.88)], (64, 76, 88))
    polygon(image, [at(0, 0.88), at(0, 1.36), at(0.68, 1.36), at(1.12, 0.88)], (54, 64, 76))
    polygon(image, [at(-2.1, 0.3), at(-2.05, 0.75), at(-1.3, 0.92), at(1.4, 0.92), at(2.05, 0.8), at(2.1, 0.3)], paint)
    box(image, x - 2.1 * metre, y - 0.5 * metre, x + 2.1 * metre, y - 0.28 * metre, shade(paint, 0.72))
    for dx in (-1.25, 1.25):
        ellipse(image, x + dx * metre, y - 0.3 * metre, 0.33 * metre, 0.33 * metre, (28, 28, 30))
        ellipse(image, x + dx * metre, y - 0.3 * metre, 0.17 * metre, 0.17 * metre, (150, 152, 154))
    return [(x - 2.1 * metre, y - 1.5 * metre, x + 2.1 * metre, y)]


def barrier(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    metal = pick(rng, [(168, 172, 176), (120, 124, 130)])
    for height in (0.15, 1.05):
        line(image, x - 1.1 * metre, y - height * metre, x + 1.1 * metre, y - height * metre, metal, 0.06 * metre)
    for dx in np.linspace(-1.1, 1.1, 12):
        line(image, x + dx * metre, y - 0.1 * metre, x + dx * metre, y - 1.05 * metre, metal, 0.03 * metre)
    return [(x - 1.1 * metre, y - 1.1 * metre, x + 1.1 * metre, y)]


def bollards(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    stone = pick(rng, [(150, 148, 144), (92, 92, 96), (186, 172, 150)])
    for dx in (-1.0, 0.0, 1.0):
        ellipse(image, x + dx * metre, y, 0.3 * metre, 0.1 * metre, shade(stone, 0.5))
        box(image, x + (dx - 0.1) * metre, y - 0.6 * metre, x + (dx + 0.1) * metre, y, shade(stone, 0.8))
        ball(image, x + dx * metre, y - 0.7 * metre, 0.19 * metre, 0.19 * metre, stone)
    return [(x - 1.3 * metre, y - 0.95 * metre, x + 1.3 * metre, y)]


def balloons(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    for _ in range(int(rng.integers(3, 9))):
        bx, by = x + rng.normal(0, 0.3) * metre, y - rng.uniform(2.4, 3.4) * metre
        line(image, x, y - 1.2 * metre, bx, by, (200, 200, 200), 1)
        ball(image, bx, by, 0.17 * metre, 0.21 * metre, pick(rng, BRIGHT, 20))
    return [(x - 0.9 * metre, y - 3.7 * metre, x + 0.9 * metre, y - 2.1 * metre)]


def flag(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    top, cloth = y - rng.uniform(3.2, 4.5) * metre, pick(rng, BRIGHT)
    line(image, x, y, x, top, (160, 160, 160), 0.06 * metre)
    polygon(image, [(x, top), (x + 1.5 * metre, top + 0.45 * metre), (x, top + 0.9 * metre)], cloth)
    polygon(image, [(x, top + 0.3 * metre), (x + metre, top + 0.45 * metre), (x, top + 0.6 * metre)], shade(cloth, 1.4))
    return [(x - 0.1 * metre, top, x + 1.5 * metre, top + 0.95 * metre)]


def planter(rng: Rng, image: np.ndarray, x: float, y: float, metre: float) -> list[Box]:
    box(
        image,
        x - 0.9 * metre,
        y - 0.6 * metre,
        x + 0.9 * metre,
        y,
        pick(rng, [(150, 110, 84), (140, 138, 134), (84, 66, 50)]),
    )
    for _ in range(30):
        dx, dy = rng.uniform(-0.85, 0.85), rng.uniform(0, 0.55)
        color = pick(rng, GREENS) if rng.random() < 0.75 else pick(rng, BRIGHT)
        ball(image, x + dx * metre, y - (0.6 + dy) * metre, 0.14 * metre, 0.12 * metre, color)
    return [(x - 0.95 * metre, y - 1.3 * metre, x + 0.95 * metre, y)]


THINGS: tuple[Thing, ...] = (tree, lamp, parasol, stall, car, barrier, bollards, balloons, flag, planter)

"""What stands behind and between the people of a rendered scene.

Everything draws on uint8 (H,W,3) RGB arrays with OpenCV, and takes all its chance from the generator it is given.
Light falls from the upper left. Many things here are round and head-sized on purpose: lamps, stones, balloons, seats.
"""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]

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


# Small tools --------------------------------------------------------------------------------------------------------


def pick(rng: np.random.Generator, colours, jitter: float = 10) -> Colour:
    """One of `colours`, a little changed."""
    colour = np.asarray(colours[rng.integers(len(colours))]) + rng.normal(0, jitter, 3) + rng.normal(0, jitter)
    red, green, blue = (int(c) for c in colour.clip(0, 255))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255, max(0, c * factor))) for c in colour)
    return red, green, blue


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 1) -> np.ndarray:
    """Smooth noise, float32 (height,width), mean 0, deviation about 1; `cell` is the size of its largest blobs."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        size = max(1.0, cell / 2**octave)
        grid = rng.standard_normal((int(height / size) + 3, int(width / size) + 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return total / max(float(total.std()), 0.1)


def speckle(rng: np.random.Generator, image: np.ndarray, cell: float, strength: float, octaves: int = 1) -> np.ndarray:
    """Lighten and darken an image by smooth noise; returns uint8."""
    field = 1 + strength * noise(rng, image.shape[0], image.shape[1], cell, octaves)
    return (image * field[:, :, None]).clip(0, 255).astype(np.uint8)


def fade(height: int, width: int, top: Colour, bottom: Colour) -> np.ndarray:
    """A vertical gradient, uint8 (height,width,3)."""
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - t) + np.array(bottom, np.float32) * t
    return np.repeat(rows, width, axis=1).clip(0, 255).astype(np.uint8)


def polygon(image: np.ndarray, points, colour: Colour) -> None:
    corners = np.round(np.array(points, np.float64) * 16).astype(np.int32)
    cv2.fillPoly(image, [corners], colour, cv2.LINE_AA, shift=4)


def box(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    polygon(image, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)


def ellipse(image: np.ndarray, x: float, y: float, rx: float, ry: float, colour: Colour | int) -> None:
    centre, axes = (round(x * 16), round(y * 16)), (max(1, round(rx * 16)), max(1, round(ry * 16)))
    cv2.ellipse(image, centre, axes, 0, 0, 360, np.atleast_1d(colour).tolist(), -1, cv2.LINE_AA, shift=4)


def ball(image: np.ndarray, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
    """An ellipse lit from the upper left."""
    for step, light in ((0.0, 0.62), (0.12, 0.84), (0.24, 1.0), (0.4, 1.16)):
        small, lit = 1 - step, shade(colour, light)
        ellipse(image, x - rx * step * 0.7, y - ry * step * 0.8, rx * small, ry * small, lit)


def line(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: Colour, thickness: float) -> None:
    start, end = (round(x0 * 16), round(y0 * 16)), (round(x1 * 16), round(y1 * 16))
    cv2.line(image, start, end, colour, max(1, round(thickness)), cv2.LINE_AA, shift=4)


# Sky, facades, ground -----------------------------------------------------------------------------------------------

SKIES = [
    ((86, 138, 196), (208, 224, 236)),
    ((128, 150, 176), (216, 218, 220)),
    ((176, 182, 190), (226, 226, 224)),
    ((62, 84, 140), (244, 190, 140)),
    ((18, 22, 44), (70, 66, 86)),
]


def sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = fade(height, width, *SKIES[rng.choice(len(SKIES), p=[0.45, 0.2, 0.15, 0.12, 0.08])]).astype(np.float32)
    cloud = noise(rng, height, width, max(width, height) / 4, 5) * 0.4 + rng.uniform(-0.4, 0.3)
    cloud = cloud.clip(0, 0.85)[:, :, None]
    white = 0.35 * image.mean() + np.array((150, 150, 154), np.float32)
    return (image * (1 - cloud) + white * cloud).clip(0, 255).astype(np.uint8)


def facades(rng: np.random.Generator, image: np.ndarray, base: float, metre: float) -> None:
    """A row of houses along the row `base`, with windows, shops and awnings."""
    x = -rng.uniform(0, 6) * metre
    while x < image.shape[1]:
        wide, floors = rng.uniform(7, 16) * metre, int(rng.integers(2, 7))
        wall, roof = pick(rng, WALLS, 5), base - (floors * 3.2 + 1.2) * metre
        box(image, x, roof, x + wide, base, wall)
        box(image, x, roof, x + wide, roof + 0.5 * metre, shade(wall, 0.75))
        box(image, x + wide - 0.25 * metre, roof, x + wide, base, shade(wall, 0.7))
        for course in np.arange(roof, base, 0.4 * metre) if metre > 8 and rng.random() < 0.6 else ():
            line(image, x, course, x + wide - 0.3 * metre, course, shade(wall, 0.94), 1)
        glass, columns = pick(rng, [(70, 84, 98), (48, 56, 66), (120, 138, 150)]), max(2, int(wide / metre / 2.4))
        for floor in range(1, floors):
            for column in range(columns):
                left, top = x + wide * (column + 0.28) / columns, roof + ((floor - 1) * 3.2 + 1.7) * metre
                right, bottom = left + wide * 0.44 / columns, top + 1.8 * metre
                box(image, left - 1, top - 1, right + 1, bottom + 1, shade(wall, 1.2))
                box(image, left, top, right, bottom, shade(glass, rng.uniform(0.7, 1.4)))
                polygon(image, [(left, bottom), (left, top), (right, top)], shade(glass, rng.uniform(1.0, 1.6)))
                line(image, (left + right) / 2, top, (left + right) / 2, bottom, shade(wall, 1.2), 0.08 * metre)
                box(image, left - 0.15 * metre, bottom, right + 0.15 * metre, bottom + 0.15 * metre, shade(wall, 0.65))
        shop = shade(glass, rng.uniform(0.6, 1.3))
        box(image, x + 0.5 * metre, base - 2.9 * metre, x + wide - 0.5 * metre, base, shop)
        if rng.random() < 0.6:
            awning = pick(rng, BRIGHT)
            for i in range(8):
                left = x + 0.4 * metre + i * (wide - 0.8 * metre) / 8
                box(
                    image,
                    left,
                    base - 3.3 * metre,
                    left + (wide - 0.8 * metre) / 8,
                    base - 2.5 * metre,
                    awning if i % 2 else shade((250, 246, 238), 0.95),
                )
        x += wide
        if rng.random() < 0.15:
            x += rng.uniform(2, 6) * metre


def texture(rng: np.random.Generator, kind: str) -> np.ndarray:
    """512 x 512 pixels of ground, uint8: 8 m on a side."""
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


def ground(rng: np.random.Generator, image: np.ndarray, horizon: float, metre_per_row: float, kind: str) -> None:
    """Paint the ground plane below `horizon`; a metre is (row - horizon) * metre_per_row pixels."""
    height, width = image.shape[:2]
    first = int(max(0, np.ceil(horizon + 1)))
    if first >= height:
        return
    rows = np.arange(first, height, dtype=np.float32) - np.float32(horizon)
    metre = (rows * metre_per_row)[:, None]  # (rows, 1)
    across = (np.arange(width, dtype=np.float32)[None] - width / 2) / metre  # metres, (rows, width)
    away = np.broadcast_to(1.4 * (height - horizon) / metre, across.shape)
    surface = texture(rng, kind)
    seen = cv2.remap(
        surface, across * 64 + 256, np.ascontiguousarray(away * 64), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    sharp = (metre / 40).clip(0.15, 1)[:, :, None]  # far texture melts together
    plain = surface.reshape(-1, 3).mean(axis=0)
    image[first:] = (seen * sharp + plain * (1 - sharp)).clip(0, 255)


# Things on the ground: each is drawn standing at (x, y), `m` pixels a metre, and gives the boxes it hides -------------

Box = tuple[float, float, float, float]


def tree(rng, image, x, y, m) -> list[Box]:
    tall, wide, green = rng.uniform(5, 9) * m, rng.uniform(1.6, 2.8) * m, pick(rng, GREENS)
    line(image, x, y, x, y - tall * 0.6, (74, 58, 44), 0.3 * m)
    leaf, leaves = (0.22, 60) if m < 12 else (0.12, 220)
    for _ in range(leaves):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        dx, dy = np.cos(angle) * reach, np.sin(angle) * reach
        light = 0.85 - 0.25 * dx - 0.35 * dy + rng.normal(0, 0.12)
        cx, cy = x + dx * wide, y - tall * (0.72 - 0.3 * dy)
        ellipse(image, cx, cy, wide * leaf, wide * leaf * 0.8, shade(green, light))
    return [(x - wide * 1.1, y - tall * 1.05, x + wide * 1.1, y - tall * 0.4), (x - 0.4 * m, y - tall, x + 0.4 * m, y)]


def lamp(rng, image, x, y, m) -> list[Box]:
    top, metal = y - rng.uniform(3.5, 5) * m, pick(rng, [(50, 52, 56), (70, 84, 78)])
    line(image, x, y, x, top, metal, 0.12 * m)
    for side in (-0.5, 0.5) if rng.random() < 0.5 else (0,):
        line(image, x, top, x + side * m, top, metal, 0.08 * m)
        ball(image, x + side * m, top - 0.18 * m, 0.2 * m, 0.2 * m, pick(rng, [(244, 236, 210), (220, 224, 228)]))
    return [(x - 0.75 * m, top - 0.45 * m, x + 0.75 * m, top + 0.2 * m)]


def parasol(rng, image, x, y, m) -> list[Box]:
    top, radius, cloth = y - rng.uniform(2.3, 2.9) * m, rng.uniform(1.1, 1.7) * m, pick(rng, BRIGHT)
    line(image, x, y, x, top, (130, 116, 96), 0.07 * m)
    rim = [(x + radius * np.cos(a), top + 0.62 * m + 0.18 * m * np.sin(a)) for a in np.linspace(np.pi, 0, 9)]
    for i, (a, b) in enumerate(zip(rim[:-1], rim[1:], strict=True)):
        polygon(image, [(x, top), a, b], shade(cloth if i % 2 else (244, 240, 230), 1.08 - 0.05 * i))
    return [(x - radius, top - 0.1 * m, x + radius, top + 0.9 * m)]


def stall(rng, image, x, y, m) -> list[Box]:
    wide, cloth = rng.uniform(1.3, 2.2) * m, pick(rng, BRIGHT)
    box(image, x - wide, y - 1 * m, x + wide, y, pick(rng, [(132, 98, 66), (196, 190, 180)]))
    for _ in range(24):  # fruit, pots, whatever is round and sold
        fx, fy = x + rng.uniform(-0.9, 0.9) * wide, y - rng.uniform(1.0, 1.2) * m
        ball(image, fx, fy, 0.1 * m, 0.1 * m, pick(rng, BRIGHT, 25))
    for side in (-1, 1):
        line(image, x + side * wide, y, x + side * wide, y - 2.3 * m, (110, 100, 90), 0.08 * m)
    for i in range(8):
        left, right = (wide * (0.2875 * edge - 1.15) for edge in (i, i + 1))
        polygon(
            image,
            [
                (x + left * 0.86, y - 2.9 * m),
                (x + right * 0.86, y - 2.9 * m),
                (x + right, y - 2.2 * m),
                (x + left, y - 2.2 * m),
            ],
            cloth if i % 2 else (240, 236, 228),
        )
    return [(x - wide * 1.15, y - 2.95 * m, x + wide * 1.15, y)]


def car(rng, image, x, y, m) -> list[Box]:
    paint = pick(rng, [(196, 198, 202), (60, 64, 70), (150, 36, 34), (44, 72, 120), (236, 236, 232), (200, 164, 60)])

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + dx * m, y - dy * m

    polygon(image, [at(-1.3, 0.85), at(-0.9, 1.45), at(0.75, 1.45), at(1.35, 0.85)], shade(paint, 1.05))
    polygon(image, [at(-1.1, 0.88), at(-0.8, 1.36), at(-0.1, 1.36), at(-0.1, 0.88)], (64, 76, 88))
    polygon(image, [at(0, 0.88), at(0, 1.36), at(0.68, 1.36), at(1.12, 0.88)], (54, 64, 76))
    polygon(image, [at(-2.1, 0.3), at(-2.05, 0.75), at(-1.3, 0.92), at(1.4, 0.92), at(2.05, 0.8), at(2.1, 0.3)], paint)
    box(image, x - 2.1 * m, y - 0.5 * m, x + 2.1 * m, y - 0.28 * m, shade(paint, 0.72))
    for dx in (-1.25, 1.25):
        ellipse(image, x + dx * m, y - 0.3 * m, 0.33 * m, 0.33 * m, (28, 28, 30))
        ellipse(image, x + dx * m, y - 0.3 * m, 0.17 * m, 0.17 * m, (150, 152, 154))
    return [(x - 2.1 * m, y - 1.5 * m, x + 2.1 * m, y)]


def barrier(rng, image, x, y, m) -> list[Box]:
    metal = pick(rng, [(168, 172, 176), (120, 124, 130)])
    for height in (0.15, 1.05):
        line(image, x - 1.1 * m, y - height * m, x + 1.1 * m, y - height * m, metal, 0.06 * m)
    for dx in np.linspace(-1.1, 1.1, 12):
        line(image, x + dx * m, y - 0.1 * m, x + dx * m, y - 1.05 * m, metal, 0.03 * m)
    return [(x - 1.1 * m, y - 1.1 * m, x + 1.1 * m, y)]


def bollards(rng, image, x, y, m) -> list[Box]:
    stone = pick(rng, [(150, 148, 144), (92, 92, 96), (186, 172, 150)])
    for dx in (-1.0, 0.0, 1.0):
        ellipse(image, x + dx * m, y, 0.3 * m, 0.1 * m, shade(stone, 0.5))
        box(image, x + (dx - 0.1) * m, y - 0.6 * m, x + (dx + 0.1) * m, y, shade(stone, 0.8))
        ball(image, x + dx * m, y - 0.7 * m, 0.19 * m, 0.19 * m, stone)
    return [(x - 1.3 * m, y - 0.95 * m, x + 1.3 * m, y)]


def balloons(rng, image, x, y, m) -> list[Box]:
    for _ in range(int(rng.integers(3, 9))):
        bx, by = x + rng.normal(0, 0.3) * m, y - rng.uniform(2.4, 3.4) * m
        line(image, x, y - 1.2 * m, bx, by, (200, 200, 200), 1)
        ball(image, bx, by, 0.17 * m, 0.21 * m, pick(rng, BRIGHT, 20))
    return [(x - 0.9 * m, y - 3.7 * m, x + 0.9 * m, y - 2.1 * m)]


def flag(rng, image, x, y, m) -> list[Box]:
    top, cloth = y - rng.uniform(3.2, 4.5) * m, pick(rng, BRIGHT)
    line(image, x, y, x, top, (160, 160, 160), 0.06 * m)
    polygon(image, [(x, top), (x + 1.5 * m, top + 0.45 * m), (x, top + 0.9 * m)], cloth)
    polygon(image, [(x, top + 0.3 * m), (x + m, top + 0.45 * m), (x, top + 0.6 * m)], shade(cloth, 1.4))
    return [(x - 0.1 * m, top, x + 1.5 * m, top + 0.95 * m)]


def planter(rng, image, x, y, m) -> list[Box]:
    box(image, x - 0.9 * m, y - 0.6 * m, x + 0.9 * m, y, pick(rng, [(150, 110, 84), (140, 138, 134), (84, 66, 50)]))
    for _ in range(30):
        dx, dy = rng.uniform(-0.85, 0.85), rng.uniform(0, 0.55)
        colour = pick(rng, GREENS) if rng.random() < 0.75 else pick(rng, BRIGHT)
        ball(image, x + dx * m, y - (0.6 + dy) * m, 0.14 * m, 0.12 * m, colour)
    return [(x - 0.95 * m, y - 1.3 * m, x + 0.95 * m, y)]


THINGS = (tree, lamp, parasol, stall, car, barrier, bollards, balloons, flag, planter)

"""What surrounds a stage: the walls of a hall, or ground and sky."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from headcount.synthetic import scenery
from headcount.synthetic.scenery import WALLS, Color, Rng, box, line, noise, pick, shade, speckle
from headcount.synthetic.view import Surface, View, paint_room

WALL_SCALE = 48  # pixels per metre of a wall
FLOORS: list[Color] = [(120, 122, 128), (84, 86, 92), (170, 164, 152), (150, 118, 84), (196, 192, 184), (70, 60, 58)]
PAINTS: list[Color] = [*WALLS, (236, 236, 230), (224, 228, 226), (230, 216, 190), (186, 206, 206), (52, 46, 50)]


def wall(rng: Rng, wide: float, tall: float, color: Color) -> np.ndarray:
    """Return a wall with a skirting, sometimes with windows, a door or pictures: uint8 (h,w,3)."""
    height, width = max(8, round(tall * WALL_SCALE)), max(8, round(wide * WALL_SCALE))
    image = np.full((height, width, 3), color, np.uint8)
    m = WALL_SCALE
    if rng.random() < 0.5:
        box(image, 0, height - rng.uniform(0.8, 1.4) * m, width, height, shade(color, rng.uniform(0.6, 1.2)))
    box(image, 0, height - 0.12 * m, width, height, shade(color, 0.6))
    kind, x = rng.random(), rng.uniform(0.3, 2) * m
    while x < width - 1.5 * m and kind < 0.75:
        if kind < 0.5:
            _window(rng, image, x, height - 2.5 * m, rng.uniform(1.2, 2) * m, 1.6 * m)
        else:
            box(image, x, height - 2.1 * m, x + 0.9 * m, height, pick(rng, [(120, 80, 50), (200, 204, 206)]))
        x += rng.uniform(2, 4.5) * m
    return speckle(rng, image, 160, 0.03, 3)


def _window(rng: Rng, image: np.ndarray, x: float, y: float, wide: float, tall: float) -> None:
    """Draw a window, bright by day, with bars and often with a blind."""
    glass = pick(rng, [(236, 242, 246), (200, 220, 236), (120, 140, 150), (40, 48, 66)])
    box(image, x, y, x + wide, y + tall, (70, 72, 76))
    for column in range(3):
        for row in range(2):
            left, top = x + wide * column / 3 + 3, y + tall * row / 2 + 3
            box(image, left, top, left + wide / 3 - 6, top + tall / 2 - 6, shade(glass, rng.uniform(0.8, 1.1)))
    if rng.random() < 0.5:
        box(image, x, y, x + wide, y + tall * rng.uniform(0.2, 0.8), pick(rng, [(60, 80, 130), (200, 196, 184)]))


def _board(rng: Rng, image: np.ndarray) -> None:
    """Draw a blackboard or a bright screen in the middle of a wall, with writing."""
    height, width = image.shape[:2]
    m, middle, half = WALL_SCALE, width / 2, min(0.42 * width, rng.uniform(1.5, 3) * WALL_SCALE)
    board, ink = [((40, 72, 58), (210, 216, 206)), ((236, 240, 244), (50, 60, 90)), ((30, 32, 34), (220, 220, 220))][
        int(rng.integers(3))
    ]
    box(image, middle - half - 4, height - 2.5 * m, middle + half + 4, height - 0.9 * m, (120, 96, 70))
    box(image, middle - half, height - 2.4 * m, middle + half, height - 1.0 * m, board)
    for row in range(int(rng.integers(0, 6))):
        y, x = height - (2.2 - 0.2 * row) * m, middle - half + 8
        while x < middle + half * rng.uniform(0, 0.9):
            step = rng.uniform(3, 12)
            line(image, x, y, x + step, y + rng.uniform(-3, 3), ink, 1)
            x += step + 3


def ceiling(rng: Rng) -> np.ndarray:
    """Return a ceiling with lamps in rows, round or long: uint8 (256,256,3), 6 m wide."""
    color = pick(rng, [(226, 226, 222), (190, 190, 188), (90, 88, 88)])
    image = np.full((256, 256, 3), color, np.uint8)
    step = int(rng.choice([32, 64]))
    for i in range(0, 256, step):
        for joint in (image[i : i + 1], image[:, i : i + 1]):
            joint[:] = joint * 0.85
    for x in (64, 192):
        for y in (64, 192):
            if rng.random() < 0.5:
                cv2.circle(image, (x, y), int(rng.integers(6, 14)), (255, 252, 240), -1, cv2.LINE_AA)
            else:
                box(image, x - 26, y - 8, x + 26, y + 8, (255, 254, 246))
    return image


def floor(rng: Rng) -> Surface:
    """Return a floor of one color, or of tiles, with its dirt."""
    if rng.random() < 0.5:
        return Surface(scenery.texture(rng, str(rng.choice(["tiles", "paving", "asphalt"]))), 64)
    image = np.full((512, 512, 3), pick(rng, FLOORS), np.uint8)
    gloss = 1 + 0.08 * noise(rng, 512, 512, 128, 3)[:, :, None]
    return Surface((image * gloss).clip(0, 255).astype(np.uint8), 64)


def paint_hall(rng: Rng, view: View, low: Sequence[float], high: Sequence[float], blackboard: bool) -> np.ndarray:
    """Return an empty hall, uint8 (H,W,3).

    Args:
        rng: Chooses its looks.
        view: The camera, inside.
        low: The corner with the smallest x, y and z, in metres.
        high: The opposite corner.
        blackboard: The far wall has a blackboard or a screen.
    """
    image = np.zeros((view.height, view.width, 3), np.uint8)
    color, tall = pick(rng, PAINTS), high[2] - low[2]
    far = wall(rng, high[0] - low[0], tall, color)
    if blackboard:
        _board(rng, far)
    surfaces = {
        "far": Surface(far, WALL_SCALE, 0.95),
        "near": Surface(far, WALL_SCALE, 0.9),
        "left": Surface(wall(rng, high[1] - low[1], tall, color), WALL_SCALE, 1.0),
        "right": Surface(wall(rng, high[1] - low[1], tall, color), WALL_SCALE, 0.85),
        "floor": floor(rng),
        "ceiling": Surface(ceiling(rng), 256 / 6),
    }
    paint_room(image, view, low, high, surfaces)
    return speckle(rng, image, max(8.0, view.width / 3), 0.04, 2)


def paint_outside(rng: Rng, view: View, ground: float, surface: Surface | None = None) -> np.ndarray:
    """Return ground below a sky, uint8 (H,W,3).

    Args:
        rng: Chooses its looks.
        view: The camera.
        ground: Height of the ground in metres.
        surface: What the ground is; None for one at random.
    """
    image = scenery.sky(rng, view.height, view.width)
    if surface is None:
        surface = Surface(scenery.texture(rng, str(rng.choice(scenery.GROUNDS))), 64)
    paint_room(image, view, (-5000, -50, ground), (5000, 5000, 50), {"floor": surface})
    return image

"""Shops: shelves of bottles, boxes and jars, fruit in grids, hats and helmets on racks.

Goods stand in rows, are of one size and often round, as heads in a crowd are.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from headcount.synthetic import rooms
from headcount.synthetic.bodies import Posture
from headcount.synthetic.cards import Card, over, relief
from headcount.synthetic.scenery import BRIGHT, WALLS, Color, Rng, box, pick, shade, speckle
from headcount.synthetic.stage import Stage
from headcount.synthetic.view import Surface, View, block, paint_room, panel

SCALE = 96  # pixels per metre of a wall of shelves
SIZE = 64  # pixels of the card of one of the goods
FRUIT: list[Color] = [(196, 44, 36), (224, 130, 30), (232, 196, 60), (110, 150, 50), (120, 30, 60), (90, 60, 40)]
FELTS: list[Color] = [(60, 46, 36), (30, 30, 34), (196, 176, 140), (120, 84, 54), (170, 40, 44), (40, 60, 100)]


# Goods: pixels of a card, uint8 (SIZE,SIZE,4) -------------------------------------------------------------------------


def _mask() -> np.ndarray:
    return np.zeros((SIZE, SIZE), np.uint8)


def bottle(rng: Rng) -> np.ndarray:
    """A bottle or a jar with a label and a cap."""
    body, neck, label = _mask(), _mask(), _mask()
    half, shoulder = int(rng.integers(11, 22)), int(rng.integers(12, 30))
    cv2.rectangle(body, (32 - half, shoulder + 6), (32 + half, SIZE), 255, -1)
    cv2.ellipse(body, (32, shoulder + 6), (half, 8), 0, 180, 360, 255, -1, cv2.LINE_AA)
    thin = max(4, int(half * rng.uniform(0.3, 0.9)))
    cv2.rectangle(neck, (32 - thin, 3), (32 + thin, shoulder), 255, -1)
    cv2.rectangle(label, (32 - half, shoulder + 12), (32 + half, int(rng.integers(48, 60))), 255, -1)
    color = pick(rng, [(40, 80, 50), (90, 50, 30), (200, 210, 214), *BRIGHT], 20)
    pixels = over(relief(neck, pick(rng, [color, *BRIGHT])), relief(body, color, 0.15))
    return over(pixels, relief(label, pick(rng, [(240, 238, 230), *BRIGHT]), 0.1))


def carton(rng: Rng) -> np.ndarray:
    """A printed box."""
    body, print_ = _mask(), _mask()
    half, top = int(rng.integers(16, 31)), int(rng.integers(2, 26))
    cv2.rectangle(body, (32 - half, top), (31 + half, SIZE), 255, -1)
    if rng.random() < 0.5:
        cv2.circle(print_, (32, (top + SIZE) // 2), int(rng.integers(6, 14)), 255, -1, cv2.LINE_AA)
    else:
        cv2.rectangle(print_, (32 - half + 4, top + 8), (32 + half - 4, top + int(rng.integers(14, 26))), 255, -1)
    return over(relief(body, pick(rng, BRIGHT, 30), 0.03), relief(print_, pick(rng, [(245, 244, 238), *BRIGHT]), 0.04))


def fruit(rng: Rng) -> np.ndarray:
    """A round fruit, or a ball."""
    body, spot = _mask(), _mask()
    cv2.ellipse(body, (32, 33), (30, int(rng.integers(26, 31))), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.circle(spot, (int(rng.integers(24, 40)), int(rng.integers(8, 30))), int(rng.integers(2, 5)), 255, -1)
    color = pick(rng, FRUIT, 14)
    return over(relief(body, color, 0.3), relief(spot, shade(color, 0.4)))


def hat(rng: Rng) -> np.ndarray:
    """A hat with a brim and a band, or a cap."""
    brim, crown, band = _mask(), _mask(), _mask()
    color = pick(rng, [*FELTS, *BRIGHT], 12)
    cv2.ellipse(brim, (32, 46), (int(rng.integers(22, 31)), int(rng.integers(6, 13))), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.ellipse(crown, (32, 44), (19, int(rng.integers(22, 36))), 0, 180, 360, 255, -1, cv2.LINE_AA)
    cv2.ellipse(band, (32, 42), (19, 5), 0, 0, 180, 255, 4, cv2.LINE_AA)
    pixels = over(relief(brim, shade(color, 0.9)), relief(crown, color, 0.2))
    return over(pixels, relief(band, shade(color, 0.4), 0.03)) if rng.random() < 0.6 else pixels


def helmet(rng: Rng) -> np.ndarray:
    """A helmet with a visor, or a hard hat."""
    shell, visor = _mask(), _mask()
    color = pick(rng, [(240, 200, 40), (236, 236, 232), (36, 36, 40), *BRIGHT])
    if rng.random() < 0.5:
        cv2.ellipse(shell, (32, 32), (27, 29), 0, 0, 360, 255, -1, cv2.LINE_AA)
        cv2.ellipse(visor, (32, 34), (20, 11), 0, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        cv2.ellipse(shell, (32, 44), (25, 32), 0, 180, 360, 255, -1, cv2.LINE_AA)
        cv2.ellipse(visor, (32, 45), (30, 6), 0, 0, 360, 255, -1, cv2.LINE_AA)
    tint = (50, 54, 62) if shell[60, 32] else shade(color, 0.9)
    return over(relief(shell, color, 0.22), relief(visor, tint, 0.08))


GOODS: tuple[Callable[[Rng], np.ndarray], ...] = (bottle, carton, fruit, hat, helmet)


# Walls of goods -------------------------------------------------------------------------------------------------------


def shelf_wall(rng: Rng, wide: float, tall: float) -> np.ndarray:
    """Return a wall of shelves, uint8 (h,w,3) with SCALE pixels per metre: a kind of goods to a shelf, or to a part."""
    height, width = round(tall * SCALE), round(wide * SCALE)
    color, dark = pick(rng, [*WALLS, (40, 40, 44)]), pick(rng, [(60, 58, 56), (100, 98, 96), (206, 204, 200)])
    image = np.full((height, width, 3), dark, np.uint8)
    step, main = rng.uniform(0.24, 0.5) * SCALE, int(rng.integers(len(GOODS)))
    y = step
    while y < height:
        box(image, 0, y - 0.6 * step, width, y, shade(dark, 0.75))  # in the shade of the shelf above
        x = 0.0
        while x < width:
            kind = GOODS[main] if rng.random() < 0.6 else GOODS[int(rng.integers(3))]
            size = step * (rng.uniform(0.5, 0.85) if kind is not bottle else 0.85)
            x = _fill_shelf(rng, image, kind, x, min(width, x + rng.uniform(0.6, 2.5) * SCALE), y, size)
        box(image, 0, y, width, y + 0.035 * SCALE, color)
        y += step
    for x in np.arange(rng.uniform(0, 1.3) * SCALE, width, 1.3 * SCALE):
        box(image, x, 0, x + 0.04 * SCALE, height, shade(color, 0.8))
    return speckle(rng, image, 120, 0.06, 2)


def _fill_shelf(rng: Rng, image: np.ndarray, kind: Callable, x: float, end: float, y: float, size: float) -> float:
    """Put goods of a few looks on a shelf from column x to `end`, their feet in row y; return where they end."""
    cards = [Card(kind(rng)) for _ in range(int(rng.choice([1, 1, 2, 4])))]
    gap, piled = size * rng.uniform(0.9, 1.25), kind is fruit and rng.random() < 0.6
    while x < end:
        for level in range(2 if piled else 1):
            at, foot = x + 0.5 * gap * level, y - 0.7 * size * level
            corners = np.array([(at, foot - size), (at + size, foot - size), (at + size, foot), (at, foot)])
            if rng.random() < 0.95:
                cards[int(rng.integers(len(cards)))].paint(image, corners, rng.uniform(0.9, 1.1))
        x += gap
    return x


def shop(rng: Rng, height: int, width: int) -> Stage:
    """An aisle between shelves, or a wall of goods, with tables of fruit or racks of hats in front.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    half, far, tall = rng.uniform(1.2, 4), rng.uniform(2.5, 16), rng.uniform(2.4, 3.6)
    eye = (rng.uniform(-0.6, 0.6) * half, 0.0, min(tall - 0.2, rng.uniform(1.3, 3.2)))
    target = rng.uniform(-0.5, 0.5) * half, min(far, 6) * rng.uniform(0.5, 1), rng.uniform(0.6, 1.4)
    view = View.toward(eye, target, width * float(np.exp(rng.uniform(-0.6, 0.2))), width, height)
    image = np.zeros((height, width, 3), np.uint8)
    surfaces = {
        "near": Surface(np.full((64, 64, 3), pick(rng, WALLS), np.uint8), 48),
        "far": Surface(shelf_wall(rng, min(2 * half, 5), tall), SCALE, 0.95),
        "floor": rooms.floor(rng),
        "ceiling": Surface(rooms.ceiling(rng), 256 / 6),
    }
    for name, light in (("left", 1.0), ("right", 0.85)):
        if rng.random() < 0.8:
            surfaces[name] = Surface(shelf_wall(rng, 4, tall), SCALE, light)
        else:
            surfaces[name] = Surface(rooms.wall(rng, far, tall, pick(rng, rooms.PAINTS)), rooms.WALL_SCALE, light)
    paint_room(image, view, (-half, -0.5, 0), (half, far, tall), surfaces)
    stage = Stage(view, image, fullest=0.6)
    for _ in range(int(rng.integers(0, 4))):
        _add_table(rng, stage, np.array((rng.uniform(-0.9, 0.9) * half, rng.uniform(1.8, max(2.0, far - 1)), 0)))
    people = int(rng.integers(4, 24))
    x, y = rng.uniform(-half + 0.3, half - 0.3, people), rng.uniform(1.3, max(1.6, far - 0.4), people)
    stage.offer(np.stack([x, y, rng.normal(1.55, 0.08, people)], axis=-1), Posture.STANDING)
    return stage


def _add_table(rng: Rng, stage: Stage, place: np.ndarray) -> None:
    """Add a table on which goods lie in a grid, or a rack on which they hang."""
    half, deep, high = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)
    color, size = pick(rng, [(140, 100, 64), (70, 110, 70), (190, 186, 178), (60, 60, 64)]), rng.uniform(0.08, 0.2)
    kind: Callable[[Rng], np.ndarray]
    if rng.random() < 0.35:
        kind, size, rows = (hat, helmet)[int(rng.integers(2))], 0.3, int(rng.integers(3, 6))
        stage.add(block((-0.03, -0.03, 0), (0.03, 0.03, 0.36 * rows + 0.3), color), place)
        spots = [(x, -0.05, 0.3 + 0.36 * row) for row in range(rows) for x in np.arange(-half, half, 0.34)]
    else:
        kind = fruit if rng.random() < 0.7 else GOODS[int(rng.integers(len(GOODS)))]
        stage.add(block((-half, -deep, 0), (half, deep, high), color, shade(color, 1.1)), place, nearer=deep)
        grid = [(x, y) for y in np.arange(deep, -deep, -size) for x in np.arange(-half, half - size / 2, size)]
        spots = [(x, y, high + 0.25 * (y + deep)) for x, y in grid]
    cards = [Card(kind(rng)) for _ in range(int(rng.integers(1, 4)))]
    for number, card in enumerate(cards):
        mine = np.array([spot for i, spot in enumerate(spots) if i % len(cards) == number]).reshape(-1, 3)
        stage.add(panel((0, 0, 0), (size, 0, size), card, card), mine + place, nearer=deep + 0.01)

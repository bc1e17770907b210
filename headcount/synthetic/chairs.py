"""Chairs, benches, desks and what lies on them.

A chair faces the camera: its sitter looks towards smaller y. Its backrest is as large as a head and shoulders, and
often as round, which is why counters confuse them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from headcount.synthetic.cards import Card, grained, over, relief
from headcount.synthetic.scenery import BRIGHT, Color, Rng, pick, shade
from headcount.synthetic.view import Model, block, panel, sheet

SIZE = 96  # pixels of the card of a backrest
WOODS = [(176, 112, 56), (142, 84, 42), (204, 158, 102), (110, 66, 40), (188, 92, 40), (226, 190, 140)]
CLOTHS = [(40, 52, 92), (120, 34, 40), (36, 36, 40), (70, 74, 82), (34, 84, 74), (150, 60, 44), (96, 76, 110)]
PLASTICS = [*BRIGHT, (36, 90, 170), (44, 44, 48), (200, 204, 208), (246, 120, 40), (40, 130, 120)]
METALS = [(60, 62, 66), (150, 154, 158), (28, 28, 30)]


class Chair(NamedTuple):
    """A kind of chair.

    Attributes:
        model: The chair.
        wide: Its width in metres.
        color: Of its seat.
        wooden: Whether it is of wood.
    """

    model: Model
    wide: float
    color: Color
    wooden: bool


# Backrests: masks uint8 (SIZE,SIZE) of what is solid ------------------------------------------------------------------


def _rounded(rng: Rng) -> np.ndarray:
    """A sheet whose upper corners are round, from square to a half circle."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    radius = int(SIZE * rng.choice([0.06, 0.18, 0.3, 0.48]))
    cv2.rectangle(mask, (2, radius), (SIZE - 3, SIZE), 255, -1)
    cv2.rectangle(mask, (2 + radius, 2), (SIZE - 3 - radius, SIZE), 255, -1)
    for x in (2 + radius, SIZE - 3 - radius):
        cv2.circle(mask, (x, radius + 2), radius, 255, -1, cv2.LINE_AA)
    if rng.random() < 0.3:  # a hole to carry it
        cv2.ellipse(mask, (SIZE // 2, SIZE // 5), (SIZE // 7, SIZE // 22), 0, 0, 360, 0, -1, cv2.LINE_AA)
    return mask


def _oval(rng: Rng) -> np.ndarray:
    """An oval sheet on two posts."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    low = int(SIZE * rng.uniform(0.5, 0.95))
    cv2.ellipse(mask, (SIZE // 2, low // 2), (SIZE // 2 - 3, low // 2 - 2), 0, 0, 360, 255, -1, cv2.LINE_AA)
    for x in (SIZE // 4, 3 * SIZE // 4):
        cv2.line(mask, (x, low // 2), (x, SIZE), 255, SIZE // 14)
    return mask


def _slatted(rng: Rng) -> np.ndarray:
    """A frame with upright or level slats."""
    mask = _rounded(rng)
    hollow = cv2.erode(mask, np.ones((SIZE // 9, SIZE // 9), np.uint8), borderValue=255)
    hollow[: SIZE // 7] = 0
    count, gap = int(rng.integers(3, 9)), rng.uniform(0.25, 0.6)
    step = (np.arange(SIZE) * count / SIZE) % 1 < gap
    holes = np.tile(step, (SIZE, 1)) if rng.random() < 0.65 else np.tile(step[:, None], (1, SIZE))
    mask[(hollow > 0) & holes] = 0
    return mask


def _padded(rng: Rng) -> np.ndarray:
    """A cushion that floats above the seat on one or two posts."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    low = int(SIZE * rng.uniform(0.55, 0.85))
    mask[:low] = cv2.resize(_rounded(rng), (SIZE, low))
    mask[:low] = np.minimum(mask[:low], cv2.resize(_rounded(rng), (SIZE, low))[::-1])
    for x in [SIZE // 2] if rng.random() < 0.4 else [SIZE // 5, 4 * SIZE // 5]:
        cv2.line(mask, (x, low - 4), (x, SIZE), 255, SIZE // 12)
    return mask


BACKRESTS: tuple[Callable[[Rng], np.ndarray], ...] = (_rounded, _rounded, _oval, _slatted, _slatted, _padded)


def _backrest(rng: Rng, mask: np.ndarray, color: Color, wooden: bool) -> np.ndarray:
    """Return the pixels of a card: the solid parts in their color, sometimes with an inlaid field."""
    pixels = relief(mask, color, rng.uniform(0.03, 0.14))
    if rng.random() < 0.35:
        inner = cv2.erode(mask, np.ones((SIZE // 6, SIZE // 6), np.uint8), borderValue=0)
        pixels = over(pixels, relief(inner, shade(color, rng.uniform(0.7, 1.35)), 0.06))
    pixels = grained(rng, pixels, 0.09 if wooden else 0.03)
    fall = np.linspace(rng.uniform(1.0, 1.25), rng.uniform(0.6, 0.95), SIZE)[:, None, None]  # light from above
    pixels[:, :, :3] = (pixels[:, :, :3] * fall).clip(0, 255)
    return pixels


# Chairs ---------------------------------------------------------------------------------------------------------------


def choose_chair(rng: Rng, plastic: bool = False) -> Chair:
    """Make a kind of chair: of wood, cloth or plastic; a hall or a stand has one kind, and each differs.

    Args:
        rng: Chooses.
        plastic: A shell of bright plastic, as in a stadium.
    """
    kind = 1.0 if plastic else rng.random()
    wooden = kind < 0.5
    color = pick(rng, WOODS if wooden else CLOTHS if kind < 0.75 else PLASTICS)
    mask = (BACKRESTS[int(rng.integers(2))] if plastic else BACKRESTS[int(rng.integers(len(BACKRESTS)))])(rng)
    front = Card(_backrest(rng, mask, color, wooden))
    back = Card(_backrest(rng, mask[:, ::-1], shade(color, rng.uniform(0.65, 1.0)), wooden))
    half, low = rng.uniform(0.19, 0.27), rng.uniform(0.4, 0.62)
    high = rng.uniform(0.68, 0.82) if plastic else rng.uniform(0.78, 1.02)
    lean = rng.uniform(0.04, 0.14)
    model = panel((-half, 0.2, low), (half, 0.2 + lean, high), front, back)
    if not plastic and rng.random() < 0.5:  # a thick backrest: its edge is seen from above
        edge = shade(color, 1.2)
        model += panel((-half * 0.9, 0.2 + lean, high - 0.02), (half * 0.9, 0.25 + lean, high - 0.01), edge, edge)
    folded = rng.random() < 0.25
    seat = (-half, 0.1, 0.44), (half, 0.18, 0.78)
    if not folded:
        seat = (-half, -0.24, 0.4), (half, 0.2, 0.46)
    model += block(*seat, shade(color, 0.85), shade(color, 1.05))
    metal = pick(rng, WOODS if wooden else METALS, 6)
    model += _legs(rng, half, metal)
    if not plastic and rng.random() < 0.35:
        for x in (-half - 0.02, half - 0.02):
            model += block((x, -0.2, 0.62), (x + 0.05, 0.24, 0.67), metal, shade(metal, 1.2))
    return Chair(model, 2 * half, color, wooden)


def _legs(rng: Rng, half: float, color: Color) -> Model:
    """Make four legs, a post, or a box."""
    kind, t = rng.random(), 0.025
    if kind < 0.5:
        corners = [(x, y) for x in (-half + t, half - t) for y in (-0.2, 0.18)]
        first, *others = (block((x - t, y - t, 0), (x + t, y + t, 0.42), color) for x, y in corners)
        for other in others:
            first += other
        return first
    if kind < 0.8:
        return block((-0.05, -0.04, 0), (0.05, 0.04, 0.4), color)
    return block((-half, -0.1, 0), (half, 0.2, 0.4), color)


def coat(rng: Rng) -> Model:
    """Make a coat over a backrest, or a bag on a chair."""
    mask = np.zeros((48, 48), np.uint8)
    knots = [(rng.uniform(0, 10), 47), (rng.uniform(2, 12), 14), (rng.uniform(10, 20), rng.uniform(2, 8))]
    knots += [(rng.uniform(28, 38), rng.uniform(2, 8)), (rng.uniform(36, 46), 14), (rng.uniform(38, 47), 47)]
    cv2.fillPoly(mask, [np.array(knots, np.int32)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), 2)
    card = Card(grained(rng, relief(soft, pick(rng, CLOTHS, 20), 0.15), 0.15))
    half, z = rng.uniform(0.16, 0.28), rng.uniform(0.9, 1.05)
    return panel((-half, 0.1, 0.45), (half, 0.16, z), card, card)


# Desks ----------------------------------------------------------------------------------------------------------------


def wood(rng: Rng, color: Color, width: int = 160, height: int = 80) -> Card:
    """Make a board with the grain of wood, or a plain one."""
    pixels = np.dstack([np.full((height, width, 3), color, np.uint8), np.full((height, width), 255, np.uint8)])
    return Card(grained(rng, pixels, rng.uniform(0.02, 0.12), along=True))


def choose_desk(rng: Rng, wide: float, chair: Chair) -> Model:
    """Make a desk, as wide as told, for sitters behind it: its foot is below their chairs."""
    matching = chair.wooden and rng.random() < 0.6
    color = chair.color if matching else pick(rng, [*WOODS, (206, 206, 200), (236, 234, 228), (120, 124, 130)])
    half, high, board = wide / 2, rng.uniform(0.7, 0.78), wood(rng, color)
    top = wood(rng, shade(color, rng.uniform(0.9, 1.2)))
    model = block((-half, -0.7, high - 0.04), (half, -0.32, high), shade(color, 0.9), top)
    if rng.random() < 0.6:  # a front board, down to the floor or to the knees
        low = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 0.4)
        model += panel((-half, -0.66, low), (half, -0.66, high - 0.03), board, shade(color, 0.5))
    metal = pick(rng, METALS, 6)
    for x in (-half + 0.05, half - 0.09):
        model += block((x, -0.62, 0), (x + 0.04, -0.4, high - 0.04), metal)
    return model


def paper(rng: Rng) -> Model:
    """Make a sheet or a book on a desk."""
    x, color = rng.uniform(-0.15, 0.05), pick(rng, [(240, 240, 236), (236, 232, 220), *BRIGHT[:3]])
    return sheet(x, x + rng.uniform(0.15, 0.35), -0.62, -0.4, 0.79, color)


def laptop(rng: Rng) -> Model:
    """Make an open laptop on a desk; its lid is seen from the front."""
    lid, screen = pick(rng, METALS), pick(rng, [(150, 180, 220), (230, 234, 238), (40, 44, 60)])
    return panel((-0.17, -0.62, 0.79), (0.17, -0.66, 1.0), lid, screen)


def bottle(rng: Rng) -> Model:
    """Make a bottle or a cup on a desk."""
    x, color = rng.uniform(-0.2, 0.2), pick(rng, [(210, 224, 232), (60, 110, 160), (200, 60, 50), (40, 40, 44)])
    return block((x, -0.5, 0.78), (x + 0.07, -0.43, 0.78 + rng.uniform(0.1, 0.25)), color)


ON_DESKS: tuple[Callable[[Rng], Model], ...] = (paper, paper, laptop, bottle)

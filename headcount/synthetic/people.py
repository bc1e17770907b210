"""Painting people: their clothes, and one person at a place in a scene."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from headcount.synthetic.bodies import CENTRE, COVERAGE, FULL_LIGHT, UNIT, Posture, draw_body
from headcount.synthetic.scenery import Color, pick

SKIN = [(244, 208, 177), (236, 188, 150), (214, 160, 118), (176, 120, 82), (128, 84, 56), (90, 58, 42)]
HAIR = [
    *2 * ((26, 22, 22), (36, 28, 24), (62, 42, 30)),  # most hair is dark
    *((96, 64, 40), (140, 92, 50), (196, 158, 98), (150, 148, 146), (206, 204, 200)),
]
CLOTH = [
    *((236, 234, 228), (34, 34, 38), (40, 54, 88), (82, 106, 140)),
    *((176, 48, 44), (112, 34, 42), (214, 164, 60), (44, 120, 124)),
    *((92, 104, 62), (216, 140, 148), (124, 126, 130), (204, 186, 154)),
    *((216, 110, 50), (150, 122, 168), (128, 176, 208), (64, 134, 88)),
]
TROUSERS = [(40, 46, 62), (58, 74, 104), (30, 30, 32), (98, 92, 84), (164, 148, 120), (84, 60, 46), (112, 128, 150)]
DARK = (30, 26, 26)
BODIES = 36  # different bodies per tilt of the camera


def choose_clothes(rng: np.random.Generator) -> list[Color]:
    """Return the colors of a crowd's tops: any, or mostly one or two, as at a match or a march."""
    if rng.random() < 0.75:
        return CLOTH
    return CLOTH + [pick(rng, CLOTH)] * int(rng.integers(10, 40)) + [pick(rng, CLOTH)] * int(rng.integers(0, 20))


def paint_person(
    rng: np.random.Generator,
    image: np.ndarray,
    x: float,
    y: float,
    head: float,
    tilt: int,
    clothes: Sequence[Color],
    haze: np.ndarray,
    posture: Posture = Posture.STANDING,
) -> None:
    """Paint one person on an image, in place.

    Args:
        rng: Chooses the body, its size and its colors.
        image: uint8 (H,W,3).
        x: Column of the head's centre.
        y: Row of the head's centre.
        head: Height of the head in pixels, about.
        tilt: Index of `bodies.SQUASH`.
        clothes: Colors of the tops.
        haze: float32 (3,), the color that distant people fade to.
        posture: Standing or sitting.
    """
    size = max(3, round(head * rng.uniform(0.9, 1.1)))
    sprite = _sprite(int(rng.integers(BODIES)), tilt, size, posture)  # (h,w,7)
    left, top = round(x - CENTRE[0] * size), round(y - CENTRE[1] * size)
    x0, y0 = max(0, left), max(0, top)
    part = sprite[y0 - top : image.shape[0] - top, x0 - left : image.shape[1] - left].astype(np.float32)
    below = image[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    colors = [pick(rng, SKIN), pick(rng, HAIR), pick(rng, clothes), pick(rng, TROUSERS), pick(rng, CLOTH), DARK]
    materials = np.array(colors, np.float32)  # (6,3), in the order of bodies.Material
    fading = 0.3 * np.clip(1 - size / 14, 0, 1)
    alpha = part[:, :, COVERAGE:] / 255
    color = part[:, :, :COVERAGE] @ (materials * (1 - fading) / FULL_LIGHT) + alpha * (fading * haze)
    below[:] = (below * (1 - alpha) + color).clip(0, 255)


@lru_cache(maxsize=3000)
def _sprite(body: int, tilt: int, size: int, posture: Posture) -> np.ndarray:
    """Return a body with a head of `size` pixels: uint8 (h,w,7), the weights of six materials, then coverage."""
    halves = draw_body(body, tilt, posture)
    target = (max(1, round(halves[0].shape[1] * size / UNIT)), max(1, round(halves[0].shape[0] * size / UNIT)))
    interpolation = cv2.INTER_AREA if size < UNIT else cv2.INTER_LINEAR
    return np.dstack([cv2.resize(half, target, interpolation=interpolation) for half in halves])

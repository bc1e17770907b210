"""Rendering scenes whose count and head positions are known exactly, for training, tests and demos.

A scene is of one of KINDS. Half of the crowds are on a square. The other kinds show what counters confuse with people,
such as rows of chairs, with people among it or without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from headcount.synthetic import lookalikes, plants, seating, shelves, square, stage, streets, textures
from headcount.synthetic.scenery import Rng

# rng, height, width, people (None for a random number) -> image uint8 (H,W,3), heads float (N,2)
Draw: TypeAlias = Callable[[Rng, int, int, int | None], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    Attributes:
        image: uint8 (H,W,3) RGB.
        points: float32 (N,2), the centre x, y of each visible head in pixels.
    """

    image: np.ndarray
    points: np.ndarray


class Kind(NamedTuple):
    """A kind of scene.

    Attributes:
        draw: Draws it.
        crowded: Its share of the scenes with a random number of people.
        empty: Its share of the scenes without people.
    """

    draw: Draw
    crowded: float
    empty: float


def _texture(rng: Rng, height: int, width: int, people: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Draw one of the images on which nobody can be, whatever `people` is."""
    return textures.EMPTY[rng.integers(len(textures.EMPTY))](rng, height, width), np.zeros((0, 2))


def _staged(build: stage.Build) -> Draw:
    """Draw a stage, with people at some of its places."""
    return lambda rng, height, width, people: stage.play(rng, build(rng, height, width), people)


KINDS = {
    "square": Kind(square.square, 0.50, 0.10),
    "texture": Kind(_texture, 0.0, 0.58),
    "hall": Kind(_staged(seating.hall), 0.20, 0.12),
    "stand": Kind(_staged(seating.stand), 0.08, 0.04),
    "shop": Kind(_staged(shelves.shop), 0.06, 0.04),
    "garden": Kind(_staged(plants.garden), 0.05, 0.04),
    "street": Kind(_staged(streets.street), 0.05, 0.04),
    "parking": Kind(_staged(streets.parking), 0.03, 0.02),
    "gallery": Kind(_staged(lookalikes.gallery), 0.03, 0.02),
}


def render(
    seed: int, people: int | None = None, width: int = 1024, height: int = 768, kind: str | None = None
) -> Scene:
    """Render a scene. The same arguments give the same pixels.

    Args:
        seed: Number of the scene.
        people: How many heads to show; None for a random number, 0 for a scene without people. There are fewer only if
            no more can be seen in that scene.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        kind: Name of KINDS. None for "square" if a number of people is given, otherwise for a random kind.

    Returns:
        The scene. `len(scene.points)` is the true count.
    """
    rng = np.random.default_rng([seed, 77])
    if kind is None:
        kind = "square" if people else _choose_kind(rng, crowded=people is None)
    image, points = KINDS[kind].draw(rng, height, width, people)
    if people is None and not len(points):  # nobody can be seen there
        image, points = square.square(rng, height, width, people)
    if rng.random() < 0.5:  # bodies are lit from the left: mirror the whole scene
        image = np.ascontiguousarray(image[:, ::-1])
        points[:, 0] = width - points[:, 0]
    return Scene(_photograph(rng, image), points.astype(np.float32))


def _choose_kind(rng: Rng, crowded: bool) -> str:
    shares = np.array([kind.crowded if crowded else kind.empty for kind in KINDS.values()])
    return list(KINDS)[rng.choice(len(KINDS), p=shares / shares.sum())]


def _photograph(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Add what a lens, a sensor and a JPEG file add: light, tint, blur, noise, blocks, sometimes grey."""
    height, width = image.shape[:2]
    yy, xx = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = rng.normal(1.1, 0.08) + rng.uniform(-0.12, 0.12) * xx + rng.uniform(-0.12, 0.12) * yy
    light -= rng.uniform(0, 0.16) * (xx**2 + yy**2)
    photo = image * light[:, :, None] * (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    photo = 255 * (photo.clip(0, 255) / 255) ** np.float32(np.exp(rng.normal(-0.08, 0.13)))
    if rng.random() < 0.08:
        photo = photo * np.float32(rng.uniform(0.5, 0.8))  # dusk
    if rng.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 1.1))
    grain = np.float32(rng.choice([1.5, 3.0, 6.0, 12.0], p=[0.5, 0.3, 0.15, 0.05]))
    photo += grain * rng.standard_normal(photo.shape, np.float32)
    photo = photo.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.08:
        photo = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.6:
        _, coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))])
        photo = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return photo

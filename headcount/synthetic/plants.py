"""Gardens: trees, bushes, hedges and flower beds. Crowns and blossoms are round, in rows, and grow in heaps."""

from __future__ import annotations

import cv2
import numpy as np

from headcount.synthetic import rooms, textures
from headcount.synthetic.bodies import Posture
from headcount.synthetic.cards import Card, relief
from headcount.synthetic.scenery import BRIGHT, GREENS, Color, Rng, ball, pick, shade, texture
from headcount.synthetic.stage import Stage
from headcount.synthetic.view import Model, Surface, View, block, panel, sheet

SIZE = 192  # pixels of the card of a plant
AUTUMN: list[Color] = [(176, 110, 40), (200, 150, 50), (150, 70, 36), (96, 92, 40)]


def crown(rng: Rng, kind: str) -> Card:
    """Make a round crown of leaves, seen from the side or from above.

    Args:
        rng: Chooses its looks.
        kind: "leaves", "clumps" as of boxwood or clouds of leaves, or "blossoms".
    """
    colors = GREENS if rng.random() < 0.8 else AUTUMN
    green, middle, reach = pick(rng, colors), SIZE / 2, SIZE * rng.uniform(0.36, 0.44)
    image, mask = np.full((SIZE, SIZE, 3), shade(green, 0.35), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    size = SIZE * {"leaves": rng.uniform(0.012, 0.04), "clumps": rng.uniform(0.08, 0.2), "blossoms": 0.03}[kind]
    count = int(min(900, 2.2 * (reach / size) ** 2)) + 12
    tones = (0.8, 1.0, 1.2)
    blossom = pick(rng, [*BRIGHT, (244, 220, 226)])
    for i in range(count):
        angle, away = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * reach
        x, y = middle + away * np.cos(angle), middle + away * np.sin(angle)
        light = tones[i % 3] * (1 - 0.3 * (x - middle) / reach - 0.4 * (y - middle) / reach) * rng.uniform(0.7, 1.2)
        color = shade(blossom if kind == "blossoms" and rng.random() < 0.4 else green, light)
        s = size * rng.uniform(0.6, 1.4)
        if kind == "clumps":
            ball(image, x, y, s, 0.85 * s, color)
        else:
            cv2.ellipse(
                image, (int(x), int(y)), (int(s) + 1, int(0.55 * s) + 1), rng.uniform(0, 180), 0, 360, color, -1, 16
            )
        cv2.circle(mask, (int(x), int(y)), int(s) + 1, 255, -1, cv2.LINE_AA)
    whole = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return Card(np.dstack([image * (whole[:, :, None] > 0), whole]))


def tree(card: Card, tall: float, wide: float, bark: Color = (78, 62, 48)) -> Model:
    """Make a tree of two crossed crowns on a trunk."""
    trunk = block((-0.04 * wide, 0, 0), (0.04 * wide, 0.08 * wide, 0.6 * tall), bark)
    return trunk + panel((-wide / 2, -0.02, tall - wide), (wide / 2, -0.02, tall), card, card)


def bush(card: Card, wide: float, foot: float = 0.0) -> Model:
    """Make a round bush that stands `foot` metres above the ground."""
    return panel((-wide / 2, 0, foot - 0.12 * wide), (wide / 2, 0, foot + 0.85 * wide), card, card)


def ground(rng: Rng) -> Surface:
    """Return lawn, gravel, a bed of flowers, cobbles or fallen leaves."""
    kind = rng.random()
    if kind < 0.35:
        return Surface(texture(rng, str(rng.choice(["grass", "gravel", "sand"]))), 64)
    draw = (textures.flowers, textures.pebbles, textures.blades, textures.foliage)[int(rng.integers(4))]
    return Surface(draw(rng, 512, 512), float(rng.choice([48, 96, 160])))


KINDS = ("leaves", "clumps", "blossoms")


def garden(rng: Rng, height: int, width: int) -> Stage:
    """A park or an orchard: rows of trees or bushes, hedges and beds of flowers.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    eye = 0.0, 0.0, float(np.exp(rng.uniform(np.log(1.5), np.log(9))))
    target = 0.0, rng.uniform(6, 16), rng.uniform(0, 1.5)
    view = View.toward(eye, target, width * float(np.exp(rng.uniform(-0.4, 0.4))), width, height)
    stage = Stage(view, rooms.paint_outside(rng, view, 0.0, ground(rng)), fullest=0.5)
    if rng.random() < 0.6:  # a wood behind it all
        cards = [crown(rng, KINDS[int(rng.integers(3))]) for _ in range(2)]
        for number, card in enumerate(cards):
            x = np.arange(-40, 40, 3.0) + 1.5 * number
            places = np.stack([x, rng.normal(34, 2, len(x)), np.zeros(len(x))], axis=-1)
            stage.add(tree(card, 8, 6), places)
    _add_rows(rng, stage)
    if rng.random() < 0.5:
        _add_hedge(rng, stage)
    if rng.random() < 0.5:
        _add_bed(rng, stage)
    people = int(rng.integers(3, 50))
    x, y = rng.uniform(-9, 9, people), rng.uniform(2.5, 30, people)
    stage.offer(np.stack([x, y, rng.normal(1.55, 0.08, people)], axis=-1), Posture.STANDING)
    return stage


def _add_rows(rng: Rng, stage: Stage) -> None:
    """Add trees, bushes or topiary balls in rows or at random; there are a few looks."""
    spacing, looks = rng.uniform(0.9, 4), int(rng.integers(1, 4))
    x, y = (
        a.ravel() for a in np.meshgrid(np.arange(-12, 12, spacing), np.arange(3.5, 28, spacing * rng.uniform(1, 2)))
    )
    loose = 0.05 if rng.random() < 0.5 else 0.4
    x, y = (a + rng.normal(0, loose * spacing, len(a)) for a in (x, y))
    kept = (rng.random(len(x)) < rng.uniform(0.15, 1)) & (np.abs(x) > rng.choice([0, 1.5])) & (y > 2.5)
    places = np.stack([x, y, np.zeros(len(x))], axis=-1)[kept]
    look, kind = rng.integers(0, looks, len(places)), KINDS[int(rng.integers(3))]
    tall = rng.uniform(3, 6) if spacing > 2.2 and rng.random() < 0.5 else 0.0
    for number in range(looks):
        card, wide = crown(rng, kind), spacing * rng.uniform(0.5, 0.95)
        if tall:
            model = tree(card, tall * rng.uniform(0.9, 1.1), wide)
        elif rng.random() < 0.3:  # in a pot
            pot = relief(np.full((32, 32), 255, np.uint8), pick(rng, [(170, 100, 70), (90, 90, 92)]), 0.1)
            half = wide * 0.3
            model = panel((-half, 0.01, 0), (half, 0.01, 0.5), Card(pot), None) + bush(card, wide, 0.45)
        else:
            model = bush(card, wide)
        stage.add(model, places[look == number])


def _add_hedge(rng: Rng, stage: Stage) -> None:
    """Add a hedge of leaves, across."""
    face, top = (Card(textures.foliage(rng, 128, 256)) for _ in range(2))
    y, tall = rng.uniform(6, 20), rng.uniform(0.6, 2.2)
    places = np.stack([np.arange(-14, 14, 2.0), np.full(14, y), np.zeros(14)], axis=-1)
    stage.add(block((-1, 0, 0), (1, 0.8, tall), face, top), places)


def _add_bed(rng: Rng, stage: Stage) -> None:
    """Add beds of flowers on the ground."""
    card = Card(textures.flowers(rng, 192, 192))
    for y in rng.uniform(3, 16, 2):
        places = np.stack([np.arange(-8, 8, 1.5), np.full(11, y), np.full(11, 0.05)], axis=-1)
        stage.add(sheet(-0.75, 0.75, -0.5, 0.5, 0, card), places, nearer=-1)

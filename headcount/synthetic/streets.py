"""Streets and car parks: grids of windows, cobbles, parked cars, rows of lamps and lanterns, balloons."""

from __future__ import annotations

import numpy as np

from headcount.synthetic import rooms, scenery, textures
from headcount.synthetic.bodies import Posture
from headcount.synthetic.cards import Card, relief
from headcount.synthetic.scenery import BRIGHT, WALLS, Color, Rng, box, ellipse, pick, shade, speckle, texture
from headcount.synthetic.stage import Stage
from headcount.synthetic.view import Model, Surface, View, block, paint_room, panel, sheet

PAINTS: list[Color] = [(196, 198, 202), (60, 64, 70), (150, 36, 34), (44, 72, 120), (236, 236, 232), (24, 24, 26)]
GLOWS: list[Color] = [(255, 244, 214), (250, 250, 250), (255, 214, 140), (226, 60, 44)]
FACADE_SCALE = 40  # pixels per metre of a facade


def window_grid(rng: Rng, wide: float, tall: float) -> np.ndarray:
    """Return a facade with windows in a grid, square, round or arched: uint8 (h,w,3), FACADE_SCALE pixels per metre."""
    height, width, m = round(tall * FACADE_SCALE), round(wide * FACADE_SCALE), FACADE_SCALE
    color, glass = pick(rng, WALLS), pick(rng, [(60, 72, 86), (36, 42, 50), (110, 130, 146), (250, 226, 160)])
    image = np.full((height, width, 3), color, np.uint8)
    across, down, kind = rng.uniform(1.0, 3.2) * m, rng.uniform(1.4, 3.4) * m, rng.random()
    half, rise = across * rng.uniform(0.2, 0.42), down * rng.uniform(0.2, 0.4)
    frame = shade(color, rng.choice([0.6, 1.25]))
    for y in np.arange(height - 0.6 * down, -down, -down):
        for x in np.arange(0.5 * across, width + across, across):
            pane = shade(glass, rng.uniform(0.6, 1.4))
            if kind < 0.2:
                for size, tint in ((1.0, frame), (0.82, pane)):
                    ellipse(image, x, y, min(half, rise) * size, min(half, rise) * size, tint)
                continue
            if kind < 0.5:
                ellipse(image, x, y - rise, half + 3, half + 3, frame)
                ellipse(image, x, y - rise, half, half, pane)
            box(image, x - half - 3, y - rise, x + half + 3, y + rise + 3, frame)
            box(image, x - half, y - rise, x + half, y + rise, pane)
            box(image, x - 1.5, y - rise, x + 1.5, y + rise, frame)
    return speckle(rng, image, 6, rng.uniform(0, 0.08), 2)


def globe(color: Color, flat: float = 1.0) -> Card:
    """Make a ball: a lamp, a lantern or a balloon."""
    mask = np.zeros((64, 64), np.uint8)
    ellipse(mask, 32, 32, 31 * min(1.0, flat), 31 * min(1.0, 1 / flat), 255)
    return Card(relief(mask, color, 0.3))


def car(rng: Rng) -> Model:
    """Make a car or a van that is parked with its front to the camera."""
    paint, glass = pick(rng, PAINTS), pick(rng, [(40, 48, 58), (70, 84, 96)])
    half, long, van = rng.uniform(0.82, 0.95), rng.uniform(1.8, 2.4), rng.random() < 0.15
    wheels = block((-half * 0.98, -long * 0.8, 0), (half * 0.98, long * 0.8, 0.35), (26, 26, 28))
    body = block((-half, -long, 0.3), (half, long, 0.85), paint, shade(paint, 1.1), inset=(0.05, 0.1))
    front, back = (-0.9 * long, long) if van else (-0.4 * long, 0.75 * long)
    roof = Card(relief(np.full((48, 32), 255, np.uint8), paint, 0.1))
    cabin = block(
        (-half * 0.95, front, 0.85), (half * 0.95, back, 1.7 if van else 1.4), glass, roof, (0.14, 0.1 if van else 0.45)
    )
    return wheels + body + cabin


def parking(rng: Rng, height: int, width: int) -> Stage:
    """A car park, seen from above: rows of cars between lines, few people.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    eye = 0.0, 0.0, float(np.exp(rng.uniform(np.log(3.5), np.log(28))))
    far = eye[2] * rng.uniform(0.5, 2.2) + 5
    view = View.toward(eye, (rng.normal(0, 2), far, 0), width * float(np.exp(rng.uniform(-0.4, 0.5))), width, height)
    surface = Surface(texture(rng, str(rng.choice(["asphalt", "gravel", "paving"]))), 64)
    stage = Stage(view, rooms.paint_outside(rng, view, 0.0, surface), fullest=0.7)
    deep = float(np.clip(4 * far, 20, 70))
    spots = [(x, y) for y in np.arange(rng.uniform(1, 5), deep, rng.uniform(5.2, 9)) for x in np.arange(-30, 30, 2.7)]
    places = np.array([(x, y, 0.0) for x, y in spots])
    if rng.random() < 0.7:
        stage.add(sheet(-1.4, -1.3, -2.4, 2.4, 0.01, (232, 232, 226)), places, nearer=-3)
    taken = rng.random(len(places)) < rng.uniform(0.2, 1)
    for look in range(6):
        mine = places[taken][look::6]
        mine = mine + rng.normal(0, 0.12, mine.shape) * (1, 1, 0)
        stage.add(car(rng), mine, rng.normal(0, 0.04, len(mine)) + np.pi * rng.integers(0, 2, len(mine)))
    people = int(rng.integers(3, 40))
    x, y = rng.uniform(-15, 15, people), rng.uniform(2, deep * 0.6, people)
    stage.offer(np.stack([x, y, rng.normal(1.55, 0.08, people)], axis=-1), Posture.STANDING)
    return stage


def street(rng: Rng, height: int, width: int) -> Stage:
    """A street between facades, with lamps, lanterns on strings or bunches of balloons above the heads.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    half, far, tall = rng.uniform(3, 9), rng.uniform(12, 50), rng.uniform(5, 18)
    eye = rng.uniform(-0.5, 0.5) * half, 0.0, float(np.exp(rng.uniform(np.log(1.5), np.log(7))))
    target = rng.uniform(-0.7, 0.7) * half, rng.uniform(6, 14), rng.uniform(0.6, 2.5)
    view = View.toward(eye, target, width * float(np.exp(rng.uniform(-0.5, 0.4))), width, height)
    image = scenery.sky(rng, height, width)
    stones = textures.pebbles(rng, 512, 512), 512 / rng.uniform(2.5, 8)
    plain = texture(rng, str(rng.choice(["paving", "asphalt", "tiles"]))), 64.0
    surfaces = {"floor": Surface(*(stones if rng.random() < 0.5 else plain))}
    for name, light in (("left", 1.0), ("right", 0.75), ("far", 0.9)):
        if rng.random() < 0.8:
            built = rng.random() < 0.8
            wall = window_grid(rng, 12, tall) if built else textures.bricks(rng, 512, 512)
            surfaces[name] = Surface(wall, FACADE_SCALE if built else 80, light)
    paint_room(image, view, (-half, -3, 0), (half, far, tall), surfaces)
    stage = Stage(view, image, fullest=0.9)
    for decorate in (_add_lamps, _add_strings, _add_balloons):
        if rng.random() < 0.5:
            decorate(rng, stage, half, far)
    if rng.random() < 0.4:
        for x in (-half + 1.2, half - 1.2):
            parked = np.arange(rng.uniform(3, 8), far, 5.5)
            spots = np.stack([np.full_like(parked, x), parked, 0 * parked], axis=-1)
            stage.add(car(rng), spots[rng.random(len(parked)) < 0.7])
    people = int(np.exp(rng.uniform(np.log(4), np.log(160))))
    across, away = rng.uniform(-half + 0.4, half - 0.4, people), far * rng.beta(1, 1.5, people) + 1.5
    stage.offer(np.stack([across, away, rng.normal(1.55, 0.08, people)], axis=-1), Posture.STANDING)
    return stage


def _add_lamps(rng: Rng, stage: Stage, half: float, far: float) -> None:
    """Add posts with one or more balls on top, in two rows."""
    color, high, size = pick(rng, GLOWS), rng.uniform(1.6, 4.5), rng.uniform(0.2, 0.5)
    card, model = globe(color), block((-0.05, -0.05, 0), (0.05, 0.05, high), (52, 54, 58))
    for x in (0.0,) if rng.random() < 0.5 else (-0.4, 0.4):
        model += panel((x - size / 2, -0.06, high), (x + size / 2, -0.06, high + size), card, card)
    y = np.arange(rng.uniform(2, 5), far, rng.uniform(2, 6))
    for x in (-0.8 * half, 0.8 * half):
        stage.add(model, np.stack([np.full_like(y, x), y, 0 * y], axis=-1))


def _add_strings(rng: Rng, stage: Stage, half: float, far: float) -> None:
    """Add lanterns on strings across the street."""
    size, flat = rng.uniform(0.12, 0.5), rng.uniform(0.8, 1.3)
    cards = [globe(pick(rng, [*GLOWS, *BRIGHT]), flat) for _ in range(int(rng.integers(1, 5)))]
    for y in np.arange(rng.uniform(2.5, 6), far, rng.uniform(1.5, 5)):
        x = np.arange(-half, half, size * rng.uniform(1.3, 4))
        z = rng.uniform(2.4, 4.5) + 1.2 * (x / half) ** 2
        places = np.stack([x, np.full_like(x, y), z], axis=-1)
        for number, card in enumerate(cards):
            stage.add(panel((0, 0, 0), (size, 0, size), card, card), places[number :: len(cards)])


def _add_balloons(rng: Rng, stage: Stage, half: float, far: float) -> None:
    """Add bunches of balloons, some as low as heads."""
    cards = [globe(pick(rng, BRIGHT, 20), rng.uniform(0.7, 1)) for _ in range(4)]
    for _ in range(int(rng.integers(1, 7))):
        middle = np.array((rng.uniform(-half, half), rng.uniform(2.5, far * 0.7), rng.uniform(1.3, 3)))
        count, size = int(rng.integers(4, 40)), rng.uniform(0.22, 0.34)
        spots = middle + rng.normal(0, 0.12 * count**0.4, (count, 3))
        spots[:, 2] = spots[:, 2].clip(0, None)
        for number, card in enumerate(cards):
            stage.add(panel((0, 0, 0), (size, 0, 1.1 * size), card, card), spots[number::4])

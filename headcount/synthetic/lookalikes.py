"""What shows people and is none: mannequins, statues, busts, posters, billboards and screens. None of it is counted.

They differ from people by one color, by a plinth, or by a frame and by being flat.
"""

from __future__ import annotations

import cv2
import numpy as np

from headcount.synthetic import rooms, scenery
from headcount.synthetic.bodies import (
    COVERAGE,
    FEET,
    FULL_LIGHT,
    HEAD_METRES,
    SHEET_WIDTH,
    SQUASH,
    UNIT,
    Material,
    Posture,
    draw_body,
)
from headcount.synthetic.cards import Card
from headcount.synthetic.people import BODIES, CLOTH, paint_person
from headcount.synthetic.scenery import BRIGHT, WALLS, Color, Rng, fade, noise, pick, shade
from headcount.synthetic.stage import Stage
from headcount.synthetic.view import Model, View, block, panel

STONES: list[Color] = [(206, 204, 196), (150, 148, 142), (96, 112, 98), (84, 66, 48), (60, 62, 60), (236, 234, 228)]
PLASTICS: list[Color] = [(238, 236, 232), (222, 190, 160), (40, 40, 42), (190, 192, 196)]


def figure(rng: Rng, color: Color, tilt: int, dressed: bool, reach: float) -> tuple[Card, float]:
    """Draw a body in one color, without a face.

    Args:
        rng: Chooses the body.
        color: RGB of its surface.
        tilt: Index of `bodies.SQUASH`.
        dressed: It wears clothes, as a mannequin does.
        reach: Units from the centre of the head down to where it ends: FEET for a whole body, less for a bust.

    Returns:
        The card, and its height in units of the head.
    """
    weights = np.dstack(draw_body(int(rng.integers(BODIES)), tilt))[: round((1.3 + reach * SQUASH[tilt]) * UNIT)]
    materials = np.array([color] * len(Material), np.float32)  # (6,3)
    if dressed:
        materials[[Material.TOP, Material.BOTTOM]] = [pick(rng, CLOTH), pick(rng, CLOTH)]
    light = weights[:, :, :COVERAGE].astype(np.float32)
    if not dressed:
        rows, columns = light.shape[:2]
        light *= 1 + 0.06 * noise(rng, rows, columns, 9, 3)[:, :, None]
    colors = (light @ materials / FULL_LIGHT).clip(0, 255).astype(np.uint8)
    return Card(np.dstack([colors, weights[:, :, COVERAGE]])), weights.shape[0] / UNIT


def statue(rng: Rng, tilt: int) -> Model:
    """Make a statue or a bust of stone or bronze on a plinth."""
    stone, bust = pick(rng, STONES, 6), rng.random() < 0.5
    unit, plinth = HEAD_METRES * rng.uniform(1, 2.4), rng.uniform(0.5, 1.5)
    card, tall = figure(rng, stone, tilt, False, rng.uniform(1.2, 2.4) if bust else FEET)
    half, wide = SHEET_WIDTH * unit / 2, unit * (0.8 if bust else 1.4)
    base = block((-wide, -0.3, 0), (wide, 0.3, plinth), shade(pick(rng, STONES), 0.9))
    return base + panel((-half, -0.31, plinth - 0.02), (half, -0.31, plinth + tall * unit), card, card)


def mannequin(rng: Rng, tilt: int) -> Model:
    """Make a mannequin, dressed or bare, whole or a torso on a post."""
    torso = rng.random() < 0.4
    card, tall = figure(rng, pick(rng, PLASTICS, 5), tilt, rng.random() < 0.6, 3.4 if torso else FEET)
    half, foot = SHEET_WIDTH * HEAD_METRES / 2, 0.75 if torso else 0.0
    shape = panel((-half, 0, foot), (half, 0, foot + tall * HEAD_METRES), card, card)
    return shape + block((-0.03, -0.01, 0), (0.03, 0.04, 0.9), (90, 90, 92)) if torso else shape


def poster(rng: Rng, wide: int = 240, tall: int = 180) -> np.ndarray:
    """Return a printed picture of a few people with a border and writing, uint8 (tall,wide,3)."""
    ink = BRIGHT if rng.random() < 0.6 else WALLS
    image = fade(tall, wide, pick(rng, ink, 25), pick(rng, ink, 25))
    count = int(rng.choice([1, 1, 2, 3, 8, 30]))
    head = tall * {1: rng.uniform(0.25, 0.7), 2: 0.3, 3: 0.25, 8: 0.14, 30: 0.08}[count]
    haze = np.full(3, 128, np.float32)
    for y in np.sort(rng.uniform(0.35 if count < 8 else 0.2, 0.6 if count < 8 else 0.9, count)):
        x = rng.uniform(0.25, 0.75) if count == 1 else rng.uniform(0.08, 0.92)
        paint_person(rng, image, x * wide, y * tall, head, 0, CLOTH, haze)
    if rng.random() < 0.15:  # printed in one color
        grey = image.mean(axis=2, keepdims=True) / 255
        image = (grey * np.array(pick(rng, ink, 25))).astype(np.uint8)
    letters = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWXYZ    "), 18))
    if rng.random() < 0.7:
        size = rng.uniform(0.5, 1.6)
        place = (8, int(rng.choice([0.18, 0.95]) * tall))
        cv2.putText(image, letters, place, cv2.FONT_HERSHEY_DUPLEX, size, pick(rng, [(250, 250, 246), (20, 20, 24)]), 2)
    edge = int(rng.choice([2, 5, 10]))
    return cv2.copyMakeBorder(
        image, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=pick(rng, [*STONES, (20, 20, 22)])
    )


def sign(rng: Rng, wide: float, foot: float, legs: bool) -> Model:
    """Make a framed poster or a screen, `wide` and `foot` metres above the ground, on legs or on a wall."""
    upright = rng.random() < 0.5
    card = Card(poster(rng, *((150, 210) if upright else (256, 150))))
    tall, dark = wide * (1.4 if upright else 0.6), (40, 42, 46)
    model = panel((-wide / 2, 0, foot), (wide / 2, 0, foot + tall), card, dark, rng.uniform(0.85, 1.2))
    if legs:
        for x in (-0.4 * wide, 0.4 * wide):
            model += block((x - 0.05, 0.02, 0), (x + 0.05, 0.1, foot + 0.1), dark)
    return model


def gallery(rng: Rng, height: int, width: int) -> Stage:
    """A museum, a shop window or a square, with statues, mannequins and pictures of people, and people among them.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    inside = rng.random() < 0.6
    half, far, tall = (rng.uniform(3, 8), rng.uniform(5, 14), rng.uniform(3, 5)) if inside else (9.0, 16.0, 50.0)
    eye = rng.uniform(-0.5, 0.5) * half, 0.0, rng.uniform(1.4, 2.8 if inside else 4)
    target = rng.uniform(-0.3, 0.3) * half, min(far, 11) * 0.8, rng.uniform(0.8, 1.7)
    view = View.toward(eye, target, width * float(np.exp(rng.uniform(-0.5, 0.3))), width, height)
    if inside:
        image = rooms.paint_hall(rng, view, (-half, -1, 0), (half, far, tall), blackboard=False)
    else:
        image = rooms.paint_outside(rng, view, 0.0)
        scenery.facades(rng, image, view.project(np.array((0, far + 20, 0)))[1], view.focal / (far + 20))
    stage = Stage(view, image, fullest=0.8)
    for _ in range(int(rng.integers(2, 8))):
        _hang(rng, stage, half, far, inside)
    for _ in range(int(rng.integers(1, 6))):
        place = np.array((rng.uniform(-0.8, 0.8) * half, rng.uniform(2.5, far - 0.8), 0))
        make = statue if rng.random() < 0.6 else mannequin
        stage.add(make(rng, view.tilt(place + (0, 0, 1.5))), place)
    people = int(rng.integers(3, 40))
    x, y = rng.uniform(-half + 0.4, half - 0.4, people), rng.uniform(1.8, far - 0.5, people)
    stage.offer(np.stack([x, y, rng.normal(1.55, 0.08, people)], axis=-1), Posture.STANDING)
    return stage


def _hang(rng: Rng, stage: Stage, half: float, far: float, inside: bool) -> None:
    """Hang a picture on a wall, or put up a billboard."""
    if not inside:
        wide, place = rng.uniform(1.2, 7), np.array((rng.uniform(-half, half), rng.uniform(4, far), 0))
        stage.add(sign(rng, wide, rng.uniform(0.5, 3), legs=True), place, rng.normal(0, 0.3))
        return
    model = sign(rng, rng.uniform(0.5, 2.4), rng.uniform(0.9, 1.6), legs=False)
    side = int(rng.integers(-1, 2))
    if side == 0:
        stage.add(model, np.array((rng.uniform(-half + 1, half - 1), far - 0.02, 0)))
    else:
        stage.add(model, np.array((side * (half - 0.02), rng.uniform(2.5, far - 1), 0)), side * -np.pi / 2)

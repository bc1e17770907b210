"""Whole images without people, for which a counter must learn to predict zero.

Many look like a distant crowd on purpose: round things of one size in rows or heaps, and grounds with a grain as fine
as distant heads. They take all their randomness from the generator that they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from headcount.synthetic.scenery import (
    BRIGHT,
    GREENS,
    WALLS,
    Rng,
    ball,
    box,
    ellipse,
    facades,
    fade,
    pick,
    shade,
    sky,
    speckle,
    texture,
)

Texture: TypeAlias = Callable[[Rng, int, int], np.ndarray]  # rng, height, width -> uint8 (height,width,3)


def foliage(rng: Rng, height: int, width: int) -> np.ndarray:
    """Leaves of one kind."""
    image = fade(height, width, pick(rng, GREENS), shade(pick(rng, GREENS), 0.6))
    size = rng.uniform(0.006, 0.03) * width
    for _ in range(2500):
        centre, s = (int(rng.uniform(0, width)), int(rng.uniform(0, height))), size * rng.uniform(0.5, 1.5)
        color, turn = shade(pick(rng, GREENS), rng.uniform(0.5, 1.6)), int(rng.integers(0, 180))
        cv2.ellipse(image, centre, (int(s) + 1, int(0.45 * s) + 1), turn, 0, 360, color, -1, cv2.LINE_AA)
    return image


def flowers(rng: Rng, height: int, width: int) -> np.ndarray:
    """A bed of flowers, of a few colors, over leaves."""
    image = foliage(rng, height, width)
    size, colors = float(np.exp(rng.uniform(np.log(2.5), np.log(18)))), [pick(rng, BRIGHT, 25) for _ in range(3)]
    count = int(min(3000, rng.uniform(0.05, 0.3) * height * width / size**2))
    for y in np.sort(rng.uniform(0, height, count)):
        x, s, color = rng.uniform(0, width), size * rng.uniform(0.7, 1.2), colors[int(rng.integers(3))]
        ellipse(image, x, y + 0.3 * s, s, 0.8 * s, shade(color, 0.5))
        ball(image, x, y, s, 0.85 * s, shade(color, rng.uniform(0.8, 1.2)))
        ellipse(image, x, y, 0.3 * s, 0.25 * s, (226, 190, 70))
    return image


def tiling(rng: Rng, height: int, width: int) -> np.ndarray:
    """Paving or tiles, seen from above."""
    surface = texture(rng, str(rng.choice(["paving", "tiles"])))
    turn = cv2.getRotationMatrix2D((256, 256), rng.uniform(0, 90), rng.uniform(0.5, 2))
    return cv2.warpAffine(surface, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


def stones(rng: Rng, height: int, width: int) -> np.ndarray:
    """Pebbles, fruit, or round lamps."""
    image = np.full((height, width, 3), pick(rng, [(70, 66, 60), (30, 30, 34)]), np.uint8)
    size, bright = rng.uniform(0.006, 0.03) * width, rng.random() < 0.4
    palette = BRIGHT if bright else [(150, 142, 132), (120, 116, 112), (186, 178, 166), (96, 88, 80)]
    count = int(min(4000, 1.3 * height * width / size**2 / 3))
    for y in np.sort(rng.uniform(0, height, count)):
        s = size * rng.uniform(0.6, 1.3)
        ball(image, rng.uniform(0, width), y, s, s * rng.uniform(0.6, 1), pick(rng, palette))
    return image


def seats(rng: Rng, height: int, width: int) -> np.ndarray:
    """An empty stand: rows of round seat backs."""
    color, size = pick(rng, BRIGHT), rng.uniform(0.012, 0.04) * width
    image, y = np.full((height, width, 3), shade(color, 0.3), np.uint8), 0.0
    while y < height + size:
        s = size * (0.5 + 0.8 * y / height)
        for x in np.arange(-s * rng.random(), width + s, s * 1.3):
            box(image, x - s * 0.5, y, x + s * 0.5, y + s * 1.2, shade(color, 0.75))
            ellipse(image, x, y, s * 0.5, s * 0.35, shade(color, rng.uniform(0.95, 1.15)))
        y += s * 1.25
    return image


def wall(rng: Rng, height: int, width: int) -> np.ndarray:
    """Facades, or a wall of bricks."""
    if rng.random() < 0.5:
        return bricks(rng, height, width)
    image = np.full((height, width, 3), pick(rng, WALLS), np.uint8)
    facades(rng, image, height * rng.uniform(0.8, 1.2), rng.uniform(0.01, 0.03) * width)
    return image


def bricks(rng: Rng, height: int, width: int) -> np.ndarray:
    """A wall of bricks."""
    image = np.full((height, width, 3), pick(rng, WALLS), np.uint8)
    brick, color = rng.uniform(0.015, 0.05) * width, pick(rng, WALLS)
    for row, y in enumerate(np.arange(0, height, brick * 0.45)):
        for x in np.arange(-brick * (0.5 * (row % 2)), width, brick):
            box(image, x + 1, y + 1, x + brick - 1, y + brick * 0.45 - 1, shade(color, rng.normal(0.9, 0.1)))
    return image


def writing(rng: Rng, height: int, width: int) -> np.ndarray:
    """Stripes or printed text."""
    paper, ink = ((245, 243, 238), (30, 30, 34)) if rng.random() < 0.7 else (pick(rng, BRIGHT), pick(rng, BRIGHT))
    image = np.full((height, width, 3), paper, np.uint8)
    if rng.random() < 0.4:
        across = np.arange(width)[None] * rng.normal() + np.arange(height)[:, None] * rng.normal()
        image[np.sin(across / rng.uniform(2, 40)) > 0] = ink
        return image
    scale, y, font = rng.uniform(0.3, 1.6), 0.0, cv2.FONT_HERSHEY_SIMPLEX
    while y < height + 30:
        words = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyzABCDEO0689   "), 160))
        cv2.putText(image, words, (8, int(y)), font, scale, ink, max(1, int(scale * 2)), cv2.LINE_AA)
        y += 34 * scale
    return image


def gradient(rng: Rng, height: int, width: int) -> np.ndarray:
    """A gradient with smooth noise."""
    image = fade(height, width, pick(rng, BRIGHT, 40), pick(rng, WALLS, 40))
    return speckle(rng, image, rng.uniform(4, 200), rng.uniform(0, 0.4), int(rng.integers(1, 6)))


def static(rng: Rng, height: int, width: int) -> np.ndarray:
    """Noise in every pixel."""
    return rng.integers(0, 256, (height, width, 3 if rng.random() < 0.5 else 1), np.uint8) * np.ones(3, np.uint8)


def plain(rng: Rng, height: int, width: int) -> np.ndarray:
    """One color."""
    colors = [(0, 0, 0), (255, 255, 255), (128, 128, 128), pick(rng, BRIGHT)]
    return np.full((height, width, 3), colors[rng.integers(4)], np.uint8)


def grain(rng: Rng, height: int, width: int) -> np.ndarray:
    """Gravel, a lawn, fur or plaster: sharpened noise of one size, sometimes stretched."""
    size = float(np.exp(rng.uniform(np.log(1.2), np.log(12))))
    across, along = size, size * (1 if rng.random() < 0.5 else rng.uniform(1, 6))
    white = rng.standard_normal((height, width), np.float32)
    bumps: np.ndarray = cv2.GaussianBlur(white, (0, 0), across, sigmaY=along)
    bumps -= cv2.GaussianBlur(bumps, (0, 0), 1.5 * across, sigmaY=1.5 * along)
    light = 1 + rng.uniform(0.2, 0.9) * np.tanh(rng.uniform(0.7, 3) * bumps / bumps.std())  # (H,W)
    color = pick(rng, GREENS if rng.random() < 0.4 else WALLS, 30)
    image = (light[..., None] * np.array(color, np.float32)).clip(0, 255).astype(np.uint8)
    return speckle(rng, image, rng.uniform(20, 200), rng.uniform(0, 0.3))


def pebbles(rng: Rng, height: int, width: int) -> np.ndarray:
    """Gravel or rubble: stones close together, lit from one side, each with its own brightness."""
    size = float(np.exp(rng.uniform(np.log(4), np.log(40))))  # pixels across
    rows, columns = np.mgrid[0 : height / size, 0 : width / size].reshape(2, -1)  # of the middles, roughly in rows
    y, x = (size * (at + 0.5 + rng.uniform(-0.5, 0.5, len(at))) for at in (rows, columns))
    field: np.ndarray = np.full((height, width), 255, np.uint8)
    field[y.astype(int).clip(0, height - 1), x.astype(int).clip(0, width - 1)] = 0
    squeeze = rng.uniform(0.6, 1)  # stones look flatter at an angle
    field = cv2.resize(field, (width, max(1, round(height * squeeze))), interpolation=cv2.INTER_NEAREST)
    distance, stone = cv2.distanceTransformWithLabels(field, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    distance, stone = (
        cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        for plane in (distance, stone)
    )
    number = stone.astype(np.int64)
    bulge = cv2.GaussianBlur(-distance, (0, 0), max(0.6, size / 12))
    angle = rng.uniform(0, 2 * np.pi)
    slope_x, slope_y = (cv2.Sobel(bulge, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    lit = np.cos(angle) * slope_x + np.sin(angle) * slope_y
    own = 1 + rng.uniform(0.1, 0.5) * rng.standard_normal(number.max() + 1, np.float32)[number]
    gap = np.clip(2.2 - distance / (0.4 * size), 0.2, 1)  # shadows between the stones
    light = own * gap * (1 + rng.uniform(0.2, 0.9) * lit)
    image = (light[..., None] * np.array(pick(rng, WALLS), np.float32)).clip(0, 255).astype(np.uint8)
    return speckle(rng, image, rng.uniform(1.5, 4), rng.uniform(0, 0.25))


def blades(rng: Rng, height: int, width: int) -> np.ndarray:
    """A lawn, straw, needles or hair: thin strokes, bright over dark."""
    long = float(np.exp(rng.uniform(np.log(8), np.log(80))))
    thick = max(1, round(long * rng.uniform(0.03, 0.12)))
    image = np.full((height, width, 3), shade(pick(rng, GREENS if rng.random() < 0.6 else WALLS), 0.35), np.uint8)
    colors = [pick(rng, GREENS if rng.random() < 0.6 else WALLS) for _ in range(4)]
    main, spread = rng.uniform(0, np.pi), rng.uniform(0.2, 1.6)
    count = int(min(12_000, 2.5 * height * width / (long * thick)))
    for i in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, half = main + spread * rng.standard_normal(), 0.5 * long * rng.uniform(0.4, 1.4)
        color = shade(colors[i % 4], (0.5 + 0.7 * i / count) * rng.uniform(0.7, 1.4))
        start, end = ((round(x + s * half * np.cos(angle)), round(y + s * half * np.sin(angle))) for s in (-1, 1))
        cv2.line(image, start, end, color, thick, cv2.LINE_AA)
    return speckle(rng, image, rng.uniform(30, 200), rng.uniform(0, 0.3))


def lights(rng: Rng, height: int, width: int) -> np.ndarray:
    """Stars, fairy lights or a town at night: blurred points of many sizes, few of them bright, or discs."""
    glow = fade(height, width, (2, 2, 4), pick(rng, [(4, 4, 8), (20, 24, 44), (40, 26, 18)])).astype(np.float32)
    size = float(np.exp(rng.uniform(np.log(0.6), np.log(8))))  # pixels, of the smallest lights
    tint = np.array([pick(rng, [(255, 250, 240), (255, 214, 150), (190, 210, 255), (255, 120, 90)]) for _ in range(3)])
    disc = rng.random() < 0.3
    for step in range(4):  # each size is half as common per side as the one before
        s = size * 1.7**step
        count = int(height * width * rng.uniform(0.002, 0.02) / (s * s * 2**step)) + 1
        points = np.zeros((height, width, 3), np.float32)
        strength = rng.pareto(1.5, count).clip(0.05, 4)[:, None] * tint[rng.integers(3, size=count)]
        np.add.at(points, (rng.integers(height, size=count), rng.integers(width, size=count)), strength)
        reach = max(3, 2 * round(3 * s) + 1)
        if disc:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)).astype(np.float32)
            glow += 0.3 * cv2.filter2D(points, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        else:
            glow += cv2.GaussianBlur(points, (reach, reach), s) * np.float32(2 * np.pi * s * s * 0.6)
    image: np.ndarray = glow.clip(0, 255).astype(np.uint8)
    return speckle(rng, image, rng.uniform(20, 200), rng.uniform(0, 0.2))


# Grounds are the hardest to distinguish from crowds, so about half of these are grounds.
GROUNDS: tuple[Texture, ...] = (grain, pebbles, pebbles, blades, blades)
EMPTY: tuple[Texture, ...] = (
    foliage,
    flowers,
    tiling,
    stones,
    seats,
    wall,
    writing,
    gradient,
    static,
    plain,
    sky,
    lights,
    lights,
    *GROUNDS,
    *GROUNDS,
)

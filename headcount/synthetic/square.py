"""Crowds on a square or a field, from a handful to thousands, with trees, stalls and parasols between them.

Heads are placed in the image, not on the ground. With a horizon and a pinhole camera, the height of a head is
k * (row - horizon), so the row of a head gives its size, its feet and its distance. People are painted from far to
near, and apart from raised arms nobody reaches above their own head, so only nearer heads can cover a head. A minimum
distance between heads keeps each one visible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from headcount.synthetic import scenery
from headcount.synthetic.bodies import FEET, HEAD_METRES, SQUASH
from headcount.synthetic.people import choose_clothes, paint_person
from headcount.synthetic.scenery import Rng

MIN_HEAD = 4.0  # pixels
MAX_PEOPLE = 4000  # of a scene whose number is chosen at random
FREE_CELL = 4  # pixels per cell of the map of free places
SPACINGS = (1.7, 1.35, 1.1, 0.97, 0.9, 0.85)  # between heads, in heads: tried in turn until all people fit


@dataclass(frozen=True)
class Camera:
    """A pinhole camera over flat ground.

    Attributes:
        horizon: Row of the horizon; it may be outside the image.
        k: Height of a head in pixels, per row below the horizon.
        top: No head is above this row.
        tilt: How steeply the camera looks down, as an index of `bodies.SQUASH`.
    """

    horizon: float
    k: float
    top: float
    tilt: int

    def head(self, y: float) -> float:
        """Return the height of a head in row y, in pixels."""
        return self.k * (y - self.horizon)

    def foot(self, y: float) -> float:
        """Return the row of the feet below a head in row y."""
        return y + FEET * SQUASH[self.tilt] * self.head(y)

    @property
    def metre_per_row(self) -> float:
        """Pixels per metre on the ground, per row below the horizon."""
        return self.k / HEAD_METRES / (1 + FEET * SQUASH[self.tilt] * self.k)


class Prop(NamedTuple):
    """A thing that stands in a scene.

    Attributes:
        draw: One of `scenery.THINGS`.
        seed: Of its random choices.
        x: Column of its foot.
        y: Row of its foot.
        metre: Pixels per metre there.
    """

    draw: scenery.Thing
    seed: int
    x: float
    y: float
    metre: float

    def paint(self, image: np.ndarray) -> list[scenery.Box]:
        """Draw it on an image, in place, and return the boxes that it hides."""
        return self.draw(np.random.default_rng(self.seed), image, self.x, self.y, self.metre)


def square(rng: Rng, height: int, width: int, people: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Draw a crowd on a square.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
        people: How many; None for a random number from 5 to MAX_PEOPLE.

    Returns:
        The image uint8 (H,W,3) RGB, and the centres of the heads float64 (N,2). There are fewer than `people` only if
        no more fit at MIN_HEAD pixels per head.
    """
    if people is None:
        people = round(float(np.exp(rng.uniform(np.log(5), np.log(MAX_PEOPLE)))))
    camera = _choose_camera(rng, people, width, height)
    image, props = _draw_stage(rng, camera, people, width, height)
    points = place_heads(rng, camera, people, width, height, _hidden_boxes(props))
    while len(points) < people and props:  # people come first: remove things until everybody fits
        props = props[: len(props) // 2]
        points = place_heads(rng, camera, people, width, height, _hidden_boxes(props))
    image = _cast_shadows(rng, camera, image, points)
    _paint_all(rng, camera, image, points, props)
    return image, points


def _paint_all(rng: Rng, camera: Camera, image: np.ndarray, points: np.ndarray, props: Sequence[Prop]) -> None:
    """Paint people and things in place, from far to near."""
    haze = image[: max(1, int(camera.top))].mean(axis=(0, 1)).astype(np.float32)
    clothes = choose_clothes(rng)
    queue: list[tuple[float, Callable[[], object]]] = []  # row of the feet, what to paint
    queue += [(prop.y, partial(prop.paint, image)) for prop in props]
    for x, y in points:
        person = partial(paint_person, rng, image, x, y, camera.head(y), camera.tilt, clothes, haze)
        queue.append((camera.foot(y), person))
    for _, paint in sorted(queue, key=lambda item: item[0]):
        paint()


# Camera, stage, places ------------------------------------------------------------------------------------------------


def _choose_camera(rng: Rng, people: int, width: int, height: int) -> Camera:
    """Choose a camera under which the people fit: heads shrink until they do."""
    tilt = int(rng.choice(3, p=[0.4, 0.35, 0.25]))
    horizon = height * rng.uniform(*[(0.12, 0.36), (-0.5, 0.06), (-2.5, -0.6)][tilt])
    near = max(9.0, height * float(np.exp(rng.uniform(np.log(0.022), np.log(0.1)))))  # height of a head in the last row
    while True:
        k = near / (height - horizon)
        top = max(horizon + max(MIN_HEAD, 0.22 * near) / k, near * 0.4)
        capacity = width * (1 / (top - horizon) - 1 / (height - horizon)) / k**2  # heads, if each takes a square
        if capacity * 0.58 > people or near < 1.7 * MIN_HEAD:
            return Camera(horizon, k, min(top, height - 1.0), tilt)
        near *= 0.94


def _draw_stage(rng: Rng, camera: Camera, people: int, width: int, height: int) -> tuple[np.ndarray, list[Prop]]:
    """Draw the empty place, uint8 (H,W,3), and choose the things that will stand in it."""
    image = scenery.sky(rng, height, width)
    scenery.ground(rng, image, camera.horizon, camera.metre_per_row, str(rng.choice(scenery.GROUNDS)))
    base = min(camera.foot(camera.top) - 0.5 * camera.head(camera.top), height - 1.0)
    metre = max(1.5, (base - camera.horizon) * camera.metre_per_row)
    backdrop = rng.random()
    if backdrop < 0.6:
        scenery.facades(rng, image, base, metre)
    if backdrop > 0.45:
        for x in np.arange(-2 * metre, width + 2 * metre, metre * rng.uniform(2.2, 5)):
            scenery.tree(rng, image, x + rng.normal(0, metre), base, metre)
    image = scenery.speckle(rng, image, 48, 0.04, 5)
    props = []
    for _ in range(int(rng.integers(0, 4 if people > 800 else 9))):
        y = rng.uniform(base, height)
        draw = scenery.THINGS[rng.integers(len(scenery.THINGS))]
        metre = (y - camera.horizon) * camera.metre_per_row
        props.append(Prop(draw, int(rng.integers(1 << 30)), rng.uniform(0, width), y, metre))
    return image, props


def _hidden_boxes(props: Sequence[Prop]) -> list[scenery.Box]:
    """Return the boxes that the things hide, found by drawing them on an image of one pixel."""
    nowhere = np.zeros((1, 1, 3), np.uint8)
    return [box for prop in props for box in prop.paint(nowhere)]


def place_heads(
    rng: Rng, camera: Camera, people: int, width: int, height: int, boxes: Sequence[scenery.Box]
) -> np.ndarray:
    """Place heads in groups, none behind a thing, and far enough apart for each to be seen.

    Args:
        rng: Chooses the places.
        camera: Gives the size of a head in each row.
        people: How many heads to place.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        boxes: What things hide, as (left, top, right, bottom).

    Returns:
        float64 (N,2), the centres x, y of at most `people` heads.
    """
    if people == 0:
        return np.zeros((0, 2))
    free = _free_cells(camera, width, height, boxes)
    rows, columns = free.shape
    size = camera.k * (np.arange(rows) * FREE_CELL + FREE_CELL / 2 - camera.horizon)
    size = size.clip(MIN_HEAD * 0.8)
    groups = np.exp(rng.uniform(0.2, 1.6) * scenery.noise(rng, rows, columns, max(rows, columns) / 5, 3))
    points: list[tuple[float, float]] = []
    for spacing in SPACINGS:
        weight = (free * groups / size[:, None] ** 2).ravel()
        if weight.sum() == 0 or len(points) == people:
            break
        chosen = rng.choice(len(weight), 8 * people + 200, p=weight / weight.sum())
        x = ((chosen % columns + rng.random(len(chosen))) * FREE_CELL).clip(1, max(width - 1.01, 0))
        y = ((chosen // columns + rng.random(len(chosen))) * FREE_CELL).clip(camera.top, max(height - 1.01, 0))
        candidates = list(zip(x.tolist(), y.tolist(), strict=True))
        points += _apart(camera, points, candidates, people - len(points), spacing, width, height)
        groups = np.sqrt(groups)  # who does not fit in the groups spreads out
    return np.array(points, np.float64).reshape(-1, 2)


def _free_cells(camera: Camera, width: int, height: int, boxes: Sequence[scenery.Box]) -> np.ndarray:
    """Return float32 (ceil(H/4), ceil(W/4)): 1 where a head may be, 0 above the camera's top and behind things."""
    free = np.ones((-(-height // FREE_CELL), -(-width // FREE_CELL)), np.float32)
    free[: int(np.ceil(camera.top / FREE_CELL))] = 0
    for left, top, right, bottom in boxes:
        x0, y0, x1, y1 = (int(edge / FREE_CELL) for edge in (left - 6, top - 6, right + 10, bottom + 6))
        free[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = 0
    return free


def _apart(
    camera: Camera,
    placed: Sequence[tuple[float, float]],
    candidates: Sequence[tuple[float, float]],
    count: int,
    spacing: float,
    width: int,
    height: int,
) -> list[tuple[float, float]]:
    """Return the first `count` candidates that keep a distance of `spacing` heads from `placed` and from each other."""
    taken = np.zeros((height, width), np.uint8)  # 255 where a new head would be too near another

    def claim(x: float, y: float) -> None:
        head = camera.head(y)
        scenery.ellipse(taken, x, y, 0.95 * spacing * head, 0.85 * spacing * head, 255)

    for x, y in placed:
        claim(x, y)
    added: list[tuple[float, float]] = []
    for x, y in candidates:
        if len(added) == count:
            break
        if not taken[int(y), int(x)]:
            added.append((x, y))
            claim(x, y)
    return added


# Light ----------------------------------------------------------------------------------------------------------------


def _cast_shadows(rng: Rng, camera: Camera, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Darken the ground below and beside each person."""
    dark = np.zeros(image.shape[:2], np.uint8)
    length = rng.uniform(0.3, 2.6)
    for x, y in points:
        size, foot = camera.head(y), camera.foot(y)
        scenery.ellipse(dark, x + length * 0.6 * size, foot - 0.1 * size, (0.9 + length * 0.6) * size, 0.45 * size, 255)
    soft = cv2.GaussianBlur(dark, (0, 0), max(1.0, image.shape[0] / 300))
    return (image * (1 - soft[:, :, None] / 255 * np.float32(rng.uniform(0.25, 0.6)))).astype(np.uint8)

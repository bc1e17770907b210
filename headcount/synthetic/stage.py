"""A stage: a background, things in it, and places where people may stand or sit.

Each kind of scene is a function that builds a stage. Here people take their places, and all is painted from far to
near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from headcount.synthetic.bodies import FEET, SEAT, SQUASH, Posture
from headcount.synthetic.people import choose_clothes, paint_person
from headcount.synthetic.scenery import Rng, ellipse, noise
from headcount.synthetic.view import Face, Model, View

HEADS = (5.0, 110.0)  # pixels: the smallest and the largest head
VISIBLE = 0.7  # the share of a head that must be seen
SHADOW = 0.35  # how dark the ground is below a standing person


class Place(NamedTuple):
    """Where a person may be.

    Attributes:
        x: Column of the head's centre.
        y: Row of the head's centre.
        head: Height of the head in pixels.
        tilt: Index of `bodies.SQUASH`.
        posture: Standing, or sitting with the face or the back to the camera.
        order: Larger is farther.
    """

    x: float
    y: float
    head: float
    tilt: int
    posture: Posture
    order: float


class Item(NamedTuple):
    """A thing.

    Attributes:
        order: Larger is farther.
        faces: What is seen of it, from far to near.
    """

    order: float
    faces: list[Face]


@dataclass
class Stage:
    """A place without people.

    Attributes:
        view: The camera.
        image: uint8 (H,W,3) RGB, the background.
        items: The things in it.
        places: Where people may be.
        fullest: The largest share of the places that is taken when the number of people is random.
    """

    view: View
    image: np.ndarray
    items: list[Item] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    fullest: float = 1.0

    def add(self, model: Model, places: np.ndarray, turns: np.ndarray | float = 0.0, nearer: float = 0.0) -> None:
        """Add copies of a model.

        Args:
            model: The model.
            places: float (N,3), where its foot is, in metres.
            turns: float (N,), radians that it is turned by.
            nearer: Metres that it comes before other things at its place when all is painted.
        """
        places = np.asarray(places, np.float64).reshape(-1, 3)
        copies = zip(self.view.order(places), self.view.faces(model, places, turns), strict=True)
        self.items += [Item(float(order) - nearer, faces) for order, faces in copies if faces]

    def offer(self, heads: np.ndarray, posture: Posture) -> None:
        """Let people be where their heads are inside the image.

        Args:
            heads: float (N,3), the centres of the heads, in metres.
            posture: How they stand or sit.
        """
        heads = np.asarray(heads, np.float64).reshape(-1, 3)
        for point, order, (x, y, depth) in zip(heads, self.view.order(heads), self.view.project(heads), strict=True):
            size = self.view.head(depth)
            if depth > 0 and HEADS[0] <= size <= HEADS[1] and 0 <= x < self.view.width and 0 <= y < self.view.height:
                self.places.append(Place(x, y, size, self.view.tilt(point), posture, float(order)))


Build: TypeAlias = Callable[[Rng, int, int], Stage]  # rng, height, width


def play(rng: Rng, stage: Stage, people: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Let people take places of a stage, and paint it.

    Args:
        rng: Chooses the people.
        stage: The stage; its image is painted on.
        people: How many; None for a random number.

    Returns:
        The image uint8 (H,W,3), and the centres of the heads float64 (N,2), of which there are fewer than `people` only
        if there are no more places from which a head can be seen.
    """
    cast = [] if people == 0 else _cast(rng, stage, people)
    _cast_shadows(stage.image, cast)
    clothes, haze = choose_clothes(rng), stage.image.mean(axis=(0, 1)).astype(np.float32)
    things: list[Item | Place] = [*stage.items, *cast]
    for thing in sorted(things, key=lambda thing: -thing.order):
        if isinstance(thing, Item):
            for face in thing.faces:
                face.paint(stage.image)
        else:
            paint_person(rng, stage.image, thing.x, thing.y, thing.head, thing.tilt, clothes, haze, thing.posture)
    return stage.image, np.array([(place.x, place.y) for place in cast], np.float64).reshape(-1, 2)


def _cast(rng: Rng, stage: Stage, people: int | None) -> list[Place]:
    """Choose places, in groups, from which heads can be seen."""
    height, width = stage.image.shape[:2]
    groups = noise(rng, height, width, max(height, width) / 4, 2)
    liking = np.array([groups[int(place.y), int(place.x)] for place in stage.places]) * rng.uniform(0, 1.5)
    liking += rng.standard_normal(len(stage.places))
    places = [stage.places[i] for i in np.argsort(-liking)]
    if people is None:
        share = stage.fullest * rng.beta(0.8, 0.9)
        return _visible(places[: max(1, round(share * len(places)))], stage) or _visible(places, stage)[:1]
    seen = set(_visible(places, stage))
    return [place for place in places if place in seen][:people]


def _visible(places: Sequence[Place], stage: Stage) -> list[Place]:
    """Return the places whose heads neither things nor nearer people hide: what is near comes first, and is noted."""
    hidden = np.zeros(stage.image.shape[:2], np.uint8)
    seen = []
    things: list[Item | Place] = [*stage.items, *places]
    for thing in sorted(things, key=lambda thing: thing.order):
        if isinstance(thing, Item):
            for face in thing.faces:
                cv2.fillPoly(hidden, [np.round(face.corners).astype(np.int32)], 255)
        elif _share_seen(hidden, thing) >= VISIBLE:
            seen.append(thing)
            _hide_behind(hidden, thing)
    return seen


def _share_seen(hidden: np.ndarray, place: Place) -> float:
    """Return the share of the box around a head that is inside the image and not hidden."""
    half_w, half_h = 0.36 * place.head, 0.46 * place.head
    x0, y0 = round(place.x - half_w), round(place.y - half_h)
    x1, y1 = max(x0 + 1, round(place.x + half_w)), max(y0 + 1, round(place.y + half_h))
    inside = hidden[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    return float((inside == 0).sum()) / ((x1 - x0) * (y1 - y0))


def _hide_behind(hidden: np.ndarray, place: Place) -> None:
    """Note what a person hides: a head, and shoulders and all below them."""
    x, y, head = place.x, place.y, place.head
    ellipse(hidden, x, y, 0.46 * head, 0.58 * head, 255)
    reach = 0.4 + ((FEET if place.posture == Posture.STANDING else SEAT) - 0.4) * SQUASH[place.tilt]
    body = [(-0.4, 0.5), (0.4, 0.5), (0.95, 0.95), (0.95, reach), (-0.95, reach), (-0.95, 0.95)]
    outline = np.array([(x + head * dx, y + head * dy) for dx, dy in body])
    cv2.fillPoly(hidden, [np.round(outline).astype(np.int32)], 255)


def _cast_shadows(image: np.ndarray, cast: Sequence[Place]) -> None:
    """Darken the ground below each standing person, in place."""
    dark = np.zeros(image.shape[:2], np.uint8)
    for place in cast:
        if place.posture == Posture.STANDING:
            foot = place.y + FEET * SQUASH[place.tilt] * place.head
            ellipse(dark, place.x + 0.4 * place.head, foot - 0.1 * place.head, 1.4 * place.head, 0.4 * place.head, 255)
    if dark.any():
        soft = cv2.GaussianBlur(dark, (0, 0), max(1.0, image.shape[0] / 300))
        image[:] = image * (1 - soft[:, :, None] / 255 * np.float32(SHADOW))

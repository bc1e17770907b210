"""A camera in space, the walls of a room, and models that are placed in it.

The world is in metres: x to the right, y away from the camera, z up. Everything is seen from y = 0, so a thing with a
larger y is behind one with a smaller y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from headcount.synthetic.bodies import HEAD_METRES
from headcount.synthetic.cards import Card
from headcount.synthetic.scenery import Color, shade

NEAREST = 0.25  # metres: nothing nearer is painted
STEEP = (22, 48)  # degrees of looking down from which a person looks shorter: the limits between the tilts of a body


class Face(NamedTuple):
    """A flat part of a thing, as it is seen.

    Attributes:
        corners: float32 (N,2), its outline in pixels.
        fill: Its color or its card; a card has four corners.
        light: Brightness.
    """

    corners: np.ndarray
    fill: Color | Card
    light: float = 1.0

    def paint(self, image: np.ndarray) -> None:
        """Paint it on an image, in place."""
        if isinstance(self.fill, Card):
            self.fill.paint(image, self.corners, self.light)
        else:
            outline = np.round(self.corners * 16).astype(np.int32)
            cv2.fillPoly(image, [outline], shade(self.fill, self.light), cv2.LINE_AA, shift=4)


class Side(NamedTuple):
    """A flat side of a model.

    Attributes:
        corners: Numbers of four of the model's points: seen from the front, clockwise from the upper left one.
        front: Color or card of its front; None if it is not seen from there.
        back: Color or card of its back, likewise.
        light: Brightness.
    """

    corners: tuple[int, int, int, int]
    front: Color | Card | None
    back: Color | Card | None = None
    light: float = 1.0


@dataclass(frozen=True)
class Model:
    """The shape of a thing.

    Attributes:
        points: float (K,3) in metres, around the middle of its foot. It faces the camera, towards smaller y.
        sides: Its sides, in any order.
    """

    points: np.ndarray
    sides: list[Side]

    def __add__(self, other: Model) -> Model:
        """Join two models."""
        n = len(self.points)
        moved = [
            side._replace(corners=(a + n, b + n, c + n, d + n)) for side in other.sides for a, b, c, d in [side.corners]
        ]
        return Model(np.concatenate([self.points, other.points]), self.sides + moved)


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    Attributes:
        position: x, y and z in metres.
        yaw: Where it looks, in radians; larger is more to the right.
        pitch: How far it looks down, in radians.
        focal: Focal length in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float
    width: int
    height: int

    @classmethod
    def toward(cls, position: Sequence[float], target: Sequence[float], focal: float, width: int, height: int) -> View:
        """Make a camera that looks at a target."""
        x, y, z = (float(to - at) for at, to in zip(position, target, strict=True))
        at = (float(position[0]), float(position[1]), float(position[2]))
        return cls(at, float(np.arctan2(x, y)), float(np.arctan2(-z, np.hypot(x, y))), focal, width, height)

    @cached_property
    def axes(self) -> np.ndarray:
        """float64 (3,3): the directions to the right, down and forward in the image."""
        right = np.array([np.cos(self.yaw), -np.sin(self.yaw), 0])
        ahead = np.array([np.sin(self.yaw), np.cos(self.yaw), 0]) * np.cos(self.pitch) - (0, 0, np.sin(self.pitch))
        return np.stack([right, np.cross(ahead, right), ahead])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project points (...,3) in metres to (...,3): x and y in pixels, and the depth in metres."""
        seen = (points - np.array(self.position)) @ self.axes.T
        depth = np.maximum(seen[..., 2:], 1e-3)
        middle = np.array([self.width / 2, self.height / 2])
        return np.concatenate([seen[..., :2] / depth * self.focal + middle, seen[..., 2:]], axis=-1)

    def head(self, depth: float) -> float:
        """Return the height of a head at a depth, in pixels."""
        return self.focal * HEAD_METRES / max(depth, 1e-3)

    def tilt(self, point: np.ndarray) -> int:
        """Return how steeply a person at a point (3,) is seen, as an index of `bodies.SQUASH`."""
        away = point - np.array(self.position)
        angle = np.degrees(np.arctan2(-away[2], np.hypot(away[0], away[1])))
        return int(np.searchsorted(STEEP, angle))

    def order(self, places: np.ndarray) -> np.ndarray:
        """Return the order (N,) of things at places (N,3): larger is farther."""
        return places[:, 1] + 0.01 * np.abs(places[:, 0] - self.position[0])

    def faces(self, model: Model, places: np.ndarray, turns: np.ndarray | float = 0.0) -> list[list[Face]]:
        """Return the visible faces of copies of a model, from far to near.

        Args:
            model: The model.
            places: float (N,3), where its foot is.
            turns: float (N,), radians that it is turned by, counterclockwise seen from above.

        Returns:
            For each place the faces; none for a copy that is not in front of the camera.
        """
        turn = np.broadcast_to(np.asarray(turns, np.float64), (len(places),))[:, None]
        x, y, z = model.points.T
        turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z + 0 * turn], -1)
        points = self.project(turned + places[:, None])  # (N,K,3)
        corners, depth = points[:, :, :2], points[:, :, 2]
        low, high = corners.min(axis=1), corners.max(axis=1)
        shown = (
            (depth.min(axis=1) >= NEAREST) & (high >= 0).all(axis=1) & (low <= (self.width, self.height)).all(axis=1)
        )
        outlines = corners[:, [side.corners for side in model.sides]]  # (N,sides,4,2)
        across, down = outlines[:, :, 2] - outlines[:, :, 0], outlines[:, :, 3] - outlines[:, :, 1]
        clockwise = across[:, :, 0] * down[:, :, 1] > across[:, :, 1] * down[:, :, 0]
        order = np.argsort(-depth[:, [side.corners for side in model.sides]].mean(axis=2), axis=1)
        copies: list[list[Face]] = [[] for _ in places]
        for i in np.flatnonzero(shown):
            for s in order[i]:
                side = model.sides[s]
                fill = side.front if clockwise[i, s] else side.back
                if fill is not None:
                    copies[i].append(Face(outlines[i, s], fill, side.light))
        return copies


# Models ---------------------------------------------------------------------------------------------------------------


def block(
    low: Sequence[float],
    high: Sequence[float],
    fill: Color | Card,
    top: Color | Card | None = None,
    inset: tuple[float, float] = (0.0, 0.0),
) -> Model:
    """Make a box.

    Args:
        low: The corner with the smallest x, y and z.
        high: The opposite corner.
        fill: Color or card of its sides.
        top: That of its upper side, if it differs.
        inset: By how much its upper side is smaller, at each end, in x and y.
    """
    (x0, y0, z0), (x1, y1, z1), (dx, dy) = low, high, inset
    upper = [(x, y, z1) for y in (y0 + dy, y1 - dy) for x in (x0 + dx, x1 - dx)]
    points = np.array(upper + [(x, y, z0) for y in (y0, y1) for x in (x0, x1)], np.float64)
    sides = [
        Side((0, 1, 5, 4), fill),
        Side((3, 2, 6, 7), fill, light=0.65),
        Side((2, 0, 4, 6), fill, light=0.75),
        Side((1, 3, 7, 5), fill, light=0.6),
        Side((2, 3, 1, 0), fill if top is None else top, light=1.15),
    ]
    return Model(points, sides)


def panel(
    low: Sequence[float], high: Sequence[float], front: Color | Card, back: Color | Card | None, light: float = 1.0
) -> Model:
    """Make an upright or leaning sheet between its lower left and its upper right corner (x, y, z)."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    points = np.array([(x0, y1, z1), (x1, y1, z1), (x1, y0, z0), (x0, y0, z0)], np.float64)
    return Model(points, [Side((0, 1, 2, 3), front, back, light)])


def sheet(x0: float, x1: float, y0: float, y1: float, z: float, fill: Color | Card, light: float = 1.0) -> Model:
    """Make a level sheet, seen from above."""
    return Model(
        np.array([(x0, y1, z), (x1, y1, z), (x1, y0, z), (x0, y0, z)]), [Side((0, 1, 2, 3), fill, None, light)]
    )


# Rooms ----------------------------------------------------------------------------------------------------------------


class Surface(NamedTuple):
    """What a wall, a floor or a ceiling looks like; it is repeated by mirroring.

    Attributes:
        pixels: uint8 (h,w,3).
        scale: Pixels per metre.
        light: Brightness.
    """

    pixels: np.ndarray
    scale: float
    light: float = 1.0


def paint_room(
    image: np.ndarray, view: View, low: Sequence[float], high: Sequence[float], surfaces: Mapping[str, Surface]
) -> None:
    """Paint a room in the shape of a box, seen from inside, in place.

    Args:
        image: uint8 (H,W,3).
        view: The camera, inside the box.
        low: The corner of the box with the smallest x, y and z, in metres.
        high: The opposite corner.
        surfaces: Of "left", "right", "far", "near", "floor" and "ceiling". What is behind a side without a surface is
            left as it is.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = {  # of each side: upper left, upper right, lower left
        "left": ((x0, y0, z1), (x0, y1, z1), (x0, y0, z0)),
        "far": ((x0, y1, z1), (x1, y1, z1), (x0, y1, z0)),
        "right": ((x1, y1, z1), (x1, y0, z1), (x1, y1, z0)),
        "near": ((x1, y0, z1), (x0, y0, z1), (x1, y0, z0)),
        "floor": ((x0, y1, z0), (x1, y1, z0), (x0, y0, z0)),
        "ceiling": ((x0, y0, z1), (x1, y0, z1), (x0, y1, z1)),
    }
    for name, surface in surfaces.items():
        paint_plane(image, view, np.array(corners[name], np.float64), surface)


def paint_plane(image: np.ndarray, view: View, corners: np.ndarray, surface: Surface) -> None:
    """Paint a surface on a rectangle in space, in place.

    Args:
        image: uint8 (H,W,3).
        view: The camera.
        corners: float (3,3), the upper left, upper right and lower left corners in metres.
        surface: What it looks like, from the upper left corner on.
    """
    origin, right, below = (corners[0] - view.position), corners[1] - corners[0], corners[2] - corners[0]
    square = np.stack([origin, origin + right, origin + right + below, origin + below])
    outline = _clip(view, square @ view.axes.T)
    if len(outline) < 3:
        return
    lens = np.array([(view.focal, 0, view.width / 2), (0, view.focal, view.height / 2), (0, 0, 1)])
    pixels = (outline @ lens.T)[:, :2] / outline[:, 2:]
    x0, y0 = (max(0, int(edge)) for edge in np.floor(pixels.min(axis=0)))
    x1, y1 = (int(edge) for edge in np.minimum(np.ceil(pixels.max(axis=0)) + 1, (view.width, view.height)))
    if x0 >= x1 or y0 >= y1:
        return
    part = image[y0:y1, x0:x1]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round((pixels - (x0, y0)) * 16).astype(np.int32)], 255, shift=4)
    scale = surface.scale
    plane = np.stack([right / np.linalg.norm(right) / scale, below / np.linalg.norm(below) / scale, origin], axis=1)
    inverse = np.linalg.inv(lens @ view.axes @ plane).astype(np.float32)  # from (x,y,1) in the image
    x, y = np.arange(x0, x1, dtype=np.float32)[None], np.arange(y0, y1, dtype=np.float32)[:, None]
    column, row, nearness = (a * x + b * y + c for a, b, c in inverse)
    nearness[mask == 0] = 1.0
    tall, wide = surface.pixels.shape[:2]
    across, down = _mirror(column / nearness, wide), _mirror(row / nearness, tall)
    sharp = cv2.remap(surface.pixels, across, down, cv2.INTER_LINEAR)
    share = np.abs(nearness) * np.float32(1.3 * view.focal / scale)  # pixels of the image per pixel of the surface
    if share.min() < 0.9:  # distant texture blurs
        soft = cv2.remap(cv2.GaussianBlur(surface.pixels, (0, 0), 3), across, down, cv2.INTER_LINEAR)
        sharp = soft + (sharp.astype(np.float32) - soft) * share.clip(0, 1)[:, :, None]
    lit = cv2.convertScaleAbs(sharp, alpha=surface.light)
    cv2.copyTo(lit, mask, part)


def _mirror(at: np.ndarray, size: int) -> np.ndarray:
    """Bring coordinates into 0..size - 1 by mirroring, any number of times."""
    return np.abs((at + size) % (2 * size) - size).clip(0, size - 1)


def _clip(view: View, corners: np.ndarray) -> np.ndarray:
    """Cut off what is too near or far outside the image from a polygon (N,3) in the camera's coordinates: (M,3)."""
    wide, tall = view.width / view.focal, view.height / view.focal  # twice what the image shows
    limits = [(0, 0, 1, NEAREST), (1, 0, wide, 0), (-1, 0, wide, 0), (0, 1, tall, 0), (0, -1, tall, 0)]
    for *normal, least in limits:
        inside, kept = corners @ np.array(normal) - least, []
        for a, b, i, j in zip(corners, np.roll(corners, -1, axis=0), inside, np.roll(inside, -1), strict=True):
            if i >= 0:
                kept.append(a)
            if (i >= 0) != (j >= 0):
                kept.append(a + (b - a) * i / (i - j))
        corners = np.array(kept).reshape(-1, 3)
    return corners

"""Drawing the bodies of rendered people, as weights of materials that are colored later.

A body is drawn in units of its head's height, from the centre of the head, with y downward. It is seen from one of
three tilts of the camera: from eye level, from a balcony, or from a roof. It stands or sits; what it sits on, and a
table that hides its lap, are drawn by others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np

UNIT = 56  # pixels per unit
SQUASH = (1.0, 0.74, 0.46)  # how tall a body looks at each tilt
HEAD_METRES = 0.24  # height of a head
FEET = 6.7  # units below the centre of the head, before squashing
SEAT = 3.6  # the same of the seat that a person sits on
CENTRE = (1.8, 1.3)  # units from the upper left corner of the sheet to the centre of the head
SHEET_WIDTH = 3.6  # units
FULL_LIGHT = 160  # the weight of a material in full light; in bright light it is larger

Point: TypeAlias = tuple[float, float]
Shape: TypeAlias = Callable[[np.ndarray], object]  # draws on a mask uint8 (h,w), in place
Rng: TypeAlias = np.random.Generator


class Material(IntEnum):
    """The channel of each material in a sheet."""

    SKIN = 0
    HAIR = 1
    TOP = 2
    BOTTOM = 3
    ACCENT = 4
    DARK = 5


class Posture(IntEnum):
    """How a person is."""

    STANDING = 0
    FACING = 1  # sitting, with the face to the camera
    AWAY = 2  # sitting, with the back to the camera


COVERAGE = len(Material)  # the last channel: how opaque the body is, 0..255


@dataclass(frozen=True)
class Pose:
    """How a body stands or sits.

    Attributes:
        width: Width of the shoulders, about 1.
        stride: How far apart the feet may be, in units.
        from_behind: The back is seen.
        turn: How far the face is turned aside, in units.
        tilt: How much of the top of the head is seen, as an index of SQUASH: more of a bowed head.
        sits: The hands are in front of the body.
    """

    width: float
    stride: float
    from_behind: bool
    turn: float
    tilt: int
    sits: bool = False


class Sheet:
    """A body while it is being drawn.

    Attributes:
        squash: How tall the body looks.
        pixels: float32 (h,w,7), the weights of six materials, then coverage.
    """

    def __init__(self, squash: float):
        self.squash = squash
        self.pixels = np.zeros((int((2.0 + FEET * squash) * UNIT), int(SHEET_WIDTH * UNIT), COVERAGE + 1), np.float32)

    def add(self, material: Material, *shapes: Shape, light: float = 1.0, round_by: float = 0.16) -> None:
        """Paint shapes over what is there, lit from the upper left.

        Args:
            material: What the shapes are made of.
            shapes: From `oval`, `area` and `limb`.
            light: Brightness, 1 for most.
            round_by: How far from their edges the shapes look round, in units.
        """
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        for shape in shapes:
            shape(mask)
        x, y, w, h = cv2.boundingRect(mask)
        edge = int(2 * round_by * UNIT)
        window = slice(max(0, y - edge), y + h + edge), slice(max(0, x - edge), x + w + edge)
        cover, part = mask[window].astype(np.float32) / 255, self.pixels[window]
        soft = cv2.GaussianBlur(cover, (0, 0), round_by * UNIT)
        slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + 1.2 * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        lit = (light * (0.62 + 0.4 * soft) + slope * round_by * UNIT * 0.085).clip(0.3, 1.4)
        part *= 1 - cover[:, :, None]
        part[:, :, material] += cover * lit * FULL_LIGHT
        part[:, :, COVERAGE] += cover * 255

    def oval(self, x: float, y: float, rx: float, ry: float, start: int = 0, end: int = 360) -> Shape:
        """Make an ellipse, or the part of it between two angles."""
        axes = (round(rx * UNIT * 16), round(ry * UNIT * 16))
        return lambda mask: cv2.ellipse(mask, self._at((x, y)), axes, 0, start, end, 255, -1, cv2.LINE_AA, shift=4)

    def area(self, *points: Point) -> Shape:
        """Make a filled polygon."""
        corners = np.array([self._at(point) for point in points], np.int32)
        return lambda mask: cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift=4)

    def limb(self, width: float, *points: Point) -> Shape:
        """Make a thick line through points."""
        corners = np.array([self._at(point) for point in points], np.int32)
        thickness = round(width * UNIT)
        return lambda mask: cv2.polylines(mask, [corners], False, 255, thickness, cv2.LINE_AA, shift=4)

    def _at(self, point: Point) -> tuple[int, int]:
        """Turn units into 1/16 pixels. The body below the chin is squashed."""
        x, y = point
        y = y if y < 0.4 else 0.4 + (y - 0.4) * self.squash
        return round((x + CENTRE[0]) * UNIT * 16), round((y + CENTRE[1]) * UNIT * 16)


@cache
def draw_body(shape: int, tilt: int, posture: Posture = Posture.STANDING) -> tuple[np.ndarray, np.ndarray]:
    """Draw one body.

    Args:
        shape: Number of the body; the same number is the same body.
        tilt: Index of SQUASH.
        posture: Standing or sitting.

    Returns:
        The weights of the six materials, then coverage: uint8 (h,w,7), divided into (h,w,4) and (h,w,3), because OpenCV
        resizes at most four channels.
    """
    rng = np.random.default_rng([shape, tilt])
    sheet = Sheet(SQUASH[tilt])
    pose = _choose_pose(rng, tilt)
    if posture == Posture.STANDING:
        _draw_legs(rng, sheet, pose)
    else:
        pose = _sit_down(rng, pose, posture)
        _draw_lap(rng, sheet, pose)
    if pose.sits and pose.from_behind:  # the arms are on the other side of the body
        _draw_arms(rng, sheet, pose)
        _draw_torso(sheet, pose)
    else:
        _draw_torso(sheet, pose)
        _draw_arms(rng, sheet, pose)
    _draw_bag(rng, sheet, pose)
    _draw_head(rng, sheet)
    if not pose.from_behind and pose.tilt < 2:
        _draw_face(rng, sheet, pose)
    _draw_hair_and_hat(rng, sheet, pose)
    pixels = sheet.pixels.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, :, :4]), np.ascontiguousarray(pixels[:, :, 4:])


def _choose_pose(rng: Rng, tilt: int) -> Pose:
    width, stride, from_behind = rng.uniform(0.86, 1.08), rng.uniform(0.05, 0.4), rng.random() < 0.45
    turn = 0.0 if from_behind else rng.uniform(-0.14, 0.14)
    return Pose(width, stride, from_behind, turn, tilt)


def _sit_down(rng: Rng, pose: Pose, posture: Posture) -> Pose:
    """Turn a pose as the posture says. Many of those who sit bow their heads, over books or phones."""
    away = posture == Posture.AWAY
    tilt = min(2, pose.tilt + int(rng.random() < 0.45))
    return replace(pose, from_behind=away, turn=0.0 if away else rng.uniform(-0.16, 0.16), tilt=tilt, sits=True)


def _draw_lap(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw the thighs and shins of somebody who sits, which are seen from the front only."""
    if pose.from_behind:
        sheet.add(Material.BOTTOM, sheet.oval(0, 3.4, 0.85, 0.4), light=0.8)
        return
    for side in (-1, 1):
        knee = side * rng.uniform(0.3, 0.6)
        sheet.add(Material.DARK, sheet.oval(knee + 0.03, 5.3, 0.26, 0.15))
        sheet.add(Material.BOTTOM, sheet.limb(0.42, (knee, 3.9), (knee, 5.2)), light=0.7)
        sheet.add(Material.BOTTOM, sheet.limb(0.56, (side * 0.34, 3.3), (knee, 3.8)), light=0.95)


def _draw_legs(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw legs and shoes, sometimes under a skirt."""
    for side in (-1, 1):
        foot = side * (0.28 + pose.stride * rng.random())
        sheet.add(Material.DARK, sheet.oval(foot + 0.05, 6.55, 0.26, 0.13))
        sheet.add(Material.BOTTOM, sheet.limb(0.52, (side * 0.32, 3.3), (side * 0.34, 4.9), (foot, 6.4)), light=0.86)
    if rng.random() < 0.2:
        sheet.add(Material.BOTTOM, sheet.area((-0.55, 3.0), (0.55, 3.0), (0.95, 5.2), (-0.95, 5.2)), light=0.95)


def _draw_torso(sheet: Sheet, pose: Pose) -> None:
    wide = pose.width
    right = [(0.3, 0.55), (0.72 * wide, 0.82), (0.95 * wide, 1.25), (0.72 * wide, 2.4), (0.7 * wide, 3.6)]
    sheet.add(Material.TOP, sheet.area(*right, *[(-x, y) for x, y in right[::-1]]), round_by=0.3)


def _draw_arms(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw arms that hang, are folded, or are raised, in short or long sleeves."""
    for side in (-1, 1):
        kind = rng.random() * (0.3 if pose.sits else 1.0)
        shoulder, short_sleeve = (side * 0.86 * pose.width, 1.15), rng.random() < 0.5
        if kind < (0.01 if pose.sits else 0.05):
            elbow, hand = (side * 1.25, 0.6), (side * 1.1, -0.55)  # raised
        elif kind < 0.3:
            elbow, hand = (side * 1.15, 2.2), (side * 0.35, 2.3)  # folded
        else:
            elbow, hand = (side * 1.12 * pose.width, 2.2), (side * rng.uniform(0.95, 1.25), 3.3)
        sheet.add(Material.SKIN, sheet.limb(0.26, elbow, hand), sheet.oval(*hand, 0.17, 0.19))
        sleeve = [sheet.limb(0.38, shoulder, elbow)]
        if not short_sleeve:
            sleeve.append(sheet.limb(0.34, elbow, hand))
        sheet.add(Material.TOP, *sleeve, light=0.95)


def _draw_bag(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw a backpack or a bag on some bodies."""
    if rng.random() < 0.25:
        backpack = sheet.area((-0.55, 1.1), (0.55, 1.1), (0.6, 2.7), (-0.6, 2.7))
        sheet.add(Material.ACCENT, backpack if pose.from_behind else sheet.oval(0.8, 3.0, 0.4, 0.5), light=0.9)


def _draw_head(rng: Rng, sheet: Sheet) -> None:
    """Draw the neck, long hair behind the head, the ears and the head."""
    sheet.add(Material.SKIN, sheet.limb(0.36, (0, 0.3), (0, 0.72)), light=0.8)
    if rng.random() < 0.4:
        strands = sheet.area((-0.47, 0.1), (0.47, 0.1), (0.42, 0.95), (-0.42, 0.95))
        sheet.add(Material.HAIR, sheet.oval(0, 0.1, 0.47, 0.6), strands, light=0.85)
    ears = sheet.oval(-0.39, 0.05, 0.07, 0.12), sheet.oval(0.39, 0.05, 0.07, 0.12)
    sheet.add(Material.SKIN, *ears, light=0.85)
    sheet.add(Material.SKIN, sheet.oval(0, 0, 0.39, 0.5), round_by=0.22)


def _draw_face(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw eyes, eyebrows, nose and mouth, sometimes sunglasses or a beard."""
    turn, eyes = pose.turn, 0.02 + 0.1 * pose.tilt
    for side in (-1, 1):
        eye = turn * 1.5 + side * 0.15
        sheet.add(Material.DARK, sheet.oval(eye, eyes, 0.05, 0.035))
        sheet.add(Material.HAIR, sheet.limb(0.04, (eye - 0.08, eyes - 0.09), (eye + 0.08, eyes - 0.09)))
    sheet.add(Material.SKIN, sheet.oval(turn * 2, eyes + 0.12, 0.055, 0.09), light=1.1)
    mouth = sheet.limb(0.04, (turn * 1.5 - 0.1, eyes + 0.28), (turn * 1.5 + 0.1, eyes + 0.28))
    sheet.add(Material.SKIN, mouth, light=0.5)
    if rng.random() < 0.15:
        sheet.add(Material.DARK, sheet.limb(0.13, (turn - 0.3, eyes), (turn + 0.3, eyes)))  # sunglasses
    if rng.random() < 0.15:
        sheet.add(Material.HAIR, sheet.oval(turn, 0.32, 0.3, 0.2, 0, 180), light=0.9)  # beard


def _draw_hair_and_hat(rng: Rng, sheet: Sheet, pose: Pose) -> None:
    """Draw the hair, of which more is seen from higher up, and on some heads a cap, a sun hat or a scarf."""
    turn, tilt, kind = pose.turn, pose.tilt, rng.random()
    if pose.from_behind:
        sheet.add(Material.HAIR, sheet.oval(0, -0.05 + 0.03 * tilt, 0.43, 0.5), round_by=0.25)
    elif kind < 0.9:
        crown = sheet.oval(-turn, -0.26 + 0.1 * tilt, 0.41, 0.12 + 0.07 * tilt * tilt)
        sheet.add(Material.HAIR, sheet.oval(-turn, -0.14, 0.43, 0.42, 180, 360), crown, round_by=0.2)
    if kind > 0.9 or kind < 0.06:
        _draw_cap(rng, sheet, turn)
    elif kind < 0.12:
        sheet.add(Material.ACCENT, sheet.oval(0, -0.2, 0.78, 0.2 + 0.14 * tilt), light=0.9)  # sun hat
        sheet.add(Material.ACCENT, sheet.oval(0, -0.3, 0.4, 0.34), light=1.05)
    elif kind < 0.17:
        shoulders = sheet.area((-0.45, 0.2), (0.45, 0.2), (0.7, 0.95), (-0.7, 0.95))
        sheet.add(Material.ACCENT, sheet.oval(0, 0.0, 0.47, 0.56), shoulders)  # scarf
        if not pose.from_behind:
            sheet.add(Material.SKIN, sheet.oval(turn, 0.06, 0.28, 0.34))


def _draw_cap(rng: Rng, sheet: Sheet, turn: float) -> None:
    """Draw a beanie, or a cap with a peak."""
    sheet.add(Material.ACCENT, sheet.oval(0, -0.18, 0.45, 0.4, 180, 360), sheet.oval(0, -0.16, 0.45, 0.1), round_by=0.2)
    if rng.random() < 0.6:
        sheet.add(Material.ACCENT, sheet.oval(turn * 2, -0.14, 0.5, 0.1), light=0.8)

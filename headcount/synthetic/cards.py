"""Cards: flat images with transparency, which can be painted at any size and angle.

The colors of a card are premultiplied: a pixel that covers half of what is behind it holds half of its color.
"""

from __future__ import annotations

import cv2
import numpy as np

from headcount.synthetic.scenery import Color, Rng, noise

SMALLEST = 6  # pixels: the sides of the coarsest level of a card


class Card:
    """A flat image that is painted in perspective.

    Args:
        pixels: uint8 (h,w,4), premultiplied RGB and coverage, or (h,w,3) for an opaque card.
    """

    def __init__(self, pixels: np.ndarray):
        if pixels.shape[2] == 3:
            pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        self.levels = [pixels]  # each half as large as the one before, made when needed

    @property
    def pixels(self) -> np.ndarray:
        """The card itself, uint8 (h,w,4)."""
        return self.levels[0]

    def paint(self, image: np.ndarray, corners: np.ndarray, light: float = 1.0) -> None:
        """Paint the card on an image, in place.

        Args:
            image: uint8 (H,W,3).
            corners: float (4,2), x and y of its upper left, upper right, lower right and lower left corner.
            light: Brightness, 1 for that of the card.
        """
        height, width = image.shape[:2]
        x0, y0 = (max(0, int(edge)) for edge in np.floor(corners.min(axis=0)) - 1)
        x1, y1 = (int(edge) for edge in np.minimum(np.ceil(corners.max(axis=0)) + 1, (width, height)))
        sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
        if x0 >= x1 or y0 >= y1 or sides.min() < 0.3:
            return
        level = self._level(max(sides[0], sides[2]), max(sides[1], sides[3]))
        h, w = level.shape[:2]
        source = np.array([(0.5, 0.5), (w - 1.5, 0.5), (w - 1.5, h - 1.5), (0.5, h - 1.5)], np.float32)
        matrix = cv2.getPerspectiveTransform(source, (corners - (x0 + 0.5, y0 + 0.5)).astype(np.float32))
        patch = cv2.warpPerspective(level, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR).astype(np.float32)
        part = image[y0:y1, x0:x1]
        part[:] = (part * (1 - patch[:, :, 3:] / 255) + patch[:, :, :3] * light).clip(0, 255)

    def _level(self, across: float, down: float) -> np.ndarray:
        """The coarsest level that still has a pixel for each pixel of an area of this size, framed by transparency."""
        number = 0
        while True:
            if number == len(self.levels):
                finer = self.levels[-1]
                size = finer.shape[1] // 2, finer.shape[0] // 2
                self.levels.append(cv2.resize(finer, size, interpolation=cv2.INTER_AREA))
            h, w = self.levels[number].shape[:2]
            if w < 2 * across or h < 2 * down or min(h, w) < 2 * SMALLEST:
                return cv2.copyMakeBorder(self.levels[number], 1, 1, 1, 1, cv2.BORDER_CONSTANT)
            number += 1


def relief(mask: np.ndarray, color: Color, round_by: float = 0.12, light: float = 1.0) -> np.ndarray:
    """Color a shape so that it looks round at its edges, lit from the upper left.

    Args:
        mask: uint8 (h,w), the shape.
        color: RGB.
        round_by: How far from the edges it looks round, as a share of its height.
        light: Brightness.

    Returns:
        The pixels of a card, uint8 (h,w,4).
    """
    cover = mask.astype(np.float32) / 255
    sigma = max(0.6, round_by * mask.shape[0])
    soft = cv2.GaussianBlur(cover, (0, 0), sigma)
    slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + 1.2 * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    lit = cover * (light * (0.66 + 0.38 * soft) + slope * sigma * 0.09).clip(0.2, 1.5)
    shaded = lit[:, :, None] * np.array(color, np.float32)
    return np.dstack([shaded, cover * 255]).clip(0, 255).astype(np.uint8)


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Lay the pixels of one card over those of another of the same size, uint8 (h,w,4)."""
    return (below * (1 - above[:, :, 3:].astype(np.float32) / 255) + above).clip(0, 255).astype(np.uint8)


def grained(rng: Rng, pixels: np.ndarray, strength: float = 0.1, along: bool = False) -> np.ndarray:
    """Give a card the grain of wood or cloth: streaks of wood run `along` its rows or down its columns."""
    h, w = pixels.shape[:2]
    streaks = noise(rng, h, max(2, w // 12), 4, 2) if along else noise(rng, max(2, h // 12), w, 4, 2)
    field = 1 + strength * cv2.resize(streaks, (w, h))
    grain = pixels.copy()
    grain[:, :, :3] = (pixels[:, :, :3] * field[:, :, None]).clip(0, 255)
    return grain

"""Drawing text on images."""

from __future__ import annotations

import cv2
import numpy as np

Color = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: Color = (32, 34, 40)
PAPER: Color = (255, 255, 255)
CAPTION_SCALE = 0.5


def caption_width(caption: str) -> int:
    """Return the width in pixels that a caption needs below a panel."""
    return cv2.getTextSize(ascii_only(caption), FONT, CAPTION_SCALE, 1)[0][0] + 4


def darken(image: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    """Darken a rectangle of an image in place, so that white text on it is legible on any photo."""
    part = image[y : y + height, x : x + width]
    part[:] = (part * 0.28 + np.array(INK, np.float32) * 0.5).astype(np.uint8)


def stroke_width(scale: float) -> int:
    """Return the thickness of strokes, in pixels, that suits a font scale."""
    return max(1, round(1.7 * scale))


def ascii_only(text: str) -> str:
    """Replace the characters that OpenCV's fonts lack by "?"."""
    return text.encode("ascii", "replace").decode()


def draw_text(image: np.ndarray, text: str, x: int, y: int, scale: float, color: Color = INK) -> int:
    """Draw text on an image in place.

    Args:
        image: uint8 (H,W,3).
        text: One line.
        x: Left end of the text.
        y: Its baseline.
        scale: OpenCV's font scale.
        color: RGB.

    Returns:
        The width of the text in pixels.
    """
    plain = ascii_only(text)
    cv2.putText(image, plain, (x, y), FONT, scale, color, stroke_width(scale), cv2.LINE_AA)
    return cv2.getTextSize(plain, FONT, scale, stroke_width(scale))[0][0]

"""Drawing text on images."""

from __future__ import annotations

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, PAPER = (32, 34, 40), (255, 255, 255)


def caption_width(caption: str) -> int:
    """Pixels that a caption takes: a panel at least so wide shows all of it."""
    return cv2.getTextSize(ascii_only(caption), FONT, 0.5, 1)[0][0] + 4


def darken(picture: np.ndarray, x: int, y: int, w: int, h: int) -> None:
    """Darken a rectangle so that white text on it can be read on any photo."""
    part = picture[y : y + h, x : x + w]
    part[:] = (part * 0.28 + np.array(INK, np.float32) * 0.5).astype(np.uint8)


def stroke_width(scale: float) -> int:
    return max(1, round(1.7 * scale))


def ascii_only(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def draw_text(picture: np.ndarray, text: str, x: int, y: int, scale: float, colour=INK) -> int:
    """Draw text with its baseline at y; returns its width."""
    plain = ascii_only(text)
    cv2.putText(picture, plain, (x, y), FONT, scale, colour, stroke_width(scale), cv2.LINE_AA)
    return cv2.getTextSize(plain, FONT, scale, stroke_width(scale))[0][0]

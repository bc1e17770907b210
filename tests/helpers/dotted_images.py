"""Images with a bright dot around every head."""

import cv2
import numpy as np

from headcount.training.config import DataConfig
from headcount.training.images import TrainingImage, make_training_image


def dotted(seed=0, height=150, width=210, spacing=30) -> TrainingImage:
    """A black picture with a bright dot of 9 pixels around every head; heads are well apart."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(spacing / 2, width, spacing), np.arange(spacing / 2, height, spacing)), -1)
    heads = (grid.reshape(-1, 2) + random.uniform(-6, 6, (grid.size // 2, 2))).astype(np.float32)
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in heads.astype(int):
        image[y - 4 : y + 5, x - 4 : x + 5] = 255
    return make_training_image(image, heads, DataConfig(), f"dotted {seed}")


def dots_under(image: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Brightness (N,) of the pixel that each head lies in: pixel i covers [i, i+1)."""
    return image[heads[:, 1].astype(int), heads[:, 0].astype(int), 0]


def dot_centres(image: np.ndarray) -> np.ndarray:
    """Centres (N,2) of the bright dots that no border cuts, in continuous coordinates."""
    bright = cv2.threshold(image[..., 0], 127, 255, cv2.THRESH_BINARY)[1]
    _, _, boxes, centres = cv2.connectedComponentsWithStats(bright)
    left, top, width, height = boxes[1:, :4].T
    inner = (left > 0) & (top > 0) & (left + width < image.shape[1]) & (top + height < image.shape[0])
    return centres[1:][inner] + 0.5

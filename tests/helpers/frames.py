"""A stand-in for the model that counts video frames."""

import numpy as np

from headcount.inference.result import CountResult


def count_brightness(frame, regions=(), model="m", scale=None):
    """A tenth of the frame's mean brightness, as people."""
    cells = np.full((2, 2), float(frame.mean()) / 40, np.float32)
    return CountResult(float(cells.sum()), cells, cells, 64, 48, 32, 0.0, model)

"""The scale at which a large photo is counted.

A network knows heads of some sizes. In a photo of 12 megapixels, heads near the camera are larger than any it was
trained on, and it misses them; heads far away may need every pixel. So a large photo is counted shrunk first, and then
with twice the pixels per side, as long as that finds clearly more people. The smaller counts are cheap: together they
have at most two thirds of the pixels of the last one.
"""

from __future__ import annotations

from headcount.geometry import MAX_SCALE, MIN_SCALE
from headcount.io.images import MediaError

ORDINARY = 1_500_000  # pixels; images up to here are counted as they are, like those of the training sets
FIRST = 700_000  # pixels of a large photo's first count, the size of a training image
STEP = 2.0  # factor of both sides from one count to the next
WHOLE = 0.71  # a scale above it is as good as the whole photo, which loses nothing
MORE = 1.1  # times as many people, and
ONE_MORE = 1.0  # person more, is clearly more
SETTLED = 10.0  # people; with fewer in a frame, the next frame of a video chooses its scale anew


def scales(height: int, width: int) -> tuple[float, ...]:
    """The scales at which an image may be counted, in the order in which they are tried.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        Factors for both sides, rising to 1. (1.0,) for an ordinary image.
    """
    pixels = height * width
    if pixels <= ORDINARY:
        return (1.0,)
    scale = max((FIRST / pixels) ** 0.5, MIN_SCALE)
    tried = []
    while scale < WHOLE:
        tried.append(scale)
        scale *= STEP
    return (*tried, 1.0)


def check_pixels(height: int, width: int, scale: float | None, most: float) -> None:
    """Refuse an image that takes too many pixels at the scale it is to be counted at, which may enlarge it.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        scale: As in `Counter.count`.
        most: Pixels that an image may have.

    Raises:
        MediaError: If the resized image has more.
    """
    if scale is None or not 1 < scale <= MAX_SCALE or height * width * scale**2 <= most:
        return  # `resize` refuses scales out of range
    megapixels = height * width * scale**2 / 1e6
    raise MediaError(
        f"{width}x{height} at scale {scale:g} is {megapixels:.4g} megapixels, over the limit of {most / 1e6:.4g};"
        " use a smaller scale"
    )


def finds_more(people: float, finer: float) -> bool:
    """Whether the count at a finer scale is clearly higher, so that the coarser one missed small heads."""
    return finer > MORE * people + ONE_MORE


class VideoScale:
    """The scale of a video's frames: the first frame with people chooses it, so that its counts do not jump.

    Attributes:
        scale: As in `Counter.count`.
    """

    def __init__(self, scale: float | None):
        self.scale = scale

    def observe(self, count: float, scale: float) -> None:
        """Keep the scale of a counted frame for the next ones, if the frame shows people."""
        if self.scale is None and count >= SETTLED:
            self.scale = scale

"""Large photos are counted at the scale that finds most of the people."""

import cv2
import numpy as np
import pytest

from headcount.inference.counter import Counter
from headcount.inference.engines import Maps, ModelMeta
from headcount.inference.scale import FIRST, ORDINARY, VideoScale, finds_more, scales
from headcount.io.frames import Frame

KNOWN = (6, 40)  # pixels: sides of the heads that the fake network knows


class KnownHeads:
    """An engine that finds white squares, which stand for heads, if their sides are within KNOWN."""

    name, precision, batch = "fake", "fp32", 1
    meta = ModelMeta("fake", stride=8, pad=8, halo=0)

    def __init__(self):
        self.pixels = []

    def run(self, images):
        self.pixels += [image.shape[0] * image.shape[1] for image in images]
        maps = [self.density(image) for image in images]
        return Maps(np.stack(maps), np.ones_like(np.stack(maps)))

    def density(self, image):
        height, width = image.shape[:2]
        density = np.zeros((-(-height // 8), -(-width // 8)), np.float32)
        _, _, boxes, _ = cv2.connectedComponentsWithStats((image[:, :, 0] > 128).astype(np.uint8))
        for left, top, w, h, _ in boxes[1:]:
            if KNOWN[0] <= min(w, h) and max(w, h) <= KNOWN[1]:
                density[(top + h // 2) // 8, (left + w // 2) // 8] += 1
        return density


def photo(head, height=3000, width=4000, number=5):
    """A black photo with number x number white heads of `head` pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    for y in np.linspace(200, height - 500, number).astype(int):
        for x in np.linspace(200, width - 500, number).astype(int):
            image[y : y + head, x : x + head] = 255
    return image


@pytest.fixture
def counter():
    return Counter(KnownHeads())


@pytest.mark.parametrize(("height", "width"), [(768, 1024), (1000, 1500), (600, 600)])
def test_ordinary_images_are_counted_as_they_are(height, width):
    assert scales(height, width) == (1.0,)


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (3000, 4000), (6000, 8000), (900, 30_000)])
def test_the_scales_of_a_large_photo_double_up_to_its_own_size(height, width):
    tried = scales(height, width)
    assert height * width * tried[0] ** 2 == pytest.approx(FIRST) and tried[-1] == 1
    assert all(1.4 < finer / coarser < 2.9 for coarser, finer in zip(tried, tried[1:], strict=False))
    work = sum(scale**2 for scale in tried)
    assert work < 1.55, "pixels in all, against those of the photo"


@pytest.mark.parametrize("head", [25, 60, 150])
def test_heads_of_any_size_are_found_in_a_photo_of_a_phone(counter, head):
    result = counter.count(photo(head))
    assert result.count == 25
    assert KNOWN[0] <= head * result.scale <= KNOWN[1]
    assert result.to_dict()["scale"] == pytest.approx(result.scale, abs=1e-4)


def test_the_cost_of_the_smaller_counts_is_bounded(counter):
    counter.count(photo(10))
    assert sum(counter.engine.pixels) < 1.4 * 3000 * 4000
    counter.engine.pixels.clear()
    counter.count(photo(100))
    assert sum(counter.engine.pixels) < 0.4 * 3000 * 4000, "large heads need no pass at full size"


def test_dots_and_regions_keep_their_places(counter):
    image = photo(150, number=1)
    result = counter.count(image)
    [(x, y)] = result.points()
    assert result.scale < 1 and 190 < x < 360 and 190 < y < 360
    everywhere = counter.count(image, roi=[(0, 0), (4000, 0), (4000, 3000), (0, 3000)])
    nowhere = counter.count(image, roi=[(2000, 2000), (4000, 2000), (4000, 3000), (2000, 3000)])
    assert (everywhere.count, nowhere.count) == (1, 0)


def test_a_scale_that_was_asked_for_is_obeyed(counter):
    assert (counter.count(photo(60), scale=1.0).count, counter.count(photo(60), scale=1.0).scale) == (0, 1.0)
    assert counter.count(photo(60), scale=0.5).count == 25


def test_a_video_keeps_the_scale_of_its_first_frame_with_people(counter):
    frames = [photo(head) for head in (0, 150, 15)]
    results = [r for r, _ in counter.stream((Frame(i, i / 2, f) for i, f in enumerate(frames)), live=True)]
    assert [result.count for result in results] == [0, 25, 0], "heads of the third frame are too small at that scale"
    assert results[1].scale == results[2].scale < 1


def test_what_is_clearly_more():
    assert finds_more(100, 112) and not finds_more(100, 109) and not finds_more(0, 0.9)
    scale = VideoScale(0.5)
    scale.observe(100, 0.25)
    assert scale.scale == 0.5
    assert ORDINARY > 1024 * 1024 > FIRST

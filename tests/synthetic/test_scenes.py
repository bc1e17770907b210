"""Rendered crowds: the stated count is the count that can be seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import headcount
from headcount.io.images import read_image
from headcount.synthetic import lookalikes, plants, scenes, seating, shelves, square, stage, streets
from headcount.synthetic.people import CLOTH, paint_person
from headcount.synthetic.scenery import THINGS
from headcount.synthetic.textures import EMPTY

SIZE = {"width": 320, "height": 240}


@pytest.mark.parametrize(("seed", "people"), [(0, 1), (1, 5), (2, 40), (3, 150), (4, 300)])
def test_a_scene_has_as_many_people_as_requested_all_inside(seed, people):
    scene = scenes.render(seed, people, **SIZE)
    assert scene.image.shape == (240, 320, 3) and scene.image.dtype == np.uint8
    assert scene.points.shape == (people, 2) and scene.points.dtype == np.float32
    assert (scene.points >= 0).all() and (scene.points < [320, 240]).all()


def test_thousands_fit_in_an_image():
    assert len(scenes.render(12, 4000).points) == 4000


def test_if_too_many_are_requested_as_many_as_fit_are_shown():
    scene = scenes.render(0, 5000, **SIZE)
    assert 300 < len(scene.points) < 5000


def test_a_seed_gives_the_same_scene_again():
    first, again, other = (scenes.render(seed, 30, **SIZE) for seed in (7, 7, 8))
    assert (first.image == again.image).all() and (first.points == again.points).all()
    assert (first.image != other.image).any()


def test_without_a_number_crowds_have_many_sizes():
    counts = [len(scenes.render(seed, None, **SIZE).points) for seed in range(12)]
    assert min(counts) < 50 < 200 < max(counts)


def test_the_points_are_where_people_are_painted():
    """A person painted on an empty image covers its head and nothing far above it."""
    camera = square.Camera(horizon=-50, k=0.05, top=20, tilt=1)
    empty = np.full((240, 320, 3), 90, np.uint8)
    for x, y in ((40.0, 60.0), (160.0, 120.0), (300.0, 200.0)):
        image, size = empty.copy(), camera.head(y)
        haze = np.zeros(3, np.float32)
        paint_person(np.random.default_rng(1), image, x, y, size, camera.tilt, CLOTH, haze)
        painted = (image != empty).any(axis=2)
        inside = np.zeros(empty.shape[:2], np.uint8)
        cv2.ellipse(inside, (round(x), round(y)), (round(0.3 * size), round(0.4 * size)), 0, 0, 360, 1, -1)
        assert painted[inside > 0].mean() > 0.98
        assert not painted[: int(y - 1.5 * size)].any()


class Watch:
    """Paints people, and notes of each head where it is and which of its pixels are painted over later."""

    def __init__(self, height, width):
        self.owner, self.drawn = np.zeros((height, width), np.int32), []
        self.last = None

    def look(self, image):
        """What changed since the last look hides what was there."""
        if self.last is not None:
            self.owner[(np.abs(image.astype(int) - self.last) > 24).any(axis=2)] = 0
        self.last = image.copy()

    def paint(self, rng, image, x, y, size, *others):
        self.look(image)
        paint_person(rng, image, x, y, size, *others)
        self.look(image)
        yy, xx = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
        head = ((xx - x) / (0.4 * size)) ** 2 + ((yy - y) / (0.5 * size)) ** 2 <= 1
        self.drawn.append(max(1, head.sum()))
        self.owner[head] = len(self.drawn)

    def visible(self, image):
        """The share of each head that can be seen in the end."""
        self.look(image)
        return np.bincount(self.owner.ravel(), minlength=len(self.drawn) + 1)[1:] / np.array(self.drawn)


@pytest.mark.parametrize(("seed", "people"), [(0, 100), (1, 250), (2, 400)])
def test_every_head_of_a_crowd_can_be_seen(seed, people, monkeypatch):
    watch = Watch(240, 320)
    monkeypatch.setattr(square, "paint_person", watch.paint)
    image, points = square.square(np.random.default_rng(seed), 240, 320, people)
    visible = watch.visible(image)
    assert len(visible) == len(points) == people
    assert (visible < 0.3).mean() <= 0.005 and np.median(visible) > 0.8


STAGES = {
    "hall": seating.hall,
    "stand": seating.stand,
    "shop": shelves.shop,
    "garden": plants.garden,
    "street": streets.street,
    "parking": streets.parking,
    "gallery": lookalikes.gallery,
}


@pytest.mark.parametrize("kind", STAGES)
def test_every_head_between_things_can_be_seen(kind, monkeypatch):
    shares = []
    for seed in range(3):
        rng, watch = np.random.default_rng(seed), Watch(360, 480)
        monkeypatch.setattr(stage, "paint_person", watch.paint)
        image, points = stage.play(rng, STAGES[kind](rng, 360, 480), None)
        assert len(points) == len(watch.drawn)
        assert (points >= 0).all() and (points < [480, 360]).all()
        if len(points):
            shares.append(watch.visible(image))
    visible = np.concatenate(shares)
    assert (visible < 0.3).mean() <= 0.02 and np.median(visible) > 0.75


def test_every_kind_of_scene_is_tested():
    assert set(scenes.KINDS) == {"square", "texture", *STAGES}


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_kinds_are_drawn_by_name_with_people_and_without(kind):
    empty, again, other = (scenes.render(seed, 0, **SIZE, kind=kind) for seed in (1, 1, 2))
    assert len(empty.points) == 0 and empty.image.shape == (240, 320, 3)
    assert (empty.image == again.image).all() and (empty.image != other.image).any()
    few = scenes.render(3, 3, **SIZE, kind=kind)
    assert len(few.points) <= 3 and (kind == "texture") == (len(few.points) == 0)


def test_nobody_stands_behind_a_thing():
    rng = np.random.default_rng(0)
    camera = square.Camera(horizon=-100, k=0.04, top=10, tilt=1)
    boxes = [(50, 60, 200, 180)]
    points = square.place_heads(rng, camera, 150, 320, 240, boxes)
    inside = (points[:, 0] > 50) & (points[:, 0] < 200) & (points[:, 1] > 60) & (points[:, 1] < 180)
    assert len(points) == 150 and not inside.any()


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_things_are_painted_within_the_boxes_that_they_hide(thing):
    image = np.full((240, 320, 3), 128, np.uint8)
    boxes = thing(np.random.default_rng(3), image, 160, 200, 20)
    painted, hidden = (image != 128).any(axis=2), np.zeros((240, 320), bool)
    for left, top, right, bottom in boxes:
        assert left < right and top < bottom
        hidden[max(0, int(top)) : int(bottom) + 1, max(0, int(left)) : int(right) + 1] = True
    assert painted.any()
    # Only posts, strings and shadows are outside: nothing 0.45 m (9 pixels) wide.
    outside = cv2.erode((painted & ~hidden).astype(np.uint8), np.ones((9, 9)))
    assert not outside.any()


UNIFORM = {"plain"}


@pytest.mark.parametrize("draw", dict.fromkeys(EMPTY), ids=lambda draw: draw.__name__)
def test_every_kind_of_empty_image_is_drawn_all_over_and_differs_by_seed(draw):
    images = [draw(np.random.default_rng(seed), 90, 120) for seed in (1, 1, 2, 3, 4)]
    assert all(image.shape == (90, 120, 3) and image.dtype == np.uint8 for image in images)
    assert (images[0] == images[1]).all(), "the same generator draws the same image"
    assert len({image.tobytes() for image in images}) > 2
    if draw.__name__ in UNIFORM:
        assert all((image == image[0, 0]).all() for image in images)
        return
    quarters = [part for image in images for half in np.split(image, 2) for part in np.split(half, 2, axis=1)]
    assert all(image.std(axis=(0, 1)).max() > 2 for image in images)
    assert np.mean([part.std(axis=(0, 1)).max() > 1 for part in quarters]) > 0.5, "and not only in one place"


def test_no_people_means_no_points():
    images = set()
    for seed in range(10):
        scene = scenes.render(seed, 0, 96, 72)
        assert scene.points.shape == (0, 2) and scene.image.shape == (72, 96, 3)
        images.add(scene.image.tobytes())
    assert len(images) == 10


@pytest.mark.parametrize(("width", "height", "most"), [(1, 1, 1), (31, 200, 3), (200, 20, 3)])
def test_scenes_of_odd_sizes_have_their_people_inside(width, height, most):
    for people in (0, most):
        scene = scenes.render(5, people, width, height)
        assert scene.image.shape == (height, width, 3)
        assert len(scene.points) <= people
        assert (scene.points >= 0).all() and (scene.points <= [width, height]).all()
    if min(width, height) > 1:
        assert len(scene.points) == most
        assert scene.image.std() > 5, "something is drawn"


def test_the_bundled_example_has_the_stated_count():
    folder = Path(headcount.__file__).parent / "examples"
    facts = json.loads((folder / "crowd.json").read_text())
    assert read_image(folder / "crowd.jpg").shape == (768, 1024, 3)
    assert facts["count"] == len(facts["points"]) and 150 <= facts["count"] <= 250
    assert (folder / "crowd.jpg").stat().st_size < 400_000

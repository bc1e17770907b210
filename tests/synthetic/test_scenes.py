"""Rendered crowds: the stated count is the count that can be seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import headcount
from headcount.io.images import read_image
from headcount.synthetic import scenes
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
    camera = scenes.Camera(horizon=-50, k=0.05, top=20, tilt=1)
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


@pytest.mark.parametrize(("seed", "people"), [(0, 100), (1, 250), (2, 400)])
def test_every_counted_head_can_be_seen(seed, people, monkeypatch):
    """Write the number of each head where it is, erase it where someone nearer is painted, and see what remains."""
    owner, drawn = np.zeros((240, 320), np.int32), []

    def watch(rng, image, x, y, size, tilt, clothes, haze):
        before = image.copy()
        paint_person(rng, image, x, y, size, tilt, clothes, haze)
        owner[(np.abs(image.astype(int) - before) > 24).any(axis=2)] = 0
        yy, xx = np.mgrid[:240, :320] + 0.5
        head = ((xx - x) / (0.4 * size)) ** 2 + ((yy - y) / (0.5 * size)) ** 2 <= 1
        drawn.append(head.sum())
        owner[head] = len(drawn)

    monkeypatch.setattr(scenes, "paint_person", watch)
    scene = scenes.render(seed, people, **SIZE)
    visible = np.bincount(owner.ravel(), minlength=len(drawn) + 1)[1:] / np.array(drawn)
    assert len(drawn) == len(scene.points) == people
    assert (visible < 0.3).mean() <= 0.005 and np.median(visible) > 0.8


def test_nobody_stands_behind_a_thing():
    rng = np.random.default_rng(0)
    camera = scenes.Camera(horizon=-100, k=0.04, top=10, tilt=1)
    boxes = [(50, 60, 200, 180)]
    points = scenes.place_heads(rng, camera, 150, 320, 240, boxes)
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

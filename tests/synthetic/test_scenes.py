"""Rendered crowds: the count that is told is the count that can be seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import headcount
from headcount.io.images import read_image
from headcount.synthetic import scenes
from headcount.synthetic.scenery import THINGS
from headcount.synthetic.textures import EMPTY

SIZE = {"width": 320, "height": 240}


@pytest.mark.parametrize(("seed", "people"), [(0, 1), (1, 5), (2, 40), (3, 150), (4, 300)])
def test_as_many_people_as_asked_for_all_inside(seed, people):
    scene = scenes.render(seed, people, **SIZE)
    assert scene.image.shape == (240, 320, 3) and scene.image.dtype == np.uint8
    assert scene.points.shape == (people, 2) and scene.points.dtype == np.float32
    assert (scene.points >= 0).all() and (scene.points < [320, 240]).all()


def test_thousands_fit_in_a_photo():
    assert len(scenes.render(12, 4000).points) == 4000


def test_more_than_fit_gives_as_many_as_fit():
    scene = scenes.render(0, 5000, **SIZE)
    assert 300 < len(scene.points) < 5000


def test_a_seed_is_a_scene():
    first, again, other = (scenes.render(seed, 30, **SIZE) for seed in (7, 7, 8))
    assert (first.image == again.image).all() and (first.points == again.points).all()
    assert (first.image != other.image).any()


def test_without_a_number_scenes_are_of_many_sizes():
    counts = [len(scenes.render(seed, None, **SIZE).points) for seed in range(12)]
    assert min(counts) < 50 < 200 < max(counts)


def test_the_points_are_where_people_are_painted():
    """Two renderings that differ only in their people differ at the heads, and not in the sky."""
    camera = scenes.Camera(horizon=-50, k=0.05, top=20, tilt=1)
    empty = np.full((240, 320, 3), 90, np.uint8)
    for x, y in ((40.0, 60.0), (160.0, 120.0), (300.0, 200.0)):
        image, size = empty.copy(), camera.head(y)
        scenes._person(np.random.default_rng(1), camera, image, x, y, scenes.CLOTH, np.zeros(3, np.float32))
        painted = (image != empty).any(axis=2)
        inside = np.zeros(empty.shape[:2], np.uint8)
        cv2.ellipse(inside, (round(x), round(y)), (round(0.3 * size), round(0.4 * size)), 0, 0, 360, 1, -1)
        assert painted[inside > 0].mean() > 0.98
        assert not painted[: int(y - 1.5 * size)].any()


@pytest.mark.parametrize(("seed", "people"), [(0, 100), (1, 250), (2, 400)])
def test_every_counted_head_can_be_seen(seed, people, monkeypatch):
    """Paint the number of each head where it is, erase it where someone nearer is painted, and see what is left."""
    owner, drawn = np.zeros((240, 320), np.int32), []
    paint = scenes._person

    def watch(rng, camera, image, x, y, look, haze):
        before = image.copy()
        paint(rng, camera, image, x, y, look, haze)
        owner[(np.abs(image.astype(int) - before) > 24).any(axis=2)] = 0
        size = camera.head(y)
        yy, xx = np.mgrid[:240, :320] + 0.5
        head = ((xx - x) / (0.4 * size)) ** 2 + ((yy - y) / (0.5 * size)) ** 2 <= 1
        drawn.append(head.sum())
        owner[head] = len(drawn)

    monkeypatch.setattr(scenes, "_person", watch)
    scene = scenes.render(seed, people, **SIZE)
    visible = np.bincount(owner.ravel(), minlength=len(drawn) + 1)[1:] / np.array(drawn)
    assert len(drawn) == len(scene.points) == people
    assert (visible < 0.3).mean() <= 0.005 and np.median(visible) > 0.8


def test_nobody_stands_behind_a_thing():
    rng = np.random.default_rng(0)
    camera = scenes.Camera(horizon=-100, k=0.04, top=10, tilt=1)
    boxes = [(50, 60, 200, 180)]
    points = scenes._place(rng, camera, 150, 320, 240, boxes)
    inside = (points[:, 0] > 50) & (points[:, 0] < 200) & (points[:, 1] > 60) & (points[:, 1] < 180)
    assert len(points) == 150 and not inside.any()


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_things_paint_and_say_what_they_hide(thing):
    image = np.full((240, 320, 3), 128, np.uint8)
    boxes = thing(np.random.default_rng(3), image, 160, 200, 20)
    assert (image != 128).any()
    assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in boxes)


@pytest.mark.parametrize("draw", EMPTY, ids=lambda draw: draw.__name__)
def test_every_kind_of_picture_without_people(draw):
    image = draw(np.random.default_rng(1), 90, 120)
    assert image.shape == (90, 120, 3) and image.dtype == np.uint8


def test_no_people_means_no_points():
    looks = set()
    for seed in range(10):
        scene = scenes.render(seed, 0, 96, 72)
        assert scene.points.shape == (0, 2) and scene.image.shape == (72, 96, 3)
        looks.add(scene.image.tobytes())
    assert len(looks) == 10


@pytest.mark.parametrize(("width", "height"), [(1, 1), (31, 200), (200, 20)])
def test_odd_sizes(width, height):
    for people in (0, 3):
        assert scenes.render(5, people, width, height).image.shape == (height, width, 3)


def test_a_folder_of_scenes_is_a_data_set(tmp_path):
    csv = scenes.write_folder(tmp_path / "set", 4, seed=3, people_free_share=0.25, **SIZE)
    rows = [line.split(",") for line in csv.read_text().splitlines()]
    assert rows[0] == ["image", "x", "y"]
    names = list(dict.fromkeys(row[0] for row in rows[1:]))
    assert names == [f"scene_{seed:05d}.jpg" for seed in range(3, 7)]
    assert [row for row in rows if row[1] == ""] == [["scene_00006.jpg", "", ""]]
    assert read_image(csv.parent / names[0]).shape == (240, 320, 3)
    expected = scenes.render(3, None, **SIZE).points
    written = np.array([row[1:] for row in rows if row[0] == names[0]], np.float32)
    assert np.abs(written - expected).max() < 0.006


def test_the_bundled_example_says_its_count():
    folder = Path(headcount.__file__).parent / "examples"
    facts = json.loads((folder / "crowd.json").read_text())
    assert read_image(folder / "crowd.jpg").shape == (768, 1024, 3)
    assert facts["count"] == len(facts["points"]) and 150 <= facts["count"] <= 250
    assert (folder / "crowd.jpg").stat().st_size < 400_000

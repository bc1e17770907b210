"""The embedded model does what it is shipped for: it counts the bundled crowd, and sees nobody where nobody is."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import headcount
from headcount.inference.pretrained import DEFAULT_MODEL, WEIGHTS, embedded, find_model
from headcount.synthetic.scenes import render

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from people_free import sweep  # noqa: E402

EXAMPLE = Path(headcount.__file__).parent / "examples" / "crowd.jpg"


def test_the_bundled_crowd_is_counted_within_a_fifth():
    true = json.loads(EXAMPLE.with_suffix(".json").read_text())["count"]
    assert abs(headcount.load().count(EXAMPLE).count - true) <= 0.2 * true


def test_the_default_is_small_and_says_how_far_it_may_be_trusted():
    counter = headcount.load()
    assert embedded().stat().st_size <= 12e6 and counter.engine.meta.parameters <= 5e6
    result = counter.count(EXAMPLE)
    assert result.low < json.loads(EXAMPLE.with_suffix(".json").read_text())["count"] < result.high
    assert result.warning is None


def test_nobody_is_counted_where_nobody_is():
    counts = sweep(headcount.load(), scenes=16, width=640, height=480)
    assert np.median(counts) <= 0.1 and counts.max() <= 5


def test_engines_agree_on_it():
    fp32, half, other = headcount.load(precision="fp32"), headcount.load(), headcount.load(engine="onnxruntime")
    picture = cv2.imread(str(EXAMPLE))[:, :, ::-1]
    for width, height in ((611, 459), (501, 377), (449, 337)):  # odd sizes, and the shape that the picture has
        image = np.ascontiguousarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        counts = [counter.count(image).count for counter in (fp32, half, other)]
        assert counts[0] > 50
        assert counts[2] == pytest.approx(counts[0], rel=1e-3) and counts[1] == pytest.approx(counts[0], rel=1e-2)


def test_more_people_count_for_more():
    counter = headcount.load()
    few, many = (counter.count(render(910_000_000, people, 640, 480).image).count for people in (20, 300))
    assert few < many


def test_a_name_opens_a_model_that_comes_with_headcount(tmp_path, monkeypatch):
    assert headcount.load(DEFAULT_MODEL).engine.meta == headcount.load(embedded()).engine.meta
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_MODEL).mkdir()  # what lies here comes first
    assert find_model(DEFAULT_MODEL) == Path(DEFAULT_MODEL)


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_each_file_fits_and_its_card_says_what_it_is(path):
    assert path.stat().st_size <= 30e6
    card = path.with_suffix(".MODEL_CARD.md").read_text()
    for word in ("Data", "Recipe", "Seed", "Commit", "Protocol", "headcount evaluate", "Limits", "License", "rendered"):
        assert word.lower() in card.lower(), word
    meta = headcount.load(path).engine.meta
    assert meta.name == path.stem and meta.data and meta.metrics["part_A_test_mae"] <= 74

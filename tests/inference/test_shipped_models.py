"""The shipped models do what they are shipped for: they count the bundled crowd, and nobody where nobody is."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from people_free import sweep

import headcount
from headcount.datasets.readers import read
from headcount.evaluation.report import evaluate
from headcount.inference.pretrained import DEFAULT_MODEL, WEIGHTS, bundled_model_path, find_model
from headcount.models.complexity import parameter_count
from headcount.models.from_onnx import restore
from headcount.synthetic.scenes import render

EXAMPLE = Path(headcount.__file__).parent / "examples" / "crowd.jpg"
TRUE = json.loads(EXAMPLE.with_suffix(".json").read_text())["count"]
SHIPPED = pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.stem)
# Mean absolute error on every 20th of the 182 test images of Part A, measured with the file as it is shipped.
PART_A_MAE = {"headcount-small": (20, 61.80)}


def test_the_default_is_small_and_says_how_far_it_can_be_trusted():
    counter = headcount.load()
    assert bundled_model_path().stat().st_size <= 12e6 and counter.engine.meta.parameters <= 5e6
    result = counter.count(EXAMPLE)
    assert result.low < TRUE < result.high
    assert result.warning is None


@SHIPPED
def test_the_bundled_crowd_is_counted_within_a_tenth(path):
    assert headcount.load(path).count(EXAMPLE).count == pytest.approx(TRUE, rel=0.1)


def test_nobody_is_counted_where_nobody_is():
    counts = sweep(headcount.load(), scenes=16, width=640, height=480)
    assert np.median(counts) <= 0.1 and counts.max() <= 5


def test_engines_agree_on_it():
    fp32, half, other = headcount.load(precision="fp32"), headcount.load(), headcount.load(engine="onnxruntime")
    crowd = cv2.imread(str(EXAMPLE))[:, :, ::-1]
    for width, height in ((611, 459), (501, 377), (449, 337)):  # odd sizes, in the shape of the image
        image = np.ascontiguousarray(cv2.resize(crowd, (width, height), interpolation=cv2.INTER_AREA))
        counts = [counter.count(image).count for counter in (fp32, half, other)]
        assert counts[0] > 50
        assert counts[2] == pytest.approx(counts[0], rel=1e-3) and counts[1] == pytest.approx(counts[0], rel=1e-2)


def test_more_people_count_for_more():
    counter = headcount.load()
    few, many = (counter.count(render(910_000_000, people, 640, 480).image).count for people in (20, 300))
    assert few < many


def test_a_name_opens_a_shipped_model(tmp_path, monkeypatch):
    assert headcount.load(DEFAULT_MODEL).engine.meta == headcount.load(bundled_model_path()).engine.meta
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_MODEL).mkdir()  # what is in the working directory takes precedence
    assert find_model(DEFAULT_MODEL) == Path(DEFAULT_MODEL)


@SHIPPED
def test_a_file_is_small_and_says_which_network_it_holds(path):
    """Its metadata is true: the network that it names has the parameters, cells and mask that the file states."""
    assert path.stat().st_size <= 30e6
    meta = headcount.load(path).engine.meta
    assert (meta.name, meta.weights, bool(meta.interval), meta.spacing > 0) == (path.stem, "", True, True)
    network = restore(path)
    assert meta.parameters == parameter_count(network)
    assert (meta.stride, meta.pad, meta.halo, meta.mask) == (
        network.stride,
        network.pad,
        network.halo,
        network.predicts_mask,
    )
    assert network.config.name == path.stem and network.config.min_side == meta.min_side


@SHIPPED
def test_the_card_states_the_figures_that_the_file_states(path):
    card, metrics = path.with_suffix(".MODEL_CARD.md").read_text(), headcount.load(path).engine.meta.metrics
    stated = {float(number) for number in re.findall(r"\d+\.\d+", card)}
    assert {"part_A_test_mae"} <= set(metrics)
    for name, value in metrics.items():
        assert any(abs(value - number) <= 0.05 for number in stated), f"the card does not state {name} = {value}"


@SHIPPED
def test_the_error_on_real_photos_is_what_was_measured(shared, path):
    every, expected = PART_A_MAE[path.stem]
    samples = read(shared / "data" / "shanghaitech" / "part_A", "shanghaitech", "test")[::every]
    report = evaluate(samples, headcount.load(path, precision="fp32"))
    assert not report.errors
    assert report.metrics.mae == pytest.approx(expected, abs=0.5)

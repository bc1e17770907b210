"""Intervals hold what they promise, and the warning comes where heads are smaller than any the model knows."""

import json
import math
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers import dataset_factory as factory
from helpers import tiny_onnx

import headcount
from headcount.cli import main
from headcount.deployment.onnx_export import export
from headcount.evaluation.calibration import calibrate, fit_interval, fit_sets, held_by_others
from headcount.evaluation.uncertainty import (
    OFFSET,
    Measured,
    fit,
    log_error,
    out_of_sample,
    read_held_out,
    relative,
)
from headcount.geometry import resize
from headcount.inference.counter import Counter
from headcount.inference.engines import CALIBRATION, Maps, ModelMeta, describe
from headcount.inference.reliability import (
    UNCERTAINTY,
    head_spacing,
    interval,
    relative_uncertainty,
    smaller_than_known,
    unfamiliar,
)
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import load, save


def errors(n: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True counts (n,) and predictions that are off by a factor, log-normal of this spread."""
    rng = np.random.default_rng(seed)
    true = np.exp(rng.uniform(3, 8, n)).round()
    return true, true * np.exp(rng.normal(0, spread, n))


@pytest.mark.parametrize("n", [39, 70, 400])
def test_nine_in_ten_counts_that_were_not_fitted_on_are_held(n):
    fresh, counted = errors(2000, 0.2, seed=1)
    held = []
    for seed in range(2, 32):  # one list of n images is luck, thirty are not
        ranges = fit_interval(*errors(n, 0.2, seed))
        low, high = np.array([interval(count, ranges) for count in counted]).T
        held.append(((low <= fresh) & (fresh <= high)).mean())
    assert 0.885 <= np.mean(held) <= 0.94
    assert abs(held_by_others(*errors(n, 0.2)).mean() - 0.9) < 0.08


def test_an_interval_holds_its_count_and_never_goes_below_nobody():
    true, predicted = errors(100, 0.1)
    always_low = fit_interval(true, 0.5 * predicted)
    for count in (0.0, 0.4, 3.0, 5000.0):
        low, high = interval(count, always_low)
        assert 0 <= low <= count <= high
    assert interval(1000, always_low)[1] > 2000  # it has learned that this model counts half


def test_a_better_model_has_narrower_intervals():
    widths = [np.diff(interval(500, fit_interval(*errors(200, spread))))[0] for spread in (0.05, 0.2)]
    assert widths[0] < 0.5 * widths[1]


def test_without_calibration_there_is_no_interval(tmp_path):
    result = headcount.load(tiny_onnx.white_pixels(tmp_path / "white.onnx")).count(tiny_onnx.dots(5))
    assert np.isnan(result.low) and np.isnan(result.high) and result.warning is None
    assert result.to_dict()["low"] is None and "warning" not in result.to_dict()


def test_spacing_is_that_of_a_grid_of_heads():
    density = np.zeros((60, 80), np.float32)
    density[::2, ::2] = 1  # a head every second cell of 8 pixels
    assert head_spacing(density, 8) == pytest.approx(16, rel=0.15)
    assert head_spacing(np.full((60, 80), 0.25, np.float32), 8) == pytest.approx(16)
    assert np.isnan(head_spacing(np.zeros((60, 80), np.float32), 8))


def test_heads_smaller_than_any_known_are_warned_of():
    meta = ModelMeta("m", 8, 8, 8, spacing=10.0)
    sparse, dense = np.full((30, 40), 0.1, np.float32), np.full((30, 40), 2.0, np.float32)
    assert smaller_than_known(sparse, 8, meta) is None
    assert "6 pixels apart" in smaller_than_known(dense, 8, meta)
    assert smaller_than_known(dense, 16, meta) is None  # in the pixels of an image that was shrunk, they are not
    assert smaller_than_known(dense, 8, replace(meta, spacing=0.0)) is None  # a model that was not calibrated
    assert smaller_than_known(np.zeros((30, 40), np.float32), 8, meta) is None


class Parts:
    """An engine that counts as it is told, evenly over the image: so many near, so many from twice as far."""

    name, precision = "parts", "fp32"
    meta = ModelMeta("parts", 8, 8, 8, spacing=10.0)

    def __init__(self, near: float, far: float):
        self.people = {96: near, 48: far, 24: far}  # by the height of the image

    def run(self, images):
        n, height, width, _ = images.shape
        h, w = height // 8, width // 8
        density = np.full((n, h, w), self.people[height] / (h * w), np.float32)
        return Maps(density, np.ones_like(density))


def test_heads_larger_than_any_known_are_warned_of_and_the_cure_is_named():
    photo = np.zeros((96, 128, 3), np.uint8)
    assert "--scale 0.5" in Counter(Parts(near=9.0, far=2.0)).count(photo).warning
    assert Counter(Parts(near=9.0, far=8.0)).count(photo).warning is None
    crowd = Counter(Parts(near=900.0, far=2.0)).count(photo)  # lost from afar, as crowds are
    assert crowd.warning and "larger" not in crowd.warning
    assert Counter(Parts(near=9.0, far=2.0)).count(photo, scale=0.5).count == pytest.approx(2)


@pytest.mark.parametrize("scale", [0.0, -1, 9, float("nan")])
def test_a_scale_that_cannot_be(scale):
    with pytest.raises(ValueError, match=r"scale must be between 0.05 and 8, got "):
        Counter(Parts(1, 1)).count(np.zeros((96, 128, 3), np.uint8), scale=scale)
    assert resize(np.zeros((4, 90, 3), np.uint8), 0.05).shape == (1, 22, 3)  # a strip keeps a pixel


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, its checkpoint untrained, and its data: 20 images, of which the validation list takes some."""
    folder = tmp_path_factory.mktemp("run")
    factory.shanghaitech(folder / "data" / "set", train=range(20), test=())
    save(CountingModel(ModelConfig(name="small one", fusion="feature_zip", width=8)), folder / "run" / "best")
    one = {"folder": "set", "format": "shanghaitech", "train": "train", "val": "trainval"}
    unvalidated = {**one, "val": ""}
    record = {"config": {"sets": {"ours": one, "more": unvalidated}}}
    (folder / "run" / "run.json").write_text(json.dumps(record))
    return folder / "run", folder / "data"


def test_a_run_is_calibrated_and_its_exported_model_tells_the_interval(trained, tmp_path, capsys):
    folder, data = trained
    with pytest.raises(SystemExit) as stop:
        main.main(["calibrate", str(folder), "--data", str(data)])
    assert stop.value.code == 0 and "90% intervals contain" in capsys.readouterr().out
    kept = json.loads((folder / "best" / CALIBRATION).read_text())
    assert kept["images"] == 20 and list(kept["sets"]) == ["ours"]
    model = load(folder / "best")
    assert describe(model, folder / "best").interval == kept["interval"]
    export(folder / "best", tmp_path / "m.onnx")
    counter = headcount.load(tmp_path / "m.onnx")
    assert counter.engine.meta.interval == kept["interval"] and counter.engine.meta.spacing == kept["spacing"]
    result = counter.count(data / "set" / "train_data" / "images" / "IMG_3.jpg")
    assert result.low <= result.count <= result.high and result.to_dict()["high"] == round(result.high, 2)


def test_new_weights_do_not_inherit_the_calibration_of_the_old(trained):
    folder, data = trained
    calibrate(folder, data)
    save(load(folder / "best"), folder / "best")
    assert not (folder / "best" / CALIBRATION).exists()


def test_a_calibration_that_cannot_be_written_leaves_the_previous_one(trained, monkeypatch):
    folder, data = trained
    kept = folder / "best" / CALIBRATION
    previous = '{"spacing": 7.0}'
    kept.write_text(previous)

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        calibrate(folder, data)
    assert kept.read_text() == previous
    assert not list((folder / "best").glob(".*")), "no draft is left behind"


def test_a_folder_that_is_no_run_is_one_line(tmp_path, trained):
    with pytest.raises(ValueError, match=r"not the folder of a run"):
        calibrate(tmp_path, trained[1])
    folder = trained[0].parent / "none"
    folder.mkdir()
    (folder / "run.json").write_text('{"config": {"sets": {}}}')
    with pytest.raises(ValueError, match="no validation images"):
        calibrate(folder, trained[1])


def test_the_table_and_the_warning_reach_the_user(tmp_path, capsys):
    """A counter of white pixels, calibrated by hand: its counts are likely within a tenth."""
    import onnx

    path = tiny_onnx.white_pixels(tmp_path / "white.onnx")
    program = onnx.load(path)
    ranges = {"coverage": 0.9, "offset": 10.0, "low": 0.9, "high": 1.1}
    for key, value in (("interval", json.dumps(ranges)), ("spacing", "3.0")):
        program.metadata_props.add(key=key, value=value)
    onnx.save(program, path)
    image = tmp_path / "crowd.png"
    from PIL import Image

    Image.fromarray(np.full((64, 96, 3), 255, np.uint8)).save(image)
    with pytest.raises(SystemExit) as stop:
        main.main(["count", str(image), "--model", str(path)])
    out, err = capsys.readouterr()
    assert stop.value.code == 0 and "5,529-6,759" in out and max(map(len, out.splitlines())) <= 80
    assert "crowd.png: heads are about 1 pixels apart" in err
    with pytest.raises(SystemExit) as stop:
        main.main(["count", str(image), "--model", str(path), "--strict"])
    assert stop.value.code == 1, "a warning"


# Uncertainty


def maps(uncertainty, mask=1.0, cells=(30, 40)):
    return Maps(np.ones(cells, np.float32), np.full(cells, mask, np.float32), np.full(cells, uncertainty, np.float32))


def test_the_interval_widens_with_the_uncertainty():
    ranges = {"coverage": 0.9, "offset": 10.0, "low": 0.8, "high": 1.25}
    assert relative_uncertainty(maps(math.log(2))) == pytest.approx(2, rel=0.01)
    low, high = interval(90, ranges, 2.0)
    assert (low, high) == pytest.approx((100 * 0.8**2 - 10, 100 * 1.25**2 - 10))
    assert interval(90, ranges) == interval(90, ranges, 1.0) == pytest.approx((70, 115))


def test_an_image_without_people_and_a_model_that_does_not_tell_are_typical():
    assert relative_uncertainty(maps(1.0, mask=0.0)) == 1.0
    assert relative_uncertainty(Maps(np.ones((3, 4)), np.ones((3, 4)))) == 1.0
    assert relative_uncertainty(maps(9.0)) == pytest.approx(UNCERTAINTY[1]), "kept within bounds"


def test_a_region_has_the_uncertainty_of_its_cells():
    left = maps(0.0)
    left.uncertainty[:, 20:] = math.log(2)
    weights = np.zeros((30, 40))
    weights[:, 20:] = 1
    assert relative_uncertainty(left, weights) == pytest.approx(2, rel=0.01)
    assert relative_uncertainty(left, 1 - weights) == pytest.approx(1)


def test_unfamiliar_images_are_named_with_their_reason():
    meta = ModelMeta("m", 8, 8, 8, limits={"brightness": 20.0, "sharpness": 5.0, "uncertainty": 1.5})
    photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    assert unfamiliar(photo, 1.0, meta) is None
    assert "unlike the images the model knows" in unfamiliar(photo, 1.6, meta)
    assert "very dark" in unfamiliar(photo // 16, 1.0, meta)
    gradient = np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None, :, None], 96, 0).repeat(3, 2)
    assert "blurred" in unfamiliar(gradient, 1.0, meta)
    assert unfamiliar(photo // 16, 9.0, replace(meta, limits={})) is None, "a model that was not calibrated"


def measured(n: int, seed: int, name: str = "a", spread: float = 0.1) -> list[Measured]:
    """Images whose first feature doubles the error each time that it rises by 1; the other 7 say nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (n, 8))
    errors = rng.normal(0, spread, n) * 2 ** features[:, 0]
    true = np.exp(rng.uniform(4, 7, n))
    images = zip(features, true, (true + OFFSET) * np.exp(errors) - OFFSET, strict=True)
    return [
        Measured(name, f"{name}{seed}-{i}.jpg", t, c, np.append(f, 1.0), 20.0, 100.0, 50.0, log_error(t, c))
        for i, (f, t, c) in enumerate(images)
    ]


def test_the_features_that_announce_an_error_are_found():
    head = fit(measured(1000, 1))
    fresh = measured(400, 2)
    found = np.array([relative(one, head) for one in fresh])
    hard = np.array([one.pooled[0] > 0 for one in fresh])
    assert found[hard].mean() > 1.5 * found[~hard].mean()
    assert fit(measured(50, 1)) == {}, "too few images to tell"


def test_intervals_hold_in_every_set_not_only_on_average():
    sets = [*measured(300, 1, "easy", 0.05), *measured(200, 2, "hard", 0.2)]
    head = fit(sets)
    calibrated = fit_sets(sets, head)
    for fresh in (measured(2000, 3, "easy", 0.05), measured(2000, 4, "hard", 0.2)):
        bounds = [interval(one.count, calibrated, relative(one, head)) for one in fresh]
        assert np.mean([low <= one.true <= high for one, (low, high) in zip(fresh, bounds, strict=True)]) > 0.86


def test_errors_on_learned_images_are_scaled_to_those_on_others():
    learned, lists = measured(300, 1, spread=0.05), measured(200, 2, spread=0.1)
    scaled = out_of_sample(learned, lists, {})
    gap = np.mean([one.error for one in scaled]) / np.mean([one.error for one in learned])
    assert gap == pytest.approx(np.mean([one.error for one in lists]) / np.mean([one.error for one in learned]))
    held_out = {one.path: 0.5 for one in [*learned[:10], *lists]}  # networks that learned less, and err by 0.5
    scaled = out_of_sample(learned, lists, held_out)
    assert [one.path for one in scaled] == [one.path for one in learned[:10]]
    assert scaled[0].error == pytest.approx(np.mean([one.error for one in lists]))


def test_a_table_of_held_out_counts_is_read(tmp_path):
    path = tmp_path / "fold1.csv"
    path.write_text("name,path,true,predicted\na,data/a.jpg,90,40\n")
    assert read_held_out([path]) == {"data/a.jpg": pytest.approx(math.log(2))}
    path.write_text("nothing\n1\n")
    with pytest.raises(ValueError, match=r"fold1.csv: not a table of headcount evaluate --csv"):
        read_held_out([path])


# One place


def test_a_model_is_fitted_to_a_place_where_it_counts_half(tmp_path, run):
    """A counter of white pixels sees half of the people that are marked, as it might through a window."""
    model = tiny_onnx.white_pixels(tmp_path / "white.onnx")
    rows = []
    for i in range(12):
        people = 40 + 10 * i
        cv2.imwrite(str(tmp_path / f"{i}.png"), tiny_onnx.dots(people, 80, 120))
        rows += [f"{i}.png,{x},{y}" for x, y in np.random.default_rng(i).uniform(0, 80, (2 * people + i % 3, 2))]
    (tmp_path / "marked.csv").write_text("image,x,y\n" + "\n".join(rows))
    place = tmp_path / "window.onnx"
    code, out, _ = run("calibrate", "--photos", tmp_path / "marked.csv", "--model", model, "--out", place)
    assert code == 0 and "12 photos" in out and "counts 50%" in out and "85%" in out
    result = headcount.load(place).count(tiny_onnx.dots(100, 80, 120))
    assert result.count == pytest.approx(100, rel=0.01) and result.low <= result.count
    assert 190 < result.high < 215, "the true count is inside, near the end"
    few = tmp_path / "few.csv"
    few.write_text("image,x,y\n0.png,3,3\n1.png,3,3\n")
    code, _, err = run("calibrate", "--photos", few, "--model", model, "--out", place)
    assert code == 2 and "2 marked photos are too few" in err

"""Several networks as one: the mean of their counts, in a run's folder like any other."""

import json

import pytest
import torch

from headcount.cli import main
from headcount.deployment.onnx_export import export
from headcount.inference.counter import Counter
from headcount.inference.counter import load as counter_of
from headcount.inference.engines import TorchEngine
from headcount.models.averaging import average
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.ensemble import Ensemble, EnsembleConfig
from headcount.models.from_onnx import restore
from headcount.models.serialization import load, save
from headcount.synthetic.scenes import render
from headcount.training.finetuning import open_start

IMAGE = render(3, people=90, width=211, height=173).image


def a_run(folder, seed, fusion="feature_zip", **settings):
    torch.manual_seed(seed)
    model = CountingModel(ModelConfig(name=folder.name, fusion=fusion, width=8, min_side=64, **settings))
    save(model, folder / "best")
    sets = {folder.name: {"folder": "set", "format": "shanghaitech", "train": "train", "val": "val"}}
    (folder / "run.json").write_text(json.dumps({"config": {"sets": sets}}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return a_run(folder / "light", 1), a_run(folder / "dilated", 2, dilation=2)


@pytest.fixture(scope="module")
def both(runs, tmp_path_factory):
    return average(runs, tmp_path_factory.mktemp("both") / "ensemble")


def test_its_count_is_the_mean_of_the_counts(tmp_path):
    runs = [a_run(tmp_path / name, seed, fusion="product_posterior") for seed, name in enumerate(("one", "two"))]
    counts = [counter_of(run / "best").count(IMAGE).count for run in runs]
    assert counts[0] != pytest.approx(counts[1], rel=0.01)
    both, weighted = average(runs, tmp_path / "both"), average(runs, tmp_path / "weighted", weights=(1, 3))
    assert counter_of(both).count(IMAGE).count == pytest.approx(sum(counts) / 2, rel=1e-5)
    assert counter_of(weighted).count(IMAGE).count == pytest.approx((counts[0] + 3 * counts[1]) / 4, rel=1e-5)


def test_a_zero_inflated_network_that_is_sure_of_nobody_is_believed(runs, both):
    """The mean of 10 people and of nobody would be 5."""
    image = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    ensemble = load(both)
    for member, logit in zip(ensemble.members, (1.0, -15.0), strict=True):
        torch.nn.init.zeros_(member.head.mask[1].weight)
        torch.nn.init.constant_(member.head.mask[1].bias, logit)
        torch.nn.init.constant_(member.head.regressor[-1].bias, 3.0)
    one, two = (member(image) for member in ensemble.members)
    mean = (one.density.sum() + two.density.sum()) / 2
    output = ensemble(image)
    assert mean > 50 and output.density.sum() < 0.01 * mean
    assert torch.allclose(output.density, torch.sigmoid(torch.tensor(-7.0)) * (one.rate + two.rate) / 2)


def test_windows_of_large_images_do_for_the_network_that_sees_furthest(runs, both):
    model, halos = load(both), [load(run / "best").halo for run in runs]
    assert model.halo == max(halos) > min(halos)


def test_an_ensemble_predicts_a_mask_if_all_its_members_do(runs, both, tmp_path):
    ensemble = load(both)
    assert ensemble.predicts_mask
    plain = a_run(tmp_path / "plain", 4, fusion="plain")
    mixed = load(average((runs[0], plain), tmp_path / "mixed"))
    image = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    assert not mixed.predicts_mask and mixed(image).mask_logits is None and ensemble(image).mask_logits is not None
    densities = [member(image).density for member in mixed.members]
    torch.testing.assert_close(mixed(image).density, (densities[0] + densities[1]) / 2)


def test_it_is_exported_and_comes_back(both, tmp_path):
    report = export(both, tmp_path / "both.onnx")
    assert report.graph < 0.001
    meta = counter_of(tmp_path / "both.onnx").engine.meta
    assert (meta.name, meta.data) == ("ensemble", "light, dilated")
    again = restore(tmp_path / "both.onnx")
    assert isinstance(again, Ensemble)
    before, after = (Counter(TorchEngine(model)).count(IMAGE).count for model in (load(both), again))
    assert after == pytest.approx(before, rel=0.002)
    with pytest.raises(ValueError, match="both.onnx: is an ensemble; only single networks can be trained"):
        open_start(tmp_path / "both.onnx")


def test_a_soup_is_one_network_of_their_mean_weights(tmp_path):
    runs = [a_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    one, two = (load(run / "best").state_dict() for run in runs)
    soup = load(average((runs[0], runs[1] / "best"), tmp_path / "soup", weights=(1, 3), soup=True))
    assert isinstance(soup, CountingModel) and soup.config.name == "soup"
    for key, value in soup.state_dict().items():
        assert torch.allclose(value.float(), one[key].float() / 4 + two[key].float() * 3 / 4, atol=1e-6), key
    record = json.loads((tmp_path / "soup" / "run.json").read_text())
    assert set(record["config"]["sets"]) == {"one", "two"}
    assert list(record["members"]) == [str(run / "best") for run in runs]


def test_a_soup_is_trained_further_with_the_losses_that_it_knows(tmp_path):
    runs = [a_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    for run in runs:
        record = json.loads((run / "run.json").read_text())
        record["config"]["loss"] = {"density": 0.0, "likelihood": 1.0}
        (run / "run.json").write_text(json.dumps(record))
    _, recipe = open_start(average(runs, tmp_path / "soup", soup=True))
    assert (recipe.loss.density, recipe.loss.likelihood) == (0.0, 1.0)


def test_from_the_command_line(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        named = ["--name", "headcount-both", "--weight", "1", "--weight", "2"]
        main.main(["average", *map(str, runs), "--out", str(tmp_path / "mean"), *named])
    assert stop.value.code == 0 and capsys.readouterr().out.strip() == str(tmp_path / "mean" / "best")
    assert load(tmp_path / "mean" / "best").config.name == "headcount-both"


def test_what_cannot_be_averaged_is_said_in_one_line(runs, both, tmp_path):
    for given, match in (
        (runs[:1], "needs two runs"),
        ((*runs, tmp_path), "not the folder of a run"),
        ((runs[0], both.parent), "is an average already"),
        ((runs[0], a_run(tmp_path / "vgg", 3, backbone="lite0", shrink=True)), "one stride, min_side and shrink"),
    ):
        with pytest.raises(ValueError, match=match) as caught:
            average(given, tmp_path / "out")
        assert "\n" not in str(caught.value) and not (tmp_path / "out" / "run.json").exists()
    with pytest.raises(ValueError, match="holds a run already"):
        average(runs, both.parent)
    with pytest.raises(ValueError, match="weights of 2 networks are .*: they must be positive and sum to 1"):
        average(runs, tmp_path / "out", weights=(2, 0))
    with pytest.raises(ValueError, match="of equal networks only"):
        average(runs, tmp_path / "out", soup=True)
    with pytest.raises(ValueError, match="one stride"):
        Ensemble(EnsembleConfig(()))

"""An int8 file counts as the model did, and is refused where it does not."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import headcount
from headcount.deployment import onnx_export
from headcount.deployment.count_change import compare
from headcount.deployment.onnx_export import ExportError
from headcount.deployment.quantization import KEPT_TYPES, choose_photos, kept
from headcount.inference.engines import OpenVINOEngine, open_engine, openvino_engine
from headcount.io.images import write_image
from headcount.models import counting_model as models
from headcount.models.backbones import BACKBONES
from headcount.models.backbones.base import conv
from headcount.models.backbones.efficientnet_lite import Depthwise
from headcount.models.counting_model import BASELINES
from headcount.models.fusion import FUSIONS
from headcount.synthetic.scenes import render

pytest.importorskip("nncf", reason="int8 needs nncf")


class Small(nn.Module):
    """A backbone with a depthwise layer like that of lite0, traced in a second."""

    channels, stride, pad, reach, grey = 32, 4, 4, 16, False
    mean, std = (127.0, 127.0, 127.0), (64.0, 64.0, 64.0)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), Depthwise(16, 3, 2), nn.ReLU6())
        self.features = conv(16, 32, 3)

    def forward(self, x):
        return self.features(self.stem(x))


@pytest.fixture(scope="module")
def model():
    """A random network whose mask and rate vary from cell to cell, as a trained one's do."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", Small)
        model = models.CountingModel(models.ModelConfig(name="small", backbone="small", width=32, fusion="feature_zip"))
    with torch.no_grad():
        for layer in (model.head.mask[-1], model.head.regressor[-1]):
            layer.weight *= 30
            layer.bias -= 2
    return model.eval()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(24):
        write_image(folder / f"{seed:02}.jpg", render(seed, people=60, width=200 + seed, height=150).image)
    return folder


@pytest.fixture(scope="module")
def report(model, photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "int8.onnx"
    calls = []
    report = headcount.export(
        model, path, "int8", metrics={"mae": 7}, calibrate=photos, progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == (30, 30)  # 18 to calibrate on, 6 held out and counted twice
    return report


def test_an_int8_file_counts_as_the_model_did(model, report):
    assert report.change.photos == 6 and report.change.mean < 0.01 and report.change.sparse < 0.02
    image = render(99, people=80, width=211, height=173).image[None]
    with torch.inference_mode():
        density = model(torch.tensor(image).permute(0, 3, 1, 2)).density
    for engine in ("openvino", "onnxruntime"):
        opened = open_engine(report.path, engine)
        found, mask, _ = opened.run(image)
        assert found.shape == mask.shape == density.shape and opened.precision == "int8"
        assert found.sum() == pytest.approx(float(density.sum()), rel=0.02)


def test_the_metadata_differ_only_in_the_precision(model, report, tmp_path):
    other = headcount.export(model, tmp_path / "half.onnx", metrics={"mae": 7})
    assert open_engine(report.path).meta == replace(open_engine(other.path).meta, weights="int8")


def test_layers_that_int8_would_ruin_are_kept(report):
    """The branch of the density, layers with one map, depthwise layers and products keep their precision."""
    graph = onnx.load(report.path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}

    def stored(node):
        weights = node.input[1]
        while weights not in types:
            weights = made_by[weights].input[0]
        return weights, types[weights]

    convolutions = dict(stored(node) for node in graph.node if node.op_type == "Conv")
    in_bytes = {name for name, kind in convolutions.items() if kind == onnx.TensorProto.INT8}
    assert len(in_bytes) == 5 and len(convolutions) == 11
    assert not [name for name in in_bytes if "regressor" in name or "head.mask.1" in name or "stem.2" in name]
    for node in graph.node:
        if node.op_type in KEPT_TYPES:
            assert not [name for name in node.input if name in made_by and "Dequantize" in made_by[name].op_type]


@pytest.mark.parametrize("network", [*FUSIONS, *BASELINES])
def test_the_layer_that_gives_the_density_is_kept_in_every_network(network):
    whole = network in BASELINES
    module = BASELINES[network]() if whole else FUSIONS[network](16, 8)
    graph = onnx.GraphProto()
    for name, layer in module.named_modules(prefix="model.backbone" if whole else "model.head"):
        if isinstance(layer, nn.Conv2d):
            weight = onnx.TensorProto(name=f"{name}.weight", dims=layer.weight.shape)
            graph.initializer.append(weight)
            graph.node.append(onnx.helper.make_node("Conv", ["x", weight.name], ["y"], name=name))
    names = kept(onnx.ModelProto(graph=graph))
    last = {"mcnn": "fuse", "csrnet": "output_layer"}.get(network)
    last = last or ("regressor" if "feature" in network else "density")
    assert [name for name in names if f".{last}" in name], names


def test_a_file_whose_counts_change_too_much_is_refused_unless_forced(model, photos, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(onnx_export, "INT8_TOLERANCE", 0.0)
    with pytest.raises(ExportError, match=r"6 held-out photos by \d\.\d\d% of the mean count.*--force"):
        headcount.export(model, tmp_path / "m.onnx", "int8", calibrate=photos)
    assert list(tmp_path.iterdir()) == []
    headcount.export(model, tmp_path / "m.onnx", "int8", calibrate=photos, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert capfd.readouterr() == ("", ""), "output of nncf"


def test_changes_are_relative_to_the_mean_count():
    change = compare(np.array([100.0, 200, 4, 96]), np.array([101.0, 198, 5, 96]))
    assert change.mean == pytest.approx(4 / 400) and change.bias == 0 and change.people == 100
    assert change.sparse == change.worst == pytest.approx(1 / 10)  # one of four people: of ten, the least that counts


def test_a_file_says_how_far_each_half_precision_moves_counts(model, photos, tmp_path, monkeypatch):
    report = headcount.export(model, tmp_path / "m.onnx", photos=photos)
    changes = OpenVINOEngine(tmp_path / "m.onnx").meta.precision_change
    assert changes == {name: pytest.approx(change.mean, abs=1e-5) for name, change in report.changes.items()}
    assert all(0 < change < 0.5 for change in changes.values())
    monkeypatch.setattr(openvino_engine, "MAX_CHANGE", 0.0)
    assert OpenVINOEngine(tmp_path / "m.onnx").precision == "fp32"


def test_the_choice_of_photos_is_repeatable_and_the_held_out_ones_are_not_calibrated_on(tmp_path):
    for folder, number in (("a", 450), ("b", 350)):
        (tmp_path / folder).mkdir()
        for i in range(number):
            (tmp_path / folder / f"{i:03}.jpg").touch()
    calibrated, held_out = choose_photos([tmp_path / "a", tmp_path / "b"])
    assert len(calibrated) == 300 and len(held_out) == 100 and not set(calibrated) & set(held_out)
    assert (calibrated, held_out) == choose_photos([tmp_path / "a", tmp_path / "b"])
    assert {path.parent.name for path in held_out} == {"a", "b"}


def test_unsuitable_photos_are_refused(model, photos, tmp_path):
    def refused(folder, **more):
        with pytest.raises(ValueError) as raised:
            headcount.export(model, tmp_path / "m.onnx", **{"precision": "int8", "calibrate": folder} | more)
        assert not (tmp_path / "m.onnx").exists()
        return str(raised.value)

    few, dark, broken = tmp_path / "few", tmp_path / "dark", tmp_path / "broken"
    for folder, number in ((few, 19), (dark, 20)):
        for i in range(number):
            write_image(folder / f"{i}.png", np.zeros((64, 64, 3), np.uint8))
    assert f"{few}: 19 photos" in refused(few) and "at least 20" in refused(few)
    assert "no such folder" in refused(tmp_path / "none") and "no such folder" in refused(few / "0.png")
    assert "--calibrate" in refused(None) and "--calibrate" in refused(photos, precision="fp16")
    assert "fp16, fp32, int8" in refused(None, precision="int4")
    shutil.copytree(photos, broken)
    (broken / "00.jpg").write_text("not a photo")  # the first; only every fourth is held out
    assert str(broken / "00.jpg") in refused(broken)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(model.head.mask[-1], "bias", nn.Parameter(torch.full((1,), -99.0)))  # it counts nobody
        assert "show no people" in refused(dark)


def test_without_nncf_it_says_what_to_install(model, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[int8\]'"):
        headcount.export(model, tmp_path / "m.onnx", "int8", calibrate=photos)


def test_nncf_sends_no_telemetry():
    """In a new process, since nncf sends nothing under pytest."""
    program = (
        "from headcount.deployment.quantization import load_nncf; load_nncf();"
        "import sys; from nncf.telemetry import wrapper;"
        "print(sys.modules['openvino_telemetry'], type(wrapper.telemetry).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("None MagicMock\n", "")

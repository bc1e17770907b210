"""An exported file counts as torch does, describes itself, and is refused otherwise."""

import onnx
import pytest
import torch

import headcount
from headcount.deployment import onnx_export
from headcount.deployment.onnx_export import ExportError
from headcount.inference.engines import OpenVINOEngine
from headcount.models import counting_model as models
from headcount.models import serialization


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The run folder of the smallest network, as training leaves it."""
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("run")
    config = models.ModelConfig(name="small", backbone="mcnn", fusion="plain", min_side=64)
    serialization.save(models.CountingModel(config), run / "best")
    (run / "run.json").write_text('{"config": {"sets": {"part_A": {}, "rendered": {}}}}')
    return run / "best"


@pytest.fixture(scope="module")
def report(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "new" / "small.onnx"
    return headcount.export(checkpoint, path, metrics={"part_A_mae": 110.2})


def test_one_file_holds_all_weights_and_its_description(checkpoint, report):
    assert [p.name for p in report.path.parent.iterdir()] == ["small.onnx"]
    assert report.graph < 1e-4 and report.stored < 0.01
    parameters = 127_953
    assert report.path.stat().st_size < 2 * parameters + 30_000  # two bytes a weight, and the graph

    graph = onnx.load(report.path, load_external_data=False).graph
    stored = {t.name: t.data_type for t in graph.initializer}
    assert stored["model.backbone.branch1.2.conv.weight.half"] == onnx.TensorProto.FLOAT16
    assert stored["model.mean"] == stored["model.luma"] == onnx.TensorProto.FLOAT
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.initializer)
    (image,) = graph.input
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["n", "height", "width", 3]
    assert [o.name for o in graph.output] == ["density", "mask"]
    assert b"export.py" not in report.path.read_bytes(), "notes on the machine that made it"

    meta = OpenVINOEngine(report.path).meta
    assert (meta.name, meta.stride, meta.min_side, meta.mask) == ("small", 4, 64, False)
    assert meta.halo >= 36 and meta.halo % meta.pad == 0
    assert (meta.data, meta.metrics) == ("part_A, rendered", {"part_A_mae": 110.2})
    assert (meta.version, meta.parameters) == (headcount.__version__, parameters)
    assert serialization.config_from_dict(meta.config) == serialization.load(checkpoint).config


def test_a_wrong_export_is_refused_and_leaves_no_file(checkpoint, report, tmp_path, monkeypatch):
    wrong = onnx.load(report.path)
    last = next(t for t in wrong.graph.initializer if "fuse" in t.name)
    last.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(last) * 1.01, last.name))
    monkeypatch.setattr(onnx_export, "trace", lambda model: wrong)
    with pytest.raises(ExportError, match="off torch's"):
        headcount.export(checkpoint, tmp_path / "bad.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path):
    """Two layers cancel each other's scale. torch counts as before, but half precision overflows or vanishes."""
    torch.manual_seed(0)
    model = models.CountingModel(models.ModelConfig(backbone="mcnn", fusion="plain"))
    with torch.no_grad():
        model.backbone.branch1[0].conv.weight *= 1e7
        model.backbone.branch1[0].conv.bias *= 1e7
        model.backbone.branch1[2].conv.weight *= 1e-7
    with pytest.raises(ExportError, match="--precision fp32"):
        headcount.export(model, tmp_path / "bad.onnx")
    assert list(tmp_path.iterdir()) == []


def test_bad_paths(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        headcount.export(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="no-such-run"):
        headcount.export(tmp_path / "no-such-run", tmp_path / "model.onnx")

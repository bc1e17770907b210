"""An exported file gives back the network that it was made from."""

from pathlib import Path

import onnx
import pytest
import torch

from headcount.deployment.onnx_graph import Graph, trace
from headcount.inference.engines import OpenVINOEngine, TorchEngine, describe
from headcount.inference.pretrained import WEIGHTS
from headcount.models.backbones.efficientnet_lite import LITE_REPEATS
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.from_onnx import restore
from headcount.synthetic.scenes import render


def exported(model: CountingModel, path: Path) -> Path:
    """As headcount.export writes it, less its checks, which take longer than all else here."""
    program = trace(Graph(model).eval())
    path.write_bytes(program.SerializeToString())
    return change(path, path, **describe(model).to_strings())


def change(path, out, **notes):
    """A copy of an .onnx file that says something else of itself; None takes a note away."""
    program = onnx.load(path)
    kept = {note.key: note.value for note in program.metadata_props} | notes
    del program.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            program.metadata_props.add(key=key, value=value)
    out.write_bytes(program.SerializeToString())
    return out


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_embedded_models_come_back_and_count_the_same(path):
    model = restore(path)
    assert model.config.name == path.stem and not model.training
    image = render(5, people=150, width=333, height=301).image[None]
    ours, theirs = (engine.run(image)[0].sum() for engine in (TorchEngine(model), OpenVINOEngine(path, "fp32")))
    assert theirs > 50 and ours == pytest.approx(theirs, rel=0.002)


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """A network whose batch norms do much, and its exported file. One block a stage: tracing takes long."""
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LITE_REPEATS, "lite0", (1,) * 6)
        yield from network_and_file(tmp_path_factory.mktemp("lite") / "mine.onnx")


def network_and_file(path):
    model = CountingModel(ModelConfig(name="mine", backbone="lite0", width=8, min_side=64, mean=(90.0, 100.0, 110.0)))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_var, 0.5, 2),
            ):
                torch.nn.init.uniform_(values, low, high)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
    yield model, exported(model, path)


def test_folded_norms_are_the_same_function_and_can_learn(lite):
    model, path = lite
    again = restore(path)
    assert again.config == model.config
    assert not model.head.mask[1].bias.any()  # zeros, which the file leaves out
    image = torch.randint(0, 256, (1, 3, 70, 90), dtype=torch.uint8)
    torch.testing.assert_close(again(image).density, model(image).density, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(again(image).mask_logits, model(image).mask_logits, rtol=1e-3, atol=1e-4)
    again.train()(image).density.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in again.parameters() if p.requires_grad)


def test_files_that_cannot_come_back_say_why(lite, tmp_path):
    _, path = lite
    with pytest.raises(ValueError, match=r"old\.onnx: does not say which network it holds; export it again"):
        restore(change(path, tmp_path / "old.onnx", config=None))
    with pytest.raises(ValueError, match=r"int8\.onnx: is quantized and cannot be trained further"):
        restore(change(path, tmp_path / "int8.onnx", weights="int8"))
    with pytest.raises(ValueError, match=r"other\.onnx: does not hold the network it names"):
        restore(change(path, tmp_path / "other.onnx", config='{"backbone": "vgg16"}'))
    with pytest.raises(ValueError, match=r"scaled\.onnx: .*density_scale is 100") as caught:
        restore(change(path, tmp_path / "scaled.onnx", config='{"density_scale": 100}'))
    assert "\n" not in str(caught.value)
    (tmp_path / "torn.onnx").write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"torn\.onnx: cannot be read"):
        restore(tmp_path / "torn.onnx")

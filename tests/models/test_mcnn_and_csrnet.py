"""MCNN and CSRNet: the published sizes, shapes and names, alone and inside a CountingModel."""

import pytest

torch = pytest.importorskip("torch")

from headcount.models.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from headcount.models.backbones.vgg16 import vgg16_layers
from headcount.models.counting_model import BASELINES, CountingModel, ModelConfig
from headcount.models.csrnet import CSRNet
from headcount.models.mcnn import (
    MCNN,
    load_published_mcnn,  # noqa: E402
)
from headcount.models.serialization import load  # noqa: E402


def published(net: MCNN) -> dict:
    """The arrays of a network as the published file holds them."""
    return {f"DME.{name}": value.numpy() for name, value in net.state_dict().items()}


def write_h5(path, arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.mark.parametrize(("name", "parameters"), [("mcnn", 127_953), ("csrnet", 16_263_489)])
def test_parameters_are_as_published(name, parameters):
    assert sum(p.numel() for p in BASELINES[name]().parameters()) == parameters


@pytest.mark.parametrize("name", ["mcnn", "csrnet"])
@torch.inference_mode()
def test_density_is_one_cell_per_stride(name):
    net = BASELINES[name]()
    x = torch.rand(2, 1 if net.grey else 3, 8 * net.pad, 6 * net.pad)
    assert net(x).shape == (2, 8 * net.pad // net.stride, 6 * net.pad // net.stride)
    model = CountingModel(ModelConfig(backbone=name))
    image = torch.randint(0, 256, (1, 3, 37, 51), dtype=torch.uint8)
    output = model.eval()(image)
    assert output.density.shape == (1, -(-37 // net.stride), -(-51 // net.stride)) and output.mask_logits is None


@pytest.mark.parametrize("name", ["mcnn", "csrnet"])
def test_reach_covers_the_receptive_field_and_no_more_than_a_cell(name):
    """Every weight 1/1000, no bias, no maximum to win: whatever has a gradient is seen."""
    net = BASELINES[name]()
    for module in net.modules():
        for child, layer in module.named_children():
            if isinstance(layer, torch.nn.MaxPool2d):  # a pooling passes its gradient to one pixel; an average to all
                setattr(module, child, torch.nn.AvgPool2d(layer.kernel_size))
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, 0.0 if parameter.ndim == 1 else 0.001)
    cells = 2 * (net.reach // net.stride + 3) + 1
    channels = 1 if net.grey else 3
    x = torch.ones(1, channels, net.stride, cells * net.stride, dtype=torch.float64, requires_grad=True)
    middle = cells // 2
    net.double()(x)[0, 0, middle].backward()
    seen = x.grad[0].abs().sum(dim=(0, 1)).nonzero().flatten()
    left, right = middle * net.stride - int(seen[0]), int(seen[-1]) - ((middle + 1) * net.stride - 1)
    assert net.reach - net.stride <= max(left, right) <= net.reach


@torch.inference_mode()
def test_mcnn_takes_grey_as_it_is():
    """The model's grey is OpenCV's, 0..255, with nothing done to it."""
    cv2 = pytest.importorskip("cv2")
    model = CountingModel(ModelConfig(backbone="mcnn")).eval()
    image = torch.randint(0, 256, (64, 48, 3), dtype=torch.uint8)
    grey = torch.from_numpy(cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2GRAY)).float()
    given = model.normalize(image.permute(2, 0, 1)[None])[0, 0]
    assert given.shape == (64, 48) and (given - grey).abs().max() <= 1 and (given == grey).float().mean() > 0.99


@torch.inference_mode()
def test_csrnet_is_vgg16_and_six_dilated_convolutions():
    """The same arithmetic written out with functions, from the published parameter names."""
    net = CSRNet()
    own = net.state_dict()
    x = y = torch.rand(1, 3, 64, 48)
    for index in (0, 2, "pool", 5, 7, "pool", 10, 12, 14, "pool", 17, 19, 21):
        if index == "pool":
            y = torch.nn.functional.max_pool2d(y, 2)
        else:
            weight, bias = own[f"frontend.{index}.weight"], own[f"frontend.{index}.bias"]
            y = torch.conv2d(y, weight, bias, padding=1).relu()
    for index in range(0, 12, 2):
        y = torch.conv2d(y, own[f"backend.{index}.weight"], own[f"backend.{index}.bias"], padding=2, dilation=2).relu()
    y = torch.conv2d(y, own["output_layer.weight"], own["output_layer.bias"])
    assert torch.allclose(net(x), y[:, 0], atol=1e-6)
    assert (net.mean, net.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_csrnet_starts_from_vgg16_weights():
    net, vgg = CSRNet(), {f"features.{name}": tensor for name, tensor in vgg16_layers().state_dict().items()}
    net.load_imagenet({**vgg, "features.24.weight": torch.zeros(512, 512, 3, 3), "classifier.0.bias": torch.zeros(1)})
    assert all(torch.equal(net.frontend.state_dict()[name.removeprefix("features.")], vgg[name]) for name in vgg)
    del vgg["features.21.bias"]
    with pytest.raises(ValueError, match="21.bias"):
        net.load_imagenet(vgg)


def test_a_published_file_is_read_by_name(tmp_path):
    net = MCNN()
    path = write_h5(tmp_path / "mcnn.h5", published(net))
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(load_published_mcnn(path)(image), net(image))
    model = load(path)
    assert (model.config.name, model.stride, model.halo, model.training) == ("mcnn", 4, 36, False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda arrays: arrays.pop("DME.fuse.0.conv.bias"), "no array 'DME.fuse.0.conv.bias'"),
        (lambda arrays: arrays.update({"DME.branch4.bias": arrays["DME.fuse.0.conv.bias"]}), "unknown array"),
        (
            lambda arrays: arrays.update({"DME.fuse.0.conv.bias": arrays["DME.branch1.0.conv.bias"]}),
            r"is \(16,\), not",
        ),
        (lambda arrays: arrays.clear(), "no array"),
    ],
)
def test_another_file_is_refused_by_what_it_lacks(tmp_path, spoil, message):
    arrays = published(MCNN())
    spoil(arrays)
    path = write_h5(tmp_path / "other.h5", arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_published_mcnn(path)
    assert "other.h5" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_one_that_is_not_hdf5_are_named(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match="none.h5: no such file"):
        load_published_mcnn(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not weights")
    with pytest.raises(ValueError, match="text.h5: cannot be read as HDF5"):
        load_published_mcnn(tmp_path / "text.h5")


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "mcnn.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="needs h5py; .*pip install"):
        load_published_mcnn(tmp_path / "mcnn.h5")


def test_csrnet_keeps_the_blocks_it_is_told_to():
    csrnet = CSRNet()
    csrnet.freeze(2)
    frozen = [name for name, parameter in csrnet.named_parameters() if not parameter.requires_grad]
    assert {name.rsplit(".", 1)[0] for name in frozen} == {f"frontend.{i}" for i in (0, 2, 5, 7)}

"""Backbones: what they say of themselves is so (channels, stride, reach), and published weights fit them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headcount.io.images import read_image
from headcount.models.backbones import BACKBONES, VGG16, EfficientNetLite, Multiscale, read_backbone_weights
from headcount.models.backbones.base import receptive_reach
from headcount.models.backbones.efficientnet_lite import Depthwise


def averaging(network: nn.Module) -> nn.Module:
    """Each filter the mean of what it sees, pooling too: on an image of ones nothing saturates and no ReLU cuts, so
    that the gradient of an output shows exactly what it sees."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.MaxPool2d):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, nn.AvgPool2d(2))
    return network.double().eval()


def columns_seen(network: nn.Module, channels: int, width: int, cell: int, height: int) -> tuple[int, int]:
    """First and last pixel column that output `cell` of a strip of an image sees."""
    strip = torch.full((1, channels, height, width), 1e-3, dtype=torch.float64, requires_grad=True)
    network(strip)[..., 0, cell].sum().backward()
    seen = strip.grad.abs().sum((0, 1, 2)).nonzero()
    return int(seen[0]), int(seen[-1])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_the_channels_and_the_stride_it_states(name):
    with torch.device("meta"):  # shapes alone: nothing is computed
        backbone = BACKBONES[name]()
        image = torch.empty(2, 1 if backbone.grey else 3, 2 * backbone.pad, 3 * backbone.pad)
        features = backbone(image)
    rows, columns = 2 * backbone.pad // backbone.stride, 3 * backbone.pad // backbone.stride
    assert features.shape == (2, backbone.channels, rows, columns)
    assert len(backbone.mean) == len(backbone.std) == image.shape[1]


FIELDS = {"multiscale": 72, "vgg16": 124}  # receptive field in pixels, counted by hand from the layers


@pytest.mark.parametrize("name", [name for name, kind in BACKBONES.items() if not issubclass(kind, EfficientNetLite)])
def test_the_reach_is_what_the_gradient_shows(name):
    backbone = BACKBONES[name]()
    stride, cell = backbone.stride, 20
    network = averaging(backbone)
    first, last = columns_seen(network, 1 if backbone.grey else 3, 40 * stride, cell, stride)
    assert last - first + 1 == FIELDS.get(name, last - first + 1)
    reach = max(cell * stride - first, last - (cell + 1) * stride + 1)
    assert backbone.reach - stride < reach <= backbone.reach


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_the_reach_of_lite_covers_tiles_that_start_on_its_grid(variant):
    """Coarse cells are shared, so what a cell sees depends on its place; tiles start at multiples of 32."""
    lite, edge = EfficientNetLite(variant, channels=8), 640
    network = averaging(lite)
    first, _ = columns_seen(network, 3, 1280, edge // 8, 32)
    _, last = columns_seen(network, 3, 1280, edge // 8 - 1, 32)
    assert edge - first <= lite.reach
    assert last - edge + 1 <= lite.reach
    assert lite.reach - (edge - first) < 2 * lite.pad  # and not much is given away


def test_receptive_reach_by_hand():
    assert receptive_reach([(3, 1)]) == 2  # 1 pixel and the rounding
    assert receptive_reach([(3, 1), (3, 1)]) == 3
    assert receptive_reach([(3, 2), (3, 1)]) == 4  # a field of 7 pixels, cells of 2


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_lite_keeps_its_batch_statistics_and_learns_the_rest_but_for_frozen_blocks(variant):
    lite = BACKBONES[variant]()
    lite.freeze(2)
    before = {name: value.clone() for name, value in lite.state_dict().items() if "running" in name}
    lite.train()
    lite(torch.rand(2, 3, 64, 64)).sum().backward()
    after = lite.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {p.grad is None for p in lite._blocks[:2].parameters()} == {True}
    assert {p.grad is None for p in lite._blocks[2:].parameters()} == {False}


def test_under_bf16_autocast_depthwise_convolutions_compute_in_fp32_and_give_what_autocast_wants():
    layer, x = Depthwise(16, 5, 2), torch.rand(1, 16, 40, 48)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
        plain = torch.nn.functional.conv2d(x, layer.weight, stride=2, padding=2, groups=16)
    assert y.dtype == plain.dtype == torch.bfloat16
    assert (y - exact).abs().max() <= (plain - exact).abs().max() + 4e-3


@pytest.mark.parametrize("blocks, convolutions", [(0, 0), (1, 2), (2, 4), (3, 7), (4, 10)])
def test_frozen_blocks_of_vgg16(blocks, convolutions):
    with torch.device("meta"):
        backbone = VGG16()
    backbone.freeze(blocks)
    frozen = [not p.requires_grad for p in backbone.features.parameters()]
    assert sum(frozen) == 2 * convolutions and all(frozen[: 2 * convolutions])


def test_freezing_more_than_there_is_is_an_error():
    with torch.device("meta"), pytest.raises(ValueError, match="4 blocks to freeze, not 5"):
        VGG16().freeze(5)


# Published weights


def weights_file(shared: Path, name: str) -> Path:
    found = sorted((shared / "weights").glob({"vgg16": "vgg16*.safetensors"}.get(name, f"efficientnet-{name}*.pth")))
    if not found:
        pytest.skip(f"no ImageNet weights of {name} in {shared / 'weights'}")
    return found[0]


@pytest.mark.parametrize("name", ["vgg16", "lite0", "lite2"])
def test_imagenet_weights_load_by_name(shared, name):
    weights = read_backbone_weights(name, weights_file(shared, name))
    backbone = BACKBONES[name]()
    fresh = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone.load_imagenet(weights)
    state = backbone.state_dict()
    loaded = {k for k in state if k.startswith(backbone.pretrained) and "num_batches" not in k}
    assert len(loaded) == {"vgg16": 20, "lite0": 225, "lite2": 300}[name]
    assert all(torch.equal(state[k], weights[k]) for k in loaded)
    assert all(torch.equal(state[k], fresh[k]) for k in state if not k.startswith(backbone.pretrained))


def test_lite_sees_on_photos_what_it_was_trained_to_see(shared):
    """Every batch norm meets inputs like those its weights were trained on: kernels, strides and scaling are right."""
    lite = EfficientNetLite()
    lite.load_imagenet(read_backbone_weights("lite0", weights_file(shared, "lite0")))
    distance = []

    def measure(norm, inputs, _):
        spread = (norm.running_var + norm.eps).sqrt()
        distance.append(float(((inputs[0].mean((0, 2, 3)) - norm.running_mean) / spread).abs().median()))

    for layer in lite.eval().modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(measure)
    photos = sorted((shared / "data/shanghaitech/part_A/train_data/images").glob("*.jpg"))[:3]
    crops = np.stack([read_image(path)[:224, :224] for path in photos]).astype(np.float32)
    with torch.no_grad():
        features = lite((torch.from_numpy(crops).permute(0, 3, 1, 2) - lite.mean[0]) / lite.std[0])
    assert len(distance) == 45 and max(distance) < 0.6  # of a standard deviation, in the median channel
    assert features.isfinite().all() and features.std(dim=(0, 2, 3)).median() > 0.01


def test_weights_of_another_network_are_refused_by_name(shared):
    with pytest.raises(ValueError, match="no tensor '_blocks.0._bn1.bias'"):
        EfficientNetLite().load_imagenet(read_backbone_weights("vgg16", weights_file(shared, "vgg16")))
    with pytest.raises(ValueError, match=r"'_blocks\.\d+\.\S+' is \(.*\), not \("):
        EfficientNetLite("lite2").load_imagenet(read_backbone_weights("lite0", weights_file(shared, "lite0")))


def test_a_tensor_that_is_missing_or_misshapen_is_named(tmp_path):
    backbone = VGG16()
    weights = {f"features.{k}": v for k, v in backbone.features.state_dict().items()}
    save_file({**weights, "features.7.weight": torch.zeros(2, 2)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"'features.7.weight' is \(2, 2\), not \(128, 128, 3, 3\)"):
        backbone.load_imagenet(read_backbone_weights("vgg16", tmp_path / "odd.safetensors"))
    del weights["features.12.bias"]
    with pytest.raises(ValueError, match="no tensor 'features.12.bias'"):
        backbone.load_imagenet(weights)


def test_a_file_that_holds_no_weights_is_named(tmp_path):
    for name in ("bad.pth", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match=name):
            read_backbone_weights("lite0", tmp_path / name)
    with pytest.raises(ValueError, match="--backbone-weights"):
        read_backbone_weights("lite0", None)


def test_the_units_look_at_four_sizes():
    unit = Multiscale().units[0]
    kernels = [[tuple(c.kernel_size) for c in b.modules() if isinstance(c, nn.Conv2d)] for b in unit.branches]
    assert kernels == [[(1, 1)], [(3, 3)], [(5, 5)], [(1, 7), (7, 1)]]
    assert unit(torch.rand(1, 128, 5, 6)).shape == (1, 256, 5, 6)

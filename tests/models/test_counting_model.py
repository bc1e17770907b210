"""CountingModel: any size, grey or color, uint8 or float in; people out; saved and loaded bit for bit."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headcount.models.backbones import BACKBONES
from headcount.models.backbones.base import Backbone
from headcount.models.complexity import multiply_adds, parameter_count
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.fusion import FUSIONS, Fused, Fusion
from headcount.models.serialization import config_from_dict, load, save

ODD_SIZES = [(37, 53), (64, 33), (9, 71)]


def small(fusion="feature_posterior", **settings) -> CountingModel:
    """A network of the light backbone with narrow heads, the same one each time."""
    torch.manual_seed(0)
    return CountingModel(ModelConfig(fusion=fusion, width=8, **settings)).eval()


def random_image(height, width, seed=0) -> torch.Tensor:
    """uint8 (1,3,H,W)"""
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(seed))


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# What the paper and its reading fix


def on_paper(backbone, fusion, dilation=1) -> CountingModel:
    """The full-size network without memory or work: shapes alone."""
    with torch.device("meta"):
        return CountingModel(ModelConfig(backbone=backbone, fusion=fusion, dilation=dilation))


@pytest.mark.parametrize(
    "fusion, parameters, halo, giga",
    [
        ("plain", 2_087_105, 40, 91.5),
        ("plain_deep", 3_267_265, 48, 124.2),
        ("feature_density", 5_040_066, 56, 173.1),
        ("product_gt", 2_677_442, 40, 107.9),
        ("product_posterior", 2_677_442, 40, 107.9),
        ("product_ste", 2_677_442, 40, 107.9),
        ("feature_gt", 5_040_066, 56, 173.1),
        ("feature_posterior", 5_040_066, 56, 173.1),  # the paper: "less than 5.1 million"
        ("product_zip", 2_677_442, 40, 107.9),
        ("feature_zip", 5_040_066, 56, 173.1),
    ],
)
def test_size_halo_and_work_of_the_light_networks(fusion, parameters, halo, giga):
    model = on_paper("multiscale", fusion)
    assert parameter_count(model) == parameters
    assert (model.stride, model.pad, model.halo) == (4, 4, halo)
    assert multiply_adds(model, 576, 768) / 1e9 == pytest.approx(giga, abs=0.05)


def test_vgg16_with_solution_5_is_cheaper_than_csrnet():
    ours, csrnet = on_paper("vgg16", "feature_posterior", dilation=2), on_paper("csrnet", "plain")
    assert parameter_count(ours) == 12_358_466
    assert (ours.stride, ours.halo) == (8, 144)
    assert multiply_adds(ours, 576, 768) < 0.9 * multiply_adds(csrnet, 576, 768)


def test_multiply_adds_by_hand():
    """MCNN on 4x4 pixels: three columns of n, 2n, n, n/2 channels at 16, 4, 1 and 1 places, and the 1x1 of 30."""
    model = on_paper("mcnn", "plain")
    columns = sum(
        16 * n * k1 * k1 + 4 * 2 * n * n * k2 * k2 + 2 * n * n * k2 * k2 + n // 2 * n * k2 * k2
        for n, k1, k2 in ((16, 9, 7), (20, 7, 5), (24, 5, 3))
    )
    assert multiply_adds(model, 4, 4) == columns + 30
    assert multiply_adds(model, 128, 64) == 2 * multiply_adds(model, 64, 64)


# Any size


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_fusion_on_any_backbone_takes_odd_sizes(backbone, fusion):
    with torch.device("meta"):
        model = CountingModel(ModelConfig(backbone=backbone, fusion=fusion, width=8))
        h, w = math.ceil(37 / model.stride), math.ceil(53 / model.stride)
        output = model(torch.empty(2, 3, 37, 53), torch.empty(2, h, w))
        *maps, features = output
        assert all(m.shape == (2, h, w) for m in maps if m is not None)
        assert features is None or features.shape == (2, model.backbone.channels, h, w)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_counts(fusion):
    model = small(fusion)
    output = model(random_image(37, 53))
    assert output.density.shape == (1, 10, 14)
    assert all(m.isfinite().all() and m.dtype == torch.float32 for m in output if m is not None)
    assert torch.equal(model(random_image(37, 53)).density, output.density)


def test_a_image_alone_counts_as_in_a_batch():
    model = small()
    pair = torch.cat([random_image(24, 40, 1), random_image(24, 40, 2)])
    for one, density in zip(pair, model(pair).density, strict=True):
        torch.testing.assert_close(model(one[None]).density[0], density)


@pytest.mark.parametrize("height, width", ODD_SIZES)
def test_padding_adds_nobody(height, width):
    """What the model pads with is the mean pixel: an image padded so beforehand has the same cells."""
    model = small(mean=(100.0,))
    padded = torch.full((1, 3, math.ceil(height / 4) * 4, math.ceil(width / 4) * 4), 100, dtype=torch.uint8)
    padded[..., :height, :width] = random_image(height, width)
    torch.testing.assert_close(model(random_image(height, width)).density, model(padded).density)


@pytest.mark.parametrize("backbone, dilation", [("multiscale", 1), ("vgg16", 2), ("lite0", 1)])
@pytest.mark.parametrize("along", ["rows", "columns"])
def test_a_tile_with_its_halo_equals_the_whole(backbone, dilation, along):
    """Invariant 5, on a strip of an image: what the halo leaves out, no cell of the tile sees."""
    torch.manual_seed(0)
    model = CountingModel(ModelConfig(backbone=backbone, width=8, dilation=dilation)).eval()
    halo, pad, stride = model.halo, model.pad, model.stride
    begin, end = halo + pad, halo + 3 * pad  # of the tile: multiples of pad
    strip = random_image(pad, 2 * halo + 5 * pad)
    tile = strip[..., begin - halo : end + halo]
    assert tile.shape[-1] < strip.shape[-1]
    if along == "rows":
        strip, tile = strip.transpose(2, 3), tile.transpose(2, 3)
    whole, part = (model(x).density[0] for x in (strip, tile))
    if along == "rows":
        whole, part = whole.T, part.T
    expected = whole[:, begin // stride : end // stride]
    part = part[:, halo // stride : (halo + end - begin) // stride]
    torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-6)
    assert float(part.sum()) == pytest.approx(float(expected.sum()), rel=1e-3)


# What goes in


def test_uint8_and_float_images_agree():
    for model in (small(), small(backbone="lite0")):
        assert torch.equal(model(random_image(32, 40)).density, model(random_image(32, 40).float()).density)


def test_a_light_network_sees_luma_as_opencv_makes_it():
    rgb = random_image(48, 64)
    grey = cv2.cvtColor(rgb[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
    model = small(mean=(0.0,), std=(1.0,))
    seen = model.normalize(rgb)[0, 0].numpy()
    assert seen.shape == (48, 64)
    assert np.abs(seen - grey).max() <= 1 and (seen == grey).mean() > 0.99  # 8-bit rounding of the luma's weights
    colorless = torch.from_numpy(grey).expand(1, 3, 48, 64)
    assert np.array_equal(model.normalize(colorless)[0, 0].numpy(), grey)


def test_a_color_network_sees_color():
    model = small(backbone="lite0")
    rgb = random_image(32, 32)
    assert model.normalize(rgb).shape == (1, 3, 32, 32)
    assert not torch.allclose(model(rgb).density, model(rgb.flip(1)).density)


def test_normalization_is_a_setting():
    own = small().normalize(torch.full((1, 3, 2, 2), 127.5 + 64))
    assert own.unique().tolist() == pytest.approx([1.0], abs=0.01)  # the luma is rounded: 191.5 is 192
    assert small(mean=(50.0,), std=(2.0,)).normalize(torch.full((1, 3, 2, 2), 60)).unique().tolist() == [5.0]


def test_training_solutions_1_and_4_needs_the_mask_at_the_models_stride():
    for fusion in ("product_gt", "feature_gt"):
        model = small(fusion).train()
        with pytest.raises(ValueError, match="ground-truth mask"):
            model(random_image(33, 40))
        mask = torch.ones(1, 9, 10)
        assert model(random_image(33, 40), mask).density.shape == (1, 9, 10)
        assert model.eval()(random_image(33, 40)).density.shape == (1, 9, 10)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"backbone": "resnet"}, "unknown network 'resnet'.*multiscale, vgg16, lite0, lite2"),
        ({"fusion": "solution5"}, "fusions are plain, "),
        ({"init": "zero"}, "unknown init 'zero'"),
    ],
)
def test_unknown_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        CountingModel(ModelConfig(**settings))


def test_the_papers_initialization():
    weights = torch.cat([c.weight.flatten() for c in small(init="normal").modules() if isinstance(c, nn.Conv2d)])
    assert float(weights.std()) == pytest.approx(0.01, rel=0.02)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-4)


# Saved and loaded


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    for fusion, settings in (("feature_zip", {"min_side": 448, "mean": (1.0,), "std": (2.0,)}), ("product_ste", {})):
        model = small(fusion, **settings)
        save(model, tmp_path / fusion)
        assert sorted(p.name for p in (tmp_path / fusion).iterdir()) == ["config.json", "model.safetensors"]
        again = load(tmp_path / fusion)
        assert again.config == model.config
        assert not again.training
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
        assert torch.equal(again(random_image(21, 34)).density, model(random_image(21, 34)).density)


def test_batch_statistics_are_saved_too(tmp_path):
    model = small(backbone="lite0").train()
    model(torch.cat([random_image(64, 64, 1), random_image(64, 64, 2)]))
    save(model, tmp_path)
    assert torch.equal(load(tmp_path)(random_image(40, 64)).density, model.eval()(random_image(40, 64)).density)


def spoil_nothing_there(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def spoil_other_network(folder):
    save_file(small("plain").state_dict(), folder / "model.safetensors")


def spoil_shape(folder):
    state = load_file(folder / "model.safetensors")
    save_file({**state, "head.density.0.0.bias": torch.zeros(3)}, folder / "model.safetensors")


def spoil_setting(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "depth": 50}))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (spoil_nothing_there, "No such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "No such file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 200), "header"),
        (lambda folder: (folder / "config.json").write_text("{"), "line 1"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "must be a table of settings, got"),
        (
            lambda folder: (folder / "config.json").write_text('{"width": "wide"}'),
            "width must be an integer, got 'wide'",
        ),
        (spoil_setting, "model settings: unknown setting depth"),
        (spoil_other_network, "head.mask.0.0.weight"),
        (spoil_shape, "head.density.0.0.bias"),
    ],
)
def test_a_bad_checkpoint_is_a_one_line_error_that_names_it(tmp_path, spoil, said):
    folder = tmp_path / "mine"
    save(small("product_posterior"), folder)
    spoil(folder)
    with pytest.raises(ValueError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message and "not a headcount checkpoint" in message
    assert said in message and "\n" not in message


def test_unknown_model_settings_are_named():
    with pytest.raises(ValueError, match="model settings: unknown setting color, depth; known: backbone, "):
        config_from_dict({"depth": 1, "color": 2, "width": 3})
    assert config_from_dict({"mean": [1.0], "std": [2.0]}).mean == (1.0,)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_settings_of_older_files_may_carry_a_density_scale_of_one(tmp_path, fusion):
    model = small(fusion)
    save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "density_scale" not in config
    (tmp_path / "config.json").write_text(json.dumps({**config, "density_scale": 1.0}))
    again = load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(random_image(32, 40)).density, model.eval()(random_image(32, 40)).density)


@pytest.mark.parametrize("scale", [100.0, 0.5, 0, None, "1.0"])
def test_another_density_scale_is_refused_in_one_line(tmp_path, scale):
    save(small(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "density_scale": scale}))
    with pytest.raises(ValueError, match=r"density_scale is .*; it is no longer supported") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_model_states_whether_it_predicts_a_mask(fusion):
    model = small(fusion)
    assert model.predicts_mask == (model.eval()(random_image(20, 24)).mask_logits is not None)
    assert not small(backbone="mcnn").predicts_mask


def test_a_new_backbone_and_a_new_fusion_are_a_class_and_a_line_in_the_registry(monkeypatch):
    class Thirds(Backbone):
        channels, stride, pad, reach, grey = 5, 3, 3, 0, False
        mean, std = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)

        def __init__(self):
            super().__init__()
            self.reduce = nn.Conv2d(3, 5, 3, stride=3)

        def forward(self, x):
            return self.reduce(x)

    class Linear(Fusion):
        reach, predicts_mask = 0, False

        def __init__(self, channels, width=256, dilation=1):
            super().__init__(channels, width, dilation)
            self.density = nn.Conv2d(channels, 1, 1)

        def forward(self, features, mask=None):
            return Fused(self.density(features))

    monkeypatch.setitem(BACKBONES, "thirds", Thirds)
    monkeypatch.setitem(FUSIONS, "linear", Linear)
    model = CountingModel(ModelConfig(backbone="thirds", fusion="linear"))
    assert model(random_image(31, 40)).density.shape == (1, 11, 14)
    assert (model.stride, model.halo, model.predicts_mask) == (3, 0, False)

"""Measurements inside a network: its maps, its mask and its gradients. Measuring changes nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from headcount.models.counting_model import CountingModel, ModelConfig, Output
from headcount.reproduction.diagnostics import feature_maps, gradient_norms, mask_iou, most_varied
from headcount.training.config import DataConfig
from headcount.training.dataset import Batch, Crops
from headcount.training.images import TrainingImage, make_training_image
from headcount.training.losses import CountLoss, LossConfig
from headcount.training.targets import mask_map

HEADS = np.array([[20, 30], [24, 8], [50, 40]], np.float32)
PHOTO = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)  # no multiple of the stride
CONFIG = DataConfig(crop=(32, 32), sigma=1.0, radius=3.0)


def network(fusion: str, **settings) -> CountingModel:
    torch.manual_seed(0)
    return CountingModel(ModelConfig(fusion=fusion, width=8, **settings))


def crops(stride: int = 4) -> Batch:
    """Two training crops."""
    source = Crops([(1.0, [make_training_image(PHOTO, HEADS, CONFIG, "noise")])], CONFIG, stride, seed=0)
    return torch.utils.data.default_collate([source[0], source[1]])


# feature_maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["feature_gt", "feature_posterior", "feature_density", "feature_zip"])
def test_the_maps_of_figure_5_are_the_network_s_own(fusion):
    model = network(fusion)
    maps = feature_maps(model, PHOTO)
    assert [m.shape for m in maps.values()] == [(13, 18)] * 4 and all(m.dtype == np.float32 for m in maps.values())
    image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None]
    with torch.no_grad():
        output = model.eval()(image)
        padded = nn.functional.pad(model.normalize(image), (0, 2, 0, 2))  # to 72 x 52
        head, features = model.head, model.backbone(padded)
        logits = head.mask(features)
        given = {"feature_gt": (logits > 0).float(), "feature_density": logits}.get(fusion, logits.sigmoid())
        feedback = head.mask_features(given)
        joined = head.regressor[0](torch.cat([head.image_features(features), feedback], dim=1))
    first, mask_feature, joined_feature, density = maps.values()
    np.testing.assert_allclose(density, output.density[0], atol=1e-6)
    np.testing.assert_allclose(first, (logits if fusion == "feature_density" else logits.sigmoid())[0, 0], atol=1e-6)
    np.testing.assert_allclose(mask_feature, most_varied(feedback[0]), atol=1e-6)
    np.testing.assert_allclose(joined_feature, most_varied(joined[0]), atol=1e-6)


def test_the_channel_shown_is_the_one_that_varies_most():
    flat, ramp, framed = torch.full((16, 24), 900.0), torch.arange(24.0).expand(16, 24), torch.zeros(16, 24)
    framed[0] = framed[:, 0] = 500  # what the border does is not the image
    channels = torch.stack([flat, framed, ramp, torch.rand(16, 24)])
    assert torch.equal(most_varied(channels), ramp)


def test_small_images_are_enlarged_as_in_inference():
    maps = feature_maps(network("feature_posterior", min_side=100), PHOTO)
    assert {m.shape for m in maps.values()} == {(25, 35)}


def test_padding_is_cropped():
    maps = feature_maps(network("feature_posterior", backbone="lite0"), PHOTO)  # stride 8, padded to 64 x 96
    assert {m.shape for m in maps.values()} == {(7, 9)}


def test_feature_maps_leave_the_network_as_it_was():
    model = network("feature_posterior").train()
    feature_maps(model, PHOTO[:, ::-1])  # a mirrored view is an image too
    assert model.training and not model.head.mask_features._forward_hooks


@pytest.mark.parametrize(("fusion", "backbone"), [("plain", "multiscale"), ("product_ste", "multiscale"), ("", "mcnn")])
def test_a_network_that_feeds_no_mask_back_has_no_figure_5(fusion, backbone):
    with pytest.raises(ValueError, match=f"^{fusion or backbone} feeds no mask to its regressor"):
        feature_maps(network(fusion, backbone=backbone), PHOTO)


# mask_iou -------------------------------------------------------------------------------------------------------------


class Painted(nn.Module):
    """A "network" whose mask is the white part of the image."""

    stride = 4

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, image, mask=None):
        white = nn.functional.max_pool2d(image[:, 0].float(), 4, ceil_mode=True)  # (N,h,w)
        return Output(torch.zeros_like(white), white / 255 - 0.5)


def painted(points: np.ndarray, shift: int = 0, radius: float = 3.0) -> TrainingImage:
    """An image of `points` that is white on their true mask, moved `shift` cells to the right."""
    mask = mask_map(torch.from_numpy(points), 48, 80, 4, radius).numpy()
    image = np.kron(np.roll(mask, shift, axis=1), np.ones((4, 4)))[..., None].repeat(3, axis=2) * 255
    return make_training_image(image.astype(np.uint8), points, CONFIG, "painted")


ONE = np.array([[22, 22]], np.float32)  # radius 3: pixels 19 to 25, cells 4 to 6, so a square of 3 x 3


def test_a_perfect_mask_has_iou_1():
    assert mask_iou(Painted(), [painted(ONE), painted(HEADS)], CONFIG) == 1
    assert mask_iou(Painted(), [painted(ONE, radius=4.0)], DataConfig(sigma=1.0)) == 1  # radius 0: 4 sigma
    assert mask_iou(Painted(), [painted(ONE, radius=11.0)], CONFIG) == pytest.approx(9 / 49)


@pytest.mark.parametrize(("shift", "iou"), [(1, 6 / 12), (2, 3 / 15), (3, 0)])
def test_a_shifted_mask_has_the_fraction_that_overlaps(shift, iou):
    assert mask_iou(Painted(), [painted(ONE, shift)], CONFIG) == pytest.approx(iou)


def test_cells_are_pooled_over_images():
    nobody = np.zeros((0, 2), np.float32)
    images = [painted(ONE), painted(ONE, 1), painted(nobody)]
    assert mask_iou(Painted(), images, CONFIG) == pytest.approx((9 + 6) / (9 + 12))
    assert math.isnan(mask_iou(Painted(), [painted(nobody)], CONFIG))


def test_only_the_region_of_interest_counts():
    shifted = painted(ONE, 2)  # right in cells 6, wrong in 4, 5 (missed) and 7, 8 (invented)
    region = np.zeros((48, 80), np.uint8)
    region[:, 24:] = 1  # cells 6 and on
    assert mask_iou(Painted(), [shifted._replace(roi=region)], CONFIG) == pytest.approx(3 / 9)


def test_small_images_are_measured_enlarged():
    large = DataConfig(sigma=1.0, radius=6.0, min_side=96)  # twice the size, with twice the radius in pixels
    iou = mask_iou(Painted(), [painted(ONE)], large)
    assert 0.4 < iou < 1  # each cell is four now, so the true mask is finer than the painted one


@pytest.mark.parametrize("fusion", ["plain", "feature_density"])
def test_a_network_without_a_mask_has_no_iou(fusion):
    assert math.isnan(mask_iou(network(fusion), [painted(ONE)], CONFIG))


def test_a_real_network_is_measured_in_evaluation_mode_and_keeps_its_own():
    model = network("feature_gt").train()  # in training mode it would need the true mask
    assert 0 <= mask_iou(model, [make_training_image(PHOTO, HEADS, CONFIG, "noise")], CONFIG) <= 1
    assert model.training


# gradient_norms -------------------------------------------------------------------------------------------------------

# fusion -> does the density loss train the mask branch?
TRAINS = {
    "product_gt": False,
    "product_posterior": True,
    "product_ste": True,
    "feature_gt": False,
    "feature_posterior": True,
}


@pytest.mark.parametrize(("fusion", "trains"), TRAINS.items())
def test_the_density_loss_trains_the_mask_branch_in_solutions_2_3_and_5_only(fusion, trains):
    norms = gradient_norms(network(fusion), crops(), LossConfig())
    assert set(norms) == {"density", "mask"}
    assert (norms["density"]["mask branch"] > 0) == trains
    assert trains or norms["density"]["mask branch"] == 0.0  # exactly
    assert norms["density"]["backbone"] > 0 and norms["density"]["rest of the head"] > 0
    assert norms["mask"]["backbone"] > 0 and norms["mask"]["mask branch"] > 0
    assert norms["mask"]["rest of the head"] == 0.0


def test_a_norm_is_that_of_the_gradient_and_grows_with_the_weight():
    model, batch = network("feature_posterior").train(), crops()
    once = gradient_norms(model, batch, LossConfig())
    terms = CountLoss(LossConfig())(model(batch.image, batch.mask), batch.density, batch.mask, batch.counts)
    terms["density"].backward()
    for part, parameters in {"backbone": model.backbone, "mask branch": model.head.mask}.items():
        flat = torch.cat([p.grad.flatten() for p in parameters.parameters()])
        assert once["density"][part] == pytest.approx(float(flat.norm()), rel=1e-4)
    weighted = gradient_norms(model, batch, LossConfig(density=3.0))
    assert weighted["density"]["backbone"] == pytest.approx(3 * once["density"]["backbone"], rel=1e-4)
    assert weighted["mask"] == pytest.approx(once["mask"], rel=1e-4)


def test_measuring_changes_nothing():
    model = network("feature_posterior", backbone="lite0").eval()  # has running statistics
    for p in model.head.parameters():
        p.grad = torch.ones_like(p)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    gradient_norms(model, crops(model.stride), LossConfig())
    assert not model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all((p.grad == 1).all() for p in model.head.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_missing_parts_are_left_out_and_frozen_ones_have_no_gradient():
    model = network("plain")
    model.backbone.requires_grad_(False)
    assert set(gradient_norms(model, crops(), LossConfig())["density"]) == {"backbone", "rest of the head"}
    assert gradient_norms(model, crops(), LossConfig())["density"]["backbone"] == 0

"""The solutions and baselines differ in one thing: how the mask reaches the density, and so who learns from whom."""

import pytest
import torch

from headcount.models.fusion import FUSIONS, BinarizeSTE

CHANNELS, WIDTH = 12, 8
# fusion: does the density loss reach the mask branch? (None: there is no mask branch)
DENSITY_TEACHES_MASK = {
    "plain": None,
    "plain_deep": None,
    "feature_density": True,
    "product_gt": False,
    "product_posterior": True,
    "product_ste": True,
    "feature_gt": False,
    "feature_posterior": True,
    "product_zip": True,
    "feature_zip": True,
}


def head_and_features(fusion: str, dilation: int = 1):
    torch.manual_seed(0)
    head = FUSIONS[fusion](CHANNELS, WIDTH, dilation)
    features = torch.rand(2, CHANNELS, 6, 9, requires_grad=True)
    mask = (torch.rand(2, 1, 6, 9) > 0.5).float()
    return head, features, mask


def total_gradient(parameters) -> float:
    return sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)


def test_every_fusion_is_tested_here():
    assert set(DENSITY_TEACHES_MASK) == set(FUSIONS)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("dilation", [1, 2])
def test_every_map_has_the_size_of_the_features(fusion, dilation):
    head, features, mask = head_and_features(fusion, dilation)
    fused = head(features, mask)
    assert all(m.shape == (2, 1, 6, 9) for m in fused if m is not None)
    assert (fused.mask_logits is not None) == (DENSITY_TEACHES_MASK[fusion] is not None and fusion != "feature_density")
    assert head.predicts_mask == (fused.mask_logits is not None)
    assert (fused.first_density is not None) == (fusion == "feature_density")
    assert (fused.rate is not None) == fusion.endswith("_zip")


@pytest.mark.parametrize("fusion", [f for f, teaches in DENSITY_TEACHES_MASK.items() if teaches is not None])
def test_whether_the_density_loss_reaches_the_mask_branch(fusion):
    head, features, mask = head_and_features(fusion)
    head(features, mask).density.sum().backward()
    reached = total_gradient(head.mask.parameters()) > 0
    assert reached == DENSITY_TEACHES_MASK[fusion]
    assert features.grad.abs().sum() > 0  # the backbone learns from the density in any case


@pytest.mark.parametrize(
    "fusion", [f for f in FUSIONS if f.startswith(("product", "feature_g", "feature_p", "feature_z"))]
)
def test_the_mask_loss_teaches_the_mask_branch_and_the_backbone_and_no_more(fusion):
    head, features, mask = head_and_features(fusion)
    head(features, mask).mask_logits.sum().backward()
    assert total_gradient(head.mask.parameters()) > 0
    assert features.grad.abs().sum() > 0
    assert total_gradient(p for name, p in head.named_parameters() if not name.startswith("mask.")) == 0


def test_baseline_3_regresses_density_where_solution_5_has_its_mask():
    head, features, mask = head_and_features("feature_density")
    fused = head(features, mask)
    torch.testing.assert_close(fused.first_density, head.mask(features))
    own, solution5 = head.state_dict(), FUSIONS["feature_posterior"](CHANNELS, WIDTH).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in solution5.items()}
    fused.first_density.sum().backward()
    assert total_gradient(head.mask.parameters()) > 0


def test_the_straight_through_gradient_is_one():
    posterior = torch.tensor([0.0, 0.2, 0.5, 0.500001, 0.9, 1.0], requires_grad=True)
    binary = BinarizeSTE.apply(posterior)
    assert binary.tolist() == [0, 0, 0, 1, 1, 1]
    weights = torch.tensor([3.0, -1.0, 0.5, 2.0, 7.0, -4.0])
    (binary * weights).sum().backward()
    assert torch.equal(posterior.grad, weights)  # d m / d p = 1: as if m were p


def test_solution_3_learns_through_its_binary_mask_as_if_it_were_the_posterior():
    head, features, _ = head_and_features("product_ste")
    logits = head.mask(features)
    logits.retain_grad()
    (head.density(features).detach() * head.gate(logits, None)).sum().backward()
    posterior = logits.sigmoid()
    torch.testing.assert_close(logits.grad, head.density(features) * posterior * (1 - posterior))


@pytest.mark.parametrize("fusion", ["product_gt", "feature_gt"])
def test_solutions_1_and_4_train_on_the_true_mask_and_test_on_the_predicted_one(fusion):
    head, features, mask = head_and_features(fusion)
    with torch.no_grad():
        with pytest.raises(ValueError, match="train on the ground-truth mask"):
            head(features)
        trained = head(features, mask)
        assert not torch.allclose(trained.density, head(features, 1 - mask).density)
        predicted = (trained.mask_logits > 0).float()
        assert 0 < predicted.mean() < 1  # the case tests something
        as_if_true = head(features, predicted)
        tested = head.eval()(features)
        torch.testing.assert_close(tested.density, as_if_true.density)
        assert torch.equal(head(features, mask).density, tested.density)  # in test a mask given is not looked at


def test_solution_1_gates_the_density_branch():
    head, features, mask = head_and_features("product_gt")
    torch.testing.assert_close(head(features, mask).density, head.density(features) * mask)


@pytest.mark.parametrize(
    "fusion", ["product_posterior", "product_ste", "feature_posterior", "product_zip", "feature_zip"]
)
def test_the_others_need_no_mask_and_do_not_look_at_one(fusion):
    head, features, mask = head_and_features(fusion)
    torch.testing.assert_close(head(features).density, head(features, mask).density)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_only_solutions_that_say_so_change_between_training_and_test(fusion):
    head, features, mask = head_and_features(fusion)
    with torch.no_grad():
        logits = head(features, mask).mask_logits
        binary = None if logits is None else (logits > 0).float()
        trained, tested = head(features, binary).density, head.eval()(features).density
    torch.testing.assert_close(trained, tested)


@pytest.mark.parametrize("fusion", ["product_zip", "feature_zip"])
def test_zip_is_the_posterior_times_the_rate(fusion):
    head, features, _ = head_and_features(fusion)
    fused = head(features)
    torch.testing.assert_close(fused.density, fused.mask_logits.sigmoid() * fused.rate)
    assert (fused.rate > 0).all()


@pytest.mark.parametrize("fusion", [f for f in FUSIONS if not f.endswith("_zip")])
def test_the_last_layer_is_linear(fusion):
    """A ReLU at the end could die and never count again; so a cell may be below zero."""
    head, features, mask = head_and_features(fusion)
    last = [layer for layer in head.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.constant_(last.bias, -5.0)
    assert head(features, mask).density.min() < 0


@pytest.mark.parametrize("fusion", [f for f in FUSIONS if not f.endswith("_gt")])
def test_the_reach_of_a_head_is_what_the_gradient_shows(fusion):
    """Solutions 1 and 4 have the layers of 2 and 5, with a binary mask that has no gradient to see."""
    head = FUSIONS[fusion](1, 1, 2).double()
    for layer in head.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())  # no ReLU cuts, no sigmoid saturates
            torch.nn.init.zeros_(layer.bias)
    features = torch.ones(1, 1, 1, 41, dtype=torch.float64, requires_grad=True)
    head(features).density[0, 0, 0, 20].backward()
    seen = features.grad[0, 0, 0].nonzero().flatten()
    assert (int(seen[0]), int(seen[-1])) == (20 - 2 * head.reach, 20 + 2 * head.reach)
    assert FUSIONS["product_gt"].reach == FUSIONS["product_posterior"].reach
    assert FUSIONS["feature_gt"].reach == FUSIONS["feature_posterior"].reach

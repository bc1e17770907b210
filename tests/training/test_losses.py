"""Each term of the loss against its formula, and its gradient where the numbers are extreme."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from headcount.models.counting_model import CountingModel, ModelConfig, Output
from headcount.models.fusion import FUSIONS
from headcount.training.losses import (
    TERMS,
    CountLoss,
    LossConfig,
    bayesian_error,
    block_error,
    focal_loss,
    squared_error,
    zip_loss,
)
from headcount.training.targets import count_map, density_map, mask_map


def test_density_loss_by_hand():
    """Eq. 2 is summed over the cells of each image and averaged over two images: (1 + 4 + 0.25 + 0) / 2."""
    predicted = torch.tensor([[[1.0, 3.0]], [[0.5, 2.0]]])  # (2,1,2)
    true = torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]]])
    assert float(squared_error(predicted, true)) == pytest.approx(2.625)


def test_focal_loss_by_hand():
    """p = 0.75 on a foreground and on a background cell: p_t is 0.75 and 0.25."""
    logits = torch.full((1, 1, 2), math.log(3.0))
    mask = torch.tensor([[[1.0, 0.0]]])
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        by_hand = -(0.25**gamma * math.log(0.75) + 0.75**gamma * math.log(0.25)) / 2
        assert float(focal_loss(logits, mask, gamma)) == pytest.approx(by_hand, rel=1e-5)


def test_focal_loss_of_gamma_0_is_cross_entropy():
    logits, mask = torch.randn(2, 5, 6), (torch.rand(2, 5, 6) > 0.5).float()
    p = logits.sigmoid()
    cross_entropy = -(mask * p.log() + (1 - mask) * (1 - p).log()).mean()
    torch.testing.assert_close(focal_loss(logits, mask, 0), cross_entropy)
    torch.testing.assert_close(focal_loss(logits, mask, 1e-6), cross_entropy, rtol=1e-4, atol=0)
    assert focal_loss(logits, mask, 2) < cross_entropy


@pytest.mark.parametrize("posterior, rate", [(0.9, 0.3), (0.2, 4.0), (0.5, 25.0), (0.999, 1e-3)])
def test_likelihood_is_that_of_a_zero_inflated_poisson(posterior, rate):
    heads = np.arange(120)
    mixture = posterior * poisson.pmf(heads, rate) + (heads == 0) * (1 - posterior)
    cells = [torch.full((120, 1, 1), math.log(posterior / (1 - posterior))), torch.full((120, 1, 1), rate)]
    counts = torch.from_numpy(heads).float().view(120, 1, 1)
    log = torch.stack([-zip_loss(*(c[i : i + 1] for c in (*cells, counts))) for i in range(120)]).double()
    certain = mixture > 1e-30
    np.testing.assert_allclose(log.numpy()[certain], np.log(mixture[certain]), rtol=2e-4, atol=2e-4)
    assert float(log.exp().sum()) == pytest.approx(1, abs=1e-4)  # a probability


def test_likelihood_is_summed_over_cells_and_averaged_over_images():
    logits, rate, counts = torch.randn(3, 4, 5), torch.rand(3, 4, 5) * 3, torch.randint(0, 4, (3, 4, 5)).float()
    each = [zip_loss(logits[n, i : i + 1, j].view(1, 1, 1), rate[n, i, j].view(1, 1, 1), counts[n, i, j].view(1, 1, 1))
            for n in range(3) for i in range(4) for j in range(5)]  # fmt: skip
    torch.testing.assert_close(zip_loss(logits, rate, counts), torch.stack(each).sum() / 3)


@pytest.mark.parametrize("cells", [2, 3])
def test_likelihood_of_blocks_by_brute_force(cells):
    """A block is empty if all its cells are, and its heads are those of its cells together."""
    logits, rate, counts = torch.randn(2, 4, 5), torch.rand(2, 4, 5) * 3, torch.randint(0, 4, (2, 4, 5)).float()
    posterior, total = logits.sigmoid(), 0.0
    for n in range(2):
        for top in range(0, 4, cells):
            for left in range(0, 5, cells):
                block = n, slice(top, top + cells), slice(left, left + cells)
                occupied = 1 - float((1 - posterior[block]).prod())
                mean, heads = float((posterior * rate)[block].sum()) / occupied, float(counts[block].sum())
                likelihood = occupied * poisson.pmf(heads, mean) + (heads == 0) * (1 - occupied)
                total -= math.log(likelihood)
    assert float(zip_loss(logits, rate, counts, cells)) == pytest.approx(total / 2, rel=1e-4)


def test_likelihood_is_lowest_at_the_true_mean():
    """A third of the cells is foreground with 2 heads on average, and the optimum finds posterior and rate."""
    random = np.random.default_rng(0)
    heads = random.poisson(2.0, 6000) * (random.random(6000) < 1 / 3)
    counts = torch.from_numpy(heads).float().view(1, 60, 100)
    logit, log_rate = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit, log_rate], max_iter=60)

    def closure():
        optimizer.zero_grad()
        loss = zip_loss(logit.expand_as(counts), log_rate.exp().expand_as(counts), counts)
        loss.backward()
        return loss

    optimizer.step(closure)
    posterior, rate = float(logit.detach().sigmoid()), float(log_rate.detach().exp())
    assert posterior == pytest.approx(1 / 3, abs=0.03)
    assert rate == pytest.approx(2.0, abs=0.15)
    assert posterior * rate == pytest.approx(heads.mean(), rel=1e-3)


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 7])
def test_block_error_by_brute_force(cells):
    """Blocks that the border cuts count too: 5 x 7 cells are no multiple of 2, 3 or 4."""
    predicted, counts = torch.rand(2, 5, 7), torch.randint(0, 3, (2, 5, 7)).float()
    expected = 0.0
    for n in range(2):
        for i in range(0, 5, cells):
            for j in range(0, 7, cells):
                block = (n, slice(i, i + cells), slice(j, j + cells))
                expected += abs(float(predicted[block].sum() - counts[block].sum()))
    assert float(block_error(predicted, counts, cells)) == pytest.approx(expected / 2, rel=1e-5)


def test_a_block_may_be_larger_than_the_map():
    predicted, counts = torch.full((1, 2, 3), 0.5), torch.ones(1, 2, 3)
    assert float(block_error(predicted, counts, 8)) == pytest.approx(3.0)


def test_bayesian_error_by_brute_force():
    """Every head and the background bid for every cell. Two heads in one cell share what it receives."""
    predicted, counts = torch.rand(2, 5, 6), torch.zeros(2, 5, 6)
    heads = [[(0, 0), (2, 3), (2, 3), (3, 3)], []]
    expected = 0.0
    for n, places in enumerate(heads):
        got, lost = [0.0] * len(places), 0.0
        for i in range(5):
            for j in range(6):
                bids = [math.exp(-0.5 * ((i - y) ** 2 + (j - x) ** 2)) for y, x in places] + [math.exp(-0.5 * 3**2)]
                parts = [float(predicted[n, i, j]) * bid / sum(bids) for bid in bids]
                got = [a + b for a, b in zip(got, parts[:-1], strict=True)]
                lost += parts[-1]
        for y, x in places:
            counts[n, y, x] += 1
        expected += sum(abs(1 - g) for g in got) + lost
    assert float(bayesian_error(predicted, counts)) == pytest.approx(expected / 2, rel=1e-3)


def test_bayesian_error_teaches_one_person_per_head():
    counts = torch.zeros(1, 9, 9)
    counts[0, 2, 2], counts[0, 5, 6] = 1, 3
    raw = torch.full((1, 9, 9), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        bayesian_error(torch.nn.functional.softplus(raw), counts).backward()
        optimizer.step()
    density = torch.nn.functional.softplus(raw.detach())
    assert float(density.sum()) == pytest.approx(4, abs=0.2)  # the heads' own, and what is left to the background
    assert float(density[0, :4, :4].sum()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("logit", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_at_extreme_logits(logit, gamma):
    logits = torch.full((1, 2, 2), logit, requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), gamma)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    assert (logits.grad[0, 0, 1] <= 0) and (logits.grad[0, 0, 0] >= 0)  # toward the mask


@pytest.mark.parametrize("logit", [-1e4, -30.0, 0.0, 30.0, 1e4])
@pytest.mark.parametrize("raw", [-1e3, -30.0, 0.0, 30.0, 1e4])
def test_likelihood_gradient_is_finite_at_extremes(logit, raw):
    """`raw` is the rate before its softplus: e^-1000 underflows, and a rate of 10,000 is far from any count here."""
    logits, raws = torch.full((1, 1, 3), logit, requires_grad=True), torch.full((1, 1, 3), raw, requires_grad=True)
    counts = torch.tensor([[[0.0, 1.0, 40.0]]])
    loss = sum(zip_loss(logits, torch.nn.functional.softplus(raws), counts, cells) for cells in (1, 2))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and raws.grad.isfinite().all()


EVERY_TERM = LossConfig(**{name: 0.5 for name in TERMS if name != "teacher"})


def test_every_weight_has_a_term_and_every_term_a_weight():
    """A weight without a term would be ignored in silence."""
    assert {field.name for field in fields(LossConfig)} - {"gamma", "block_cells", "likelihood_cells"} == set(TERMS)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("people", [0, 6])
def test_every_fusion_has_finite_losses_and_gradients_on_empty_crops_too(fusion, people):
    torch.manual_seed(0)
    model = CountingModel(ModelConfig(fusion=fusion, width=8)).train()
    heads = torch.rand(people, 2) * 32
    density, mask = density_map(heads, 32, 32, 4, 4.0)[None], mask_map(heads, 32, 32, 4, 8.0)[None]
    terms = CountLoss(EVERY_TERM)(
        model(torch.zeros(1, 3, 32, 32), mask), density, mask, count_map(heads, 32, 32, 4)[None]
    )
    expected = {"loss", *TERMS} - {"teacher"}
    expected -= {"mask"} if fusion.startswith("plain") or fusion == "feature_density" else set()
    assert set(terms) == expected - (set() if fusion.endswith("_zip") else {"likelihood"})
    terms["loss"].backward()
    assert all(value.isfinite() for value in terms.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_total_is_the_weighted_sum():
    output = Output(torch.rand(2, 4, 4), torch.randn(2, 4, 4), None, torch.rand(2, 4, 4))
    targets = torch.rand(2, 4, 4), (torch.rand(2, 4, 4) > 0.5).float(), torch.randint(0, 3, (2, 4, 4)).float()
    config = LossConfig(density=0.3, mask=100.0, gamma=0.0, likelihood=2.0, blocks=0.5, block_cells=(2, 4), count=0.7)
    terms = CountLoss(config)(output, *targets)
    total = sum(getattr(config, name) * value for name, value in terms.items() if name != "loss")
    torch.testing.assert_close(terms["loss"], total)
    blocks = block_error(output.density, targets[2], 2) + block_error(output.density, targets[2], 4)
    torch.testing.assert_close(terms["blocks"], blocks)
    gap = (output.density.sum((1, 2)) - targets[2].sum((1, 2))).abs().mean()
    torch.testing.assert_close(terms["count"], gap)


def test_both_densities_of_baseline_3_are_compared():
    output = Output(torch.zeros(1, 2, 2), first_density=torch.full((1, 2, 2), 2.0))
    terms = CountLoss(LossConfig())(output, torch.ones(1, 2, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2))
    assert float(terms["density"]) == 4 * 1 + 4 * 1


def test_a_perfect_prediction_costs_nothing():
    density = torch.rand(1, 4, 4)
    mask = (density > 0.5).float()
    terms = CountLoss(LossConfig())(Output(density, (mask * 2 - 1) * 50), density, mask, density)
    assert float(terms["loss"]) == pytest.approx(0, abs=1e-6)


def test_a_loss_without_a_term_for_the_network_is_an_error():
    config = LossConfig(density=0.0, mask=1.0, likelihood=1.0)
    with pytest.raises(ValueError, match="no loss term applies"):
        CountLoss(config)(Output(torch.zeros(1, 2, 2)), *[torch.zeros(1, 2, 2)] * 3)


@pytest.mark.parametrize(
    "fusion, loss",
    [
        ("feature_posterior", LossConfig(density=10.0, mask=1.0, gamma=0.0, count=0.1)),
        ("feature_zip", LossConfig(density=0.0, mask=16.0, gamma=0.0, likelihood=1.0, blocks=1.0, block_cells=(1,))),
    ],
)
def test_a_small_network_memorizes_one_image(fusion, loss):
    torch.manual_seed(0)
    image = torch.full((1, 3, 32, 32), 200.0)
    heads = torch.tensor([[6.0, 6.0], [22.0, 10.0], [14.0, 26.0]])
    for x, y in heads.int().tolist():
        image[..., y - 2 : y + 3, x - 2 : x + 3] = 20
    density, mask = density_map(heads, 32, 32, 4, 2.0)[None], mask_map(heads, 32, 32, 4, 4.0)[None]
    counts = count_map(heads, 32, 32, 4)[None]
    model, tell = CountingModel(ModelConfig(fusion=fusion, width=16)).train(), CountLoss(loss)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(80):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / 80)
        optimizer.zero_grad()
        tell(model(image), density, mask, counts)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        output = model.eval()(image)
    assert float(output.density.sum()) == pytest.approx(3, abs=0.3)
    assert torch.equal((output.mask_logits > 0).float(), mask)

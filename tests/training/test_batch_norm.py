"""A checkpoint goes on with trained batch norms from where it was."""

import torch
from torch import nn

from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.training.batch_norm import adopt_statistics


def network() -> CountingModel:
    """A network whose norms hold the statistics of other images than `crops`."""
    torch.manual_seed(0)
    model = CountingModel(ModelConfig(backbone="lite0", fusion="feature_zip", width=8)).eval()
    for norm in norms(model):
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return model


def norms(model: CountingModel) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def crops(batches: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=generator) for _ in range(batches)]


@torch.no_grad()
def test_norms_take_the_statistics_of_the_crops_and_the_network_stays_what_it_was():
    model, images = network(), crops(3)
    before = [model(image).density for image in images]
    adopt_statistics(model, images)
    for image, density in zip(images, before, strict=True):
        torch.testing.assert_close(model(image).density, density, rtol=1e-3, atol=1e-5)
    first = norms(model)[0]
    x = model.backbone._conv_stem(model.normalize(torch.cat(images)))
    torch.testing.assert_close(first.running_mean, x.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.running_var, x.var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_first_step_in_training_computes_what_the_checkpoint_did():
    [image] = crops(1)
    model, jumping = network(), network()
    before = model(image).density
    adopt_statistics(model, [image])
    for each in (model, jumping):
        each.backbone.fixed_statistics = False
        each.train()
    torch.testing.assert_close(model(image).density, before, rtol=1e-2, atol=1e-4)
    assert (jumping(image).density - before).abs().max() > 10 * (model(image).density - before).abs().max()

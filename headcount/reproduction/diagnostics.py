"""What a network does inside, measured: the maps of figure 5, how good its mask is, and which loss teaches which part.

What is unusual: each function works on a copy of the network, so that the one given keeps its mode, its gradients and
its running statistics, in the middle of a training run too.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from headcount.geometry import enlarge_to
from headcount.models.counting_model import CountingModel
from headcount.models.fusion import Feature
from headcount.training.config import DataConfig
from headcount.training.dataset import Batch, TrainingImage, cells_in_roi, make_targets, whole_image
from headcount.training.losses import CountLoss, LossConfig


@torch.no_grad()
def feature_maps(model: CountingModel, image: np.ndarray) -> dict[str, np.ndarray]:
    """The maps of the paper's figure 5 for a picture uint8 (H,W,3), under the test-time rule.

    Caption -> float32 (h,w), h = ceil(H / stride) of the picture as the network sees it: what the mask branch gives,
    a channel of the mask's feedback convolutions, a channel of the first layer after the concatenation, the density
    in people per cell. Of 256 channels the one that varies most over the picture is shown: the mean over the channels
    is nearly flat, and the one that is largest is often large everywhere.

    Raises:
        ValueError: for a network whose regressor is not fed by a mask.
    """
    if not isinstance(model.head, Feature):
        name = model.config.fusion if model.head else model.config.backbone
        raise ValueError(f"{name} feeds no mask to its regressor: use a fusion feature_*, such as feature_posterior")
    model = copy.deepcopy(model).eval()
    seen: dict[str, Tensor] = {}
    keep(model.head.mask_features, "a feature of the mask's feedback", seen)
    keep(model.head.regressor[0], "a feature after the concatenation", seen)
    output = model(to_batch(enlarge_to(image, model.config.min_side), model))
    h, w = output.density.shape[-2:]
    if output.mask_logits is not None:
        first = {"mask output (posterior)": output.mask_logits.sigmoid()[0]}
    else:
        first = {"first density": output.first_density[0]}  # baseline 3
    inner = {caption: most_varied(x[0, :, :h, :w]) for caption, x in seen.items()}
    maps = {**first, **inner, "density": output.density[0]}
    return {caption: values.float().cpu().numpy() for caption, values in maps.items()}


def keep(layer: nn.Module, caption: str, seen: dict[str, Tensor]) -> None:
    """Put what `layer` gives into `seen`, from now on."""
    layer.register_forward_hook(lambda _layer, _inputs, output: seen.update({caption: output}))


def most_varied(channels: Tensor) -> Tensor:
    """(C,h,w) -> (h,w): the channel with the largest standard deviation, the outer eighths aside.

    At the border the convolutions' zeros show, in some channels more than all else.
    """
    h, w = channels.shape[1:]
    inner = channels[:, h // 8 : h - h // 8, w // 8 : w - w // 8]
    return channels[int(inner.flatten(1).std(dim=1, correction=0).argmax())]


@torch.no_grad()
def mask_iou(model: CountingModel, pictures: list[TrainingImage], config: DataConfig) -> float:
    """Intersection over union of the predicted mask, posterior > 0.5, and the true one of `config`, 0 to 1.

    Whole pictures as in test; cells are pooled over the pictures, inside their regions of interest. nan for a network
    without a mask, and where neither mask has a cell.
    """
    model = copy.deepcopy(model).eval()
    both = either = 0
    for picture in pictures:
        crop = whole_image(picture, config)
        logits = model(to_batch(crop.image, model)).mask_logits
        if logits is None:
            return float("nan")
        predicted = logits[0].cpu() > 0  # (h,w); posterior > 0.5
        true = make_targets(crop, config, model.stride, 0).mask > 0
        if crop.roi is not None:
            counted = torch.from_numpy(cells_in_roi(crop.roi, crop.image, true.shape, model.stride)) > 0
            predicted, true = predicted & counted, true & counted
        both += int((predicted & true).sum())
        either += int((predicted | true).sum())
    return both / either if either else float("nan")


def gradient_norms(model: CountingModel, batch: Batch, loss: LossConfig) -> dict[str, dict[str, float]]:
    """Who teaches whom: loss term -> {part: L2 norm of the weighted term's gradient on the part's parameters}.

    In training mode and float32, on one batch. The parts are "backbone", "mask branch" (in baseline 3 the branch that
    regresses the first density) and "rest of the head", less those that the network lacks; frozen layers count 0. A
    term that does not reach a part gives exactly 0.
    """
    model = copy.deepcopy(model).float().train()
    device = model.mean.device
    image, density, mask, counts = (x.to(device) for x in batch[:4])
    terms = CountLoss(loss)(model(image, mask), density, mask, counts)
    weighted = {term: getattr(loss, term) * value for term, value in terms.items() if term != "loss"}  # less the total
    parts = parts_of(model)
    return {term: {part: gradient_norm(value, parts[part]) for part in parts} for term, value in weighted.items()}


def parts_of(model: CountingModel) -> dict[str, list[nn.Parameter]]:
    """The trained parameters of each part that the network has."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            part = "backbone"
        else:
            part = "mask branch" if name.startswith("head.mask.") else "rest of the head"
        parts.setdefault(part, [])
        if parameter.requires_grad:
            parts[part].append(parameter)
    return parts


def gradient_norm(value: Tensor, parameters: list[nn.Parameter]) -> float:
    if not parameters or not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return sum(float(g.double().square().sum()) for g in gradients if g is not None) ** 0.5


def to_batch(image: np.ndarray, model: CountingModel) -> Tensor:
    """uint8 (H,W,3) -> (1,3,H,W) where the model is."""
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).to(model.mean.device)

"""Measurements inside a network: the maps of figure 5, the quality of its mask, and which loss trains which part.

Each function works on a copy of the network. The original keeps its mode, gradients and running statistics, so the
functions are safe in the middle of a training run.
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
from headcount.training.dataset import Batch, cells_in_roi, make_targets, whole_image
from headcount.training.images import ImageList
from headcount.training.losses import CountLoss, LossConfig


@torch.no_grad()
def feature_maps(model: CountingModel, image: np.ndarray) -> dict[str, np.ndarray]:
    """The maps of the paper's figure 5, under the rules of inference.

    Of 256 channels, the one that varies most over the image is shown. The mean over the channels is nearly flat, and
    the largest channel is often large everywhere.

    Args:
        model: A network whose fusion is one of feature_*.
        image: uint8 (H,W,3) RGB.

    Returns:
        Caption -> float32 (h,w), with h = ceil(H / stride) for the image in the size that the network sees. In this
        order: the output of the mask branch, a channel of the mask's feedback convolutions, a channel of the first
        layer after the concatenation, and the density in people per cell.

    Raises:
        ValueError: The network feeds no mask to its regressor.
    """
    if not isinstance(model.head, Feature):
        name = model.config.fusion if model.head else model.config.backbone
        raise ValueError(f"{name} feeds no mask to its regressor: use a fusion feature_*, such as feature_posterior")
    model = copy.deepcopy(model).eval()
    assert isinstance(model.head, Feature)
    features: dict[str, Tensor] = {}
    record_output(model.head.mask_features, "a feature of the mask's feedback", features)
    record_output(model.head.regressor[0], "a feature after the concatenation", features)
    output = model(to_batch(enlarge_to(image, model.config.min_side), model))
    h, w = output.density.shape[-2:]
    if output.mask_logits is not None:
        first = {"mask output (posterior)": output.mask_logits.sigmoid()[0]}
    else:
        first = {"first density": output.first_density[0]}  # baseline 3
    inner = {caption: most_varied(channels[0, :, :h, :w]) for caption, channels in features.items()}
    maps = {**first, **inner, "density": output.density[0]}
    return {caption: values.float().cpu().numpy() for caption, values in maps.items()}


def record_output(layer: nn.Module, caption: str, record: dict[str, Tensor]) -> None:
    """Store the output of `layer` in `record`, at every forward pass from now on."""
    layer.register_forward_hook(lambda _layer, _inputs, output: record.update({caption: output}))


def most_varied(channels: Tensor) -> Tensor:
    """(C,h,w) -> (h,w): the channel with the largest standard deviation, ignoring the outer eighths.

    At the border, zero padding dominates some channels.
    """
    h, w = channels.shape[1:]
    inner = channels[:, h // 8 : h - h // 8, w // 8 : w - w // 8]
    return channels[int(inner.flatten(1).std(dim=1, correction=0).argmax())]


@torch.no_grad()
def mask_iou(model: CountingModel, images: ImageList, config: DataConfig) -> float:
    """Intersection over union of the predicted mask (posterior > 0.5) and the true mask.

    Images are whole, as in inference. Cells are pooled over the images, inside their regions of interest.

    Args:
        model: Any network.
        images: Decoded images with their heads.
        config: Says how large the true mask is, and how small images are enlarged.

    Returns:
        0 to 1; nan for a network without a mask, or if neither mask has a foreground cell.
    """
    model = copy.deepcopy(model).eval()
    both = either = 0
    for item in images:
        crop = whole_image(item, config)
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
    """How strongly each loss term trains each part of the network, in training mode and float32.

    Args:
        model: Any network.
        batch: The training batch on which gradients are taken.
        loss: The weights of the terms.

    Returns:
        Loss term -> part -> L2 norm of the weighted term's gradient on the part's parameters. The parts are "backbone",
        "mask branch" (in baseline 3, the branch that regresses the first density) and "rest of the head", as far as
        the network has them. Frozen layers count 0. A term that does not reach a part gives exactly 0.
    """
    model = copy.deepcopy(model).float().train()
    device = model.mean.device
    image, density, mask, counts = (tensor.to(device) for tensor in batch[:4])
    terms = CountLoss(loss)(model(image, mask), density, mask, counts)
    weighted = {term: getattr(loss, term) * value for term, value in terms.items() if term != "loss"}
    parts = parts_of(model)
    return {term: {part: gradient_norm(value, parts[part]) for part in parts} for term, value in weighted.items()}


def parts_of(model: CountingModel) -> dict[str, list[nn.Parameter]]:
    """Part -> its trainable parameters, for the parts that the network has."""
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
    """L2 norm of the gradient of `value` on the parameters."""
    if not parameters or not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return sum(float(g.double().square().sum()) for g in gradients if g is not None) ** 0.5


def to_batch(image: np.ndarray, model: CountingModel) -> Tensor:
    """uint8 (H,W,3) -> (1,3,H,W) on the model's device."""
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).to(model.mean.device)

"""Validation: how well a network counts the images that a run holds out, and the score that chooses a checkpoint."""

from __future__ import annotations

import numpy as np

from headcount.evaluation.metrics import CountMetrics
from headcount.inference import tiling
from headcount.inference.engines import TorchEngine
from headcount.models.counting_model import CountingModel
from headcount.training.config import DataConfig
from headcount.training.dataset import cells_in_roi, whole_image
from headcount.training.ddp import ProcessGroup
from headcount.training.images import Images, TrainingImage


class Validation:
    """The validation images of a run, by set.

    Args:
        images: Images by the name of their set. A set without images is not allowed.
        config: How images are enlarged.
        precision: What the network computes in: "fp32" or "bf16".
        group: The processes that share the work.
    """

    def __init__(self, images: dict[str, Images], config: DataConfig, precision: str, group: ProcessGroup):
        self.images, self.config, self.precision, self.group = images, config, precision, group

    def measure(self, model: CountingModel) -> dict[str, float]:
        """Count all images.

        Returns:
            MAE, RMSE and bias of each set as NAME_mae, NAME_rmse and NAME_bias, and the `score` of all sets.
            The score is 0 if there is no set.
        """
        if not self.images:
            return {"score": 0.0}
        engine = TorchEngine(model, self.precision)
        metrics = {name: self._count(engine, images) for name, images in self.images.items()}
        row: dict[str, float] = {}
        for name, result in metrics.items():
            row |= {f"{name}_mae": result.mae, f"{name}_rmse": result.rmse, f"{name}_bias": result.bias}
        return {**row, "score": score(metrics)}

    def _count(self, engine: TorchEngine, images: Images) -> CountMetrics:
        """The metrics of one set; each process counts its share of the images."""
        counts = [0.0] * len(images)
        for i in self.group.own_items(len(images)):
            counts[i] = predict(engine, images[i], self.config)
        true = [len(sample.points_in_roi) for sample in images.samples]
        return CountMetrics(true, self.group.sum(counts), [str(sample.image) for sample in images.samples])


def predict(engine: TorchEngine, image: TrainingImage, config: DataConfig) -> float:
    """Count the people in an image as a Counter does. Cells outside its region of interest do not count."""
    view = whole_image(image, config)
    density = tiling.run(engine, [view.image])[0].density  # (h,w)
    if view.roi is not None:
        density = density * cells_in_roi(view.roi, view.image, density.shape, engine.meta.stride)
    return float(density.sum())


def score(metrics: dict[str, CountMetrics]) -> float:
    """The mean over the sets of MAE / mean true count, so that no set outweighs another.

    The MAE of a set without people is divided by the mean of the other sets' mean counts.
    """
    means = {name: float(np.sum(result.true)) / len(result) for name, result in metrics.items()}
    populated = [mean for mean in means.values() if mean] or [1.0]
    usual = sum(populated) / len(populated)
    parts = []
    for name, result in metrics.items():
        parts.append(result.mae / (max(1.0, means[name]) if means[name] else usual))
    return sum(parts) / len(parts)

"""What is stored of a finished experiment, and the measurements that reports derive from it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any, Literal, TypedDict

from headcount.evaluation.metrics import CountMetrics, bootstrap_interval


class ImageResult(TypedDict):
    """One image: its name, its scene ("" if the set has none), true and predicted people, and GAME at levels 1 to 3."""

    name: str
    scene: str
    true: int
    predicted: float
    game1: float
    game2: float
    game3: float


class SplitResult(TypedDict):
    """The parts that are used here of a `headcount.evaluation.report.Report` as a dict."""

    mae: float
    rmse: float
    images: list[ImageResult]


class Result(TypedDict):
    """The content of a result.json.

    Attributes:
        experiment: The fields of the `Experiment`.
        config: The fields of the `TrainConfig`.
        budget: smoke, short or full.
        steps: Optimizer steps.
        crops: Crops seen.
        seconds: Time of training, validation included.
        chosen_step: Step of the checkpoint chosen on the validation list.
        parameters: Number of the network's parameters.
        multiply_adds: Multiply-adds for one image of 576x768.
        test_split: "test", or "val" where the data set has no test split and its validation list stands in.
        val: The chosen checkpoint on the validation list.
        test: The chosen checkpoint on the test split.
        test_last: The last checkpoint on the test split.
        mask_iou: Intersection over union of the predicted and the true mask; None for a network without a mask.
        gradient_norms: Loss term -> part of the network -> norm of the gradient.
        versions: Versions of headcount and its main libraries.
        commit: Commit of headcount.
        device: Name of the processor or GPU.
    """

    experiment: dict[str, Any]
    config: dict[str, Any]
    budget: str
    steps: int
    crops: int
    seconds: float
    chosen_step: int
    parameters: int
    multiply_adds: int
    test_split: str
    val: SplitResult
    test: SplitResult
    test_last: SplitResult
    mask_iou: float | None
    gradient_norms: dict[str, dict[str, float]]
    versions: dict[str, str]
    commit: str
    device: str


Part = Literal["val", "test", "test_last"]


def metrics_of(images: Sequence[ImageResult]) -> CountMetrics:
    """The metrics of some images, with their scenes if they have any."""
    scenes = [image["scene"] for image in images]
    return CountMetrics(
        [image["true"] for image in images],
        [image["predicted"] for image in images],
        [image["name"] for image in images],
        scenes if any(scenes) else None,
    )


def pool(results: Sequence[Result], part: Part) -> CountMetrics:
    """The metrics over all images of several results (folds, seeds)."""
    return metrics_of([image for result in results for image in result[part]["images"]])


def mean_rmse(results: Sequence[Result], part: Part) -> float:
    """The mean of each result's own RMSE."""
    return mean(pool([result], part).rmse for result in results)


def picked_on_test(results: Sequence[Result]) -> float:
    """Test MAE under the customary protocol: each run reports the better of its chosen and last checkpoint."""
    return mean(min(pool([result], "test").mae, pool([result], "test_last").mae) for result in results)


def errors_by_image(results: Sequence[Result], part: Part) -> dict[str, float]:
    """Image name -> |predicted - true|, the mean over seeds."""
    errors: dict[str, list[float]] = {}
    for result in results:
        for image in result[part]["images"]:
            errors.setdefault(image["name"], []).append(abs(image["predicted"] - image["true"]))
    return {name: mean(values) for name, values in errors.items()}


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over images."""
    return bootstrap_interval(values)

"""Results of experiments that were never run, for tests of reports."""

from collections.abc import Sequence

from headcount.reproduction.results import ImageResult, Result, SplitResult, metrics_of


def split_result(errors: Sequence[float], true: int = 100, names: Sequence[str] = (), scene: str = "") -> SplitResult:
    """One image per error; each has `true` people and is counted `true + error`."""
    names = names or [f"IMG_{number}" for number in range(1, len(errors) + 1)]
    images = [
        ImageResult(name=name, scene=scene, true=true, predicted=true + error, game1=0.0, game2=0.0, game3=0.0)
        for name, error in zip(names, errors, strict=True)
    ]
    metrics = metrics_of(images)
    return SplitResult(mae=metrics.mae, rmse=metrics.rmse, images=images)


def result(
    test: SplitResult,
    test_last: SplitResult | None = None,
    val: SplitResult | None = None,
    seed: int = 1,
    fold: int = 0,
    test_split: str = "test",
) -> Result:
    """A result with these measurements; everything else is the same in all of them."""
    return Result(
        experiment={"recipe": "solution-5", "dataset": "part_A", "seed": seed, "fold": fold},
        config={"precision": "fp32"},
        budget="smoke",
        steps=2,
        crops=4,
        seconds=60.0,
        chosen_step=2,
        parameters=5_040_066,
        multiply_adds=173_100_000_000,
        test_split=test_split,
        val=val or test,
        test=test,
        test_last=test_last or test,
        mask_iou=0.5,
        gradient_norms={"density": {"backbone": 14.5, "mask branch": 0.0}, "mask": {"backbone": 21.8}},
        versions={"headcount": "0.1.0", "torch": "2.13"},
        commit="abc1234",
        device="a processor",
    )


def joined(*splits: SplitResult) -> SplitResult:
    """All images of several splits as one."""
    images = [image for split in splits for image in split["images"]]
    metrics = metrics_of(images)
    return SplitResult(mae=metrics.mae, rmse=metrics.rmse, images=images)

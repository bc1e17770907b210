"""Measure how often the true count is inside the interval, and whether the doubtful images are the wrong ones.

    python benchmarks/coverage.py shanghaitech:DATA/shanghaitech/part_A:test scut_head:DATA/scut:part_B-test

Prints for each data set the share of the 90 % intervals that hold the true count, their median width, the share of the
images with a warning, and the AUROC: how well the uncertainty tells the tenth with the largest relative errors from the
others (0.5: not at all; 1: perfectly). With --calibration, --plot also draws the coverage of other asked shares.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import headcount
from headcount.datasets import readers
from headcount.evaluation.uncertainty import log_error
from headcount.inference.counter import Counter
from headcount.inference.reliability import interval
from headcount.inference.result import CountResult


@dataclass(frozen=True)
class CountedSet:
    """The true counts (N,) and the results of a data set."""

    name: str
    true: np.ndarray
    results: list[CountResult]

    def held(self, ranges: dict[str, float]) -> np.ndarray:
        """Whether each true count is inside the interval of these parameters, (N,)."""
        bounds = np.array([interval(result.count, ranges, result.uncertainty) for result in self.results])
        return (bounds[:, 0] <= self.true) & (self.true <= bounds[:, 1])

    def widths(self) -> np.ndarray:
        """Width of each interval divided by the count, (N,)."""
        return np.array([(result.high - result.low) / max(result.count, 1.0) for result in self.results])

    def auroc(self) -> float:
        """How well the uncertainty tells the worst tenth."""
        errors = np.array([log_error(t, result.count) for t, result in zip(self.true, self.results, strict=True)])
        worst = errors >= np.quantile(errors, 0.9)
        ranks = np.argsort(np.argsort([result.uncertainty for result in self.results]))
        count = worst.sum()
        return float((ranks[worst].sum() - count * (count - 1) / 2) / (count * (~worst).sum()))


def count_set(counter: Counter, text: str) -> CountedSet:
    """Count a data set that is given as FORMAT:FOLDER:SPLIT."""
    format_name, folder, split = text.split(":")
    samples = readers.read(folder, format_name, split)
    results = [counter.count(sample.image, sample.roi) for sample in samples]
    name = f"{Path(folder).name} {split}"
    return CountedSet(name, np.array([len(sample.points_in_roi) for sample in samples]), results)


def draw(sets: list[CountedSet], levels: dict[str, dict[str, float]], path: Path) -> None:
    """Coverage against the asked share, and the widths, of each set."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    asked = [float(level) for level in levels]
    for counted in sets:
        left.plot(asked, [counted.held(ranges).mean() for ranges in levels.values()], "o-", label=counted.name)
    left.plot([0.5, 1], [0.5, 1], ":", color="grey")
    left.set(xlabel="asked share", ylabel="share of true counts inside")
    left.legend()
    right.boxplot(
        [counted.widths() for counted in sets], tick_labels=[counted.name for counted in sets], showfliers=False
    )
    right.set(ylabel="width / count", ylim=(0, None))
    right.tick_params(axis="x", rotation=30)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="FORMAT:FOLDER:SPLIT", help="annotated images")
    parser.add_argument("--model", help="a model file, instead of the default model")
    parser.add_argument("--calibration", type=Path, help="calibration.json of the model's checkpoint")
    parser.add_argument("--plot", type=Path, help="a .png file to draw to")
    arguments = parser.parse_args()
    counter = headcount.load(arguments.model)
    print("set                       images  inside  width  warned  AUROC")
    sets = []
    for text in arguments.sets:
        counted = count_set(counter, text)
        sets.append(counted)
        inside = counted.held(counter.engine.meta.interval).mean()
        warned = np.mean([result.warning is not None for result in counted.results])
        print(
            f"{counted.name:24}  {len(counted.true):6}  {inside:6.1%}  {np.median(counted.widths()):5.2f}"
            f"  {warned:6.1%}  {counted.auroc():5.2f}",
            flush=True,
        )
    if arguments.plot:
        if not arguments.calibration:
            parser.error("--plot needs --calibration")
        draw(sets, json.loads(arguments.calibration.read_text())["levels"], arguments.plot)


if __name__ == "__main__":
    main()

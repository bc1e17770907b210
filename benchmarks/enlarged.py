"""Measure how the count of a photo changes when the photo has more pixels.

    python benchmarks/enlarged.py DATA/shanghaitech/part_A DATA/shanghaitech/part_B --photos 40

Photos of the validation lists are enlarged and counted again: nobody has joined the crowd, so the count should stay.
Prints the mean and the worst change for each factor, and the time of counting against that of counting the enlarged
photo at its own size.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import headcount
from headcount.datasets import readers
from headcount.inference.result import CountResult
from headcount.io.images import read_image

FACTORS = (1.5, 2.0, 4.0, 6.0, 8.0)


def timed(count: Callable[[], CountResult]) -> tuple[CountResult, float]:
    """A result and the seconds that it took."""
    began = time.perf_counter()
    return count(), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="data sets with a validation list")
    parser.add_argument("--photos", type=int, default=40, help="how many photos, evenly from the lists")
    parser.add_argument("--timed", type=int, default=4, help="how many to count at their own size too, for time")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--model", help="a model file, instead of the default model")
    arguments = parser.parse_args()
    counter = headcount.load(arguments.model)
    samples = [sample for folder in arguments.data for sample in readers.read(folder, "auto", "val")]
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, arguments.photos).round().astype(int)]
    images = [read_image(sample.image) for sample in chosen]
    original = np.array([counter.count(image).count for image in images])
    print(f"{len(images)} photos, {original.mean():.1f} people on average")
    print("factor  mean |change|  bias     worst  within 5 %  time / own size  scales")
    for factor in arguments.factors:
        counts, ratios, scales = [], [], []
        for i, image in enumerate(images):
            large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            result, seconds = timed(lambda large=large: counter.count(large))
            if i < arguments.timed:
                ratios.append(seconds / timed(lambda large=large: counter.count(large, scale=1.0))[1])
            counts.append(result.count)
            scales.append(result.scale * factor)
        change = np.array(counts) / original - 1
        bias = np.sum(counts) / original.sum() - 1
        ratio = f"{np.median(ratios):15.2f}" if ratios else f"{'-':>15}"
        print(
            f"{factor:6g}  {np.abs(change).mean():12.1%}  {bias:+6.1%}  {np.abs(change).max():6.1%}"
            f"  {np.sum(np.abs(change) <= 0.05):6d}/{len(images)}  {ratio}"
            f"  {min(scales):.2f} to {max(scales):.2f} of the original",
            flush=True,
        )


if __name__ == "__main__":
    main()

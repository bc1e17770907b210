"""Time density targets: all heads of an image at once, against one Gaussian filter of the whole image per head.

    python benchmarks/targets.py            # times a few filters and extrapolates, since each does the same work
    python benchmarks/targets.py --full     # runs the filter for every head, which takes minutes

Both are timed in turns on one thread, and their densities (people per cell at the model's stride) are compared.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from headcount.training.targets import TRUNCATE, density_map
from headcount.visualization.heatmap import downsample

MIN_RATIO = 1000  # promised


def filtered(points: np.ndarray, height: int, width: int, sigma: float) -> tuple[np.ndarray, list[float]]:
    """The density (height,width) by one filter per head, as published code does it, and the seconds of each."""
    density, seconds = np.zeros((height, width), np.float32), []
    for x, y in points.astype(int):
        began = time.perf_counter()
        impulse = np.zeros((height, width), np.float32)
        impulse[y, x] = 1
        density += gaussian_filter(impulse, sigma, mode="constant", truncate=TRUNCATE)
        seconds.append(time.perf_counter() - began)
    return density, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=3000)
    parser.add_argument("--height", type=int, default=768)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--sigma", type=float, default=4.0)
    parser.add_argument("--timed", type=int, default=20, help="number of heads to filter")
    parser.add_argument("--full", action="store_true", help="filter all heads")
    given = parser.parse_args()
    torch.set_num_threads(1)
    heads = np.random.default_rng(0).uniform((0, 0), (given.width, given.height), (given.heads, 2))
    heads = (heads.astype(int) + 0.5).astype(np.float32)  # pixel centers; a filter cannot place a head elsewhere
    chosen = heads if given.full else heads[: given.timed]

    ours, theirs, kept = [], [], 0.0
    for part in np.array_split(chosen, min(20, len(chosen))):  # in turns, so that both run under the same load
        began = time.perf_counter()
        density = density_map(torch.from_numpy(heads), given.height, given.width, given.stride, given.sigma)
        ours.append(time.perf_counter() - began)
        added, seconds = filtered(part, given.height, given.width, given.sigma)
        kept += float(added.sum())
        theirs += seconds
    per_image = sum(theirs) if given.full else median(theirs) * len(heads)
    ratio = per_image / median(ours)

    margin = TRUNCATE * given.sigma + 1  # closer to the border the filter loses part of a head
    size = np.array([given.width, given.height])
    inner = heads[((heads > margin) & (heads < size - margin)).all(axis=1)][:5]
    by_filter = downsample(filtered(inner, given.height, given.width, given.sigma)[0], given.stride)
    by_product = density_map(torch.from_numpy(inner), given.height, given.width, given.stride, given.sigma).numpy()
    difference = np.abs(by_filter - by_product).max() / by_product.max()

    how = "all run"
    if not given.full:
        how = f"extrapolated from the median of {len(theirs)}: {median(theirs) * 1e3:.1f} ms each"
    print(f"{len(heads)} heads on {given.width}x{given.height}, sigma {given.sigma}, one thread")
    print(f"  one filter per head:    {per_image:.1f} s ({how})")
    print(f"  headcount, stride {given.stride}:    {median(ours) * 1e3:.2f} ms (median of {len(ours)}, all heads)")
    print(f"  ratio:                  {ratio:,.0f}x")
    print(f"  heads in the sum:       {density.sum():.2f} of {len(heads)}; by filters {kept:.2f} of {len(chosen)}")
    print(f"  largest difference:     {difference:.1%} of the peak (away from the border)")
    if ratio < MIN_RATIO:
        raise SystemExit(f"slower than promised: {ratio:.0f}x, not {MIN_RATIO}x")


if __name__ == "__main__":
    main()

"""How fast targets are made: all heads of a picture at once, against one Gaussian filter of the whole picture per head.

    python benchmarks/targets.py            # times a few of the filters and extrapolates: each is the same work
    python benchmarks/targets.py --full     # runs the filter for every head: minutes

Both are timed in turns in one run, on one thread, and compared: density at the model's stride, people per cell.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from headcount.training.targets import TRUNCATE, density_map
from headcount.visualization.heatmap import downsample

LEAST = 1000  # the ratio that is promised


def filtered(points: np.ndarray, height: int, width: int, sigma: float) -> tuple[np.ndarray, list[float]]:
    """Density (height,width) by one filter per head, as many published preparations do; and the seconds of each."""
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
    parser.add_argument("--timed", type=int, default=20, help="heads that are filtered, of all of them")
    parser.add_argument("--full", action="store_true", help="filter all heads")
    given = parser.parse_args()
    torch.set_num_threads(1)
    heads = np.random.default_rng(0).uniform((0, 0), (given.width, given.height), (given.heads, 2))
    heads = (heads.astype(int) + 0.5).astype(np.float32)  # pixel centres, which is all that a filter can have
    chosen = heads if given.full else heads[: given.timed]

    ours, theirs, kept = [], [], 0.0
    for part in np.array_split(chosen, min(20, len(chosen))):  # in turns: both meet the same machine
        began = time.perf_counter()
        density = density_map(torch.from_numpy(heads), given.height, given.width, given.stride, given.sigma)
        ours.append(time.perf_counter() - began)
        added, seconds = filtered(part, given.height, given.width, given.sigma)
        kept += float(added.sum())
        theirs += seconds
    per_picture = sum(theirs) if given.full else median(theirs) * len(heads)
    ratio = per_picture / median(ours)

    margin = TRUNCATE * given.sigma + 1  # nearer to the border the filter loses part of a head
    size = np.array([given.width, given.height])
    inner = heads[((heads > margin) & (heads < size - margin)).all(axis=1)][:5]
    by_filter = downsample(filtered(inner, given.height, given.width, given.sigma)[0], given.stride)
    by_product = density_map(torch.from_numpy(inner), given.height, given.width, given.stride, given.sigma).numpy()
    difference = np.abs(by_filter - by_product).max() / by_product.max()

    how = (
        "all run"
        if given.full
        else f"extrapolated from the median of {len(theirs)}: {median(theirs) * 1e3:.1f} ms each"
    )
    print(f"{len(heads)} heads on {given.width}x{given.height}, sigma {given.sigma}, one thread")
    print(f"  one filter per head:    {per_picture:.1f} s ({how})")
    print(f"  headcount, stride {given.stride}:    {median(ours) * 1e3:.2f} ms (median of {len(ours)}, all heads)")
    print(f"  ratio:                  {ratio:,.0f}x")
    print(f"  heads in the sum:       {density.sum():.2f} of {len(heads)}; by filters {kept:.2f} of {len(chosen)}")
    print(f"  largest difference:     {difference:.1%} of the peak (away from the border)")
    if ratio < LEAST:
        raise SystemExit(f"slower than promised: {ratio:.0f}x, not {LEAST}x")


if __name__ == "__main__":
    main()

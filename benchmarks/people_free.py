"""How many people the default model sees where nobody is: a sweep of rendered people-free scenes it was not trained on.

    python benchmarks/people_free.py --scenes 100

Prints the mean, the median and the worst of the counts, and the worst seeds, which start far above those that
training draws (`rendered_pictures` in headcount/data.py).
"""

import argparse

import numpy as np

import headcount
from headcount.scenes import render

FIRST_SEED = 900_000_000


def sweep(counter, scenes: int, width: int = 1024, height: int = 768) -> np.ndarray:
    """The counts (scenes,) of as many people-free scenes."""
    pictures = (render(FIRST_SEED + i, people=0, width=width, height=height).image for i in range(scenes))
    return np.array([result.count for result in counter.count_many(pictures)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    counts = sweep(headcount.load(arguments.model), arguments.scenes)
    print(f"{len(counts)} people-free scenes of 1024x768: mean {counts.mean():.2f}, median {np.median(counts):.2f}")
    for i in np.argsort(counts)[::-1][:5]:
        print(f"  seed {FIRST_SEED + i}: {counts[i]:.2f}")


if __name__ == "__main__":
    main()

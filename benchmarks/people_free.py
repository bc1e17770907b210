"""How many people the default model sees where nobody is: a sweep of rendered people-free scenes it was not trained on,
or people-free pictures of your own.

    python benchmarks/people_free.py --scenes 100
    python benchmarks/people_free.py --pictures FOLDER_OR_FILE ...

Prints the mean, the median and the worst of the counts, and the worst pictures. The seeds of the scenes start far above
those that training draws (`rendered_pictures` in headcount/data.py).
"""

import argparse
from pathlib import Path

import numpy as np

import headcount
from headcount.io.images import list_images
from headcount.synthetic.scenes import render

FIRST_SEED = 900_000_000


def sweep(counter, scenes: int, width: int = 1024, height: int = 768) -> np.ndarray:
    """The counts (scenes,) of as many people-free scenes."""
    pictures = (render(FIRST_SEED + i, people=0, width=width, height=height).image for i in range(scenes))
    return np.array([result.count for result in counter.count_many(pictures)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--pictures", type=Path, nargs="+")
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    counter = headcount.load(arguments.model)
    if arguments.pictures:
        images = list_images(arguments.pictures)
        names = [str(image) for image in images]
        counts = np.array([counter.count(image).count for image in images])
    else:
        names = [f"seed {FIRST_SEED + i}" for i in range(arguments.scenes)]
        counts = sweep(counter, arguments.scenes)
    print(f"{len(counts)} people-free pictures: mean {counts.mean():.2f}, median {np.median(counts):.2f}")
    for i in np.argsort(counts)[::-1][:5]:
        print(f"  {names[i]}: {counts[i]:.2f}")


if __name__ == "__main__":
    main()

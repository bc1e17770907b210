"""Measure how many people the default model counts where nobody is.

    python benchmarks/people_free.py --scenes 100
    python benchmarks/people_free.py --images FOLDER_OR_FILE ...

Without images, the model counts rendered scenes without people that it was not trained on: their seeds start far above
those of training. Prints the mean, the median and the worst counts.
"""

import argparse
from pathlib import Path

import numpy as np

import headcount
from headcount.inference.counter import Counter
from headcount.io.images import list_images
from headcount.synthetic.scenes import render

FIRST_SEED = 900_000_000
SHOWN = 5  # of the worst


def sweep(counter: Counter, scenes: int, width: int = 1024, height: int = 768) -> np.ndarray:
    """Count rendered scenes without people.

    Args:
        counter: The model.
        scenes: How many scenes to render.
        width: Width of a scene in pixels.
        height: Height of a scene in pixels.

    Returns:
        The counts, (scenes,).
    """
    images = (render(FIRST_SEED + i, people=0, width=width, height=height).image for i in range(scenes))
    return np.array([result.count for result in counter.count_many(images)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100, help="how many scenes to render")
    parser.add_argument("--images", type=Path, nargs="+", help="count these images without people instead")
    parser.add_argument("--model", help="a model file, instead of the default model")
    arguments = parser.parse_args()
    counter = headcount.load(arguments.model)
    if arguments.images:
        images = list_images(arguments.images)
        names = [str(image) for image in images]
        counts = np.array([counter.count(image).count for image in images])
    else:
        names = [f"seed {FIRST_SEED + i}" for i in range(arguments.scenes)]
        counts = sweep(counter, arguments.scenes)
    print(f"{len(counts)} images without people: mean {counts.mean():.2f}, median {np.median(counts):.2f}")
    for i in np.argsort(counts)[::-1][:SHOWN]:
        print(f"  {names[i]}: {counts[i]:.2f}")


if __name__ == "__main__":
    main()

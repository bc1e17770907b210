"""Overlays of `headcount count`: which file each image or video gets, and writing it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headcount.cli.messages import UsageError, check_target
from headcount.io import video_source

if TYPE_CHECKING:
    import numpy as np

    from headcount.inference.result import CountResult
    from headcount.regions.region import Region

IMAGE_TARGETS = (".jpg", ".jpeg", ".png", ".webp")
Target = Path | None  # None: no overlay is wanted


def overlay_targets(
    overlay: Path | None, images: Sequence[Path], videos: Sequence[str]
) -> tuple[list[Target], list[Target]]:
    """Name the overlay file of each image and of each video. A folder is created if necessary.

    Args:
        overlay: The folder, image file or video file of --overlay, or None.
        images: The images to count.
        videos: The videos, streams and cameras to count.

    Returns:
        The files for the images and for the videos.

    Raises:
        UsageError: If the target does not suit the inputs.
    """
    if overlay is None:
        return [None] * len(images), [None] * len(videos)
    if overlay.is_file() or (overlay.suffix and not overlay.is_dir()):
        return single_target(overlay, images, videos)
    overlay.mkdir(parents=True, exist_ok=True)
    names = [Path(re.sub(r"[^\w.-]", "-", Path(video_source.public_name(source)).name)) for source in videos]
    targets = overlay_paths([*map(mirrored, images), *names], overlay)
    return list(targets[: len(images)]), [path.with_suffix(".webm") for path in targets[len(images) :]]


def single_target(overlay: Path, images: Sequence[Path], videos: Sequence[str]) -> tuple[list[Target], list[Target]]:
    """The same for --overlay with a file, which takes one image or one video. Raises UsageError."""
    from headcount.io.video_writer import CODECS

    suffix = overlay.suffix.lower()
    for suffixes, kind, own, others in (
        (IMAGE_TARGETS, "image", images, videos),
        (tuple(CODECS), "video", videos, images),
    ):
        if suffix in suffixes:
            if others or len(own) != 1:
                raise UsageError(f"--overlay {overlay}: the file takes a single {kind}; give a folder")
            check_target("--overlay", overlay)
            return [overlay] * len(images), [overlay] * len(videos)
    known = f"{', '.join(IMAGE_TARGETS)} for an image, {', '.join(CODECS)} for a video"
    raise UsageError(f"--overlay {overlay}: give a folder that exists, a new folder without a suffix, or {known}")


def mirrored(image: Path) -> Path:
    """Where an image has its overlay, apart from the name: in the same folders, as `cp --parents` has them.

    Images of one name in two folders, counted in one run or in two, therefore have an overlay each.
    """
    path = Path(os.path.abspath(image))
    here = Path.cwd()
    return path.relative_to(here if path.is_relative_to(here) else path.anchor)


def overlay_paths(images: Iterable[Path], folder: Path) -> list[Path]:
    """Name a file in `folder` for each image. A second x.jpg, or x.png, in one place becomes x-2.overlay.jpg."""
    taken: dict[str, int] = {}
    targets = []
    for image in images:
        stem = image.with_suffix("")
        name = stem
        while (key := str(name).lower()) in taken:  # some systems do not distinguish X.jpg and x.jpg
            taken[key] += 1
            name = stem.with_name(f"{stem.name}-{taken[key]}")
        taken[key] = 1
        targets.append(folder / name.with_name(f"{name.name}.overlay.jpg"))
    return targets


def write_overlay(result: CountResult, image: Path | np.ndarray, target: Path, regions: Sequence[Region] = ()) -> None:
    """Write the overlay of a counted image.

    Args:
        result: What was counted.
        image: The image that was counted.
        target: The .jpg, .png or .webp file to write. Its folder is created.
        regions: The regions that were counted, to draw them too.

    Raises:
        MediaError: If the file cannot be written.
    """
    from headcount.io.images import write_image

    write_image(target, result.overlay(image, regions))

"""What `headcount count` checks and prepares before it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from headcount.cli.messages import UsageError, check_target, print_message, usage_errors
from headcount.cli.options import CountOptions
from headcount.cli.output import overlay_paths
from headcount.geometry import MAX_SCALE, MIN_SCALE
from headcount.inference.result import COLUMNS
from headcount.io import video, video_source
from headcount.io.video_writer import CODECS
from headcount.regions.counting import regions_columns
from headcount.regions.region import Region


def default_format(out: Path | None, has_video: bool) -> str:
    """The format if there is no --format: what the suffix of --out says, else csv for video and table for images."""
    suffix = out.suffix.lower() if out else ""
    if suffix in (".csv", ".jsonl"):
        return suffix[1:]
    return "csv" if has_video else "table"


def check_options(options: CountOptions, output_format: str, has_video: bool) -> None:
    """Refuse options that would fail only after the counting.

    Raises:
        UsageError: For a value out of range, a file that cannot be written, or options that exclude each other.
    """
    check_target("--out", options.out)
    check_target("--points", options.points)
    check_target("--plot", options.plot)
    check_numbers(options)
    if output_format == "parquet":
        raise UsageError("--format parquet requires --ray; use csv or jsonl")
    if options.resume:
        if options.out is None or output_format == "table":
            raise UsageError("--resume requires --out with the .csv or .jsonl file to resume")
        if options.points:
            raise UsageError("--resume cannot be combined with --points, which is written for all images at once")
        if has_video:
            raise UsageError("--resume cannot be combined with a video, which is counted from its start")
    if options.points and has_video:
        raise UsageError("--points requires images, since frames of a video are not files")
    if options.plot and not has_video:
        raise UsageError("--plot requires a video or camera")
    if options.smooth and not has_video:
        raise UsageError("--smooth requires a video or camera")
    if options.plot and options.plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {options.plot}: give a .png file")


def check_numbers(options: CountOptions) -> None:
    """Check the ranges of --scale, --smooth, --max-pixels and --every. Raises UsageError."""
    if not MIN_SCALE <= options.scale <= MAX_SCALE:
        raise UsageError(f"--scale must be between {MIN_SCALE:g} and {MAX_SCALE:g}, got {options.scale:g}")
    if not 0 <= options.smooth <= 3600:
        raise UsageError(f"--smooth must be between 0 and 3600 seconds, got {options.smooth:g}")
    if not options.max_pixels > 0:
        raise UsageError(f"--max-pixels must be above 0 megapixels, got {options.max_pixels:g}")
    with usage_errors():
        video.parse_every(options.every)


def report_empty_folders(paths: Sequence[Path], images: Sequence[Path]) -> list[Path]:
    """The folders among `paths` that contain none of the images. Each is reported."""
    empty = [path for path in paths if path.is_dir() and not any(image.is_relative_to(path) for image in images)]
    for folder in empty:
        print_message(f"{folder}: no images in this folder")
    return empty


def csv_columns(regions: Sequence[Region], has_video: bool, smooth: bool) -> list[str]:
    """The columns of a CSV file: COLUMNS, the time and the smoothed count of frames, and those of each region."""
    path, count, *others = COLUMNS
    columns = [path]
    if has_video:
        columns.append("time")
    columns.append(count)
    if smooth:
        columns.append("smoothed")
    columns += others
    if regions:
        columns += regions_columns(regions)
    return columns


def overlay_targets(
    overlay: Path | None, images: Sequence[Path], videos: Sequence[str]
) -> tuple[list[Path | None], list[Path | None]]:
    """Name the overlay file of each image and of each video. The folder is created if necessary.

    Args:
        overlay: The folder or video file of --overlay, or None.
        images: The images to count.
        videos: The videos, streams and cameras to count.

    Returns:
        The files for the images and for the videos; None where no overlay is wanted.

    Raises:
        UsageError: If the target does not suit the inputs.
    """
    if overlay is None:
        return [None] * len(images), [None] * len(videos)
    if overlay.suffix.lower() in CODECS:
        if images or len(videos) != 1:
            raise UsageError(f"--overlay {overlay}: a video file takes a single video; give a folder")
        check_target("--overlay", overlay)
        return [], [overlay]
    if overlay.is_file():
        raise UsageError(f"--overlay {overlay}: is a file; give a folder")
    overlay.mkdir(parents=True, exist_ok=True)
    video_names = [Path(re.sub(r"[^\w.-]", "-", Path(video_source.public_name(source)).name)) for source in videos]
    targets = overlay_paths([*images, *video_names], overlay)
    return list(targets[: len(images)]), [path.with_suffix(".webm") for path in targets[len(images) :]]

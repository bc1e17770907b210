"""What `headcount count` checks and prepares before it counts."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from headcount._extras import install_hint
from headcount.cli.messages import UsageError, check_target, print_message, usage_errors
from headcount.cli.options import CountOptions
from headcount.cli.rows import READERS
from headcount.geometry import MAX_SCALE, MIN_SCALE
from headcount.inference.result import COLUMNS
from headcount.io import video
from headcount.io.images import IMAGE_SUFFIXES
from headcount.io.names import files_in, is_hidden
from headcount.regions.counting import regions_columns
from headcount.regions.region import Region

POINT_SUFFIXES = (".csv", ".json", ".geojson")
ROW_SUFFIXES = (".csv", ".jsonl", ".parquet")


def default_format(out: Path | None, has_video: bool) -> str:
    """The format if there is no --format: what the suffix of --out says, else csv for video and table for images.

    Raises:
        UsageError: The suffix is that of no format.
    """
    if out is not None:
        check_suffix("--out", out, ROW_SUFFIXES, "another name needs --format")
        if out.suffix.lower() in ROW_SUFFIXES:
            return out.suffix.lower()[1:]
    return "csv" if has_video else "table"


def check_suffix(option: str, file: Path, known: Sequence[str], more: str = "") -> None:
    """Raise UsageError for a file whose suffix is not one of `known`. Pipes and devices need none."""
    if file.suffix.lower() in known or (file.exists() and not file.is_file() and not file.is_dir()):
        return
    advice = f"give a {' or '.join(known)} file" + (f"; {more}" if more else "")
    raise UsageError(f"{option} {file}: {advice}")


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
        check_parquet(options.out)
    if options.resume:
        if options.out is None or output_format not in READERS:
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
    if options.plot:
        check_suffix("--plot", options.plot, (".png",))
    if options.points:
        check_suffix("--points", options.points, POINT_SUFFIXES)


def check_parquet(out: Path | None) -> None:
    """Refuse Parquet on the screen, or without pyarrow. Raises UsageError."""
    if out is None:
        raise UsageError("--format parquet requires --out with the file to write")
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"--out {out}: Parquet needs pyarrow; {install_hint('parquet')}")


def check_numbers(options: CountOptions) -> None:
    """Check the ranges of --scale, --smooth, --max-pixels and --every. Raises UsageError."""
    if options.scale is not None and not MIN_SCALE <= options.scale <= MAX_SCALE:
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


def report_skipped(folders: Iterable[Path]) -> None:
    """Report for each folder how many of its files are not counted, by suffix."""
    for folder in folders:
        kinds: Counter[str] = Counter()
        for file in files_in(folder):
            suffix = file.suffix.lower()
            if not is_hidden(file.relative_to(folder)):
                kinds[suffix or "without a suffix"] += suffix not in IMAGE_SUFFIXES
            elif suffix in IMAGE_SUFFIXES:
                kinds["hidden"] += 1
        if skipped := ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()) if number):
            cure = "save photos of other kinds as JPEG, and give videos by name"
            print_message(f"{folder}: skipped files: {skipped} (counted are {', '.join(IMAGE_SUFFIXES)}; {cure})")


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

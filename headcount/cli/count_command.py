"""What `headcount count` does on one machine: it reads, counts and draws at the same time.

Rows are written as they come. Whatever ends the command, the rows that were written remain.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

from headcount.cli.chart import write_chart
from headcount.cli.count_plan import check_options, csv_columns, default_format, overlay_targets, report_empty_folders
from headcount.cli.interrupts import Interrupts
from headcount.cli.messages import UsageError, print_message, usage_errors
from headcount.cli.options import CountOptions
from headcount.cli.output import (
    RowWriter,
    finished_rows,
    open_output,
    open_writer,
    progress,
    remove_partial_files,
    write_overlay,
)
from headcount.geometry import parse_polygon
from headcount.inference.counter import Counter, load
from headcount.inference.result import CountResult
from headcount.inference.smoothing import Smoother
from headcount.io import video, video_source
from headcount.io.images import list_images
from headcount.io.video_writer import VideoWriter
from headcount.regions.counting import regions_row
from headcount.regions.region import Region, read_regions

if TYPE_CHECKING:
    from headcount.datasets.sample import Sample

MAX_PENDING = 4  # overlays that may wait to be drawn

P = ParamSpec("P")
Polygon = list[tuple[float, float]]


def count_inputs(inputs: Sequence[str], options: CountOptions) -> int:
    """Count the people in the inputs of the command line.

    Args:
        inputs: Images, folders, videos, stream addresses and camera numbers.
        options: The options of the command line.

    Returns:
        The exit code: 0, 1 if an input failed, or 128 plus the number of the signal that stopped it.

    Raises:
        UsageError: If the inputs and options make no sense together.
    """
    if not inputs:
        raise UsageError("no input given; try: headcount count photo.jpg")
    videos = [source for source in inputs if video_source.is_video(source)]
    paths = [Path(source) for source in inputs if source not in videos]
    output_format = options.format or default_format(options.out, has_video=bool(videos))
    check_options(options, output_format, has_video=bool(videos))
    with usage_errors():
        roi = None if options.roi is None else parse_polygon(options.roi)
    images = list_images(paths)
    empty_folders = report_empty_folders(paths, images)
    if not images and not videos:
        return 1
    with usage_errors():
        regions = read_regions(options.regions) if options.regions else []
        counter = load(options.model, options.engine, options.precision)
        counter = replace(counter, max_pixels=round(options.max_pixels * 1e6))
        image_targets, video_targets = overlay_targets(options.overlay, images, videos)
    finished = finished_rows(options.out, output_format) if options.resume and options.out else {}
    remaining = [pair for pair in zip(images, image_targets, strict=True) if str(pair[0]) not in finished]
    if finished:
        print_message(f"{options.out}: already contains {len(images) - len(remaining)} of {len(images)} images")
    with open_output(options.out) as stream, Interrupts() as interrupts:
        writer = open_writer(output_format, stream, csv_columns(regions, bool(videos), bool(options.smooth)))
        for row in finished.values():
            writer.write(row)
        if options.resume and options.out:
            remove_partial_files(options.out, stream)
        quiet = stream.isatty() and output_format != "table"  # the rows go to the terminal as they come
        command = CountCommand(
            options, output_format, counter, roi, regions, writer, interrupts, quiet, failures=len(empty_folders)
        )
        command.count_images(remaining)
        for source, target in zip(videos, video_targets, strict=True):
            if not interrupts.signal:
                with command.errors_reported():
                    command.count_video(source, target)
        writer.finish()
    with command.errors_reported():
        command.write_points_and_chart()
    if interrupts.signal:
        return 128 + interrupts.signal
    return 1 if command.failures else 0


@dataclass
class CountCommand:
    """One run of `headcount count`.

    Attributes:
        options: The options of the command line.
        output_format: table, csv or jsonl.
        counter: Counts with the open model.
        roi: The corners of --roi in pixels, or None.
        regions: The regions of --regions.
        writer: Writes the rows.
        interrupts: Stops the run between two rows.
        quiet: Show no progress bar.
        failures: Number of inputs and outputs that failed so far.
        crowded: Names of the regions that were over their maximum in the last image or frame.
        samples: The estimated head positions in each image, for --points.
        series: Time and count of each frame, by video and region, for --plot.
    """

    options: CountOptions
    output_format: str
    counter: Counter
    roi: Polygon | None
    regions: list[Region]
    writer: RowWriter
    interrupts: Interrupts
    quiet: bool
    failures: int = 0
    crowded: set[str] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def count_images(self, images: Sequence[tuple[Path, Path | None]]) -> None:
        """Count image files, each given with the file for its overlay, if any."""
        paths = [path for path, _ in images]
        results = self.counter.stream(paths, self.roi, self.options.scale, self.regions)
        with BackgroundThread(self.report_error) as background, progress(len(images), self.quiet) as step:
            pairs = zip(self.interrupts.until(results), images, strict=False)
            for (result, image), (path, target) in pairs:
                self.take(result, str(path))
                if target and image is not None:
                    background.submit(write_overlay, result, image, target, self.regions)
                if self.options.points and not result.error:
                    from headcount.datasets.sample import Sample

                    self.samples.append(Sample(path, result.points()))
                step()

    def count_video(self, source: str, target: Path | None) -> None:
        """Count frames of a video, stream or camera.

        Args:
            source: A file, an address or the number of a camera.
            target: The video file for the overlay, if any.

        Raises:
            MediaError: If the source cannot be read or the overlay cannot be written.
        """
        name, every = video_source.public_name(source), video.parse_every(self.options.every)
        smoother = Smoother(self.options.smooth) if self.options.smooth else None
        info = video.probe(source)
        frames = video.read_frames(source, self.options.every, print_message)
        results = self.counter.stream(frames, self.roi, self.options.scale, self.regions, live=info.live)
        warned = False
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(frames))
            writer = stack.enter_context(VideoWriter(target, info.rate(every))) if target else None
            background = stack.enter_context(BackgroundThread(self.report_error))  # finishes before the writer closes
            step = stack.enter_context(progress(info.expected(every), self.quiet))
            for result, image in self.interrupts.until(results):
                result = replace(result, path=name, warning=None if warned else result.warning)
                warned = warned or result.warning is not None
                extra = {}
                if smoother and result.time is not None and not result.error:
                    extra["smoothed"] = round(smoother.add(result.time, result.count), 2)
                self.take(result, name if result.time is None else f"{name} at {result.time:.1f} s", extra)
                if writer and image is not None:
                    background.submit(add_frame, writer, result, image, self.regions)
                step()

    def take(self, result: CountResult, name: str, extra: dict[str, float] | None = None) -> None:
        """Write the row of a result and report its error, its warning and its crowded regions.

        Args:
            result: What was counted.
            name: What messages call the image or frame.
            extra: More columns of the row.
        """
        if result.error:
            self.report_error(result.error if str(result.path) in result.error else f"{name}: {result.error}")
        if result.warning:
            print_message(f"{name}: {result.warning}")
        self.report_crowded_regions(result, name)
        if self.options.plot and result.time is not None and not result.error:
            self.add_to_series(result, result.time)
        row = result.to_dict() | (extra or {})
        if self.output_format == "csv":
            row |= regions_row(result.regions)
        self.writer.write(row)

    def report_crowded_regions(self, result: CountResult, name: str) -> None:
        """Report the regions over their maximum: in a video, only when that begins and ends."""
        crowded = {region.name for region in result.regions if region.over}
        before = self.crowded if result.time else set()  # each image and each video starts afresh
        for region in result.regions:
            if region.name in crowded - before:
                print_message(f"{name}: {region.name}: {region.count:.0f} people, over its maximum of {region.max:g}")
            if region.name in before - crowded:
                print_message(f"{name}: {region.name}: {region.count:.0f} people, no longer over {region.max:g}")
        self.crowded = crowded

    def add_to_series(self, result: CountResult, time: float) -> None:
        counts = {str(result.path): result.count}
        counts |= {f"{result.path} {region.name}": region.count for region in result.regions}
        for name, people in counts.items():
            self.series.setdefault(name, []).append((time, people))

    def write_points_and_chart(self) -> None:
        """Write the files that need all results.

        Raises:
            ValueError, OSError: If a file cannot be written.
        """
        if points := self.options.points:
            from headcount.datasets.readers import write

            write(self.samples, points, "json" if points.suffix.lower() == ".json" else "csv")
        if self.options.plot:
            write_chart(self.options.plot, self.series)

    def report_error(self, message: str) -> None:
        """Print an error and remember it for the exit code."""
        print_message(message)
        self.failures += 1

    @contextlib.contextmanager
    def errors_reported(self) -> Iterator[None]:
        """Report an input or output that fails, so that the run continues with the next one."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.report_error(str(error))


class BackgroundThread:
    """Runs functions in one other thread, in order, while the caller continues counting.

    Leaving the context waits for all functions. Their ValueErrors and OSErrors are passed on as messages.
    """

    def __init__(self, report_error: Callable[[str], None]):
        self.report_error = report_error
        self.executor = ThreadPoolExecutor(1)
        self.pending: deque[Future[None]] = deque()

    def __enter__(self) -> BackgroundThread:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.wait_until_pending(0)
        self.executor.shutdown()

    def submit(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Schedule a function. Blocks while more than MAX_PENDING functions are waiting."""
        self.pending.append(self.executor.submit(function, *args, **kwargs))
        self.wait_until_pending(MAX_PENDING)

    def wait_until_pending(self, limit: int) -> None:
        while len(self.pending) > limit:
            try:
                self.pending.popleft().result()
            except (ValueError, OSError) as error:
                self.report_error(str(error))


def add_frame(writer: VideoWriter, result: CountResult, image: np.ndarray, regions: Sequence[Region]) -> None:
    """Add the overlay of a frame to a video, at the frame's own time."""
    writer.write(result.overlay(image, regions), result.time)

"""What `headcount count` does on one machine: it reads, counts and draws at the same time.

Rows are written as they come. Whatever ends the command, the rows that were written remain.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headcount.cli.background import BackgroundThread
from headcount.cli.chart import Series, write_chart
from headcount.cli.count_plan import (
    POINT_SUFFIXES,
    check_options,
    csv_columns,
    default_format,
    report_empty_folders,
    report_skipped,
)
from headcount.cli.gathering import Gathered, gather
from headcount.cli.interrupts import Interrupts
from headcount.cli.messages import UsageError, print_message, progress, usage_errors
from headcount.cli.options import CountOptions
from headcount.cli.overlays import overlay_targets, write_overlay
from headcount.cli.rows import READERS, RowFile, RowWriter, finished_rows, open_rows, open_writer
from headcount.cli.suggestions import calibration_hint
from headcount.distributed.attempts import MAX_DEATHS, Attempts, left_out, read_note
from headcount.geometry import parse_polygon
from headcount.inference.counter import Counter, load
from headcount.inference.pretrained import find_model
from headcount.inference.result import CountResult, Row
from headcount.inference.smoothing import Smoother
from headcount.io import video, video_source
from headcount.io.images import list_images
from headcount.io.video_writer import VideoWriter
from headcount.regions.counting import regions_row
from headcount.regions.region import Region, read_regions

if TYPE_CHECKING:
    from headcount.datasets.sample import Sample

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
    with tempfile.TemporaryDirectory(prefix="headcount-") as folder:
        gathered = gather(inputs, Path(folder))
        for message in gathered.errors:
            print_message(message)
        return max(count_gathered(gathered, options), 1 if gathered.errors else 0)


def count_gathered(gathered: Gathered, options: CountOptions) -> int:
    """Count the people in inputs of which each photo is a file. The exit code and errors of `count_inputs`."""
    inputs = gathered.inputs
    videos = [source for source in inputs if video_source.is_video(source)]
    paths = [Path(source) for source in inputs if source not in videos]
    output_format = options.format or default_format(options.out, has_video=bool(videos))
    check_options(options, output_format, has_video=bool(videos))
    with usage_errors():
        roi = None if options.roi is None else parse_polygon(options.roi)
    images = list_images(paths)
    empty_folders = report_empty_folders(paths, images)
    report_skipped(path for path in paths if path.is_dir())
    if not images and not videos:
        return 1
    with usage_errors():
        regions = read_regions(options.regions) if options.regions else []
        counter = load(options.model, options.engine, options.precision)
        counter = replace(counter, max_pixels=round(options.max_pixels * 1e6))
        names = [Path(gathered.name(image)) for image in images]
        image_targets, video_targets = overlay_targets(options.overlay, names, videos)
    with open_rows(options.out) as rows, Interrupts() as interrupts:
        writer = open_writer(output_format, rows.stream, csv_columns(regions, bool(videos), bool(options.smooth)))
        finished = copy_finished_rows(rows, writer, output_format) if options.resume else {}
        remaining = [pair for pair in zip(images, image_targets, strict=True) if gathered.name(pair[0]) not in finished]
        if finished:
            print_message(f"{options.out}: already contains {len(images) - len(remaining)} of {len(images)} images")
        command = CountCommand(
            options,
            output_format,
            counter,
            roi,
            regions,
            writer,
            rows,
            open_attempts(options, output_format, finished),
            interrupts,
            gathered.name,
            quiet=rows.stream.isatty() and output_format != "table",  # the rows go to the terminal as they come
            failures=len(empty_folders),
        )
        with contextlib.closing(command.attempts):
            command.count_images(remaining)
        for source, target in zip(videos, video_targets, strict=True):
            if not interrupts.signal:
                with command.errors_reported():
                    command.count_video(source, target)
        writer.finish()
    with command.errors_reported():
        command.write_points_and_chart()
    command.report_files(len(finished))
    if interrupts.signal:
        return 128 + interrupts.signal
    return 1 if command.failures or (options.strict and command.warned) else 0


def copy_finished_rows(rows: RowFile, writer: RowWriter, output_format: str) -> dict[str, Row]:
    """Write the rows of earlier runs that count as finished into the file of this run, and return them by path."""
    finished = finished_rows(rows.earlier, output_format)
    for row in finished.values():
        writer.write(row)
    rows.resumed = True
    return finished


def open_attempts(options: CountOptions, output_format: str, finished: Mapping[str, Row]) -> Attempts:
    """The note of the images in work, beside a file that can be resumed; with --resume, it continues the last one's."""
    if options.out is None or output_format not in READERS or (options.out.exists() and not options.out.is_file()):
        return Attempts(None, {})
    out = options.out.resolve()
    note = out.with_name(f".{out.name}.trying")
    deaths = read_note(note.read_bytes()) if options.resume and note.is_file() else None
    return Attempts(note, {image: times for image, times in (deaths or {}).items() if image not in finished})


@dataclass
class CountCommand:
    """One run of `headcount count`.

    Attributes:
        options: The options of the command line.
        output_format: table, csv, jsonl or parquet.
        counter: Counts with the open model.
        roi: The corners of --roi in pixels, or None.
        regions: The regions of --regions.
        writer: Writes the rows.
        rows: Where the writer writes them.
        attempts: The images in work, in case one of them ends the process.
        interrupts: Stops the run between two rows.
        name: What the user calls an image, by its path.
        quiet: Show no progress bar.
        failures: Number of inputs and outputs that failed so far.
        warned: Whether a result had a warning.
        written: Number of rows that this run has written.
        unreadable: How many of them are of images or frames that could not be counted.
        crowded: Names of the regions that were over their maximum in the last image or frame.
        samples: The estimated head positions in each image, for --points.
        series: The counts of each video and each of its regions, by name, for --plot.
    """

    options: CountOptions
    output_format: str
    counter: Counter
    roi: Polygon | None
    regions: list[Region]
    writer: RowWriter
    rows: RowFile
    attempts: Attempts
    interrupts: Interrupts
    name: Callable[[Path], str]
    quiet: bool
    failures: int = 0
    warned: bool = False
    written: int = 0
    unreadable: int = 0
    crowded: set[str] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)

    def count_images(self, images: Sequence[tuple[Path, Path | None]]) -> None:
        """Count image files, each given with the file for its overlay, if any.

        Images during which an earlier run died come last and singly: if one of them ends this run too, the others have
        their rows, and the note names that one alone.
        """
        blamed = dict(self.attempts.deaths)
        suspects = [pair for pair in images if self.name(pair[0]) in blamed]
        with BackgroundThread(self.report_error) as background, progress(len(images), self.quiet) as step:
            self.count_group([pair for pair in images if self.name(pair[0]) not in blamed], background, step)
            for path, target in suspects:
                if (times := blamed.get(self.name(path), 0)) >= MAX_DEATHS and not self.interrupts.signal:
                    self.take(self.counter.failed(self.name(path), left_out(times)), self.name(path))
                    self.attempts.end(self.name(path))
                    step()
                else:
                    self.count_group([(path, target)], background, step)

    def count_group(
        self, images: Sequence[tuple[Path, Path | None]], background: BackgroundThread, step: Callable[[], None]
    ) -> None:
        """Count image files, reading the next ones while one is counted. Draw overlays in the background."""
        results = self.counter.stream(self.begun(images), self.roi, self.options.scale, self.regions)
        for (result, image), (path, target) in zip(self.interrupts.until(results), images, strict=False):
            self.take(self.named(result, path), self.name(path))
            self.attempts.end(self.name(path))
            if target and image is not None:
                background.submit(write_overlay, result, image, target, self.regions)
            if self.options.points and not result.error:
                from headcount.datasets.sample import Sample

                self.samples.append(Sample(Path(self.name(path)), result.points()))
            step()

    def named(self, result: CountResult, path: Path) -> CountResult:
        """The result of an image under the name that the user gave it."""
        error = result.error and result.error.replace(str(path), self.name(path))
        return replace(result, path=self.name(path), error=error)

    def begun(self, images: Sequence[tuple[Path, Path | None]]) -> Iterator[Path]:
        """The paths of images, each noted as in work when it is asked for."""
        for path, _ in images:
            self.attempts.begin(self.name(path))
            yield path

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
            self.warned = True
        self.report_crowded_regions(result, name)
        if self.options.plot and result.time is not None and not result.error:
            self.add_to_series(result, result.time, (extra or {}).get("smoothed"))
        row = result.to_dict() | (extra or {})
        if self.output_format in ("csv", "parquet"):
            row |= regions_row(result.regions)
        try:
            self.writer.write(row)
        except OSError:
            self.rows.failed = True
            raise
        self.rows.has_new_rows = self.output_format in READERS  # the others write all rows at the end
        self.written += 1
        self.unreadable += bool(result.error)

    def report_crowded_regions(self, result: CountResult, name: str) -> None:
        """Report the regions over their maximum: in a video, only when that begins and ends."""
        crowded = {region.name for region in result.regions if region.over}
        before = self.crowded if result.time else set()  # each image and each video starts afresh
        for region in result.regions:
            if region.name in crowded - before:
                people = f"{region.count:.0f} {result.unit}"
                print_message(f"{name}: {region.name}: {people}, over its maximum of {region.max:g}")
            if region.name in before - crowded:
                print_message(f"{name}: {region.name}: {region.count:.0f} {result.unit}, no longer over {region.max:g}")
        self.crowded = crowded

    def add_to_series(self, result: CountResult, time: float, smoothed: float | None) -> None:
        name = str(result.path)
        self.series.setdefault(name, Series(name)).add(time, result.count, (result.low, result.high), smoothed)
        for region in result.regions:
            name = f"{result.path} {region.name}"
            self.series.setdefault(name, Series(name)).add(time, region.count)

    def write_points_and_chart(self) -> None:
        """Write the files that need all results.

        Raises:
            ValueError, OSError: If a file cannot be written.
        """
        if points := self.options.points:
            from headcount.datasets.readers import write

            suffix = points.suffix.lower()
            write(self.samples, points, suffix[1:] if suffix in POINT_SUFFIXES else "csv")
        if self.options.plot:
            write_chart(self.options.plot, list(self.series.values()), self.counter.engine.meta.unit)

    def report_files(self, resumed: int) -> None:
        """Report which files were written, how many images or frames could not be counted, and what to do next.

        Args:
            resumed: Number of rows that earlier runs had written.
        """
        if self.options.out and self.options.out.is_file():
            failed = f", {self.unreadable:,} could not be read" if self.unreadable else ""
            stopped = "; stopped before the end" if self.interrupts.signal else ""
            print_message(f"{self.options.out}: {resumed + self.written:,} rows{failed}{stopped}")
        if self.options.overlay and self.written > self.unreadable:
            print_message(f"{self.options.overlay}: overlay" + ("s" if self.options.overlay.is_dir() else ""))
        if self.options.points and self.samples:
            print_message(f"{self.options.points}: positions in {len(self.samples):,} images")
        if self.options.plot and self.series:
            print_message(f"{self.options.plot}: chart")
        if hint := calibration_hint(find_model(self.options.model)):
            print_message(hint)

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
            if self.rows.failed:  # there is no place for further rows
                raise
            self.report_error(str(error))


def add_frame(writer: VideoWriter, result: CountResult, image: np.ndarray, regions: Sequence[Region]) -> None:
    """Add the overlay of a frame to a video, at the frame's own time."""
    writer.write(result.overlay(image, regions), result.time)

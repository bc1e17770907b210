"""`headcount count`: pictures, folders, videos and cameras to rows, overlays, points and a chart.

What is unusual: reading, counting and drawing overlap; rows go out as they come; and whatever ends it, what was counted
until then stands.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from headcount.cli.output import (
    WRITERS,
    Interrupts,
    UsageError,
    check_target,
    draw,
    finished,
    forget_drafts,
    opened,
    overlay_paths,
    plot,
    progress,
    say,
    usage_errors,
)
from headcount.inference.result import COLUMNS
from headcount.inference.smoothing import Smoother
from headcount.io import video, video_source, video_writer
from headcount.regions.counting import regions_columns, regions_row
from headcount.regions.region import read_regions

Format = Literal["table", "csv", "jsonl", "parquet"]
EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
WAITING = 4  # pictures that may wait to be drawn


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class CountOptions:
    """What `headcount count` can be asked for.

    Parameters
    ----------
    model
        An .onnx file, a checkpoint folder, or the name of a model that comes with headcount (headcount info lists
        them); without it, the default one.
    format
        table, csv (with a header) or jsonl (one object per picture); by default what --out ends in, else table, and csv
        where there is a video; with --ray parquet or jsonl.
    out
        Write the results to this file instead of the screen; it appears when it is complete.
    resume
        Skip the pictures that --out holds already, or that a run which was killed had counted.
    overlay
        Write each picture with its density map on top into this folder; for one video, a .webm or .mp4 file.
    regions
        A JSON or GeoJSON file of named polygons; each is counted too.
    roi
        Count inside this polygon only: corners x,y in pixels, "0,0 400,0 400,300".
    points
        Write estimated head positions to this .csv or .json file, which headcount train reads.
    scale
        Resize the pictures by this factor first: 0.5 where heads are so large that a warning says so.
    every
        Of a video or camera, count a frame every so often: 1s, 0.2s, 10f (every tenth frame).
    smooth
        Of a video or camera, also give the mean of the last so many seconds; it is behind by half of them.
    plot
        Write a chart of a video's or camera's count over time to this .png file.
    engine
        What runs the model.
    precision
        What it computes in; auto takes half precision where the processor gains from it.
    max_pixels
        Refuse files of more megapixels than this before they are decoded.
    """

    model: Path | None = None
    format: Format | None = None
    out: Path | None = None
    resume: Annotated[bool, cyclopts.Parameter(negative="")] = False
    overlay: Path | None = None
    regions: Path | None = None
    roi: str | None = None
    points: Path | None = None
    scale: float = 1.0
    every: str = "1s"
    smooth: float = 0.0
    plot: Path | None = None
    engine: EngineName = "auto"
    precision: Precision = "auto"
    max_pixels: float = 400


@dataclass
class Tally:
    """One run of `headcount count`: what was asked for, and what has come of it until now."""

    options: CountOptions
    counter: Any
    roi: list[tuple[float, float]] | None
    regions: list[Any]
    write: Callable[[dict[str, Any] | None], None]
    form: str
    interrupts: Interrupts
    stream: Any
    failures: int = 0
    over: set[str] = field(default_factory=set)  # regions above their maximum in the last frame
    heads: list[Any] = field(default_factory=list)  # points.Sample of each picture, for --points
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # of videos, for --plot

    def pictures(self, images: list[Path], targets: list[Path | None]) -> None:
        """Count picture files; `targets`: where the overlay of each goes."""
        results = self.counter.stream(images, self.roi, self.options.scale, self.regions)
        with drawing(self) as draw_later, progress(len(images), self.stream, self.form) as step:
            pairs = zip(self.interrupts.until(results), images, targets, strict=False)
            for (result, image), path, target in pairs:
                self.take(result, str(path))
                if target and not result.error:
                    draw_later(partial(draw, result, image, target, self.regions))
                if self.options.points and not result.error:
                    from headcount.datasets.sample import Sample

                    self.heads.append(Sample(path, result.points()))
                step()

    def video(self, source: str, target: Path | None) -> None:
        """Count frames of a video, a stream or a camera; `target`: the overlay's file."""
        name, every = video_source.public_name(source), video.parse_every(self.options.every)
        smoother = Smoother(self.options.smooth) if self.options.smooth else None
        info = video.probe(source)
        frames = video.read_frames(source, self.options.every, say)
        results = self.counter.stream(frames, self.roi, self.options.scale, self.regions, live=info.live)
        warned = False
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(frames))
            writer = stack.enter_context(video_writer.VideoWriter(target, info.rate(every))) if target else None
            draw_later = stack.enter_context(drawing(self))  # ends before the writer does
            step = stack.enter_context(progress(info.expected(every), self.stream, self.form))
            for result, image in self.interrupts.until(results):
                result = replace(result, path=name, warning=None if warned else result.warning)
                warned = warned or result.warning is not None
                more = {}
                if smoother and not result.error:
                    more["smoothed"] = round(smoother.add(result.time, result.count), 2)
                self.take(result, f"{name} at {result.time:.1f} s", more)
                if writer and image is not None:
                    draw_later(partial(add_frame, writer, result, image, self.regions))
                step()

    def take(self, result: Any, name: str, more: dict[str, Any] | None = None) -> None:
        """Write the row of a result, and say what is to be said of it."""
        row = result.to_dict() | (more or {})
        if result.error:
            self.complain(result.error if str(result.path) in result.error else f"{name}: {result.error}")
        if result.warning:
            say(f"{name}: {result.warning}")
        self.alert(result, name)
        if self.options.plot and result.time is not None and not result.error:
            for label, people in [("", result.count), *((r.name, r.count) for r in result.regions)]:
                self.series.setdefault(f"{result.path} {label}".strip(), []).append((result.time, people))
        self.write(row | regions_row(result.regions) if self.form == "csv" else row)

    def alert(self, result: Any, name: str) -> None:
        """Say which regions are above their maximum; of a video, when that begins and ends."""
        over = {region.name for region in result.regions if region.over}
        before = self.over if result.time else set()  # each picture, and each video, begins anew
        for region in result.regions:
            if region.name in over - before:
                say(f"{name}: {region.name}: {region.count:.0f} people, above its maximum of {region.max:g}")
            if region.name in before - over:
                say(f"{name}: {region.name}: {region.count:.0f} people, no longer above {region.max:g}")
        self.over = over

    def complain(self, message: str) -> None:
        say(message)
        self.failures += 1


def tally(inputs: tuple[str, ...], options: CountOptions) -> int:
    """Count what the command line names; returns the exit code. Raises UsageError for what cannot be asked for."""
    from headcount.inference.counter import load
    from headcount.io.images import list_images

    if not inputs:
        raise UsageError("no picture given; try: headcount count photo.jpg")
    videos = [source for source in inputs if video_source.is_video(source)]
    paths = [Path(source) for source in inputs if source not in videos]
    form = options.format or default_format(options.out, bool(videos))
    roi = None if options.roi is None else parse_polygon(options.roi)
    check(options, form, videos, bool(paths))
    images = list_images(paths)
    empty = [path for path in paths if path.is_dir() and not any(i.is_relative_to(path) for i in images)]
    for folder in empty:
        say(f"{folder}: no pictures in this folder")
    if not images and not videos:
        return 1
    with usage_errors():
        regions = read_regions(options.regions) if options.regions else []
        counter = load(options.model, options.engine, options.precision)
        counter = replace(counter, max_pixels=round(options.max_pixels * 1e6))
        pictured, filmed = overlay_targets(options.overlay, images, videos)
    done = finished(options.out, form) if options.resume and options.out else {}
    left = [(image, target) for image, target in zip(images, pictured, strict=True) if str(image) not in done]
    if done:
        say(f"{options.out}: holds {len(images) - len(left)} of {len(images)} pictures already")
    with opened(options.out) as stream, Interrupts() as interrupts:
        write = WRITERS[form](stream, columns(regions, bool(videos), bool(options.smooth)))
        for row in done.values():
            write(row)
        if options.resume and options.out:
            forget_drafts(options.out, stream)
        run = Tally(options, counter, roi, regions, write, form, interrupts, stream, failures=len(empty))
        if left:
            run.pictures(*(list(column) for column in zip(*left, strict=True)))
        for source, target in zip(videos, filmed, strict=True):
            if not interrupts.signal:
                with complaints(run):
                    run.video(source, target)
        write(None)
    with complaints(run):
        finish(run)
    return 128 + interrupts.signal if interrupts.signal else 1 if run.failures else 0


def add_frame(writer: video_writer.VideoWriter, result: Any, image: Any, regions: list[Any]) -> None:
    """Add the overlay of a frame to a video, at the frame's own time."""
    writer.write(result.overlay(image, regions), result.time)


def finish(run: Tally) -> None:
    """What can be written only when all is counted."""
    if run.options.points:
        from headcount.datasets.readers import write

        write(run.heads, run.options.points, {".json": "json"}.get(run.options.points.suffix.lower(), "csv"))
    if run.options.plot:
        plot(run.options.plot, run.series)


@contextlib.contextmanager
def complaints(run: Tally) -> Iterator[None]:
    """An input or output that fails is said so, and the rest go on."""
    try:
        yield
    except (ValueError, OSError) as error:
        run.complain(str(error))


@contextlib.contextmanager
def drawing(run: Tally) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Calls functions in their order in another thread, a few at most waiting; what they raise is complained of."""
    waiting: deque[Future] = deque()

    def settle(most: int) -> None:
        while len(waiting) > most:
            with complaints(run):
                waiting.popleft().result()

    with ThreadPoolExecutor(1) as worker:

        def later(function: Callable[[], Any]) -> None:
            waiting.append(worker.submit(function))
            settle(WAITING)

        yield later
        settle(0)


def check(options: CountOptions, form: str, videos: list[str], pictures: bool) -> None:
    """Refuse before any work is done what would fail after it. Raises UsageError."""
    for name in ("out", "points", "plot"):
        check_target(f"--{name}", getattr(options, name))
    if not 0.05 <= options.scale <= 8:
        raise UsageError(f"--scale {options.scale:g}: takes 0.05 to 8")
    if not 0 <= options.smooth <= 3600:
        raise UsageError(f"--smooth {options.smooth:g}: takes 0 to 3600 seconds")
    if not options.max_pixels > 0:
        raise UsageError(f"--max-pixels {options.max_pixels:g}: takes megapixels, more than 0")
    with usage_errors():
        video.parse_every(options.every)
    if form == "parquet":
        raise UsageError("--format parquet: is written with --ray alone; give csv or jsonl")
    if options.resume and (options.out is None or form == "table"):
        raise UsageError("--resume: needs --out with a .csv or .jsonl file, which holds what was counted")
    if options.resume and (options.points or videos):
        raise UsageError(f"--resume: not with {'--points' if options.points else 'a video'}, which are made as a whole")
    if options.points and videos:
        raise UsageError("--points: takes pictures only; a video's frames are no files")
    if (options.plot or options.smooth) and not videos:
        raise UsageError(f"--{'plot' if options.plot else 'smooth'}: takes a video or camera")
    if options.plot and options.plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {options.plot}: give a .png file")


def default_format(out: Path | None, videos: bool) -> Format:
    ends = out.suffix.lower() if out else ""
    return "csv" if ends == ".csv" else "jsonl" if ends == ".jsonl" else "csv" if videos else "table"


def columns(regions: list[Any], videos: bool, smooth: bool) -> list[str]:
    """The columns of a CSV: always the same ones, and those of what was asked for."""
    extra = [name for name, wanted in (("time", videos), ("smoothed", smooth)) if wanted]
    named = regions_columns(regions) if regions else []
    return [COLUMNS[0], *extra[:1], COLUMNS[1], *extra[1:], *COLUMNS[2:], *named]


def overlay_targets(
    overlay: Path | None, images: list[Path], videos: list[str]
) -> tuple[list[Path | None], list[Path | None]]:
    """Where the overlay of each picture and of each video goes. Raises UsageError for a target that cannot be."""
    if overlay is None:
        return [None] * len(images), [None] * len(videos)
    if overlay.suffix.lower() in video_writer.CODECS:
        if images or len(videos) != 1:
            raise UsageError(f"--overlay {overlay}: is for one video; give a folder")
        check_target("--overlay", overlay)
        return [], [overlay]
    if overlay.is_file():
        raise UsageError(f"--overlay {overlay}: is a file; give a folder")
    overlay.mkdir(parents=True, exist_ok=True)
    names = [Path(re.sub(r"[^\w.-]", "-", Path(video_source.public_name(source)).name)) for source in videos]
    drawn = overlay_paths([*images, *names], overlay)
    return list(drawn[: len(images)]), [path.with_suffix(".webm") for path in drawn[len(images) :]]


def parse_polygon(text: str) -> list[tuple[float, float]]:
    """The corners of a polygon written "0,0 400,0 400,300"."""
    try:
        corners = [(float(x), float(y)) for x, y in (corner.split(",") for corner in text.split())]
    except ValueError:
        corners = []
    if len(corners) < 3:
        raise UsageError(f'--roi "{text}": give at least three corners x,y: "0,0 400,0 400,300"')
    return corners

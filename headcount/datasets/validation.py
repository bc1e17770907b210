"""Checking a data set: what is wrong with its images, its points and its splits.

Errors do not stop the check. An image that is cut short or an annotation that is damaged is a finding, and the rest is
checked. Every image is decoded. A photo that is in two splits is an error, since a test on it measures nothing. A photo
that occurs twice within a split is a warning, and frames of one camera are no finding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headcount.datasets.annotations import PointsError
from headcount.datasets.conversion import splits as splits_of
from headcount.datasets.detect_format import detect
from headcount.datasets.duplicates import ImageSignature, find_duplicates, image_signature
from headcount.datasets.readers import read
from headcount.datasets.sample import Sample
from headcount.io.images import MediaError, list_images, read_image, write_image
from headcount.visualization.panels import contact_sheet

MIN_SIDE = 64  # pixels of the shorter side
MAX_PIXELS = 100_000_000
MAX_ASPECT = 4.0  # longer side to shorter side
SAME_HEAD = 1.0  # pixels between two points that mark one head
OUTLIER = 5.0  # robust deviations of log(1 + count)
MIN_FOR_OUTLIERS = 10  # images in a split
SHEET_IMAGES = 24  # images on a contact sheet
LISTED = 10  # findings of one kind in the report for people
DOT_COLOR = (255, 40, 60)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a data set.

    Attributes:
        severity: `error` (training or testing on the data is wrong) or `warning` (to be looked at).
        kind: A word or two for what is wrong, the same for all findings of a kind.
        path: The image or file.
        message: What is wrong.
        other: The other image, if two are concerned.
    """

    severity: str
    kind: str
    path: Path
    message: str
    other: Path | None = None

    def to_dict(self) -> dict[str, str | None]:
        """The finding as JSON values."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "path": str(self.path),
            "message": self.message,
            "other": None if self.other is None else str(self.other),
        }

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        sets: Each folder, and how its format was recognized.
        splits: How many images and points each split has.
        findings: What is wrong, errors first.
        samples: The samples that were checked.
    """

    sets: dict[str, str]
    splits: dict[str, tuple[int, int]]
    findings: tuple[Finding, ...]
    samples: tuple[Sample, ...] = field(repr=False, default=())

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors

    def to_dict(self) -> dict[str, object]:
        """The whole report as JSON values."""
        return {
            "sets": self.sets,
            "errors": self.errors,
            "warnings": self.warnings,
            "splits": {name: {"images": images, "points": points} for name, (images, points) in self.splits.items()},
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        """The report for people: the splits, the first LISTED findings of each kind, and how many there are."""
        width = max((len(name) for name in self.splits), default=0)
        lines = [f"{root}: {why}" for root, why in self.sets.items()]
        for name, (images, points) in self.splits.items():
            lines.append(f"  {name:<{width}} {images:>7,} images {points:>10,} people")
        kinds: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault((finding.severity, finding.kind), []).append(finding)
        for (severity, kind), findings in kinds.items():
            lines += [str(finding) for finding in findings[:LISTED]]
            more = len(findings) - LISTED
            if more > 0:
                lines.append(f"{severity}: {more:,} more of this kind ({kind}); the JSON report has them all")
        return "\n".join([*lines, f"{_plural(self.errors, 'error')}, {_plural(self.warnings, 'warning')}"])

    def sheet(self, path: str | Path) -> int:
        """Write a contact sheet of the first images with a finding, their points drawn as dots.

        Args:
            path: The file to write, .png, .jpg or .webp. Nothing is written if no image with a finding can be read.

        Returns:
            How many images the sheet shows.

        Raises:
            MediaError: the file cannot be written.
        """
        points = {sample.image: sample.points for sample in self.samples}
        images: list[np.ndarray] = []
        captions: list[str] = []
        for path_of_image, kind in self._images_with_findings():
            if len(images) < SHEET_IMAGES and path_of_image in points:
                try:
                    images.append(with_dots(read_image(path_of_image), points[path_of_image]))
                    captions.append(f"{path_of_image.parent.parent.name}/{path_of_image.name}: {kind}")
                except MediaError:  # an unreadable image is a finding itself
                    continue
        if images:
            write_image(path, contact_sheet(images, captions))
        return len(images)

    def _images_with_findings(self) -> Iterator[tuple[Path, str]]:
        """Each image with a finding, and the kind of its first finding."""
        shown = set()
        for finding in self.findings:
            for image in (finding.path, finding.other):
                if image is not None and image not in shown:
                    shown.add(image)
                    yield image, finding.kind


def check(
    roots: str | Path | Sequence[str | Path],
    format: str = "auto",
    splits: Sequence[str] | None = None,
    on_image: Callable[[], None] | None = None,
) -> CheckReport:
    """Check every image and point of a data set, or of several that must not share photos.

    Keeps about 0.15 MB of memory per image.

    Args:
        roots: Folder of a data set, or an annotation file, or several of them.
        format: The name of a format, or `auto` to detect it.
        splits: The splits to check. None checks all of them, with the official training split as a whole.
        on_image: Called after each image, to show progress.

    Returns:
        What was found.

    Raises:
        PointsError: nothing can be read at all: there is no such folder, or no format fits.
    """
    folders = [Path(root).expanduser() for root in ([roots] if isinstance(roots, str | Path) else roots)]
    found: list[Finding] = []
    sets: dict[str, str] = {}
    groups: dict[str, list[Sample]] = {}
    for root in folders:
        kind, why = detect(root) if format == "auto" else (format, f"read as {format}")
        sets[str(root)] = why
        own: dict[str, list[Sample]] = {}
        for name in splits or splits_of(root, kind):
            own[name], errors = _read(root, kind, name)
            found += errors
        groups |= {f"{root.name} {name}" if len(folders) > 1 else name: group for name, group in own.items()}
        if splits is None:
            found += _without_annotation(root, [sample for group in own.values() for sample in group], found)
    placed = [(name, sample) for name, group in groups.items() for sample in group]
    signatures, problems = _decode([sample for _, sample in placed], on_image)
    found += problems
    found += _duplicates(placed, signatures)
    decoded = [placed[position][1] for position in signatures]
    found += [*_outside(decoded), *_doubled(decoded), *_empty(decoded)]
    for group in groups.values():
        found += _outliers(group)
    totals = {name: (len(group), sum(len(sample.points) for sample in group)) for name, group in groups.items()}
    ordered = sorted(_unique(found), key=lambda finding: finding.severity != "error")
    return CheckReport(sets, totals, tuple(ordered), tuple(sample for _, sample in placed))


def _read(root: Path, format: str, split: str) -> tuple[list[Sample], list[Finding]]:
    """The samples of a split that can be read, and what is wrong with the others."""
    errors: list[PointsError] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # points outside are findings of their own
        try:
            samples = read(root, format, split, on_error=errors.append)
        except PointsError as error:
            errors.append(error)
            samples = []
    return samples, [_annotation_finding(str(error)) for error in errors]


def _annotation_finding(error: str) -> Finding:
    """A finding for the error `file[, line or image]: message`."""
    name, _, message = error.partition(": ")
    file, _, place = name.partition(", ")
    return Finding("error", "annotation", Path(file), f"{place}: {message}" if place else message)


# Images


def _decode(
    samples: list[Sample], on_image: Callable[[], None] | None
) -> tuple[dict[int, ImageSignature], list[Finding]]:
    """The signatures of the images that can be decoded, by position, and what is wrong with images."""
    signatures: dict[int, ImageSignature] = {}
    found: list[Finding] = []
    for position, sample in enumerate(samples):
        try:
            image = read_image(sample.image)
            found += _size(sample.image, *image.shape[1::-1])
            signatures[position] = image_signature(image)
        except MediaError as error:
            message = str(error).removeprefix(f"{sample.image}: ")
            found.append(Finding("error", "unreadable", sample.image, message))
        if on_image:
            on_image()
    return signatures, found


def _size(image: Path, width: int, height: int) -> Iterator[Finding]:
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        yield Finding("warning", "size", image, f"is tiny, {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        yield Finding("warning", "size", image, f"is huge, {width} x {height} pixels")
    if long > MAX_ASPECT * short:
        aspect = long / short
        yield Finding("warning", "size", image, f"is {aspect:.1f} times as long as it is wide, {width} x {height}")


def _without_annotation(root: Path, samples: list[Sample], found: list[Finding]) -> Iterator[Finding]:
    """Images below `root` that no annotation names. Images of red dots beside photos are annotations themselves."""
    known = {sample.image.absolute() for sample in samples} | {finding.path.absolute() for finding in found}
    images = list_images([root if root.is_dir() else root.parent])
    rest = [image for image in images if image.absolute() not in known and not image.stem.endswith("dots")]
    if rest:
        what = f"{_plural(len(rest), 'image')} without annotation (first: this); annotate or remove them"
        yield Finding("warning", "no annotation", rest[0], what)


# Photos that occur twice


def _duplicates(placed: list[tuple[str, Sample]], signatures: dict[int, ImageSignature]) -> list[Finding]:
    """Findings for the pairs of images that show one photo, then for the pairs of splits that show one place."""
    positions = list(signatures)
    found: list[Finding] = []
    one_place: dict[tuple[str, str], list[tuple[Path, Path]]] = {}
    for pair in find_duplicates(list(signatures.values())):
        (split, sample), (other_split, other) = placed[positions[pair.first]], placed[positions[pair.second]]
        counts = f"{len(sample.points)} and {len(other.points)} people"
        how = {"copy": "to the pixel", "mirrored": "mirrored", "": "in another copy"}[pair.how]
        if pair.same and split != other_split:
            what = f"{split} shows the photo of {other_split} {other.image.name} ({how}; {counts}); remove one"
            found.append(Finding("error", "across splits", sample.image, what, other.image))
        elif pair.same:
            what = f"is the photo of {other.image.name} ({how}; {counts}), both in {split}"
            found.append(Finding("warning", "twice", sample.image, what, other.image))
        elif split != other_split:
            one_place.setdefault((split, other_split), []).append((sample.image, other.image))
    return [*found, *_one_place(one_place)]


def _one_place(pairs_by_splits: dict[tuple[str, str], list[tuple[Path, Path]]]) -> Iterator[Finding]:
    for (split, other_split), pairs in pairs_by_splits.items():
        image, other = pairs[0]
        what = f"{split} and {other_split} show one place in {_plural(len(pairs), 'pair')}, as frames of one camera do"
        message = f"{what} (first: with {other.name}); split by camera if the test is to be of new places"
        yield Finding("warning", "one place", image, message, other)


# Points


def _outside(samples: list[Sample]) -> Iterator[Finding]:
    for sample in samples:
        if sample.dropped:
            yield Finding("error", "outside", sample.image, f"{_plural(sample.dropped, 'point')} outside the image")


def _doubled(samples: list[Sample]) -> Iterator[Finding]:
    """Heads that are marked twice, the image with most of them first."""
    counts = [(doubled(sample.points), sample) for sample in samples]
    for count, sample in sorted(counts, key=lambda item: -item[0]):
        if count:
            what = f"{_plural(count, 'point')} within {SAME_HEAD:g} pixel of another"
            yield Finding("warning", "doubled", sample.image, what)


def doubled(points: np.ndarray) -> int:
    """How many of the points (N, 2), sorted by x, are within SAME_HEAD pixels of an earlier one."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    near_earlier = np.zeros(len(points), bool)
    for step in range(1, len(points)):
        apart = points[step:] - points[:-step]
        near = apart[:, 0] <= SAME_HEAD
        if not near.any():
            break
        near_earlier[step:] |= near & ((apart**2).sum(axis=1) <= SAME_HEAD**2)
    return int(near_earlier.sum())


def _outliers(samples: list[Sample]) -> Iterator[Finding]:
    """Counts far from those of the split, on a logarithmic scale. A few images are not enough to judge."""
    if len(samples) < MIN_FOR_OUTLIERS:
        return
    logs = np.log1p([len(sample.points) for sample in samples])
    median = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - median))), 0.1)
    for sample, value in zip(samples, logs, strict=True):
        if len(sample.points) and abs(value - median) > OUTLIER * spread:
            count = _plural(len(sample.points), "point")
            what = f"has {count}, where half the split has {np.expm1(median):.0f} or fewer"
            yield Finding("warning", "count", sample.image, what)


def _empty(samples: list[Sample]) -> Iterator[Finding]:
    empty = [sample.image for sample in samples if not len(sample.points) and not sample.dropped]
    if empty:
        what = f"{_plural(len(empty), 'image')} without people (first: this); right if they show nobody"
        yield Finding("warning", "empty", empty[0], what)


# Reports


def with_dots(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy of an image, uint8 (H, W, 3) RGB, with a dot at each point (N, 2) that is visible on a thumbnail."""
    import cv2

    drawn = image.copy()
    radius = max(1, round(max(image.shape[:2]) / 220))
    for x, y in points:
        cv2.circle(drawn, (int(x), int(y)), radius, DOT_COLOR, cv2.FILLED, cv2.LINE_AA)
    return drawn


def _unique(found: Iterable[Finding]) -> list[Finding]:
    """The findings without repetitions: one per unreadable image, and one for an error that two splits share."""
    findings = list(found)
    unreadable = {finding.path for finding in findings if finding.kind == "unreadable"}
    kept: dict[tuple[str, Path, str], Finding] = {}
    for finding in findings:
        if finding.kind == "unreadable" or finding.path not in unreadable:
            kept.setdefault((finding.kind, finding.path, finding.message), finding)
    return list(kept.values())


def _plural(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"

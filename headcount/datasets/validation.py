"""Is a data set fit to train on? What is wrong with its pictures, its points and its splits, a line a finding.

What is unusual: nothing stops it. A picture that is cut short or an annotation that is damaged is a finding, and the
rest is looked at. Every picture is really decoded. A photo that is in two splits is an error, since a test on it
measures nothing; within a split a photo that occurs twice is a warning, and frames of one camera are no finding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headcount.datasets import duplicates
from headcount.datasets.annotations import PointsError, collected
from headcount.datasets.convert import splits as splits_of
from headcount.datasets.detect_format import detect
from headcount.datasets.readers import read
from headcount.datasets.sample import Sample
from headcount.io.images import MediaError, list_images, read_image, write_image
from headcount.visualization.panels import contact_sheet

TINY, HUGE, LONG = 64, 100_000_000, 4.0  # pixels of the shorter side, pixels in all, longer side to shorter
TOGETHER = 1.0  # pixels between two points of one head
FAR = 5.0  # robust deviations of log(1 + count) that are an outlier
SHOWN = 24  # pictures on a contact sheet
LISTED = 10  # findings of a kind that people are shown


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. severity: error (training or testing on it is wrong) or warning (look at it)."""

    severity: str
    kind: str
    path: Path
    message: str
    other: Path | None = None

    def to_dict(self) -> dict:
        return {
            **{"severity": self.severity, "kind": self.kind, "path": str(self.path), "message": self.message},
            "other": None if self.other is None else str(self.other),
        }

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. sets: each folder, and why its format; splits: images and points of each; findings: errors
    first."""

    sets: dict[str, str]
    splits: dict[str, tuple[int, int]]
    findings: tuple[Finding, ...]
    samples: tuple[Sample, ...] = field(repr=False, default=())

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors

    def to_dict(self) -> dict:
        return {
            **{"sets": self.sets, "errors": self.errors, "warnings": self.warnings},
            "splits": {name: {"images": i, "points": p} for name, (i, p) in self.splits.items()},
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        """For people: the splits, a line a finding, the first LISTED of each kind, and the sum."""
        wide = max((len(name) for name in self.splits), default=0)
        lines = [f"{root}: {why}" for root, why in self.sets.items()]
        lines += [f"  {name:<{wide}} {i:>7,} images {p:>10,} people" for name, (i, p) in self.splits.items()]
        kinds = dict.fromkeys((finding.severity, finding.kind) for finding in self.findings)
        for kind in kinds:
            alike = [finding for finding in self.findings if (finding.severity, finding.kind) == kind]
            lines += [str(finding) for finding in alike[:LISTED]]
            more = len(alike) - LISTED
            lines += [f"{kind[0]}: {more:,} more of this kind ({kind[1]}); the JSON report has them all"] * (more > 0)
        return "\n".join([*lines, f"{_plural(self.errors, 'error')}, {_plural(self.warnings, 'warning')}"])

    def sheet(self, path: str | Path) -> int:
        """Write a contact sheet of the first pictures with a finding, their points drawn as dots; how many it shows.

        Nothing is written where no finding has a picture that can be read. Raises MediaError.
        """
        points = {sample.image: sample.points for sample in self.samples}
        pictures: list[np.ndarray] = []
        captions: list[str] = []
        for image, kind in self._to_show():
            if len(pictures) < SHOWN and image in points:
                try:
                    pictures.append(dotted(read_image(image), points[image]))
                    captions.append(f"{image.parent.parent.name}/{image.name}: {kind}")
                except MediaError:  # unreadable is a finding of its own
                    continue
        if pictures:
            write_image(path, contact_sheet(pictures, captions))
        return len(pictures)

    def _to_show(self) -> Iterator[tuple[Path, str]]:
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
    tick: Callable[[], None] | None = None,
) -> CheckReport:
    """Look at every picture and point of a data set, or of several, whose photos are then sought in each other too.

    format: as in points.read. splits: those to look at, None for all there are, the official training split whole.
    tick: called after each picture. Keeps 0.15 MB a picture. Raises PointsError only where nothing can be read: no such
    folder, no format that fits.
    """
    folders = [Path(root).expanduser() for root in ([roots] if isinstance(roots, str | Path) else roots)]
    found: list[Finding] = []
    sets: dict[str, str] = {}
    groups: dict[str, list[Sample]] = {}
    for root in folders:
        kind, why = detect(root) if format == "auto" else (format, f"read as {format}")
        sets[str(root)] = why
        own = {name: _read(root, kind, name, found) for name in splits or _splits(root, kind)}
        groups |= {f"{root.name} {name}" if len(folders) > 1 else name: group for name, group in own.items()}
        if splits is None:
            found += _unnamed(root, [sample for group in own.values() for sample in group], found)
    placed = [(name, sample) for name, group in groups.items() for sample in group]
    looks: dict[int, duplicates.ImageSignature] = {}
    for place, (_, sample) in enumerate(placed):
        try:
            picture = read_image(sample.image)
            found += _size(sample.image, *picture.shape[1::-1])
            looks[place] = duplicates.look(picture)
        except MediaError as error:
            found.append(Finding("error", "unreadable", sample.image, str(error).removeprefix(f"{sample.image}: ")))
        if tick:
            tick()
    found += _twins(placed, looks)
    seen = [placed[place][1] for place in looks]
    found += [*_outside(seen), *_doubled(seen), *_empty(seen)]
    for group in groups.values():
        found += _outliers(group)
    totals = {name: (len(group), sum(len(s.points) for s in group)) for name, group in groups.items()}
    ordered = sorted(_once(found), key=lambda finding: finding.severity != "error")
    return CheckReport(sets, totals, tuple(ordered), tuple(sample for _, sample in placed))


def _splits(root: Path, format: str) -> tuple[str, ...]:
    with collected():
        return splits_of(root, format)


def _read(root: Path, format: str, split: str, found: list[Finding]) -> list[Sample]:
    with collected() as faults, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # points outside, which are found again below
        try:
            samples = read(root, format, split)
        except PointsError as error:
            faults.append(str(error))
            samples = []
    for fault in faults:
        name, _, message = fault.partition(": ")
        file, _, place = name.partition(", ")
        found.append(Finding("error", "annotation", Path(file), f"{place}: {message}" if place else message))
    return samples


def _outside(samples: list[Sample]) -> Iterator[Finding]:
    for sample in samples:
        if sample.dropped:
            yield Finding("error", "outside", sample.image, f"{_plural(sample.dropped, 'point')} outside the image")


def _doubled(samples: list[Sample]) -> Iterator[Finding]:
    """Heads that are marked twice, the picture with most of them first."""
    counts = [doubled(sample.points) for sample in samples]
    for place in sorted(range(len(samples)), key=lambda place: -counts[place]):
        if counts[place]:
            what = f"{_plural(counts[place], 'point')} within {TOGETHER:g} pixel of another"
            yield Finding("warning", "doubled", samples[place].image, what)


def doubled(points: np.ndarray) -> int:
    """How many of the points (N,2) lie within a pixel of an earlier one."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    again = np.zeros(len(points), bool)
    for step in range(1, len(points)):
        apart = points[step:] - points[:-step]
        near = apart[:, 0] <= TOGETHER
        if not near.any():
            break
        again[step:] |= near & ((apart**2).sum(axis=1) <= TOGETHER**2)
    return int(again.sum())


def _size(image: Path, width: int, height: int) -> Iterator[Finding]:
    short, long = sorted((width, height))
    if short < TINY:
        yield Finding("warning", "size", image, f"is tiny, {width} x {height} pixels")
    if width * height > HUGE:
        yield Finding("warning", "size", image, f"is huge, {width} x {height} pixels")
    if long > LONG * short:
        yield Finding(
            "warning", "size", image, f"is {long / short:.1f} times as long as it is wide, {width} x {height}"
        )


def _twins(samples: list[tuple[str, Sample]], looks: dict[int, duplicates.ImageSignature]) -> list[Finding]:
    places = list(looks)
    found: list[Finding] = []
    near: dict[tuple[str, str], list[tuple[Path, Path]]] = {}
    for pair in duplicates.find(list(looks.values())):
        (split, one), (other_split, other) = samples[places[pair.first]], samples[places[pair.second]]
        counts = f"{len(one.points)} and {len(other.points)} people"
        how = {"copy": "to the pixel", "mirrored": "mirrored", "": "in another copy"}[pair.how]
        if pair.same and split != other_split:
            what = f"{split} shows the photo of {other_split} {other.image.name} ({how}; {counts}); remove one"
            found.append(Finding("error", "across splits", one.image, what, other.image))
        elif pair.same:
            what = f"is the photo of {other.image.name} ({how}; {counts}), both in {split}"
            found.append(Finding("warning", "twice", one.image, what, other.image))
        elif split != other_split:
            near.setdefault((split, other_split), []).append((one.image, other.image))
    for (split, other_split), pairs in near.items():
        one_image, other_image = pairs[0]
        what = f"{split} and {other_split} show one place in {_plural(len(pairs), 'pair')}, as frames of one camera do"
        message = f"{what} (first: with {other_image.name}); split by camera if the test is to be of new places"
        found.append(Finding("warning", "one place", one_image, message, other_image))
    return found


def _outliers(samples: list[Sample]) -> Iterator[Finding]:
    """Counts far from those of the split, on a scale of ratios; of fewer than ten pictures nothing can be said."""
    if len(samples) < 10:
        return
    logs = np.log1p([len(sample.points) for sample in samples])
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.1)
    for sample, value in zip(samples, logs, strict=True):
        if len(sample.points) and abs(value - middle) > FAR * spread:
            what = (
                f"has {_plural(len(sample.points), 'point')}, where half the split has {np.expm1(middle):.0f} or fewer"
            )
            yield Finding("warning", "count", sample.image, what)


def _empty(samples: list[Sample]) -> Iterator[Finding]:
    empty = [sample.image for sample in samples if not len(sample.points) and not sample.dropped]
    if empty:
        what = f"{_plural(len(empty), 'image')} without people (first: this); right if they show nobody"
        yield Finding("warning", "empty", empty[0], what)


def _unnamed(root: Path, samples: list[Sample], found: list[Finding]) -> Iterator[Finding]:
    """Pictures below root that no annotation names; dot images beside pictures are not meant."""
    known = {sample.image.absolute() for sample in samples} | {finding.path.absolute() for finding in found}
    images = list_images([root if root.is_dir() else root.parent])
    left = [image for image in images if image.absolute() not in known and not image.stem.endswith("dots")]
    if left:
        what = f"{_plural(len(left), 'picture')} without annotation (first: this); annotate or remove them"
        yield Finding("warning", "no annotation", left[0], what)


def dotted(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy of uint8 (H,W,3) RGB with a dot at each point (N,2), large enough to be seen on a thumbnail."""
    import cv2

    drawn = picture.copy()
    radius = max(1, round(max(picture.shape[:2]) / 220))
    for x, y in points:
        cv2.circle(drawn, (int(x), int(y)), radius, (255, 40, 60), cv2.FILLED, cv2.LINE_AA)
    return drawn


def _once(found: list[Finding]) -> list[Finding]:
    """One line for an image that cannot be read, and for a fault that two splits share."""
    seen: set[tuple] = set()
    kept = []
    unreadable = {finding.path for finding in found if finding.kind == "unreadable"}
    for finding in found:
        if finding.kind != "unreadable" and finding.path in unreadable:
            continue
        key = (finding.kind, finding.path, finding.message)
        if key not in seen:
            seen.add(key)
            kept.append(finding)
    return kept


def _plural(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"

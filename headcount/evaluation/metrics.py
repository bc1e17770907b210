"""How far predicted counts are from true ones, as the papers measure it and a little more. numpy only.

An error is always predicted - true. A group of images (a level, a scene) is again a `CountMetrics`, so everything that
the whole offers is also available for a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headcount._extras import install_hint

RESAMPLES = 2000  # of a bootstrap
METRICS = ("mae", "rmse", "nae", "bias")


@dataclass(frozen=True)
class Level:
    """A level of crowding, by the true count of an image.

    Attributes:
        min_count: Smallest number of people.
        max_count: Largest number of people. Infinity for the last level.
    """

    min_count: int
    max_count: float

    @property
    def label(self) -> str:
        """The range of counts: "nobody", "1-300", "301-700" or "701-"."""
        if self.max_count == 0:
            return "nobody"
        return f"{self.min_count}-" if self.max_count == float("inf") else f"{self.min_count}-{self.max_count:g}"


# The paper's levels, and images without people as a level of their own.
LEVELS = {
    "none": Level(0, 0),
    "low": Level(1, 300),
    "middle": Level(301, 700),
    "high": Level(701, float("inf")),
}
CROWD_LEVELS = {name: level for name, level in LEVELS.items() if level.min_count > 0}


def level_of(true: ArrayLike) -> np.ndarray:
    """The level of each true count (N,): indices into `LEVELS`, int (N,)."""
    return np.searchsorted([level.max_count for level in LEVELS.values()], np.asarray(true, np.float64))


def root_mean_square(errors: ArrayLike) -> float:
    """The RMSE of errors (N,), N >= 1; crowd-counting papers call it "MSE"."""
    return float((np.asarray(errors, np.float64) ** 2).mean()) ** 0.5


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, seed: int = 0, root: bool = False
) -> tuple[float, float]:
    """The bootstrap percentile interval of a mean over images.

    It says how much the figure would change with another draw of test images, not with another training run.

    Args:
        values: (N,), one value per image.
        level: share of the resamples that the interval contains.
        seed: of the 2,000 resamples with replacement.
        root: take the interval of the square root of the mean, as for an RMSE of squared errors.

    Returns:
        (low, high); nan for no values.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)), np.int32)
    means = values[draws].mean(axis=1)  # (2000,N) -> (2000,)
    low, high = np.quantile(np.sqrt(means) if root else means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class CountMetrics:
    """Metrics over N >= 1 images.

    Args:
        true: True number of people in each image, (N,), finite.
        predicted: Predicted number of people in each image, (N,), finite.
        names: Name of each image, (N,), for messages.
        scenes: Camera of each image, (N,).
        games: GAME of each image at levels 1..L, float (N,L); see `game`.

    Raises:
        ValueError: there are no images, the lengths differ, or a count is not finite or negative (naming the image).
    """

    def __init__(
        self,
        true: ArrayLike,
        predicted: ArrayLike,
        names: Sequence[str] | None = None,
        scenes: Sequence[str] | None = None,
        games: ArrayLike | None = None,
    ):
        self.true = np.asarray(true, np.float64)
        self.predicted = np.asarray(predicted, np.float64)
        self.scenes = None if scenes is None else list(scenes)
        self.games = None if games is None else np.asarray(games, np.float64)
        n = self.true.size
        if self.true.ndim != 1 or self.true.shape != self.predicted.shape:
            shapes = f"{self.predicted.shape} and {self.true.shape}"
            raise ValueError(f"metrics: give as many predicted as true counts, got {shapes}")
        if n == 0:
            raise ValueError("metrics: no images to measure; give at least one")
        self.names = [f"image {i}" for i in range(n)] if names is None else list(names)
        for what, values in (("names", self.names), ("scenes", self.scenes), ("games", self.games)):
            if values is not None and len(values) != n:
                raise ValueError(f"metrics: {len(values)} {what} for {n} images; give one for each")
        if self.games is not None and self.games.ndim != 2:
            raise ValueError(f"metrics: games is an array (images, levels), got shape {self.games.shape}")
        for name, people, counted in zip(self.names, self.true, self.predicted, strict=True):
            if not (np.isfinite(people) and np.isfinite(counted)):
                raise ValueError(f"{name}: true {people:g}, predicted {counted:g}: not a finite count")
            if people < 0:
                raise ValueError(f"{name}: the true count, {people:g}, is below zero")

    def __len__(self) -> int:
        return len(self.true)

    @property
    def mae(self) -> float:
        """Mean absolute error, people."""
        return self._value("mae")

    @property
    def rmse(self) -> float:
        """Root of the mean squared error, people; papers of the field call it "MSE"."""
        return self._value("rmse")

    @property
    def nae(self) -> float:
        """Mean of |error| / true over the images with people in them; nan if there is no such image."""
        return self._value("nae")

    @property
    def bias(self) -> float:
        """Mean of predicted - true, people: positive if the counter sees too many."""
        return self._value("bias")

    @property
    def game(self) -> list[float]:
        """GAME 0, 1, ... (the mean over images). GAME 0 is the MAE, and the only one if `games` was not given."""
        return [self.mae, *([] if self.games is None else self.games.mean(axis=0).tolist())]

    @property
    def scene_mae(self) -> float:
        """The mean of the scenes' MAEs, as WorldExpo'10 is reported; the MAE if there are no scenes."""
        return float(np.mean([scene.mae for scene in self.by_scene().values()] or [self.mae]))

    def by_level(self) -> dict[str, CountMetrics]:
        """The images of each of `LEVELS` that has any."""
        levels = level_of(self.true)
        return {name: self._part(levels == i) for i, name in enumerate(LEVELS) if (levels == i).any()}

    def by_scene(self) -> dict[str, CountMetrics]:
        """The images of each named scene, in the order of the names; empty if no scenes were given."""
        scenes = np.asarray([] if self.scenes is None else self.scenes, str)
        return {scene: self._part(scenes == scene) for scene in np.unique(scenes[scenes != ""]).tolist()}

    def interval(self, name: str, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """The `bootstrap_interval` of `mae`, `rmse`, `nae` or `bias` over the choice of images."""
        return bootstrap_interval(self._per_image(name), level, seed, root=name == "rmse")

    def to_dict(self) -> dict[str, object]:
        """For JSON: n, mae, rmse, nae, bias, game (a list, from level 0) and intervals; nan becomes None."""
        values: dict[str, object] = {"n": len(self)}
        values |= {name: _plain(getattr(self, name)) for name in METRICS}
        intervals = {name: [_plain(end) for end in self.interval(name)] for name in METRICS}
        return {**values, "game": [_plain(value) for value in self.game], "intervals": intervals}

    def _per_image(self, name: str) -> np.ndarray:
        """The values whose mean is the metric (for rmse, its square)."""
        error = self.predicted - self.true
        if name == "nae":
            people = self.true > 0
            return np.abs(error[people]) / self.true[people]
        values = {"mae": np.abs(error), "rmse": error**2, "bias": error}
        if name not in values:
            raise ValueError(f"no metric {name!r} here: use mae, rmse, nae or bias")
        return values[name]

    def _value(self, name: str) -> float:
        if name == "rmse":
            return root_mean_square(self.predicted - self.true)
        values = self._per_image(name)
        return float(values.mean()) if len(values) else float("nan")

    def _part(self, chosen: np.ndarray) -> CountMetrics:
        """The images where `chosen` (N,) is True."""
        kept = np.flatnonzero(chosen).tolist()
        return CountMetrics(
            self.true[kept],
            self.predicted[kept],
            [self.names[i] for i in kept],
            None if self.scenes is None else [self.scenes[i] for i in kept],
            None if self.games is None else self.games[kept],
        )


def game(density: np.ndarray, points: np.ndarray, level: int, stride: float, width: float, height: float) -> float:
    """Grid Average Mean absolute Error of one image: |predicted - true| summed over 4**level equal regions.

    Guerrero-Gomez-Olmedo et al., *Extremely overlapping vehicle counting*, 2015. Level 0 is the absolute error, and no
    level is smaller than the one before. A cell that lies across a border is split by the area on each side, so the
    regions' predictions sum to the density's. A point on a border belongs to the region on its right, or below.

    Args:
        density: (h,w) people per cell; cell (i,j) covers rows i*stride.. and columns j*stride.. of the image.
        points: (N,2) heads, x then y, in pixels.
        level: 0, 1, 2, 3, ...
        stride: pixels per cell; may be fractional.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Raises:
        ValueError: the density does not cover the image at this stride.
    """
    side = 2**level
    rows = _shares(density.shape[0], stride, height, side)  # (side,h)
    columns = _shares(density.shape[1], stride, width, side)  # (side,w)
    predicted = rows @ density.astype(np.float64) @ columns.T  # (side,side)
    true = np.zeros((side, side))
    if len(points):
        region = np.asarray(points, np.float64) * side / (width, height)
        x, y = np.clip(region, 0, side - 1).astype(int).T
        np.add.at(true, (y, x), 1)
    return float(np.abs(predicted - true).sum())


def _shares(cells: int, stride: float, length: float, regions: int) -> np.ndarray:
    """(regions,cells): the share of each cell, cut off at the image, in each of equal regions of an axis."""
    if not length - stride < cells * stride < length + 2 * stride:
        covers = f"{cells} cells of {stride:g} pixels do not cover {length:g} pixels"
        raise ValueError(f"game: {covers}; check the stride")
    # The rows of an enlarged image have not quite its columns' stride, so the last may begin at the image's end.
    starts = np.minimum(np.arange(cells) * stride, length - 1e-6)
    ends = np.append(starts[1:], length)
    borders = np.linspace(0, length, regions + 1)[:, None]
    overlap = np.minimum(ends, borders[1:]) - np.maximum(starts, borders[:-1])  # (regions,cells)
    return np.maximum(overlap, 0) / (ends - starts)


@dataclass(frozen=True)
class Localization:
    """Estimated head positions against true ones, pooled over images: pairs and heads are summed, then divided.

    Attributes:
        radius: pixels of the image within which an estimate may be paired with a head.
        matched: number of pairs; each estimate and each head is in one pair at most.
        predicted: number of estimates.
        true: number of heads.
    """

    radius: float
    matched: int = 0
    predicted: int = 0
    true: int = 0

    def __add__(self, other: Localization) -> Localization:
        matched, predicted = self.matched + other.matched, self.predicted + other.predicted
        return Localization(self.radius, matched, predicted, self.true + other.true)

    @property
    def precision(self) -> float:
        """Share of the estimates that are heads; 1 if there is no estimate."""
        return self.matched / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the heads that were found; 1 if there is no head."""
        return self.matched / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 1 if there is neither an estimate nor a head."""
        return 2 * self.matched / (self.predicted + self.true) if self.predicted + self.true else 1.0

    def to_dict(self) -> dict[str, float]:
        """For JSON: radius, precision, recall, f1."""
        return {name: round(getattr(self, name), 4) for name in ("radius", "precision", "recall", "f1")}


def localize(true: np.ndarray, predicted: np.ndarray, radius: float) -> Localization:
    """Match the estimated head positions of one image with its heads, in as many pairs as possible.

    This is the matching of NWPU-Crowd (Wang et al., *NWPU-Crowd: a large-scale benchmark for crowd counting and
    localization*, 2020). Its radius is specific to each head, from its box: half the shorter side, or half the
    diagonal. If heads are annotated as points, as in ShanghaiTech, 4 and 8 pixels are customary. Its code returns 0 if
    there is nothing to divide by; here an image without heads and without estimates is correct.

    Args:
        true: (M,2) heads, x then y, in pixels.
        predicted: (N,2) estimates, x then y, in pixels.
        radius: pixels that a pair may be apart.

    Raises:
        ValueError: the radius is not positive and finite, or scipy is not installed.
    """
    if not 0 < radius < float("inf"):
        raise ValueError(f"radius must be a finite number of pixels above 0, got {radius:g}")
    try:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import maximum_bipartite_matching
        from scipy.spatial import cKDTree
    except ImportError:
        raise ValueError(f"matching head positions needs scipy; {install_hint('train')}") from None
    if not len(true) or not len(predicted):
        return Localization(radius, 0, len(predicted), len(true))
    near = cKDTree(true).query_ball_point(predicted, radius)  # (N,) lists of heads
    heads = np.concatenate([np.asarray(some, np.int64) for some in near])
    ends = np.cumsum([0, *map(len, near)])
    graph = csr_matrix((np.ones(len(heads), np.int8), heads, ends), shape=(len(predicted), len(true)))
    matched = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    return Localization(radius, matched, len(predicted), len(true))


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)

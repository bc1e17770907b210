"""Pictures that occur twice: the same photo in another file, size, quality, crop or mirrored; and the same place.

What is unusual: a hash of the whole picture does not survive a crop, so a picture is known by its corners (ORB
features), as it is and mirrored. Pictures whose features are equal in a few random bits are compared: one rotation,
scale and shift must carry INLIERS features of one onto the other. Of 300, chance reaches 8; the photos that
ShanghaiTech A holds twice have 31 and more.

Whether such a pair is one photo or two of one place, as neighbouring frames of a video are, is decided by what does not
match: one picture is laid on the other, and every textured patch is correlated. In one photo, encoded twice, even the
patches that agree least agree well; in two frames the people have moved, and where one stood a patch does not agree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 400  # pixels of the longer side that features are sought in
FEATURES = 300
INLIERS = 12  # features that one similarity carries over
ALIKE = 0.6  # correlation that all but the least alike 2 % of the patches of one photo reach
PATCH = 17  # pixels a side
TABLES, BITS, NEIGHBOURS = 6, 22, 5  # random places of a descriptor that must be equal, bits of each, pairs a feature
PARTNERS = 6  # pictures that each is compared with
TEXTURE = 30  # variance of a patch that has something to compare


@dataclass(frozen=True)
class ImageSignature:
    """What is kept of a picture: its pixels' hash, a small grey copy (h,w), features of it and of its mirror image."""

    pixels: bytes
    grey: np.ndarray
    corners: tuple[np.ndarray, np.ndarray]  # float32 (K,2) each
    descriptors: tuple[np.ndarray, np.ndarray]  # uint8 (K,32) each


@dataclass(frozen=True)
class Pair:
    """Two pictures by their places in the list. same: one photo; else one place. how: `copy`, `mirrored` or ''."""

    first: int
    second: int
    same: bool
    how: str = ""


def look(image: np.ndarray) -> ImageSignature:
    """image: uint8 (H,W,3) RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, SIDE / max(grey.shape))
    size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    sides = [_features(view) for view in (small, np.ascontiguousarray(small[:, ::-1]))]
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    return ImageSignature(pixels, small, (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]))


def _features(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    orb = cv2.ORB_create(FEATURES, 1.2, 6, fastThreshold=5)  # type: ignore[attr-defined]
    corners, descriptors = orb.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    return np.array([corner.pt for corner in corners], np.float32), descriptors


def find(looks: list[ImageSignature]) -> list[Pair]:
    """Pairs that are one photo or show one place, each once, the earlier picture first."""
    firsts: dict[bytes, int] = {}
    copies = [Pair(firsts[one.pixels], i, True, "copy") for i, one in enumerate(looks) if _seen(firsts, one.pixels, i)]
    later = {pair.second for pair in copies}
    found = []
    for first, second, mirrored in _candidates(looks):
        if not {first, second} & later:  # what is alike to a copy is alike to its first
            pair = _compare(looks, first, second, mirrored)
            found += [pair] if pair else []
    best: dict[tuple[int, int], Pair] = {}
    for pair in [*found, *copies]:
        key = (pair.first, pair.second)
        best[key] = pair if pair.same or key not in best else best[key]
    return [best[key] for key in sorted(best)]


def _seen(firsts: dict[bytes, int], pixels: bytes, place: int) -> bool:
    return firsts.setdefault(pixels, place) != place


def _candidates(looks: list[ImageSignature]) -> list[tuple[int, int, bool]]:
    """(first, second, whether one is mirrored) of the pairs that share most features.

    View 2i is picture i, 2i+1 its mirror image. Features whose random bits are equal lie side by side when sorted, in
    an order of pictures that is shuffled once: of a camera's thousand frames each meets the same few, in all tables.
    """
    descriptors = [part for one in looks for part in one.descriptors]
    if not sum(map(len, descriptors)):
        return []
    packed = np.concatenate(descriptors)  # (all features, 32), eight bits each
    views = np.repeat(np.arange(len(descriptors)), [len(part) for part in descriptors])
    chance = np.random.default_rng(0)
    shuffled = np.argsort(chance.permutation(len(descriptors))[views], kind="stable")
    votes: dict[int, int] = {}
    for _ in range(TABLES):
        keys = np.zeros(len(packed), np.uint32)
        for bit in chance.choice(256, BITS, replace=False):
            keys = keys << 1 | packed[:, bit // 8] >> bit % 8 & 1
        order = shuffled[np.argsort(keys[shuffled], kind="stable")]
        keys, owners = keys[order], views[order]
        met = []
        for step in range(1, NEIGHBOURS + 1):
            equal = (keys[step:] == keys[:-step]) & (owners[step:] // 2 != owners[:-step] // 2)
            one, other = owners[step:][equal], owners[:-step][equal]
            met.append(np.minimum(one, other) * len(descriptors) + np.maximum(one, other))
        for code, count in zip(*np.unique(np.concatenate(met), return_counts=True), strict=True):
            votes[int(code)] = votes.get(int(code), 0) + int(count)
    return _partners(votes, len(descriptors))


def _partners(votes: dict[int, int], views: int) -> list[tuple[int, int, bool]]:
    """Of each view the PARTNERS with most votes."""
    chosen: dict[int, int] = {}
    pairs = set()
    for code, count in sorted(votes.items(), key=lambda item: -item[1]):
        one, other = divmod(code, views)
        if count >= 2 and min(chosen.get(one, 0), chosen.get(other, 0)) < PARTNERS:
            chosen[one] = chosen.get(one, 0) + 1
            chosen[other] = chosen.get(other, 0) + 1
            first, second = sorted((one // 2, other // 2))
            pairs.add((first, second, one % 2 != other % 2))
    return sorted(pairs)


def _compare(looks: list[ImageSignature], first: int, second: int, mirrored: bool) -> Pair | None:
    a, b = looks[first], looks[second]
    matches = [
        match
        for match in cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(a.descriptors[0], b.descriptors[mirrored])
        if match.distance < 64
    ]
    if len(matches) < INLIERS:
        return None
    here = a.corners[0][[match.queryIdx for match in matches]]
    there = b.corners[mirrored][[match.trainIdx for match in matches]]
    motion, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=3)
    if motion is None or int(inliers.sum()) < INLIERS:
        return None
    grey = np.ascontiguousarray(b.grey[:, ::-1]) if mirrored else b.grey
    return Pair(first, second, likeness(a.grey, grey, motion) >= ALIKE, "mirrored" if mirrored else "")


def likeness(a: np.ndarray, b: np.ndarray, motion: np.ndarray) -> float:
    """How well the patches of a, uint8 (h,w), agree with those of b where `motion` (2,3) carries them: -1 to 1.

    The correlation that 98 % of the textured patches reach; -1 where less than a tenth of `a` can be compared.
    """
    scale = float(np.hypot(motion[0, 0], motion[1, 0]))  # of b to a
    a, b = (cv2.GaussianBlur(grey, (0, 0), 0.8 * max(1.0, s)) for grey, s in ((a, 1 / max(scale, 1e-6)), (b, scale)))
    motion = motion.astype(np.float32)
    try:  # to a fraction of a pixel, which texture asks for
        _, motion = cv2.findTransformECC(a, b, motion, cv2.MOTION_AFFINE, (3, 40, 1e-4), None, 5)  # type: ignore
    except cv2.error:
        return -1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(b, motion, a.shape[::-1], flags=flags).astype(np.float32)
    covered = cv2.warpAffine(np.full_like(b, 255), motion, a.shape[::-1], flags=flags)
    mean_a, mean_b = _mean(a), _mean(laid)
    a32 = a.astype(np.float32)
    variance_a, variance_b = _mean(a32 * a32) - mean_a**2, _mean(laid * laid) - mean_b**2
    together = _mean(a32 * laid) - mean_a * mean_b
    whole = cv2.erode((covered == 255).astype(np.uint8), np.ones((PATCH, PATCH), np.uint8), borderValue=0) > 0
    compared = whole & ((variance_a > TEXTURE) | (variance_b > TEXTURE))
    if compared.mean() < 0.1:
        return -1.0
    agree = together / np.sqrt(np.maximum(variance_a, 1) * np.maximum(variance_b, 1))
    return float(np.percentile(agree[compared], 2))


def _mean(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values.astype(np.float32), -1, (PATCH, PATCH))

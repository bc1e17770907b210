"""Finding images that show the same photo or the same place.

The same photo is found even if it was encoded again, resized, cropped or mirrored. A hash of the whole image does not
survive a crop, so an image is described by its corners (ORB features), as it is and mirrored. Only images whose
features agree in a few random bits are compared: one similarity transform must carry MIN_INLIERS features of one image
onto the other. Of 300 features, chance reaches 8; the photos that ShanghaiTech A contains twice have 31 and more.

Two such images may still be two photos of one place, such as neighboring frames of a video. The parts that do not match
decide this: one image is warped onto the other, and every textured patch is correlated. In one photo, encoded twice,
even the patches that agree least agree well. In two frames people have moved, and where one stood the patches do not
agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

MAX_SIDE = 400  # pixels of the longer side at which features are extracted
FEATURES = 300
MIN_INLIERS = 12  # features that one similarity transform carries over
MAX_BITS_APART = 64  # of the 256 bits of two descriptors that match
SAME_PHOTO = 0.6  # correlation that all but the worst 2 % of the patches of one photo reach
WORST_PATCHES = 2  # per cent
PATCH = 17  # pixels per side
HASH_TABLES, HASH_BITS = 6, 22  # sets of random bits of a descriptor, and how many bits must agree in one set
NEIGHBORS = 5  # features in a bucket that each feature is paired with
MAX_PARTNERS = 6  # images that each image is compared with
MIN_VARIANCE = 30  # of the grey values of a patch that can be compared
MIN_COMPARED = 0.1  # fraction of an image that must be comparable


@dataclass(frozen=True)
class ImageSignature:
    """What is kept of an image to compare it with others, about 0.15 MB.

    Attributes:
        pixels: Hash of the shape and the pixels.
        grey: uint8 (h, w), a small grey copy.
        corners: float32 (K, 2) each, the features of the image and of its mirror image.
        descriptors: uint8 (K, 32) each, their ORB descriptors.
    """

    pixels: bytes
    grey: np.ndarray
    corners: tuple[np.ndarray, np.ndarray]
    descriptors: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Pair:
    """Two images that show one photo or one place.

    Attributes:
        first: Position of the earlier image in the list.
        second: Position of the later image.
        same: Whether they are one photo, and not only one place.
        how: `copy` (every pixel agrees), `mirrored`, or ''.
    """

    first: int
    second: int
    same: bool
    how: str = ""


def image_signature(image: np.ndarray) -> ImageSignature:
    """The signature of an image, uint8 (H, W, 3) RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, MAX_SIDE / max(grey.shape))
    size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    corners, descriptors = _features(small)
    mirrored_corners, mirrored_descriptors = _features(np.ascontiguousarray(small[:, ::-1]))
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    return ImageSignature(pixels, small, (corners, mirrored_corners), (descriptors, mirrored_descriptors))


def _features(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    orb = cv2.ORB_create(FEATURES, 1.2, 6, fastThreshold=5)  # type: ignore[attr-defined]
    corners, descriptors = orb.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    return np.array([corner.pt for corner in corners], np.float32), descriptors


def find_duplicates(signatures: Sequence[ImageSignature]) -> list[Pair]:
    """Find the pairs of images that show one photo or one place.

    Returns:
        Each pair once, sorted by position.
    """
    copies = _exact_copies(signatures)
    later = {pair.second for pair in copies}  # whatever resembles a copy resembles its first image
    best: dict[tuple[int, int], Pair] = {}
    for first, second, mirrored in _candidates(signatures):
        if first in later or second in later:
            continue
        pair = _compare(signatures, first, second, mirrored)
        if pair and (pair.same or (first, second) not in best):
            best[first, second] = pair
    best |= {(pair.first, pair.second): pair for pair in copies}
    return [best[key] for key in sorted(best)]


def _exact_copies(signatures: Sequence[ImageSignature]) -> list[Pair]:
    """Each image whose pixels an earlier image has too, paired with the first such image."""
    firsts: dict[bytes, int] = {}
    copies = []
    for position, signature in enumerate(signatures):
        first = firsts.setdefault(signature.pixels, position)
        if first != position:
            copies.append(Pair(first, position, same=True, how="copy"))
    return copies


def _candidates(signatures: Sequence[ImageSignature]) -> list[tuple[int, int, bool]]:
    """(first, second, whether one is mirrored) for the pairs of images that share most features.

    View 2i is image i, view 2i + 1 its mirror image. Features whose random bits agree are neighbors after sorting.
    Images are sorted in a random order that is the same in all tables: of a thousand frames of one camera, each then
    meets the same few others every time.
    """
    descriptors = [part for signature in signatures for part in signature.descriptors]
    if not sum(map(len, descriptors)):
        return []
    packed = np.concatenate(descriptors)  # (all features, 32), eight bits each
    views = np.repeat(np.arange(len(descriptors)), [len(part) for part in descriptors])
    random = np.random.default_rng(0)
    shuffled = np.argsort(random.permutation(len(descriptors))[views], kind="stable")
    votes: dict[int, int] = {}
    for _ in range(HASH_TABLES):
        keys = np.zeros(len(packed), np.uint32)
        for bit in random.choice(256, HASH_BITS, replace=False):
            keys = keys << 1 | packed[:, bit // 8] >> bit % 8 & 1
        order = shuffled[np.argsort(keys[shuffled], kind="stable")]
        codes, counts = _neighboring_views(keys[order], views[order], len(descriptors))
        for code, count in zip(codes, counts, strict=True):
            votes[int(code)] = votes.get(int(code), 0) + int(count)
    return _partners(votes, len(descriptors))


def _neighboring_views(keys: np.ndarray, views: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """How often two views of different images have equal keys: (first view * total + second view, count)."""
    found = []
    for step in range(1, NEIGHBORS + 1):
        equal = (keys[step:] == keys[:-step]) & (views[step:] // 2 != views[:-step] // 2)
        one, other = views[step:][equal], views[:-step][equal]
        found.append(np.minimum(one, other) * total + np.maximum(one, other))
    return np.unique(np.concatenate(found), return_counts=True)


def _partners(votes: dict[int, int], views: int) -> list[tuple[int, int, bool]]:
    """For each view the MAX_PARTNERS views with most votes, as pairs of images."""
    chosen: dict[int, int] = {}
    pairs = set()
    for code, count in sorted(votes.items(), key=lambda item: -item[1]):
        one, other = divmod(code, views)
        if count >= 2 and min(chosen.get(one, 0), chosen.get(other, 0)) < MAX_PARTNERS:
            chosen[one] = chosen.get(one, 0) + 1
            chosen[other] = chosen.get(other, 0) + 1
            first, second = sorted((one // 2, other // 2))
            pairs.add((first, second, one % 2 != other % 2))
    return sorted(pairs)


def _compare(signatures: Sequence[ImageSignature], first: int, second: int, mirrored: bool) -> Pair | None:
    a, b = signatures[first], signatures[second]
    view = 1 if mirrored else 0
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    matches = [
        match for match in matcher.match(a.descriptors[0], b.descriptors[view]) if match.distance < MAX_BITS_APART
    ]
    if len(matches) < MIN_INLIERS:
        return None
    here = a.corners[0][[match.queryIdx for match in matches]]
    there = b.corners[view][[match.trainIdx for match in matches]]
    motion, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=3)
    if motion is None or int(inliers.sum()) < MIN_INLIERS:
        return None
    grey = np.ascontiguousarray(b.grey[:, ::-1]) if mirrored else b.grey
    same = patch_agreement(a.grey, grey, motion) >= SAME_PHOTO
    return Pair(first, second, same, "mirrored" if mirrored else "")


def patch_agreement(a: np.ndarray, b: np.ndarray, motion: np.ndarray) -> float:
    """How well the patches of two images agree if one is warped onto the other.

    Args:
        a: uint8 (h, w), the first image.
        b: uint8 (h, w), the second image.
        motion: (2, 3), the similarity transform from `a` to `b`.

    Returns:
        The correlation that 98 % of the textured patches reach, -1 to 1. It is -1 if less than a tenth of `a` can be
        compared.
    """
    scale = float(np.hypot(motion[0, 0], motion[1, 0]))  # of b relative to a
    # The image with more detail is blurred as the other one was by its scale.
    a = cv2.GaussianBlur(a, (0, 0), 0.8 * max(1.0, 1 / max(scale, 1e-6)))
    b = cv2.GaussianBlur(b, (0, 0), 0.8 * max(1.0, scale))
    motion = motion.astype(np.float32)
    try:  # comparing texture needs an alignment to a fraction of a pixel
        _, motion = cv2.findTransformECC(a, b, motion, cv2.MOTION_AFFINE, (3, 40, 1e-4), None, 5)  # type: ignore
    except cv2.error:
        return -1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(b, motion, a.shape[::-1], flags=flags).astype(np.float32)
    covered = cv2.warpAffine(np.full_like(b, 255), motion, a.shape[::-1], flags=flags)
    mean_a, mean_b = _patch_mean(a), _patch_mean(warped)
    a32 = a.astype(np.float32)
    variance_a, variance_b = _patch_mean(a32 * a32) - mean_a**2, _patch_mean(warped * warped) - mean_b**2
    covariance = _patch_mean(a32 * warped) - mean_a * mean_b
    whole = cv2.erode((covered == 255).astype(np.uint8), np.ones((PATCH, PATCH), np.uint8), borderValue=0) > 0
    compared = whole & ((variance_a > MIN_VARIANCE) | (variance_b > MIN_VARIANCE))
    if compared.mean() < MIN_COMPARED:
        return -1.0
    correlation = covariance / np.sqrt(np.maximum(variance_a, 1) * np.maximum(variance_b, 1))
    return float(np.percentile(correlation[compared], WORST_PATCHES))


def _patch_mean(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values.astype(np.float32), -1, (PATCH, PATCH))

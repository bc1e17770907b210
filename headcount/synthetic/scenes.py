"""Rendered crowds whose true count and head points are known: our own pictures, for training, tests and demos.

What is unusual: heads are placed in the picture, not on the ground. With a horizon and a pinhole camera the size of a
head is k * (row - horizon), so a head's row gives its size, its feet and its distance. People are painted far to near,
and apart from a raised arm nobody reaches above his own head, so only nearer heads can cover a head; a minimum distance
between heads keeps each one visible. A person is a sheet of material weights (skin, hair, cloth...), coloured anew each
time it is painted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from headcount.synthetic import scenery, textures
from headcount.synthetic.scenery import pick

SKIN = [(244, 208, 177), (236, 188, 150), (214, 160, 118), (176, 120, 82), (128, 84, 56), (90, 58, 42)]
HAIR = [
    (26, 22, 22),
    (36, 28, 24),
    (62, 42, 30),
    (96, 64, 40),
    (140, 92, 50),
    (196, 158, 98),
    (150, 148, 146),
    (206, 204, 200),
]
CLOTH = [
    (236, 234, 228),
    (34, 34, 38),
    (40, 54, 88),
    (82, 106, 140),
    (176, 48, 44),
    (112, 34, 42),
    (214, 164, 60),
    (44, 120, 124),
    (92, 104, 62),
    (216, 140, 148),
    (124, 126, 130),
    (204, 186, 154),
    (216, 110, 50),
    (150, 122, 168),
    (128, 176, 208),
    (64, 134, 88),
]
TROUSERS = [(40, 46, 62), (58, 74, 104), (30, 30, 32), (98, 92, 84), (164, 148, 120), (84, 60, 46), (112, 128, 150)]
SHAPES = 36  # different bodies per tilt of the camera
UNIT = 56  # pixels of a head's height in a drawn body
SQUASH = (1.0, 0.74, 0.46)  # how tall a body looks from eye level, from a balcony, from a roof
MIN_HEAD = 4.0


@dataclass(frozen=True)
class Scene:
    """A picture uint8 (H,W,3) RGB and its visible heads' centres, float32 (N,2) x, y in pixels."""

    image: np.ndarray
    points: np.ndarray
    roi: None = field(default=None)


@dataclass(frozen=True)
class Camera:
    """A head in row y is k * (y - horizon) pixels tall; no head is above `top`."""

    horizon: float
    k: float
    top: float
    tilt: int

    def head(self, y):
        return self.k * (y - self.horizon)

    def foot(self, y):
        return y + 6.7 * SQUASH[self.tilt] * self.head(y)

    @property
    def metre_per_row(self) -> float:
        """Pixels a metre on the ground, per row under the horizon; a head is 0.24 m tall."""
        return self.k / 0.24 / (1 + 6.7 * SQUASH[self.tilt] * self.k)


def render(seed: int, people: int | None = None, width: int = 1024, height: int = 768) -> Scene:
    """Render the scene of `seed`: the same arguments give the same pixels.

    `people`: how many heads are wanted (None: 5 to 4000, at random); fewer only if no more fit at 4 pixels a head.
    `people=0` gives one of many kinds of picture without people. len(scene.points) is the true count.
    """
    rng = np.random.default_rng([seed, 77])
    if people is None:
        people = round(float(np.exp(rng.uniform(np.log(5), np.log(4000)))))
    if people == 0 and rng.random() < 0.65:
        draw = textures.EMPTY[rng.integers(len(textures.EMPTY))]
        return Scene(_photograph(rng, draw(rng, height, width)), np.zeros((0, 2), np.float32))
    camera = _camera(rng, people, width, height)
    image, things = _stage(rng, camera, people, width, height)
    points = _place(rng, camera, people, width, height, _boxes(things))
    while len(points) < people and things:  # people come first: clear things away until they fit
        things = things[: len(things) // 2]
        points = _place(rng, camera, people, width, height, _boxes(things))
    image = _shadows(rng, camera, image, points)
    haze = image[: max(1, int(camera.top))].mean(axis=(0, 1)).astype(np.float32)
    look = _look(rng)
    queue: list[tuple[float, Callable]] = []  # (row of the feet, what to paint)
    queue += [(y, partial(draw, np.random.default_rng(s), image, x, y, m)) for draw, s, x, y, m in things]
    queue += [(camera.foot(y), partial(_person, rng, camera, image, x, y, look, haze)) for x, y in points]
    for _, paint in sorted(queue, key=lambda item: item[0]):
        paint()
    if rng.random() < 0.5:  # bodies are lit from the left: mirror the whole picture, points and all
        image = np.ascontiguousarray(image[:, ::-1])
        points[:, 0] = width - points[:, 0]
    return Scene(_photograph(rng, image), points.astype(np.float32))


def write_folder(
    folder: str | Path, count: int, seed: int = 0, people_free_share: float = 0.15, width: int = 1024, height: int = 768
) -> Path:
    """Write `count` scenes as JPEG, and their heads as points.csv (image,x,y; a people-free image: empty x,y).

    Returns the path of the CSV. Raises MediaError when the folder cannot be written.
    """
    from headcount.io.images import write_image

    folder, rows = Path(folder), ["image,x,y"]
    for i in range(count):
        empty = int((i + 1) * people_free_share) > int(i * people_free_share)
        scene, name = render(seed + i, 0 if empty else None, width, height), f"scene_{seed + i:05d}.jpg"
        write_image(folder / name, scene.image)
        rows += [f"{name},{x:.2f},{y:.2f}" for x, y in scene.points] or [f"{name},,"]
    csv = folder / "points.csv"
    csv.parent.mkdir(parents=True, exist_ok=True)
    csv.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return csv


# Camera, stage, places ------------------------------------------------------------------------------------------------


def _camera(rng: np.random.Generator, people: int, width: int, height: int) -> Camera:
    """A camera under which `people` heads fit: heads shrink until they do."""
    tilt = int(rng.choice(3, p=[0.4, 0.35, 0.25]))
    horizon = height * rng.uniform(*[(0.12, 0.36), (-0.5, 0.06), (-2.5, -0.6)][tilt])
    near = max(9.0, height * float(np.exp(rng.uniform(np.log(0.022), np.log(0.1)))))  # head height in the bottom row
    while True:
        k = near / (height - horizon)
        top = max(horizon + max(MIN_HEAD, 0.22 * near) / k, near * 0.4)
        room = width * (1 / (top - horizon) - 1 / (height - horizon)) / k**2  # heads of which each takes a square
        if room * 0.58 > people or near < 1.7 * MIN_HEAD:
            return Camera(horizon, k, min(top, height - 1.0), tilt)
        near *= 0.94


def _stage(rng: np.random.Generator, camera: Camera, people: int, width: int, height: int):
    """The empty place, uint8 (H,W,3), and the things that will stand in it: (draw, seed, x, y, pixels a metre)."""
    image = scenery.sky(rng, height, width)
    scenery.ground(rng, image, camera.horizon, camera.metre_per_row, str(rng.choice(scenery.GROUNDS)))
    base = min(camera.foot(camera.top) - 0.5 * camera.head(camera.top), height - 1.0)
    metre = max(1.5, (base - camera.horizon) * camera.metre_per_row)
    backdrop = rng.random()
    if backdrop < 0.6:
        scenery.facades(rng, image, base, metre)
    if backdrop > 0.45:
        for x in np.arange(-2 * metre, width + 2 * metre, metre * rng.uniform(2.2, 5)):
            scenery.tree(rng, image, x + rng.normal(0, metre), base, metre)
    image = scenery.speckle(rng, image, 48, 0.04, 5)
    things = []
    for _ in range(int(rng.integers(0, 4 if people > 800 else 9))):
        y = rng.uniform(base, height)
        draw = scenery.THINGS[rng.integers(len(scenery.THINGS))]
        metre = (y - camera.horizon) * camera.metre_per_row
        things.append((draw, int(rng.integers(1 << 30)), rng.uniform(0, width), y, metre))
    return image, things


def _boxes(things) -> list[scenery.Box]:
    """What the things hide, found by drawing them on a picture of one pixel."""
    nowhere = np.zeros((1, 1, 3), np.uint8)
    return [box for draw, seed, x, y, m in things for box in draw(np.random.default_rng(seed), nowhere, x, y, m)]


def _place(rng: np.random.Generator, camera: Camera, people: int, width: int, height: int, boxes) -> np.ndarray:
    """Head centres, float64 (N,2): in groups, none behind a thing, and far enough apart for each head to be seen."""
    if people == 0:
        return np.zeros((0, 2))
    cell = 4
    rows, columns = -(-height // cell), -(-width // cell)
    free = np.ones((rows, columns), np.float32)
    free[: int(np.ceil(camera.top / cell))] = 0
    for x0, y0, x1, y1 in boxes:
        x0, y0, x1, y1 = (int(v / cell) for v in (x0 - 6, y0 - 6, x1 + 10, y1 + 6))
        free[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = 0
    size = camera.head(np.arange(rows) * cell + cell / 2).clip(MIN_HEAD * 0.8)
    groups = np.exp(rng.uniform(0.2, 1.6) * scenery.noise(rng, rows, columns, max(rows, columns) / 5, 3))
    points: list[tuple[float, float]] = []
    taken = np.zeros((height, width), np.uint8)  # 255 where a new head would be too near another
    for space in (1.7, 1.35, 1.1, 0.97, 0.9, 0.85):

        def claim(x: float, y: float, reach: float = space) -> None:
            scenery.ellipse(taken, x, y, 0.95 * reach * camera.head(y), 0.85 * reach * camera.head(y), 255)

        weight = (free * groups / size[:, None] ** 2).ravel()
        if weight.sum() == 0 or len(points) == people:
            break
        taken[:] = 0
        for x, y in points:
            claim(x, y)
        tries = rng.choice(len(weight), 8 * people + 200, p=weight / weight.sum())
        xs = ((tries % columns + rng.random(len(tries))) * cell).clip(1, width - 1.01)
        ys = ((tries // columns + rng.random(len(tries))) * cell).clip(camera.top, height - 1.01)
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            if not taken[int(y), int(x)] and len(points) < people:
                points.append((x, y))
                claim(x, y)
        groups = np.sqrt(groups)  # what did not fit in the groups spreads out
    return np.array(points, np.float64).reshape(-1, 2)


# People ---------------------------------------------------------------------------------------------------------------


def _look(rng: np.random.Generator) -> list:
    """The clothes of this crowd: anything, or mostly one or two colours, as at a match or a march."""
    if rng.random() < 0.75:
        return CLOTH
    return CLOTH + [pick(rng, CLOTH)] * int(rng.integers(10, 40)) + [pick(rng, CLOTH)] * int(rng.integers(0, 20))


def _person(rng: np.random.Generator, camera: Camera, image: np.ndarray, x: float, y: float, look: list, haze) -> None:
    """Paint one person whose head centre is at (x, y)."""
    size = max(3, round(camera.head(y) * rng.uniform(0.9, 1.1)))
    sprite = _sprite(int(rng.integers(SHAPES)), camera.tilt, size)  # (h, w, 7)
    left, top = round(x - 1.8 * size), round(y - 1.3 * size)
    x0, y0 = max(0, left), max(0, top)
    part = sprite[y0 - top : image.shape[0] - top, x0 - left : image.shape[1] - left].astype(np.float32)
    below = image[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    tints = [pick(rng, SKIN), pick(rng, HAIR), pick(rng, look), pick(rng, TROUSERS), pick(rng, CLOTH), (30, 26, 26)]
    materials = np.array(tints, np.float32)  # (6, 3)
    far = 0.3 * np.clip(1 - size / 14, 0, 1)
    alpha = part[:, :, 6:] / 255
    colour = part[:, :, :6] @ (materials * (1 - far) / 160) + alpha * (far * haze)
    below[:] = (below * (1 - alpha) + colour).clip(0, 255)


@lru_cache(maxsize=3000)
def _sprite(shape: int, tilt: int, size: int) -> np.ndarray:
    """A body at `size` pixels a head: uint8 (h,w,7), weights of six materials (160 is full light), then coverage."""
    halves = _body(shape, tilt)
    target = (max(1, round(halves[0].shape[1] * size / UNIT)), max(1, round(halves[0].shape[0] * size / UNIT)))
    how = cv2.INTER_AREA if size < UNIT else cv2.INTER_LINEAR
    return np.dstack([cv2.resize(half, target, interpolation=how) for half in halves])


@cache
def _body(shape: int, tilt: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one body, head centre at (1.8, 1.3) units: uint8 (h,w,7) as in `_sprite`, in 4 + 3 channels for OpenCV."""
    rng = np.random.default_rng([shape, tilt])
    squash = SQUASH[tilt]
    sheet = np.zeros((int((2.0 + 6.7 * squash) * UNIT), int(3.6 * UNIT), 7), np.float32)
    skin, hair, top, bottom, accent, dark = range(6)

    def at(x, y):  # units from the head's centre -> 1/16 pixels; the body below the chin is squashed by the tilt
        y = y if y < 0.4 else 0.4 + (y - 0.4) * squash
        return round((x + 1.8) * UNIT * 16), round((y + 1.3) * UNIT * 16)

    def add(material, *draws, light=1.0, round_by=0.16):
        mask = np.zeros(sheet.shape[:2], np.uint8)
        for draw in draws:
            draw(mask)
        x, y, w, h = cv2.boundingRect(mask)
        edge = int(2 * round_by * UNIT)
        window = slice(max(0, y - edge), y + h + edge), slice(max(0, x - edge), x + w + edge)
        cover, part = mask[window].astype(np.float32) / 255, sheet[window]
        soft = cv2.GaussianBlur(cover, (0, 0), round_by * UNIT)
        slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + 1.2 * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        lit = (light * (0.62 + 0.4 * soft) + slope * round_by * UNIT * 0.085).clip(0.3, 1.4)
        part *= 1 - cover[:, :, None]
        part[:, :, material] += cover * lit * 160
        part[:, :, 6] += cover * 255

    def oval(x, y, rx, ry, start=0, end=360):
        axes = (round(rx * UNIT * 16), round(ry * UNIT * 16))
        return lambda m: cv2.ellipse(m, at(x, y), axes, 0, start, end, 255, -1, cv2.LINE_AA, shift=4)

    def shape_of(*points):
        return lambda m: cv2.fillPoly(m, [np.int32([at(*p) for p in points])], 255, cv2.LINE_AA, shift=4)

    def limb(width, *points):
        corners = np.int32([at(*p) for p in points])
        return lambda m: cv2.polylines(m, [corners], False, 255, round(width * UNIT), cv2.LINE_AA, shift=4)

    wide, stride, back = rng.uniform(0.86, 1.08), rng.uniform(0.05, 0.4), rng.random() < 0.45
    turn = 0.0 if back else rng.uniform(-0.14, 0.14)
    # Legs, shoes, or a skirt
    for side in (-1, 1):
        foot = side * (0.28 + stride * rng.random())
        add(dark, oval(foot + 0.05, 6.55, 0.26, 0.13))
        add(bottom, limb(0.52, (side * 0.32, 3.3), (side * 0.34, 4.9), (foot, 6.4)), light=0.86)
    if rng.random() < 0.2:
        add(bottom, shape_of((-0.55, 3.0), (0.55, 3.0), (0.95, 5.2), (-0.95, 5.2)), light=0.95)
    # Torso
    right = [(0.3, 0.55), (0.72 * wide, 0.82), (0.95 * wide, 1.25), (0.72 * wide, 2.4), (0.7 * wide, 3.6)]
    add(top, shape_of(*right, *[(-x, y) for x, y in right[::-1]]), round_by=0.3)
    # Arms
    for side in (-1, 1):
        pose = rng.random()
        shoulder, skin_from = (side * 0.86 * wide, 1.15), rng.random()
        if pose < 0.05:
            elbow, hand = (side * 1.25, 0.6), (side * 1.1, -0.55)  # raised
        elif pose < 0.3:
            elbow, hand = (side * 1.15, 2.2), (side * 0.35, 2.3)  # folded
        else:
            elbow, hand = (side * 1.12 * wide, 2.2), (side * rng.uniform(0.95, 1.25), 3.3)
        add(skin, limb(0.26, elbow, hand), oval(*hand, 0.17, 0.19))
        add(top, limb(0.38, shoulder, elbow), *([] if skin_from < 0.5 else [limb(0.34, elbow, hand)]), light=0.95)
    if rng.random() < 0.25:  # bag or backpack
        backpack = shape_of((-0.55, 1.1), (0.55, 1.1), (0.6, 2.7), (-0.6, 2.7))
        add(accent, backpack if back else oval(0.8, 3.0, 0.4, 0.5), light=0.9)
    # Neck and head
    add(skin, limb(0.36, (0, 0.3), (0, 0.72)), light=0.8)
    long_hair = rng.random() < 0.4
    if long_hair:
        add(hair, oval(0, 0.1, 0.47, 0.6), shape_of((-0.47, 0.1), (0.47, 0.1), (0.42, 0.95), (-0.42, 0.95)), light=0.85)
    add(skin, oval(-0.39, 0.05, 0.07, 0.12), oval(0.39, 0.05, 0.07, 0.12), light=0.85)
    add(skin, oval(0, 0, 0.39, 0.5), round_by=0.22)
    if not back and tilt < 2:
        eyes = 0.02 + 0.1 * tilt
        for side in (-1, 1):
            eye = turn * 1.5 + side * 0.15
            add(dark, oval(eye, eyes, 0.05, 0.035))
            add(hair, limb(0.04, (eye - 0.08, eyes - 0.09), (eye + 0.08, eyes - 0.09)))
        add(skin, oval(turn * 2, eyes + 0.12, 0.055, 0.09), light=1.1)
        add(skin, limb(0.04, (turn * 1.5 - 0.1, eyes + 0.28), (turn * 1.5 + 0.1, eyes + 0.28)), light=0.5)
        if rng.random() < 0.15:
            add(dark, limb(0.13, (turn - 0.3, eyes), (turn + 0.3, eyes)))  # sunglasses
        if rng.random() < 0.15:
            add(hair, oval(turn, 0.32, 0.3, 0.2, 0, 180), light=0.9)  # beard
    # Hair and hats: seen from higher up, more of it
    crown = -0.26 + 0.1 * tilt
    kind = rng.random()
    if back:
        add(hair, oval(0, -0.05 + 0.03 * tilt, 0.43, 0.5), round_by=0.25)
    elif kind < 0.9:
        top_of_head = oval(-turn, crown, 0.41, 0.12 + 0.07 * tilt * tilt)
        add(hair, oval(-turn, -0.14, 0.43, 0.42, 180, 360), top_of_head, round_by=0.2)
    if kind > 0.9 or (kind < 0.06):
        add(accent, oval(0, -0.18, 0.45, 0.4, 180, 360), oval(0, -0.16, 0.45, 0.1), round_by=0.2)  # cap or beanie
        if rng.random() < 0.6:
            add(accent, oval(turn * 2, -0.14, 0.5, 0.1), light=0.8)
    elif kind < 0.12:
        add(accent, oval(0, -0.2, 0.78, 0.2 + 0.14 * tilt), light=0.9)  # sun hat
        add(accent, oval(0, -0.3, 0.4, 0.34), light=1.05)
    elif kind < 0.17:
        add(accent, oval(0, 0.0, 0.47, 0.56), shape_of((-0.45, 0.2), (0.45, 0.2), (0.7, 0.95), (-0.7, 0.95)))  # scarf
        if not back:
            add(skin, oval(turn, 0.06, 0.28, 0.34))
    sheet = sheet.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(sheet[:, :, :4]), np.ascontiguousarray(sheet[:, :, 4:])


# Light and photography ------------------------------------------------------------------------------------------------


def _shadows(rng: np.random.Generator, camera: Camera, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Darken the ground under and beside each person."""
    dark = np.zeros(image.shape[:2], np.uint8)
    long = rng.uniform(0.3, 2.6)
    for x, y in points:
        size, foot = camera.head(y), camera.foot(y)
        scenery.ellipse(dark, x + long * 0.6 * size, foot - 0.1 * size, (0.9 + long * 0.6) * size, 0.45 * size, 255)
    soft = cv2.GaussianBlur(dark, (0, 0), max(1.0, image.shape[0] / 300))
    return (image * (1 - soft[:, :, None] / 255 * np.float32(rng.uniform(0.25, 0.6)))).astype(np.uint8)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What a lens, a sensor and a JPEG file do to a picture: light, tint, blur, noise, blocks, sometimes grey."""
    height, width = image.shape[:2]
    yy, xx = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = rng.normal(1.1, 0.08) + rng.uniform(-0.12, 0.12) * xx + rng.uniform(-0.12, 0.12) * yy
    light -= rng.uniform(0, 0.16) * (xx**2 + yy**2)
    photo = image * light[:, :, None] * (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    photo = 255 * (photo.clip(0, 255) / 255) ** np.float32(np.exp(rng.normal(-0.08, 0.13)))
    if rng.random() < 0.08:
        photo = photo * np.float32(rng.uniform(0.5, 0.8))  # dusk
    if rng.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 1.1))
    grain = np.float32(rng.choice([1.5, 3.0, 6.0, 12.0], p=[0.5, 0.3, 0.15, 0.05]))
    photo += grain * rng.standard_normal(photo.shape, np.float32)
    photo = photo.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.08:
        photo = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.6:
        _, coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))])
        photo = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return photo

"""Rows of seats: classrooms, lecture halls, theatres and stands, seen from the front or from behind, high or low."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headcount.synthetic import rooms
from headcount.synthetic.bodies import Posture
from headcount.synthetic.chairs import ON_DESKS, Chair, choose_chair, choose_desk, coat
from headcount.synthetic.scenery import Color, Rng, pick, shade
from headcount.synthetic.stage import Stage
from headcount.synthetic.view import View, block

SEAT_HEAD = 1.2  # metres from the floor to the head of somebody who sits
MOST_SEATS = 700


@dataclass(frozen=True)
class Plan:
    """Where the seats of a hall are.

    Attributes:
        columns: float (S,), x of the seats of a row in metres.
        rows: float (R,), y of the rows at x = 0, from near to far.
        floors: float (R,), z of the floor at each row.
        bend: Metres by which a row bends towards the stage, per square metre.
        facing: The sitters face the camera.
        curve_turn: Radians by which a seat is turned, per metre from the middle.
    """

    columns: np.ndarray
    rows: np.ndarray
    floors: np.ndarray
    bend: float
    facing: bool

    @property
    def pitch(self) -> float:
        """Metres between rows."""
        return float(self.rows[1] - self.rows[0])

    @property
    def places(self) -> np.ndarray:
        """The middle of each seat on the floor, float (R,S,3), from near to far."""
        x, y = np.meshgrid(self.columns, self.rows)
        y = y + (-self.bend if self.facing else self.bend) * x**2
        return np.stack([x, y, np.broadcast_to(self.floors[:, None], x.shape)], axis=-1)

    @property
    def turns(self) -> np.ndarray:
        """Radians by which each seat is turned, float (R,S)."""
        turn = -np.arctan(2 * self.bend * self.columns) * (1 if self.facing else -1)
        return np.broadcast_to(turn + (0 if self.facing else np.pi), (len(self.rows), len(self.columns)))


def _columns(rng: Rng, seats: int, spacing: float) -> np.ndarray:
    """Return x of the seats of a row, in blocks between aisles."""
    blocks = int(rng.integers(1, 4))
    gaps = np.zeros(seats)
    gaps[[seats * i // blocks for i in range(1, blocks)]] = rng.uniform(0.6, 1.2)
    x = np.arange(seats) * spacing + np.cumsum(gaps)
    return x - x.mean()


def hall(rng: Rng, height: int, width: int) -> Stage:
    """A classroom, lecture hall or theatre: chairs in rows, desks in front of them or not.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    facing, chair = rng.random() < 0.6, choose_chair(rng)
    desks = rng.random() < 0.6
    count, pitch = int(rng.integers(4, 17)), rng.uniform(0.95, 1.25) if desks else rng.uniform(0.78, 1.0)
    rise = 0.0 if rng.random() < 0.4 else rng.uniform(0.08, 0.32)
    seats = min(int(rng.integers(6, 26)), MOST_SEATS // count)
    first = rng.uniform(2.2, 5) if facing else rng.uniform(1.2, 3)
    rows = first + pitch * np.arange(count)
    floors = rise * np.arange(count) * (1 if facing else -1)
    columns = _columns(rng, seats, chair.wide + rng.uniform(0.04, 0.25))
    plan = Plan(columns, rows, floors, 0.0 if rng.random() < 0.7 else rng.uniform(0.005, 0.03), facing)
    room = float(columns[-1] + rng.uniform(0.6, 2.5)), float(rows[-1] + rng.uniform(0.8, 4))
    tall = max(3.2, float(floors.max()) + 2.6) + rng.uniform(0, 1.5)
    eye = (rng.uniform(-0.9, 0.9) * room[0], 0.0, min(tall - 0.3, 1.5 + abs(rng.normal(0, 1.2))))
    aim = rng.uniform(0.25, 0.6)
    target = rng.normal(0, 0.15) * room[0], rows[-1] * aim, float(floors[int(aim * count)]) + rng.uniform(0.3, 1.1)
    view = View.toward(eye, target, width * float(np.exp(rng.uniform(-0.7, 0.15))), width, height)
    low, high = (-room[0], -1.0, min(0.0, float(floors.min()))), (room[0], room[1], tall)
    stage = Stage(view, rooms.paint_hall(rng, view, low, high, blackboard=not facing))
    if rise:
        _add_steps(stage, plan, room[0], pick(rng, rooms.FLOORS, 6))
    _add_chairs(rng, stage, plan, chair)
    if desks:
        _add_desks(rng, stage, plan, chair)
    _offer_seats(rng, stage, plan)
    if facing:
        for _ in range(int(rng.integers(0, 6))):  # a lecturer, or who comes and goes
            stage.offer(
                np.array((rng.uniform(-room[0], room[0]), rng.uniform(1.4, first - 0.5), 1.55)), Posture.STANDING
            )
    return stage


def stand(rng: Rng, height: int, width: int) -> Stage:
    """A stand of a stadium: bright plastic seats on concrete steps, often in curved rows.

    Args:
        rng: Chooses everything.
        height: Rows of the image.
        width: Columns of the image.
    """
    facing, color = rng.random() < 0.75, pick(rng, [(150, 150, 148), (120, 118, 114), (176, 172, 164)], 6)
    chairs = [choose_chair(rng, plastic=True) for _ in range(int(rng.choice([1, 1, 2, 3])))]
    count = int(rng.integers(6, 22))
    most = 60 if facing else 30
    seats, rise, pitch = min(int(rng.integers(12, most)), 2 * MOST_SEATS // count), rng.uniform(0.25, 0.5), 0.85
    first = float(np.exp(rng.uniform(np.log(5), np.log(35)))) if facing else rng.uniform(1.5, 4)
    rows = first + pitch * np.arange(count)
    floors = 1.0 + rise * np.arange(count) * (1 if facing else -1)
    plan = Plan(_columns(rng, seats, rng.uniform(0.48, 0.6)), rows, floors, rng.uniform(0, 0.012), facing)
    span, middle = plan.columns[-1] * 2, float(floors[count // 2])
    eye = (rng.uniform(-0.3, 0.3) * span, 0.0, middle + rng.uniform(-2, 5) if facing else 3 + rng.uniform(0, 3))
    target = rng.uniform(-0.25, 0.25) * span, float(rows[count // 2]), middle + 0.5
    reach = float(np.hypot(rows[count // 2], eye[2] - middle))
    focal = width * reach / min(span, rng.uniform(8, 30)) if facing else width * rng.uniform(0.5, 1.2)
    view = View.toward(eye, target, float(np.clip(focal, 0.5 * width, 4 * width)), width, height)
    stage = Stage(view, rooms.paint_outside(rng, view, float(floors.min()) - 1.0))
    _add_steps(stage, plan, float(span), color)
    for number, chair in enumerate(chairs):
        _add_chairs(rng, stage, plan, chair, number, len(chairs))
    _offer_seats(rng, stage, plan)
    return stage


def _add_steps(stage: Stage, plan: Plan, half: float, color: Color) -> None:
    """Add the step below each row, a piece for each few metres so that bent rows have bent steps."""
    xs = np.arange(-half, half, 1.5) + 0.75
    for y, z in zip(plan.rows, plan.floors, strict=True):
        shift = (-plan.bend if plan.facing else plan.bend) * xs**2
        places = np.stack([xs, y + shift, np.full_like(xs, z)], axis=-1)
        tread = block((-0.77, -0.45, -0.6), (0.77, plan.pitch, 0), shade(color, 0.8), color)
        stage.add(tread, places, nearer=-plan.pitch / 2)


def _add_chairs(rng: Rng, stage: Stage, plan: Plan, chair: Chair, number: int = 0, kinds: int = 1) -> None:
    """Add a chair at each seat, or every so many blocks of seats if there are several kinds."""
    places, turns = plan.places.reshape(-1, 3), plan.turns.ravel()
    if kinds > 1:
        s = np.arange(len(places))
        size = max(1, len(plan.columns) // 7)
        mine = ((s % len(plan.columns)) // size + s // len(plan.columns) // 3) % kinds == number
        places, turns = places[mine], turns[mine]
    loose = 0.0 if rng.random() < 0.5 else rng.uniform(0, 0.05)
    places = places + rng.normal(0, 1, places.shape) * (loose, loose, 0)
    nearer = -0.15 if plan.facing else 0.15
    stage.add(chair.model, places, turns + rng.normal(0, 3 * loose, len(turns)), nearer)
    coats = rng.random(len(places)) < (0.05 if rng.random() < 0.6 else 0.0)
    for place, turn in zip(places[coats], turns[coats], strict=True):
        stage.add(coat(rng), place, turn, nearer + 0.02)


def _add_desks(rng: Rng, stage: Stage, plan: Plan, chair: Chair) -> None:
    """Add a desk, or a part of a long one, in front of each seat, and things on some."""
    together = rng.random() < 0.7
    spacing = float(np.diff(plan.columns).min())
    desk = choose_desk(rng, spacing * (1.02 if together else 0.85), chair)
    places, turns = plan.places.reshape(-1, 3), plan.turns.ravel()
    nearer = 0.5 if plan.facing else -0.5
    stage.add(desk, places, turns, nearer)
    share = rng.uniform(0, 0.4)
    for make in ON_DESKS:
        some = rng.random(len(places)) < share / len(ON_DESKS)
        stage.add(make(rng), places[some], turns[some], nearer + (0.02 if plan.facing else -0.02))


def _offer_seats(rng: Rng, stage: Stage, plan: Plan) -> None:
    places = plan.places.reshape(-1, 3)
    heads = (
        places + rng.normal(0, 1, places.shape) * (0.05, 0.04, 0.05) + (0, -0.08 if plan.facing else 0.08, SEAT_HEAD)
    )
    stage.offer(heads, Posture.FACING if plan.facing else Posture.AWAY)

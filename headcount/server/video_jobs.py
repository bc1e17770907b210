"""Videos that are counted as jobs: what was asked and what was found lie in SQLite, so that a restart loses neither.

What is unusual: there is no queue beside the table. Every server process claims the oldest job that waits, or whose
process died, and goes on after its last row; a video on which three processes died is given up. The video itself is
deleted when its job ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from headcount.inference.result import CountResult
from headcount.io.files import single_line
from headcount.io.images import MediaError
from headcount.io.video import Every, file_frames, parse_every, probe
from headcount.regions.region import Region, parse_regions

log = logging.getLogger("headcount")
DATABASE, VIDEOS = "jobs.sqlite", "videos"
WAITING = 100  # jobs that may wait
HEARTBEAT, DEAD = 2.0, 15.0  # seconds between signs of life of a job; without one its process is taken for dead
POLL = 0.5  # seconds between looks for a job
STALE = 86_400.0  # seconds after which a file of no job is not an upload on its way any more
DEATHS = 3
ENDED = ("done", "failed", "cancelled")

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, number INTEGER, state TEXT NOT NULL, file TEXT NOT NULL, name TEXT NOT NULL,
    model TEXT NOT NULL, every TEXT NOT NULL, regions TEXT, created REAL NOT NULL, expected INTEGER, error TEXT,
    owner TEXT, beat REAL NOT NULL DEFAULT 0, starts INTEGER NOT NULL DEFAULT 0, ended REAL);
CREATE TABLE IF NOT EXISTS rows (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, row TEXT NOT NULL,
    PRIMARY KEY (job, number)) WITHOUT ROWID;
"""


class JobsError(ValueError):
    """The database cannot be used; one line."""


class Full(Exception):
    """Too many jobs wait."""


@dataclass(frozen=True)
class Job:
    """One video. state: waiting, running, done, failed or cancelled. file: its path here. name: what it was called.
    regions: the content of a regions file. frames: rows there are; expected: rows there will be, where that is known.
    error: why it failed, or what is missing though it is done."""

    id: str
    state: str
    file: str
    name: str
    model: str
    every: str
    regions: str | None
    expected: int | None
    error: str | None
    frames: int

    @property
    def progress(self) -> float | None:
        """0..1; None where the length is not known."""
        if self.state == "done":
            return 1.0
        return min(self.frames / self.expected, 0.99) if self.expected else None

    def to_dict(self, rows: list[dict]) -> dict[str, Any]:
        names = ("id", "state", "name", "model", "every", "frames", "error")
        progress = None if self.progress is None else round(self.progress, 4)
        return {**{name: getattr(self, name) for name in names}, "progress": progress, "rows": rows}


class Jobs:
    """The jobs in a folder, for the threads and processes of a server. keep_hours: that the rows of ended ones are
    kept. Raises JobsError."""

    def __init__(self, folder: str | Path, keep_hours: float = 24.0, dead: float = DEAD):
        self.folder, self.keep_hours, self.dead = Path(folder), keep_hours, dead
        self.owner = secrets.token_hex(8)  # not the process's number: containers that share a folder have the same ones
        try:
            (self.folder / VIDEOS).mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.folder / DATABASE).touch(mode=0o600)  # who knows a job's id may read and cancel it
            with contextlib.closing(self.connect()) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(SCHEMA)
                [damage] = database.execute("PRAGMA quick_check(1)").fetchone()
            if damage != "ok":
                raise sqlite3.DatabaseError("it is damaged")
        except (OSError, sqlite3.Error) as error:
            file = self.folder / DATABASE
            raise JobsError(f"{file}: cannot be used ({error}); move it away, or choose another --state") from None

    def connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.folder / DATABASE, timeout=20, isolation_level=None)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA synchronous = NORMAL")
        return database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done in it is done as a whole, and by nobody else at the same time."""
        with contextlib.closing(self.connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def new_file(self) -> Path:
        """Where an upload goes; its name is ours."""
        return self.folder / VIDEOS / secrets.token_hex(16)

    def add(self, file: Path, name: str, model: str, every: str, regions: str | None = None) -> Job:
        """A video that is to be counted. Raises Full, MediaError for a video that cannot be opened."""
        expected = probe(file).expected(parse_every(every))
        id = secrets.token_urlsafe(16)
        with self.transaction() as database:
            if database.execute("SELECT count(*) FROM jobs WHERE state = 'waiting'").fetchone()[0] >= WAITING:
                raise Full
            database.execute(
                "INSERT INTO jobs (id, number, state, file, name, model, every, regions, created, expected)"
                " VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM jobs), 'waiting', ?, ?, ?, ?, ?, ?, ?)",
                (id, str(file), name, model, every, regions, time.time(), expected),
            )
            return self.find(database, id)

    @staticmethod
    def find(database: sqlite3.Connection, id: str) -> Any:
        row = database.execute(
            "SELECT *, (SELECT count(*) FROM rows WHERE job = id) AS frames FROM jobs WHERE id = ?", (id,)
        ).fetchone()
        return None if row is None else Job(**{field.name: row[field.name] for field in fields(Job)})

    def get(self, id: str) -> Job | None:
        with contextlib.closing(self.connect()) as database:
            return self.find(database, id)

    def rows(self, id: str, since: int = 0) -> list[dict]:
        """What was found, from row number `since` on: CountResult.to_dict of each frame, less its path."""
        with contextlib.closing(self.connect()) as database:
            found = database.execute("SELECT row FROM rows WHERE job = ? AND number >= ? ORDER BY number", (id, since))
            return [json.loads(row["row"]) for row in found]

    def claim(self) -> Job | None:
        """The oldest job that waits or whose process died, now this process's own; None where there is none."""
        self.forget()
        with self.transaction() as database:
            row = database.execute(
                "SELECT id, starts FROM jobs WHERE state = 'waiting' OR (state = 'running' AND beat < ?)"
                " ORDER BY number LIMIT 1",
                (time.time() - self.dead,),
            ).fetchone()
            if row is None:
                return None
            if row["starts"] < DEATHS:
                database.execute(
                    "UPDATE jobs SET state = 'running', owner = ?, beat = ?, starts = starts + 1 WHERE id = ?",
                    (self.owner, time.time(), row["id"]),
                )
                return self.find(database, row["id"])
            self.end(database, row["id"], "failed", f"the server ended {DEATHS} times while it was counted")
        self.forget()
        return None

    def beat(self, id: str) -> bool:
        """A sign of life; whether the job is still this one's to count."""
        with self.transaction() as database:
            return self.touch(database, id)

    def append(self, id: str, number: int, row: dict) -> bool:
        """Keep what was found in a frame; whether the job is still this one's to count."""
        with self.transaction() as database:
            if mine := self.touch(database, id):
                database.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", (id, number, json.dumps(row)))
            return mine

    def touch(self, database: sqlite3.Connection, id: str) -> bool:
        changed = database.execute(
            "UPDATE jobs SET beat = ? WHERE id = ? AND state = 'running' AND owner = ?", (time.time(), id, self.owner)
        )
        return changed.rowcount == 1

    def leave(self, id: str) -> None:
        """Give a job back, to go on with after the next start."""
        with self.transaction() as database:
            database.execute(
                "UPDATE jobs SET state = 'waiting', starts = starts - 1"
                " WHERE id = ? AND state = 'running' AND owner = ?",
                (id, self.owner),
            )

    def finish(self, id: str, state: str, error: str | None = None) -> None:
        """End a job, unless another process, which took this one for dead, counts it now."""
        with self.transaction() as database:
            if self.touch(database, id):
                self.end(database, id, state, error)
        self.forget()

    def cancel(self, id: str) -> Job | None:
        """Stop a job; forget one that has ended. Returns it as it then is; None for no such job."""
        with self.transaction() as database:
            job = self.find(database, id)
            if job is None:
                return None
            if job.state in ENDED:
                database.execute("DELETE FROM jobs WHERE id = ?", (id,))
                return job
            self.end(database, id, "cancelled", None)
            job = self.find(database, id)
        self.forget()
        return job

    @staticmethod
    def end(database: sqlite3.Connection, id: str, state: str, error: str | None) -> None:
        database.execute(
            "UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ?", (state, error, time.time(), id)
        )

    def forget(self) -> None:
        """Videos of jobs that have ended, rows of those that did long ago, and uploads that a killed process was
        receiving. A video goes after its job's end is written: one that goes before may be missed by the next start."""
        now = time.time()
        with self.transaction() as database:
            jobs = database.execute("SELECT file, ended FROM jobs").fetchall()
            database.execute("DELETE FROM jobs WHERE ended < ?", (now - 3600 * self.keep_hours,))
        ended = {Path(job["file"]).name: job["ended"] is not None for job in jobs}
        for file in (self.folder / VIDEOS).glob("*"):
            with contextlib.suppress(OSError):
                if ended.get(file.name, file.stat().st_mtime < now - STALE):
                    file.unlink()


class Left(Exception):
    """The job in hand is not to be counted further here."""


@dataclass(frozen=True)
class Watched(Every):
    """How often a frame is wanted. `watch` is called at each frame, wanted or not: between two that are wanted there
    may be thousands to decode."""

    watch: Callable[[], None] = lambda: None

    def due(self, index: int, time: float) -> float:
        self.watch()
        return super().due(index, time)


class Runner:
    """A thread that counts jobs, one at a time. count(image uint8 (H,W,3), regions, model) -> CountResult.
    max_seconds: where a video is left that goes on for longer than it announced, or announced nothing."""

    def __init__(
        self,
        jobs: Jobs,
        count: Callable[[np.ndarray, tuple[Region, ...], str], CountResult],
        max_seconds: float = math.inf,
    ):
        self.jobs, self.count, self.max_seconds = jobs, count, max_seconds
        self.job: Job | None = None  # that is being counted
        self.lost: str | None = None  # the job that was cancelled, or that another process took
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, name="videos", daemon=True)
        self.pulse = threading.Thread(target=self.keep_alive, name="pulse", daemon=True)

    @property
    def alive(self) -> bool:
        return self.thread.is_alive() and not self.stopping.is_set()

    def start(self) -> None:
        self.thread.start()
        self.pulse.start()

    def keep_alive(self) -> None:
        while not self.stopping.wait(HEARTBEAT):
            if job := self.job:
                with contextlib.suppress(sqlite3.Error):
                    if not self.jobs.beat(job.id):
                        self.lost = job.id

    def watch(self) -> None:
        if self.stopping.is_set() or (self.job and self.job.id == self.lost):
            raise Left

    def stop(self) -> None:
        """Finish the frame, and leave the rest of the video to the next start."""
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()

    def work(self) -> None:
        while not self.stopping.is_set():
            try:
                self.job, self.lost = self.jobs.claim(), None
                if self.job:
                    self.run(self.job)
                else:
                    self.stopping.wait(POLL)
            except (sqlite3.Error, OSError) as error:  # a full disk, say: the job is claimed again when it can be
                log.error("video jobs: %s", error)
                job, self.job = self.job, None
                with contextlib.suppress(sqlite3.Error):
                    if job:
                        self.jobs.leave(job.id)
                self.stopping.wait(POLL * 10)

    def run(self, job: Job) -> None:
        error: str | None = None
        number = 0
        try:
            regions = parse_regions(job.regions.encode()) if job.regions else []
            every = parse_every(job.every)
            watched = Watched(every.frames, every.seconds, self.watch)
            with contextlib.closing(file_frames(job.file, watched)) as frames:
                for number, frame in enumerate(frames, 1):
                    if frame.time > self.max_seconds:
                        error = f"{job.name}: goes on after {self.max_seconds:g} seconds, this server's limit; cut it"
                        break
                    if number <= job.frames:  # was counted before
                        continue
                    if not self.jobs.append(job.id, number - 1, self.row(frame, tuple(regions), job.model)):
                        return  # cancelled
        except Left:
            self.jobs.leave(job.id)
            return
        except MediaError as problem:  # cut short: what there is stands
            error = str(problem).replace(job.file, job.name)
        except sqlite3.Error:  # of ours, not of the video
            raise
        except Exception as problem:
            log.exception("video job")
            error, number = f"cannot be counted ({single_line(problem)})", 0
        self.jobs.finish(job.id, "done" if number else "failed", error)

    def row(self, frame: Any, regions: tuple[Region, ...], model: str) -> dict:
        result = replace(self.count(frame.image, regions, model), time=frame.time)
        row = result.to_dict()
        return {name: row[name] for name in ("time", "count", "low", "high", "warning", "regions") if name in row}

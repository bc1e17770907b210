"""Video jobs and their results in SQLite, so that a restart loses neither.

The table is the queue. Each server process claims the oldest job that waits, or whose process died, and resumes after
its last row. A job whose process died MAX_STARTS times fails. The uploaded video is deleted when its job ends.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from headcount.inference.result import Row
from headcount.io.frames import parse_every
from headcount.io.video import probe
from headcount.server.types import JsonObject

DATABASE, VIDEOS = "jobs.sqlite", "videos"
MAX_WAITING = 100  # jobs
LEASE_SECONDS = 15.0  # without a heartbeat after which a job's process is taken for dead
ABANDONED_SECONDS = 86_400.0  # age after which a file without a job is no upload in progress
MAX_STARTS = 3
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


class JobStoreError(ValueError):
    """The database cannot be used; the message is one line."""


class TooManyJobsError(Exception):
    """MAX_WAITING jobs wait already."""

    def __init__(self) -> None:
        super().__init__("busy: too many videos are waiting; try again")


@dataclass(frozen=True)
class VideoJob:
    """One video to count.

    Attributes:
        id: random; whoever knows it may read and cancel the job.
        state: waiting, running, done, failed or cancelled.
        file: path of the video on this machine.
        name: the file name that the client gave.
        model: name of the model.
        every: which frames to count, as in `parse_every`.
        regions: content of a regions file, or None.
        expected: rows that there will be; None if the video's length is unknown.
        error: why the job failed, or why rows are missing although it is done.
        frames: rows that there are.
    """

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
        """0..1; None if the video's length is unknown."""
        if self.state == "done":
            return 1.0
        return min(self.frames / self.expected, 0.99) if self.expected else None

    def to_dict(self, rows: list[Row]) -> JsonObject:
        """The job as the API describes it, with these rows; the path of the video stays private."""
        names = ("id", "state", "name", "model", "every", "frames", "error")
        progress = None if self.progress is None else round(self.progress, 4)
        return {**{name: getattr(self, name) for name in names}, "progress": progress, "rows": rows}


class Database:
    """The SQLite file. Each use opens its own connection, so that threads and processes share none.

    Raises:
        JobStoreError: the file is damaged or cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            path.touch(mode=0o600)  # whoever reads a job's id may read and cancel the job
            with self.connection() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
                [damage] = connection.execute("PRAGMA quick_check(1)").fetchone()
            if damage != "ok":
                raise sqlite3.DatabaseError("it is damaged")
        except (OSError, sqlite3.Error) as error:
            raise JobStoreError(
                f"{path}: cannot be used ({error}); move it away, or choose another folder with --state"
            ) from None

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes inside it happen together or not at all, and no other process changes anything meanwhile."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


class JobStore:
    """The jobs in a folder, shared by the threads and processes of a server.

    Args:
        folder: for the database and the videos.
        keep_hours: how long rows are kept after their job ended.
        lease_seconds: how long a job stays with its process without a heartbeat.

    Raises:
        JobStoreError: the folder or its database cannot be used.
    """

    def __init__(self, folder: str | Path, keep_hours: float = 24.0, lease_seconds: float = LEASE_SECONDS):
        self.folder, self.keep_hours, self.lease_seconds = Path(folder), keep_hours, lease_seconds
        self.owner = secrets.token_hex(8)  # not the process id: containers that share a folder have the same ones
        self.videos = self.folder / VIDEOS
        try:
            self.videos.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise JobStoreError(f"{self.videos}: cannot be made ({error}); choose another --state") from None
        self.database = Database(self.folder / DATABASE)

    def new_file(self) -> Path:
        """A path for an upload. The client's file name is not part of it."""
        return self.videos / secrets.token_hex(16)

    def add(self, file: Path, name: str, model: str, every: str, regions: str | None = None) -> VideoJob:
        """Queue a video.

        Raises:
            TooManyJobsError: too many jobs wait already.
            MediaError: the video cannot be opened.
        """
        expected = probe(file, untrusted=True).expected(parse_every(every))
        id = secrets.token_urlsafe(16)
        with self.database.transaction() as connection:
            [waiting] = connection.execute("SELECT count(*) FROM jobs WHERE state = 'waiting'").fetchone()
            if waiting >= MAX_WAITING:
                raise TooManyJobsError
            connection.execute(
                "INSERT INTO jobs (id, number, state, file, name, model, every, regions, created, expected)"
                " VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM jobs), 'waiting', ?, ?, ?, ?, ?, ?, ?)",
                (id, str(file), name, model, every, regions, time.time(), expected),
            )
            return known_job(connection, id)

    def get(self, id: str) -> VideoJob | None:
        with self.database.connection() as connection:
            return find_job(connection, id)

    def rows(self, id: str, since: int = 0) -> list[Row]:
        """The counted frames from row number `since` on."""
        with self.database.connection() as connection:
            found = connection.execute(
                "SELECT row FROM rows WHERE job = ? AND number >= ? ORDER BY number", (id, since)
            )
            return [json.loads(row["row"]) for row in found]

    def claim(self) -> VideoJob | None:
        """Take the oldest job that waits or whose process died; None if there is none."""
        self.clean_up()
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT id, starts FROM jobs WHERE state = 'waiting'"
                " OR (state = 'running' AND beat NOT BETWEEN ? AND ?) ORDER BY number LIMIT 1",
                (time.monotonic() - self.lease_seconds, time.monotonic()),
            ).fetchone()
            if row is None:
                return None
            if row["starts"] < MAX_STARTS:
                connection.execute(
                    "UPDATE jobs SET state = 'running', owner = ?, beat = ?, starts = starts + 1 WHERE id = ?",
                    (self.owner, time.monotonic(), row["id"]),
                )
                return known_job(connection, row["id"])
            end_job(connection, row["id"], "failed", f"the server died {MAX_STARTS} times at one place of this video")
        self.clean_up()
        return None

    def heartbeat(self, id: str) -> bool:
        """Extend this process's lease; False if the job is no longer its own."""
        with self.database.transaction() as connection:
            return self.extend_lease(connection, id)

    def append(self, id: str, number: int, row: Row) -> bool:
        """Keep the row of a frame; False if the job is no longer this process's own."""
        with self.database.transaction() as connection:
            owned = self.extend_lease(connection, id)
            if owned:
                connection.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", (id, number, json.dumps(row)))
                connection.execute("UPDATE jobs SET starts = 1 WHERE id = ?", (id,))  # it makes progress
            return owned

    def extend_lease(self, connection: sqlite3.Connection, id: str) -> bool:
        changed = connection.execute(
            "UPDATE jobs SET beat = ? WHERE id = ? AND state = 'running' AND owner = ?",
            (time.monotonic(), id, self.owner),
        )
        return changed.rowcount == 1

    def release(self, id: str) -> None:
        """Give a job back, for any process to resume."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'waiting', starts = starts - 1"
                " WHERE id = ? AND state = 'running' AND owner = ?",
                (id, self.owner),
            )

    def finish(self, id: str, state: str, error: str | None = None) -> None:
        """End a job, unless another process has taken it over."""
        with self.database.transaction() as connection:
            if self.extend_lease(connection, id):
                end_job(connection, id, state, error)
        self.clean_up()

    def cancel(self, id: str) -> VideoJob | None:
        """Stop a job, or delete one that has ended. Returns its last state; None if there is no such job."""
        with self.database.transaction() as connection:
            job = find_job(connection, id)
            if job is None:
                return None
            if job.state in ENDED:
                connection.execute("DELETE FROM jobs WHERE id = ?", (id,))
                return job
            end_job(connection, id, "cancelled")
            job = known_job(connection, id)
        self.clean_up()
        return job

    def clean_up(self) -> None:
        """Delete videos of ended jobs, rows kept for long enough, and uploads that a killed process left behind.

        A video is deleted after its job's end is committed, so that a kill in between costs nothing.
        """
        now = time.time()
        with self.database.transaction() as connection:
            jobs = connection.execute("SELECT file, ended FROM jobs").fetchall()
            connection.execute("DELETE FROM jobs WHERE ended < ?", (now - 3600 * self.keep_hours,))
        ended = {Path(job["file"]).name: job["ended"] is not None for job in jobs}
        for file in self.videos.glob("*"):
            with contextlib.suppress(OSError):
                abandoned = file.stat().st_mtime < now - ABANDONED_SECONDS
                if ended.get(file.name, abandoned):
                    file.unlink()


def find_job(connection: sqlite3.Connection, id: str) -> VideoJob | None:
    row = connection.execute(
        "SELECT *, (SELECT count(*) FROM rows WHERE job = id) AS frames FROM jobs WHERE id = ?", (id,)
    ).fetchone()
    return None if row is None else VideoJob(**{field.name: row[field.name] for field in fields(VideoJob)})


def known_job(connection: sqlite3.Connection, id: str) -> VideoJob:
    """A job that this transaction has just written."""
    job = find_job(connection, id)
    assert job is not None
    return job


def end_job(connection: sqlite3.Connection, id: str, state: str, error: str | None = None) -> None:
    connection.execute("UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ?", (state, error, time.time(), id))

"""The thread of a server process that counts video jobs, one at a time."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headcount.inference.result import CountResult, Row
from headcount.inference.scale import VideoScale
from headcount.io.files import single_line
from headcount.io.frames import Frame, parse_every
from headcount.io.images import MediaError
from headcount.io.video_stream import file_frames
from headcount.regions.region import Region, parse_regions
from headcount.server.job_store import JobStore, VideoJob

log = logging.getLogger("headcount")
# A frame, uint8 (H,W,3), its regions, the name of the model, and the scale as in `Counter.count`.
CountFrame = Callable[[np.ndarray, tuple[Region, ...], str, float | None], CountResult]
HEARTBEAT_SECONDS = 2.0
POLL_SECONDS = 0.5  # between looks for a job
RETRY_SECONDS = 5.0  # after trouble with the database
ROW_FIELDS = ("time", "count", "low", "high", "scale", "warning", "regions")


class JobCancelled(Exception):
    """This process must stop counting its current job."""


class JobRunner:
    """Counts the jobs of a store until it is stopped.

    Args:
        store: where the jobs are.
        count_frame: counts one frame.
        max_seconds: where to stop in a video that lasts longer than it announced, or announced nothing.

    Attributes:
        job: the job that is being counted, or None.
        lost_id: the id of a job that was cancelled or taken over while it was counted here.
    """

    def __init__(self, store: JobStore, count_frame: CountFrame, max_seconds: float = math.inf):
        self.store, self.count_frame, self.max_seconds = store, count_frame, max_seconds
        self.job: VideoJob | None = None
        self.lost_id: str | None = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run_until_stopped, name="videos", daemon=True)
        self.heartbeat_thread = threading.Thread(target=self.send_heartbeats, name="heartbeat", daemon=True)

    @property
    def alive(self) -> bool:
        return self.thread.is_alive() and not self.stopping.is_set()

    def start(self) -> None:
        self.thread.start()
        self.heartbeat_thread.start()

    def stop(self) -> None:
        """Finish the current frame, and leave the rest of the video to the next start."""
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()

    def send_heartbeats(self) -> None:
        while not self.stopping.wait(HEARTBEAT_SECONDS):
            if job := self.job:
                with contextlib.suppress(sqlite3.Error):
                    if not self.store.heartbeat(job.id):
                        self.lost_id = job.id

    def check_cancelled(self) -> None:
        """Raises JobCancelled when the runner stops, or the job is no longer its own."""
        if self.stopping.is_set() or (self.job and self.job.id == self.lost_id):
            raise JobCancelled

    def run_until_stopped(self) -> None:
        while not self.stopping.is_set():
            try:
                self.job, self.lost_id = self.store.claim(), None
                if self.job:
                    self.run(self.job)
                else:
                    self.stopping.wait(POLL_SECONDS)
            except (sqlite3.Error, OSError) as error:  # a full disk, for example: the job is claimed again later
                log.error("cannot use the video jobs: %s", error)
                self.release_job()
                self.stopping.wait(RETRY_SECONDS)

    def release_job(self) -> None:
        job, self.job = self.job, None
        if job:
            with contextlib.suppress(sqlite3.Error):
                self.store.release(job.id)

    def run(self, job: VideoJob) -> None:
        """Count the frames of a job that have no row yet, and record how it ended."""
        try:
            frames, error = self.count_frames(job)
        except JobCancelled:
            self.store.release(job.id)
        except sqlite3.Error:  # the database's trouble is not the video's fault
            raise
        except Exception as problem:
            log.exception("cannot count a video")
            self.store.finish(job.id, "failed", f"cannot be counted ({single_line(problem)})")
        else:
            self.store.finish(job.id, "done" if frames else "failed", error)

    def count_frames(self, job: VideoJob) -> tuple[int, str | None]:
        """Count the frames that have no row yet.

        Returns:
            How many frames there are, and why there are not more, if the video was cut short.

        Raises:
            JobCancelled: this process must stop counting the job.
        """
        regions = tuple(parse_regions(job.regions.encode())) if job.regions else ()
        video, number = self.video_scale(job), 0
        try:
            every = parse_every(job.every)
            frames = file_frames(job.file, every, untrusted=True, on_packet=self.check_cancelled)
            with contextlib.closing(frames):
                for number, frame in enumerate(frames, 1):
                    self.check_cancelled()
                    if frame.time > self.max_seconds:
                        limit = f"this server's limit of {self.max_seconds:g} seconds"
                        return number, f"{job.name}: lasts longer than {limit}; shorten it"
                    if number > job.frames:  # the others were counted before a restart
                        row = self.count_row(frame, regions, job.model, video)
                        if not self.store.append(job.id, number - 1, row):
                            raise JobCancelled
        except MediaError as error:  # the video is cut short; the rows until there are kept
            return number, str(error).replace(job.file, job.name)
        return number, None

    def video_scale(self, job: VideoJob) -> VideoScale:
        """The scale that the frames before a restart were counted at."""
        video = VideoScale(None)
        for row in self.store.rows(job.id):
            video.observe(row["count"], row.get("scale", 1.0))
        return video

    def count_row(self, frame: Frame, regions: tuple[Region, ...], model: str, video: VideoScale) -> Row:
        result = replace(self.count_frame(frame.image, regions, model, video.scale), time=frame.time)
        video.observe(result.count, result.scale)
        row = result.to_dict()
        return {name: row[name] for name in ROW_FIELDS if name in row}

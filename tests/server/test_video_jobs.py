"""Video jobs in a real database, counted by real processes, some of which are killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from helpers.frames import count_brightness

from headcount.io.images import MediaError
from headcount.io.video import probe
from headcount.io.video_writer import write_video
from headcount.server import job_runner, job_store
from headcount.server.job_runner import JobRunner
from headcount.server.job_store import JobStore, JobStoreError, TooManyJobsError, end_job
from headcount.server.video_checks import VideoRejectedError, check_container, check_video

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Twelve frames, half a second apart, each brighter than the one before."""
    path = tmp_path_factory.mktemp("clip") / "clip.webm"
    write_video(path, [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(FRAMES)], 2)
    return path


def added(jobs, clip, name="clip.webm", regions=None):
    file = jobs.new_file()
    file.write_bytes(clip.read_bytes())
    return jobs.add(file, name, "m", "1f", regions)


def wait_for(jobs, id, *states):
    for _ in range(1000):
        if (job := jobs.get(id)).state in states:
            return job
        time.sleep(0.01)
    raise AssertionError(job)


@pytest.fixture
def running(tmp_path):
    """Starts runners of a store, and stops them after the test."""
    started = []

    def start(jobs, count=count_brightness, **limits):
        runner = JobRunner(jobs, count, **limits)
        started.append(runner)
        runner.start()
        return runner

    yield start
    for runner in started:
        runner.stop()


def test_a_job_is_counted_and_its_video_is_deleted(tmp_path, clip, running):
    jobs = JobStore(tmp_path)
    zone = {"regions": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1]], "units": "fractions"}]}
    waiting = added(jobs, clip, regions=json.dumps(zone))
    assert (waiting.state, waiting.frames, waiting.expected, waiting.progress) == ("waiting", 0, FRAMES, 0)
    seen = set()

    def count(frame, regions, model, scale):
        seen.add((regions[0].name, model))
        return count_brightness(frame)

    running(jobs, count)
    job = wait_for(jobs, waiting.id, "done")
    rows = jobs.rows(job.id)
    assert [row["time"] for row in rows] == pytest.approx([i / 2 for i in range(FRAMES)], abs=0.01)
    assert [row["count"] for row in rows] == pytest.approx([2 * i for i in range(FRAMES)], abs=0.6)
    assert seen == {("all", "m")} and job.progress == 1 and job.error is None
    assert jobs.rows(job.id, since=10) == rows[10:]
    assert not Path(job.file).exists()
    assert "file" not in job.to_dict(rows)  # the server's paths stay private


def test_a_video_keeps_its_scale_over_a_restart(tmp_path, clip, running):
    jobs, scales = JobStore(tmp_path), []

    def count(frame, regions, model, scale):
        time.sleep(0.02)
        scales.append(scale)
        return replace(count_brightness(frame), count=50.0, scale=0.5 if scale is None else scale)

    first, job = running(jobs, count), added(jobs, clip)
    wait_for_rows(jobs, job.id, 3)
    first.stop()
    running(JobStore(tmp_path), count)
    wait_for(jobs, job.id, "done")
    assert {row["scale"] for row in jobs.rows(job.id)} == {0.5}
    assert scales[0] is None and set(scales[1:]) == {0.5}


def slow_count(frame, regions, model, scale):
    time.sleep(0.05)
    return count_brightness(frame)


def wait_for_rows(jobs, id, number):
    while len(jobs.rows(id)) < number:
        time.sleep(0.01)


def test_a_cancelled_job_stops_and_is_deleted_when_cancelled_again(tmp_path, clip, running):
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    runner = running(jobs, slow_count)
    wait_for_rows(jobs, job.id, 1)
    assert jobs.cancel(job.id).state == "cancelled" and not Path(job.file).exists()
    while runner.job:
        time.sleep(0.01)
    assert 0 < len(jobs.rows(job.id)) < FRAMES and jobs.get(job.id).state == "cancelled"
    assert jobs.cancel(job.id).state == "cancelled" and jobs.get(job.id) is None and not jobs.rows(job.id)
    assert jobs.cancel("none") is None


def test_a_server_that_stops_leaves_the_job_to_the_next(tmp_path, clip, running):
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    first = running(jobs, slow_count)
    wait_for_rows(jobs, job.id, 3)
    first.stop()
    assert jobs.get(job.id).state == "waiting" and 3 <= jobs.get(job.id).frames < FRAMES
    counted = []

    def count(frame, regions, model, scale):
        counted.append(model)
        return count_brightness(frame)

    running(JobStore(tmp_path), count)
    wait_for(jobs, job.id, "done")
    assert len(jobs.rows(job.id)) == FRAMES and len(counted) <= FRAMES - 3


SERVER = """
import sys, time
sys.path[:0] = {paths}
from helpers.frames import count_brightness
from headcount.server.job_runner import JobRunner
from headcount.server.job_store import JobStore
def slow_count(frame, regions, model, scale):
    time.sleep({pause})
    return count_brightness(frame)
runner = JobRunner(JobStore({folder!r}, lease_seconds=0.5), slow_count)
runner.start()
runner.thread.join()
"""
PATHS = [str(Path(__file__).parents[1]), str(Path(job_store.__file__).parents[2])]  # of the helpers, and of headcount


def server(folder, pause=0.0):
    program = SERVER.format(paths=PATHS, folder=str(folder), pause=pause)
    return subprocess.Popen([sys.executable, "-c", program])


def test_a_killed_server_loses_no_job(tmp_path, clip):
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    first = server(tmp_path, 0.1)
    wait_for_rows(jobs, job.id, 4)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert jobs.get(job.id).state == "running"  # nothing has recorded the death yet
    with sqlite3.connect(tmp_path / job_store.DATABASE) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    second = server(tmp_path)
    try:
        wait_for(jobs, job.id, "done")
    finally:
        second.kill()
        second.wait()
    rows = jobs.rows(job.id)
    assert [row["time"] for row in rows] == pytest.approx([i / 2 for i in range(FRAMES)], abs=0.01)
    assert [row["count"] for row in rows] == pytest.approx([2 * i for i in range(FRAMES)], abs=0.6)


def test_a_video_that_makes_progress_survives_any_number_of_kills(tmp_path, clip):
    """Whatever kills the server, other people's videos included, is not this video's fault."""
    jobs = JobStore(tmp_path, lease_seconds=0)
    job = added(jobs, clip)
    for number in range(2 * job_store.MAX_STARTS):
        assert jobs.claim().id == job.id and jobs.append(job.id, number, {"count": 1})
        time.sleep(0.01)
    assert jobs.get(job.id).state == "running" and len(jobs.rows(job.id)) == 2 * job_store.MAX_STARTS


def test_a_clock_that_is_set_takes_no_job_from_its_process(tmp_path, clip, monkeypatch):
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    assert jobs.claim().id == job.id
    tomorrow = time.time() + 90_000
    monkeypatch.setattr("time.time", lambda: tomorrow)
    assert JobStore(tmp_path).claim() is None and jobs.heartbeat(job.id)


def test_a_video_that_kills_the_server_fails(tmp_path, clip):
    jobs = JobStore(tmp_path, lease_seconds=0)
    job = added(jobs, clip)
    for _ in range(job_store.MAX_STARTS):
        assert jobs.claim().id == job.id  # and whoever claimed it sends no heartbeat
        time.sleep(0.01)
    assert jobs.claim() is None
    assert jobs.get(job.id).state == "failed" and "died 3 times" in jobs.get(job.id).error
    assert not Path(job.file).exists()


def test_no_job_is_claimed_twice(tmp_path, clip):
    stores = [JobStore(tmp_path) for _ in range(4)]
    ids = {added(stores[0], clip).id for _ in range(12)}
    claimed = []

    def claim(jobs):
        while (job := jobs.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=claim, args=(jobs,)) for jobs in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 12 and set(claimed) == ids


def test_a_truncated_video_keeps_the_rows_before_the_cut(tmp_path, clip, running):
    jobs = JobStore(tmp_path)
    whole = clip.read_bytes()
    file = jobs.new_file()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    job = jobs.add(file, "my clip.webm", "m", "1f")
    running(jobs)
    job = wait_for(jobs, job.id, "done", "failed")
    assert job.state == "done" and 0 < job.frames < FRAMES
    assert job.error.startswith("my clip.webm") and str(tmp_path) not in job.error


def test_a_video_that_cannot_be_counted_fails_and_the_next_is_counted(tmp_path, clip, running):
    jobs = JobStore(tmp_path)
    first, second = added(jobs, clip), added(jobs, clip)

    def fails_once(image, regions, model, scale):
        if not jobs.get(first.id).error and jobs.get(first.id).state == "running":
            raise RuntimeError("no memory")
        return count_brightness(image)

    running(jobs, fails_once)
    assert wait_for(jobs, first.id, "failed").error == "cannot be counted (no memory)"
    assert wait_for(jobs, second.id, "done").frames == FRAMES


def test_a_database_error_fails_no_video(tmp_path, clip, running, monkeypatch):
    monkeypatch.setattr(job_runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(job_runner, "RETRY_SECONDS", 0.05)
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    append, calls = jobs.append, []

    def full_disk_once(*row):
        calls.append(row)
        if len(calls) == 4:
            raise sqlite3.OperationalError("database or disk is full")
        return append(*row)

    monkeypatch.setattr(jobs, "append", full_disk_once)
    running(jobs)
    done = wait_for(jobs, job.id, "done", "failed")
    assert (done.state, done.error, done.frames, len(calls)) == ("done", None, FRAMES, FRAMES + 1)


def test_errors_do_not_stop_a_runner(tmp_path, clip, running, monkeypatch):
    monkeypatch.setattr(job_runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(job_runner, "RETRY_SECONDS", 0.05)
    jobs = JobStore(tmp_path)
    (tmp_path / job_store.VIDEOS).rmdir()  # somebody deletes the empty folder
    runner = running(jobs)
    time.sleep(0.1)
    (tmp_path / job_store.VIDEOS).mkdir()
    bad, good = added(jobs, clip, regions="{"), added(jobs, clip)
    assert "not JSON" in wait_for(jobs, bad.id, "failed").error
    wait_for(jobs, good.id, "done")
    assert runner.alive


def test_a_process_that_was_taken_for_dead_changes_nothing(tmp_path, clip):
    late, now = JobStore(tmp_path), JobStore(tmp_path, lease_seconds=0)
    job = added(late, clip)
    late.claim()
    time.sleep(0.01)
    assert now.claim().id == job.id
    assert not late.append(job.id, 0, {"count": 1}) and not late.heartbeat(job.id)
    late.finish(job.id, "failed", "reported by the late process")
    late.release(job.id)
    assert now.get(job.id).state == "running" and Path(job.file).exists() and now.append(job.id, 0, {"count": 2})
    now.finish(job.id, "done")
    assert late.get(job.id).state == "done" and late.rows(job.id) == [{"count": 2}] and not Path(job.file).exists()


def test_a_kill_while_a_job_ends_neither_loses_nor_keeps_the_video(tmp_path, clip):
    jobs = JobStore(tmp_path, lease_seconds=0)
    job = added(jobs, clip)
    jobs.claim()
    with pytest.raises(KeyboardInterrupt), jobs.database.transaction() as database:
        end_job(database, job.id, "done")
        raise KeyboardInterrupt  # before the commit
    time.sleep(0.01)
    assert Path(job.file).exists() and jobs.claim().id == job.id
    with jobs.database.transaction() as database:
        end_job(database, job.id, "done")
    jobs.claim()  # as after a kill between commit and deletion
    assert not Path(job.file).exists()


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_stopping_does_not_wait_for_the_next_wanted_frame(tmp_path, running, monkeypatch, how):
    """A second wanted frame never comes, and reading the rest of the video takes 20 seconds."""
    monkeypatch.setattr(job_runner, "HEARTBEAT_SECONDS", 0.05)
    check_cancelled = JobRunner.check_cancelled

    def check_slowly(runner):
        time.sleep(0.01)
        check_cancelled(runner)

    monkeypatch.setattr(JobRunner, "check_cancelled", check_slowly)
    write_video(tmp_path / "long.webm", [np.zeros((16, 16, 3), np.uint8)] * 2000, 25)
    jobs = JobStore(tmp_path / "state")
    file = jobs.new_file()
    (tmp_path / "long.webm").rename(file)
    job = jobs.add(file, "long.webm", "m", "60m")
    runner = running(jobs)
    wait_for_rows(jobs, job.id, 1)
    began = time.monotonic()
    if how == "stop":
        runner.stop()
        assert jobs.get(job.id).state == "waiting"
    else:
        jobs.cancel(job.id)
        while runner.job:
            time.sleep(0.01)
    assert time.monotonic() - began < 10


def test_a_video_of_unannounced_length_ends_at_the_limit(tmp_path, running):
    path = tmp_path / "live.mkv"
    with av.open(str(path), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(FRAMES):
            image = np.full((48, 64, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    check_video(path, 3, 1e8)  # it announces no length
    jobs = JobStore(tmp_path / "state")
    file = jobs.new_file()
    path.rename(file)
    job = jobs.add(file, "live.mkv", "m", "1f")
    runner = running(jobs, max_seconds=3)
    ended = wait_for(jobs, job.id, "done", "failed")
    assert (
        ended.state == "done"
        and ended.error == "live.mkv: lasts longer than this server's limit of 3 seconds; shorten it"
    )
    assert [row["time"] for row in jobs.rows(job.id)] == pytest.approx([i / 2 for i in range(7)], abs=0.01)
    assert job.expected is None and runner.alive


def test_old_rows_and_abandoned_uploads_are_deleted(tmp_path, clip):
    jobs = JobStore(tmp_path, keep_hours=0)
    job = added(jobs, clip)
    jobs.claim()
    jobs.finish(job.id, "done")
    lost, coming = jobs.new_file(), jobs.new_file()
    lost.write_bytes(b"part of a video")
    coming.write_bytes(b"part of a video")
    os.utime(lost, (0, 0))
    time.sleep(0.01)
    assert jobs.claim() is None
    assert jobs.get(job.id) is None and not lost.exists() and coming.exists()


def test_the_number_of_waiting_jobs_is_limited(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(job_store, "MAX_WAITING", 2)
    jobs = JobStore(tmp_path)
    added(jobs, clip)
    added(jobs, clip)
    with pytest.raises(TooManyJobsError):
        added(jobs, clip)


def test_a_file_that_is_no_database_is_reported_and_kept(tmp_path):
    (tmp_path / job_store.DATABASE).write_bytes(b"a text file that somebody put here" * 100)
    with pytest.raises(JobStoreError, match="cannot be used .* move it away") as error:
        JobStore(tmp_path)
    assert "\n" not in str(error.value) and (tmp_path / job_store.DATABASE).read_bytes().startswith(b"a text")


def test_a_damaged_database_is_reported_at_the_start(tmp_path, clip):
    jobs = JobStore(tmp_path)
    job = added(jobs, clip)
    with jobs.database.transaction() as database:
        database.executemany("INSERT INTO rows VALUES (?, ?, ?)", [(job.id, i, "x" * 200) for i in range(300)])
    file = tmp_path / job_store.DATABASE
    assert file.stat().st_mode & 0o077 == 0
    data = bytearray(file.read_bytes())
    data[5 * 4096 :] = bytes(7 for _ in data[5 * 4096 :])
    file.write_bytes(data)
    with pytest.raises(JobStoreError, match="move it away") as error:
        JobStore(tmp_path)
    assert "\n" not in str(error.value) and file.read_bytes() == data


CLAIMS = """
import sys
sys.path[:0] = {paths}
from headcount.server.job_store import JobStore
jobs = JobStore({folder!r})
print("ready", flush=True)
sys.stdin.readline()
while (job := jobs.claim()) is not None:
    print(job.id)
"""


def test_processes_never_claim_the_same_job(tmp_path, clip):
    ids = [added(JobStore(tmp_path), clip).id for _ in range(40)]
    program = CLAIMS.format(paths=PATHS, folder=str(tmp_path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    servers = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(2)]
    assert [server.stdout.readline() for server in servers] == ["ready\n"] * 2
    for server in servers:  # both at the same time
        server.stdin.write("go\n")
        server.stdin.flush()
    claimed = [server.communicate()[0].split() for server in servers]
    assert sorted(sum(claimed, [])) == sorted(ids) and all(claimed)


# What FFmpeg may open


def check(path, seconds=3600, pixels=1e8):
    check_video(path, seconds, pixels)


def test_videos_are_accepted_and_other_files_are_not(tmp_path, clip):
    check(clip)
    for suffix, codec in ((".avi", "MJPG"), (".mp4", "mp4v")):
        writer = cv2.VideoWriter(str(tmp_path / f"v{suffix}"), cv2.VideoWriter_fourcc(*codec), 5, (64, 48))
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
        check(tmp_path / f"v{suffix}")
    for number, content in enumerate((b"", b"G", b"#EXTM3U\n", b"ffconcat version 1.0\n", b"v=0\r\n", bytes(1000))):
        (tmp_path / f"{number}.mp4").write_bytes(content)
        with pytest.raises(VideoRejectedError) as error:
            check(tmp_path / f"{number}.mp4")
        assert str(tmp_path) not in str(error.value)
    (tmp_path / "head.webm").write_bytes(clip.read_bytes()[:40])
    with pytest.raises(VideoRejectedError):
        check(tmp_path / "head.webm")
    with pytest.raises(VideoRejectedError, match="lasts 6 seconds"):
        check(clip, seconds=3)
    with pytest.raises(VideoRejectedError, match="64x48"):
        check(clip, pixels=1000)


@pytest.fixture(params=["m3u8", "ffconcat", "m3u8 that starts like WebM"])
def playlist(request, tmp_path, clip):
    """A playlist of the clip."""
    path = tmp_path / "list"
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{clip}\n#EXT-X-ENDLIST\n"
    if request.param == "ffconcat":
        text = f"ffconcat version 1.0\nfile {clip.name}\n"
    start = b"\x1a\x45\xdf\xa3" if request.param.endswith("WebM") else b""
    path.write_bytes(start + text.encode())
    return path


def test_no_playlist_is_opened(tmp_path, playlist, running):
    """Not by the check, nor when a job is added or counted, should a playlist get that far."""
    with pytest.raises(VideoRejectedError):
        check(playlist)
    jobs = JobStore(tmp_path / "state")
    with pytest.raises(MediaError):
        jobs.add(playlist, "list", "m", "1f")
    with jobs.database.transaction() as connection:
        connection.execute(
            "INSERT INTO jobs (id, number, state, file, name, model, every, created)"
            " VALUES ('id', 1, 'waiting', ?, 'list', 'm', '1f', 0)",
            (str(playlist),),
        )
    running(jobs)
    assert wait_for(jobs, "id", "failed", "done").state == "failed" and not jobs.rows("id")


def test_ffmpeg_would_follow_a_playlist(tmp_path, clip):
    """Otherwise the test above would prove nothing."""
    path = tmp_path / "list.txt"
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    path.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    with pytest.raises(VideoRejectedError):
        check_container(path)
    assert probe(path).width == 64
    with pytest.raises(MediaError):
        probe(path, untrusted=True)

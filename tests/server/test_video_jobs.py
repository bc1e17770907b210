"""Video jobs in a real database, and real processes that are killed while they count."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from headcount.inference.result import CountResult
from headcount.io.video_writer import write_video
from headcount.server import video_jobs
from headcount.server.uploads import VideoRefused, check_video
from headcount.server.video_jobs import Full, Jobs, JobsError, Runner

av = pytest.importorskip("av", reason="writing a video needs: pip install '.[video]'")
FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Twelve frames, half a second apart, each brighter than the one before."""
    path = tmp_path_factory.mktemp("clip") / "clip.webm"
    write_video(path, [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(FRAMES)], 2)
    return path


def brightness(image, regions=(), model="m"):
    """As many people as the picture is bright, in tens."""
    cells = np.full((2, 2), float(image.mean()) / 40, np.float32)
    return CountResult(float(cells.sum()), cells, cells, 64, 48, 32, 0.0, model)


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
    """Starts runners of a store, and ends them."""
    started = []

    def start(jobs, count=brightness, **limits):
        started.append(Runner(jobs, count, **limits))
        started[-1].start()
        return started[-1]

    yield start
    [runner.stop() for runner in started]


def test_a_job_is_counted_and_its_video_is_gone(tmp_path, clip, running):
    jobs = Jobs(tmp_path)
    zone = {"regions": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1]], "units": "fractions"}]}
    waiting = added(jobs, clip, regions=json.dumps(zone))
    assert (waiting.state, waiting.frames, waiting.expected, waiting.progress) == ("waiting", 0, FRAMES, 0)
    seen = []
    running(jobs, lambda image, regions, model: (seen.append((regions[0].name, model)), brightness(image))[1])
    job = wait_for(jobs, waiting.id, "done")
    rows = jobs.rows(job.id)
    assert [row["time"] for row in rows] == pytest.approx([i / 2 for i in range(FRAMES)], abs=0.01)
    assert [row["count"] for row in rows] == pytest.approx([2 * i for i in range(FRAMES)], abs=0.6)
    assert set(seen) == {("all", "m")} and job.progress == 1 and job.error is None
    assert jobs.rows(job.id, since=10) == rows[10:]
    assert not Path(job.file).exists()
    assert "file" not in job.to_dict(rows)  # our paths are nobody's business


def test_a_cancelled_job_stops_and_is_forgotten_when_asked_again(tmp_path, clip, running):
    jobs = Jobs(tmp_path)
    job = added(jobs, clip)
    running(jobs, lambda *_: (time.sleep(0.05), brightness(np.zeros((4, 4))))[1])
    while not jobs.rows(job.id):
        time.sleep(0.01)
    assert jobs.cancel(job.id).state == "cancelled" and not Path(job.file).exists()
    time.sleep(0.2)
    stopped = len(jobs.rows(job.id))
    time.sleep(0.2)
    assert len(jobs.rows(job.id)) == stopped < FRAMES and jobs.get(job.id).state == "cancelled"
    assert jobs.cancel(job.id).state == "cancelled" and jobs.get(job.id) is None and not jobs.rows(job.id)
    assert jobs.cancel("none") is None


def test_a_server_that_stops_leaves_the_job_to_the_next(tmp_path, clip, running):
    jobs = Jobs(tmp_path)
    job = added(jobs, clip)
    first = running(jobs, lambda image, *_: (time.sleep(0.05), brightness(image))[1])
    while len(jobs.rows(job.id)) < 3:
        time.sleep(0.01)
    first.stop()
    assert jobs.get(job.id).state == "waiting" and 3 <= jobs.get(job.id).frames < FRAMES
    counted = []
    running(Jobs(tmp_path), lambda image, *_: (counted.append(1), brightness(image))[1])
    wait_for(jobs, job.id, "done")
    assert len(jobs.rows(job.id)) == FRAMES and len(counted) <= FRAMES - 3


SERVER = """
import sys, time
sys.path[:0] = {paths}
from test_video_jobs import brightness
from headcount.server.video_jobs import Jobs, Runner
def slowly(image, regions, model):
    time.sleep({pause})
    return brightness(image)
runner = Runner(Jobs({folder!r}, dead=0.5), slowly)
runner.start()
runner.thread.join()
"""


def server(folder, pause=0.0):
    paths = [str(Path(__file__).parent), str(Path(video_jobs.__file__).parents[2])]
    return subprocess.Popen([sys.executable, "-c", SERVER.format(paths=paths, folder=str(folder), pause=pause)])


def test_a_killed_server_loses_no_job(tmp_path, clip):
    jobs = Jobs(tmp_path)
    job = added(jobs, clip)
    first = server(tmp_path, 0.1)
    while len(jobs.rows(job.id)) < 4:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert jobs.get(job.id).state == "running"  # nobody could say otherwise
    with sqlite3.connect(tmp_path / video_jobs.DATABASE) as database:
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


def test_a_video_that_kills_is_given_up(tmp_path, clip):
    jobs = Jobs(tmp_path, dead=0)
    job = added(jobs, clip)
    for _ in range(video_jobs.DEATHS):
        assert jobs.claim().id == job.id  # and then nothing is heard of who claimed it
        time.sleep(0.01)
    assert jobs.claim() is None
    assert jobs.get(job.id).state == "failed" and "ended 3 times" in jobs.get(job.id).error
    assert not Path(job.file).exists()


def test_no_job_is_claimed_twice(tmp_path, clip):
    stores = [Jobs(tmp_path) for _ in range(4)]
    ids = {added(stores[0], clip).id for _ in range(12)}
    claimed = []

    def claim(jobs):
        while (job := jobs.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=claim, args=(jobs,)) for jobs in stores]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(claimed) == 12 and set(claimed) == ids


def test_a_video_that_is_cut_short_gives_what_it_has(tmp_path, clip, running):
    jobs = Jobs(tmp_path)
    whole = clip.read_bytes()
    file = jobs.new_file()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    job = jobs.add(file, "my clip.webm", "m", "1f")
    running(jobs)
    job = wait_for(jobs, job.id, "done", "failed")
    assert job.state == "done" and 0 < job.frames < FRAMES
    assert job.error.startswith("my clip.webm") and str(tmp_path) not in job.error


def test_what_cannot_be_counted_fails_and_the_next_goes_on(tmp_path, clip, running):
    jobs = Jobs(tmp_path)
    first, second = added(jobs, clip), added(jobs, clip)

    def fails_once(image, regions, model):
        if not jobs.get(first.id).error and jobs.get(first.id).state == "running":
            raise RuntimeError("no memory")
        return brightness(image)

    running(jobs, fails_once)
    assert wait_for(jobs, first.id, "failed").error == "cannot be counted (no memory)"
    assert wait_for(jobs, second.id, "done").frames == FRAMES


def test_trouble_with_the_database_fails_no_video(tmp_path, clip, running, monkeypatch):
    monkeypatch.setattr(video_jobs, "POLL", 0.01)
    jobs = Jobs(tmp_path)
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


def test_what_a_runner_meets_does_not_end_it(tmp_path, clip, running, monkeypatch):
    monkeypatch.setattr(video_jobs, "POLL", 0.01)
    jobs = Jobs(tmp_path)
    (tmp_path / video_jobs.VIDEOS).rmdir()  # tidied away, being empty
    runner = running(jobs)
    time.sleep(0.1)
    (tmp_path / video_jobs.VIDEOS).mkdir()
    bad, good = added(jobs, clip, regions="{"), added(jobs, clip)
    assert "not JSON" in wait_for(jobs, bad.id, "failed").error
    wait_for(jobs, good.id, "done")
    assert runner.alive


def test_who_was_taken_for_dead_ends_nothing(tmp_path, clip):
    late, now = Jobs(tmp_path), Jobs(tmp_path, dead=0)
    job = added(late, clip)
    late.claim()
    time.sleep(0.01)
    assert now.claim().id == job.id
    assert not late.append(job.id, 0, {"count": 1}) and not late.beat(job.id)
    late.finish(job.id, "failed", "of the late one")
    late.leave(job.id)
    assert now.get(job.id).state == "running" and Path(job.file).exists() and now.append(job.id, 0, {"count": 2})
    now.finish(job.id, "done")
    assert late.get(job.id).state == "done" and late.rows(job.id) == [{"count": 2}] and not Path(job.file).exists()


def test_a_video_outlives_a_kill_while_its_job_ends(tmp_path, clip):
    jobs = Jobs(tmp_path, dead=0)
    job = added(jobs, clip)
    jobs.claim()
    with pytest.raises(KeyboardInterrupt), jobs.transaction() as database:
        jobs.end(database, job.id, "done", None)
        raise KeyboardInterrupt  # before what was done in the transaction holds
    time.sleep(0.01)
    assert Path(job.file).exists() and jobs.claim().id == job.id
    with jobs.transaction() as database:
        jobs.end(database, job.id, "done", None)
    jobs.claim()  # the kill came just after: the next look removes the video
    assert not Path(job.file).exists()


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_nobody_waits_for_the_next_wanted_frame(tmp_path, running, monkeypatch, how):
    """The second wanted frame never comes here, and two thousand are decoded until that is known."""
    monkeypatch.setattr(video_jobs, "HEARTBEAT", 0.05)
    reading = video_jobs.Watched.due

    def slowly(*moment):
        time.sleep(0.01)
        return reading(*moment)

    monkeypatch.setattr(video_jobs.Watched, "due", slowly)
    write_video(tmp_path / "long.webm", [np.zeros((16, 16, 3), np.uint8)] * 2000, 25)
    jobs = Jobs(tmp_path / "state")
    file = jobs.new_file()
    (tmp_path / "long.webm").rename(file)
    job = jobs.add(file, "long.webm", "m", "60m")
    runner = running(jobs)
    while not jobs.rows(job.id):
        time.sleep(0.01)
    began = time.monotonic()
    if how == "stop":
        runner.stop()
        assert jobs.get(job.id).state == "waiting"
    else:
        jobs.cancel(job.id)
        while runner.job:
            time.sleep(0.01)
    assert time.monotonic() - began < 10


def test_a_video_that_does_not_say_how_long_it_is_ends_at_the_limit(tmp_path, running):
    path = tmp_path / "live.mkv"
    with av.open(str(path), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(FRAMES):
            picture = np.full((48, 64, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    check_video(path, 3, 1e8)  # nothing in it is too long
    jobs = Jobs(tmp_path / "state")
    file = jobs.new_file()
    path.rename(file)
    job = jobs.add(file, "live.mkv", "m", "1f")
    runner = running(jobs, max_seconds=3)
    ended = wait_for(jobs, job.id, "done", "failed")
    assert ended.state == "done" and ended.error == "live.mkv: goes on after 3 seconds, this server's limit; cut it"
    assert [row["time"] for row in jobs.rows(job.id)] == pytest.approx([i / 2 for i in range(7)], abs=0.01)
    assert job.expected is None and runner.alive


def test_old_rows_and_lost_uploads_are_forgotten(tmp_path, clip):
    jobs = Jobs(tmp_path, keep_hours=0)
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


def test_only_so_many_wait(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(video_jobs, "WAITING", 2)
    jobs = Jobs(tmp_path)
    added(jobs, clip), added(jobs, clip)
    with pytest.raises(Full):
        added(jobs, clip)


def test_a_database_that_is_none_is_said_and_kept(tmp_path):
    (tmp_path / video_jobs.DATABASE).write_bytes(b"a text that somebody put here" * 100)
    with pytest.raises(JobsError, match="cannot be used .* move it away") as error:
        Jobs(tmp_path)
    assert "\n" not in str(error.value) and (tmp_path / video_jobs.DATABASE).read_bytes().startswith(b"a text")


def test_a_damaged_database_is_said_at_the_start(tmp_path, clip):
    jobs = Jobs(tmp_path)
    job = added(jobs, clip)
    with jobs.transaction() as database:
        database.executemany("INSERT INTO rows VALUES (?, ?, ?)", [(job.id, i, "x" * 200) for i in range(300)])
    file = tmp_path / video_jobs.DATABASE
    assert file.stat().st_mode & 0o077 == 0
    data = bytearray(file.read_bytes())
    data[5 * 4096 :] = bytes(7 for _ in data[5 * 4096 :])
    file.write_bytes(data)
    with pytest.raises(JobsError, match="move it away") as error:
        Jobs(tmp_path)
    assert "\n" not in str(error.value) and file.read_bytes() == data


CLAIMS = """
import sys
sys.path[:0] = {paths}
from headcount.server.video_jobs import Jobs
jobs = Jobs({folder!r})
print("ready", flush=True)
sys.stdin.readline()
while (job := jobs.claim()) is not None:
    print(job.id)
"""


def test_processes_never_claim_the_same_job(tmp_path, clip):
    ids = [added(Jobs(tmp_path), clip).id for _ in range(40)]
    program = CLAIMS.format(paths=[str(Path(video_jobs.__file__).parents[2])], folder=str(tmp_path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    servers = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(2)]
    assert [server.stdout.readline() for server in servers] == ["ready\n"] * 2
    for server in servers:  # at once
        server.stdin.write("go\n")
        server.stdin.flush()
    claimed = [server.communicate()[0].split() for server in servers]
    assert sorted(sum(claimed, [])) == sorted(ids) and all(claimed)


# What FFmpeg is given


def check(path, seconds=3600, pixels=1e8):
    check_video(path, seconds, pixels)


def test_a_video_is_let_in_and_what_is_none_is_not(tmp_path, clip):
    check(clip)
    for suffix, codec in ((".avi", "MJPG"), (".mp4", "mp4v")):
        writer = cv2.VideoWriter(str(tmp_path / f"v{suffix}"), cv2.VideoWriter_fourcc(*codec), 5, (64, 48))
        [writer.write(np.zeros((48, 64, 3), np.uint8)) for _ in range(5)]
        writer.release()
        check(tmp_path / f"v{suffix}")
    for number, content in enumerate((b"", b"G", b"#EXTM3U\n", b"ffconcat version 1.0\n", b"v=0\r\n", bytes(1000))):
        (tmp_path / f"{number}.mp4").write_bytes(content)
        with pytest.raises(VideoRefused) as error:
            check(tmp_path / f"{number}.mp4")
        assert str(tmp_path) not in str(error.value)
    (tmp_path / "head.webm").write_bytes(clip.read_bytes()[:40])
    with pytest.raises(VideoRefused):
        check(tmp_path / "head.webm")
    with pytest.raises(VideoRefused, match="seconds"):
        check(clip, seconds=3)
    with pytest.raises(VideoRefused, match="64x48"):
        check(clip, pixels=1000)


def test_behind_the_fence_a_playlist_opens_nothing(tmp_path, clip):
    """Even one that begins as a video does; without the fence FFmpeg follows it."""
    script = """
import sys
from headcount.server.uploads import fence
from headcount.io.video import open_capture
if sys.argv[1] == "fenced":
    fence()
print(*(open_capture(path).read()[0] for path in sys.argv[2:]))
"""
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{clip}\n#EXT-X-ENDLIST\n")
    listed = tmp_path / "list.txt"
    listed.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    (tmp_path / clip.name).write_bytes(clip.read_bytes())

    def opens(how):
        arguments = [sys.executable, "-c", script, how, str(clip), str(playlist), str(listed)]
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()

    assert opens("fenced") == ["True", "False", "False"]
    assert "True" in opens("open")[1:]  # or this test would test nothing

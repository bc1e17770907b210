"""Counting on a real Ray cluster of two workers, with real images and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_onnx
from PIL import Image

from headcount import load
from headcount.cli import main
from headcount.cli.options import CountOptions, RayOptions

pytest.importorskip("pyarrow", reason="counting on many machines needs: pip install '.[ray]'")
from headcount.cli import ray_plan
from headcount.distributed.attempts import read_note, write_note
from headcount.distributed.storage import Folder
from headcount.distributed.worker import Worker, WorkerConfig, read_paths, read_rows

BROKEN = ("broken.jpg", "cut.png", "empty.png")
SCALE = 2  # makes an image take a few milliseconds
MARK = f"HEADCOUNT_TEST_CLUSTER={os.getpid()}"  # in the environment of all processes of the cluster


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx", min_side=32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """57 images with 1 to 57 white dots, and three files that cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    for people in range(1, 58):
        Image.fromarray(tiny_onnx.dots(people, 480, 640)).save(folder / f"{people:02d}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not really")
    (folder / "cut.png").write_bytes((folder / "05.png").read_bytes()[:80])
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def expected(photos, model):
    """path -> count by one Counter; None for unreadable files."""
    results = load(model).count_many(sorted(photos.iterdir()), scale=SCALE)
    return {result.path: result.to_dict()["count"] for result in results}


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster with two CPUs, all of whose processes end with the tests."""
    pytest.importorskip("ray", reason="counting on many machines needs: pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    name, value = MARK.split("=")
    os.environ |= {name: value, "RAY_USAGE_STATS_ENABLED": "0"}
    machine = {"num_cpus": 2, "object_store_memory": 100_000_000, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args=machine)
    yield machines.address
    machines.shutdown()
    del os.environ[name]
    wait_for(lambda: not ours("ray"), "Ray's processes to end")


def ours(text):
    """The processes of the cluster whose command line contains `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if (
                MARK.encode() in (folder / "environ").read_bytes()
                and text.encode() in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue  # not a process, another user's, or ended
    return [pid for pid in found if pid != os.getpid()]


def wait_for(condition, what, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@pytest.fixture
def start(cluster):
    """Starts drivers in processes that end with the test."""
    drivers = []

    def begin(*arguments):
        command = [sys.executable, "-m", "headcount", "count", *map(str, arguments), "--ray", cluster]
        drivers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill()
        driver.communicate()
    wait_for(lambda: not ours("ray::MapWorker"), "the workers of a driver that ended to end")


def stop_in_the_middle(out, least=2):
    """Suspend both workers while each counts a shard and `least` parts are done. Returns their process ids."""
    parts, notes = out / "parts", out / "trying"

    def stopped():
        workers = ours("ray::MapWorker") if parts.is_dir() else []
        for process in workers:
            os.kill(process, signal.SIGSTOP)
        if len(workers) == 2 and len(list(notes.glob("[!.]*"))) == 2 and len(list(parts.glob("[!.]*"))) >= least:
            return True
        for process in workers:
            os.kill(process, signal.SIGCONT)
        return False

    wait_for(stopped, "two workers in the middle of counting")
    return ours("ray::MapWorker")


def finish(driver):
    out, err = driver.communicate(timeout=300)
    assert "Traceback" not in err, err
    return driver.returncode, out, err


def rows_of(out):
    """The rows of all parts."""
    parts = sorted((out / "parts").iterdir())
    return [row for part in parts for row in read_rows(part.read_bytes(), part.suffix[1:])]


def check_rows(rows, expected):
    """Each image is there once, with the count that a Counter gives it."""
    assert sorted(row["path"] for row in rows) == sorted(expected)
    for row in rows:
        assert row["count"] == expected[row["path"]], row
        assert bool(row.get("error")) == (Path(row["path"]).name in BROKEN)


def test_each_image_is_counted_once_though_a_driver_and_a_worker_are_killed(start, photos, model, expected, tmp_path):
    out, listed, mended = tmp_path / "out", tmp_path / "list.txt", tmp_path / "mended.png"
    listed.write_text(f"{mended}\n")
    options = [photos, "--paths", listed, "--model", model, "--scale", SCALE, "--out", out, "--part", 3]
    driver = start(*options)
    workers = stop_in_the_middle(out)
    driver.kill()
    for process in workers:  # Ray ends them together with their driver
        os.kill(process, signal.SIGCONT)
    wait_for(lambda: not ours("ray::MapWorker"), "the workers of the killed driver to end")
    before = {part: part.stat().st_mtime_ns for part in (out / "parts").glob("[!.]*")}
    assert 2 <= len(before) < 21

    driver = start(*options)
    victim, other = stop_in_the_middle(out, len(before) + 2)
    os.kill(victim, signal.SIGKILL)
    os.kill(other, signal.SIGCONT)
    code, said, err = finish(driver)
    assert code == 1 and "61 images" in said and "4 failures" in said and "images/s" in said and str(out) in said
    assert f"{len(before)} of 21 parts with 61 images are already done" in err and "failures.jsonl" in err
    assert all(part.stat().st_mtime_ns == when for part, when in before.items())
    *rows, last = rows_of(out)
    assert last["path"] == str(mended) and "no such file" in last["error"]
    check_rows(rows, expected)
    failures = [json.loads(line) for line in (out / "failures.jsonl").open()]
    assert [Path(row["path"]).name for row in failures] == [*BROKEN, "mended.png"]
    assert not list(out.rglob(".*")) and not os.listdir(out / "trying")


@pytest.fixture
def begin(model, tmp_path):
    """Prepares a run as the driver does before it connects to a cluster: the folder, its shards, and one worker."""

    def lay(*sources, form=None, **wanted):
        options = CountOptions(model=model, out=tmp_path / "out", format=form)
        out, asked = Folder(str(tmp_path / "out")), RayOptions(ray="none", **{"part": 4} | wanted)
        settings = ray_plan.prepare_folder(out, sources, options, asked)
        planned, _ = ray_plan.plan_shards(out, sources, asked)
        return out, planned, Worker(WorkerConfig(out.address, settings, 1, 2))

    return lay


def work(worker, planned):
    """Give a worker shards as Ray Data does. Returns how many images it counted."""
    batch = {name: np.array([getattr(shard, name) for shard in planned]) for name in vars(planned[0])}
    answer = worker(batch)
    assert not any(answer["problem"]), answer["problem"]
    return answer["images"].sum()


def test_other_settings_in_the_same_folder_are_refused(begin, photos, model, tmp_path, capsys):
    begin(str(photos))
    other = tiny_onnx.white_pixels(tmp_path / "white.onnx", min_side=64)
    for arguments, says in [
        (["--model", model, "--part", 4, "--scale", "2"], "scale None, not 2.0"),
        (["--model", other, "--part", 4], "sha256"),
        (["--model", model, "--part", 4, "--format", "jsonl"], "format parquet, not jsonl"),
        (["--model", model], "part 4, not 1000"),
    ]:
        with pytest.raises(SystemExit) as exit:
            main.main(["count", str(photos), "--ray", "none", "--out", str(tmp_path / "out"), *map(str, arguments)])
        err = capsys.readouterr().err
        assert exit.value.code == 2 and "another --out" in err and says in err and len(err.splitlines()) == 2


def test_sources_of_every_kind_give_each_image_once(begin, photos, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos}/03.png\nfile://{photos}/missing.png\n\n{photos}/2.png\r\n")
    sources = [f"{photos}/0[1-3].png", f"file://{photos}/1*.png", f"file://{photos}/20.png", str(photos / "02.png")]
    sources += [f"file://{photos}/gone.png"]
    out, planned, worker = begin(*sources, paths=listed)
    assert work(worker, planned) == 3 + 10 + 1 + 1 + 2
    rows = rows_of(Path(out.address))
    assert [row["count"] for row in rows] == pytest.approx([1, 2, 3, *range(10, 20), 20, None, None, None], abs=0.01)
    addresses = [f"file://{photos}/{name}.png" for name in ("20", "gone", "missing")]
    assert [row["path"] for row in rows][-4:] == [*addresses, f"{photos}/2.png"]
    assert "no such object" in rows[-2]["error"] and "no such file" in rows[-1]["error"]


def test_new_images_of_a_folder_are_counted_and_failures_on_request(begin, photos, tmp_path):
    growing = tmp_path / "growing"
    growing.mkdir()
    for name in ("01.png", "05.png", "06.png", "empty.png", "07.png", "08.png"):
        (growing / name).write_bytes((photos / name).read_bytes())
    out, planned, worker = begin(str(growing))
    assert work(worker, planned) == 6 and work(worker, planned) == 0
    (growing / "03.png").write_bytes((photos / "03.png").read_bytes())
    out, planned, worker = begin(str(growing))
    left = ray_plan.unfinished_shards(out, "parquet", planned, retry=False)
    assert [shard.name for shard in left] == ["001-0000000"] and work(worker, left) == 1
    assert [shard.number for shard in ray_plan.unfinished_shards(out, "parquet", planned, retry=True)] == [1]
    (growing / "empty.png").write_bytes((photos / "09.png").read_bytes())
    assert work(worker, ray_plan.unfinished_shards(out, "parquet", planned, retry=True)) == 1
    counts = [row["count"] for row in rows_of(Path(out.address))]
    assert counts == pytest.approx([1, 5, 6, 7, 8, 9, 3], abs=0.01)


def test_an_image_that_kills_workers_is_left_out(begin, photos, expected):
    """With the notes of workers that were killed while they counted the third image of a shard."""
    out, planned, worker = begin(str(photos))
    note = f"trying/{planned[0].name}.json"
    out.write(note, write_note({}))
    third = read_paths(out, planned[1])[2]
    out.write(f"trying/{planned[1].name}.json", write_note({third: 1}, [third]))
    assert work(worker, planned[:2]) == 8
    rows = rows_of(Path(out.address))
    assert [row["count"] for row in rows] == pytest.approx([1, 2, 3, 4, 5, 6, None, 8], abs=0.01)
    assert "2 processes died" in rows[6]["error"] and out.read(note) is None
    assert read_note(write_note({"a.jpg": 1}, ["b.jpg"])) == {"a.jpg": 1, "b.jpg": 1}


def test_a_problem_that_stops_all_workers_is_one_line(begin, photos, tmp_path, monkeypatch):
    out, planned, worker = begin(str(photos), form="jsonl")
    (tmp_path / "out" / "lists" / "000.jsonl").write_text("")
    [problem] = worker({name: np.array([value]) for name, value in vars(planned[0]).items()})["problem"]
    assert "was changed or cut short" in problem
    monkeypatch.setattr("headcount.distributed.worker.__version__", "9.9")
    assert "headcount is 9.9 here" in Worker(worker.config).problem
    out.remove("manifest.json")
    assert "is not visible from this machine" in Worker(worker.config).problem
    assert "\n" not in problem


@pytest.mark.skipif(sys.platform != "linux", reason="only here may file names be arbitrary bytes")
def test_file_names_that_are_not_valid_text(begin, photos, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in (b"\xff.png", b"a\nb.png", b"[1].png"):
        (odd / os.fsdecode(name)).write_bytes((photos / "07.png").read_bytes())
    out, planned, worker = begin(str(odd / "[1].png"), str(odd))
    assert work(worker, planned) == 3
    rows = rows_of(Path(out.address))
    assert [row["count"] for row in rows] == pytest.approx([7, 7, 7], abs=0.01) and "\\udcff" in rows[2]["path"]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_missing_cluster_gives_a_one_line_error(address, photos, model, tmp_path, capsys):
    pytest.importorskip("ray", reason="counting on many machines needs: pip install '.[ray]'")
    with pytest.raises(SystemExit) as exit:
        main.main(["count", str(photos), "--ray", address, "--model", str(model), "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert (
        exit.value.code == 1
        and err.startswith(f"headcount: --ray {address}: no cluster there")
        and len(err.splitlines()) == 1
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x"], "no input given"),
        (["photos"], "--out"),
        (["no/such/*.jpg", "--out", "x"], "no images found"),
        (["photos", "--out", "x", "--format", "csv"], "parquet or jsonl"),
        (["photos", "--out", "x", "--resume"], "resumes automatically"),
        (["photos", "--out", "x", "--overlay", "drawn"], "--overlay"),
        (["photos", "--out", "x", "--part", "0"], "--part"),
        (["photos", "--out", "x", "--worker-cpus", "0"], "--worker-cpus 0"),
        (["photos", "--out", "photos"], "holds other files"),
    ],
)
def test_wrong_usage_gives_a_two_line_error(arguments, says, photos, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photos)
    with pytest.raises(SystemExit) as exit:
        main.main(["count", "--ray", "local", "--model", str(model), *arguments])
    err = capsys.readouterr().err
    assert exit.value.code == 2 and says in err and len(err.splitlines()) == 2


def test_options_for_ray_are_refused_without_ray(photos, capsys):
    with pytest.raises(SystemExit) as exit:
        main.main(["count", str(photos), "--retry"])
    assert exit.value.code == 2 and "--ray" in capsys.readouterr().err

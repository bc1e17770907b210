"""Full disks, kills, two processes and odd names: no row and no point is lost, doubled or mixed up."""

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from helpers import tiny_onnx
from helpers.annotated_images import photo
from helpers.points_errors import refused
from PIL import Image

from headcount.datasets import read
from headcount.datasets.annotation_project import Project
from headcount.distributed.attempts import write_note
from headcount.inference.engines.metadata import EngineError, ModelMeta
from headcount.io.names import name_from_text, name_to_text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Unix signals, limits and file names")
IMAGES = 60
ODD_NAMES = (b"\xff.png", b"a\nb.png", b"a\rb.png", b"a\x0cb.png", b"a\x1cb.png", "a\x85b.png".encode())
ODD_NAMES += ("a\u2028b.png".encode(), b" a.png", b"a.png", b"\\u000a.png", b"\\udcff.png", b'"a,b.png')


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for people in range(1, IMAGES + 1):
        Image.fromarray(tiny_onnx.dots(people)).save(folder / f"IMG_{people}.png")
    return folder


def command(*arguments):
    return [sys.executable, "-m", "headcount", *map(str, arguments)]


def rows_of(file):
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def paths_of(file):
    return [name_from_text(row["path"]) if file.suffix == ".csv" else row["path"] for row in rows_of(file)]


@pytest.fixture
def full_disk(tmp_path):
    """A small tmpfs for root, else None: then the size of a file is limited."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_full_disk_keeps_the_rows_and_the_next_run_goes_on(photos, model, full_disk, form):
    disk, mounted = full_disk
    out = disk / f"counts.{form}"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    counting = command("count", photos, "--model", model, "--out", out)
    done = subprocess.run(counting, capture_output=True, text=True, preexec_fn=None if mounted else limit)
    [partial] = disk.glob(f".counts.{form}.*.new")
    kept = partial.read_bytes().count(b"\n") - (form == "csv")
    assert done.returncode == 1 and 0 < kept < IMAGES and not out.exists()
    assert "cannot be written" in done.stderr and str(partial) in done.stderr and "Traceback" not in done.stderr
    before = partial.read_bytes()

    resume = [*counting, "--resume"]  # the disk is still full
    done = subprocess.run(resume, capture_output=True, text=True, preexec_fn=None if mounted else limit)
    assert done.returncode == 1 and partial.read_bytes() == before and str(partial) in done.stderr

    if mounted:
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    done = subprocess.run(resume, capture_output=True, text=True)
    assert done.returncode == 0 and f"already contains {kept} of {IMAGES} images" in done.stderr, done.stderr
    assert sorted(paths_of(out)) == sorted(map(str, photos.iterdir()))
    assert os.listdir(disk) == [out.name]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_random_interruptions_neither_lose_nor_double_a_row(photos, model, tmp_path, form):
    out, counting = tmp_path / f"counts.{form}", None
    dice = random.Random(form)
    for stop in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        counting = subprocess.Popen(
            command("count", photos, "--model", model, "--out", out, "--resume"), stderr=subprocess.DEVNULL
        )
        time.sleep(dice.uniform(0.4, 1.6))
        counting.send_signal(stop)
        counting.wait(30)
    assert not subprocess.run(command("count", photos, "--model", model, "--out", out, "--resume")).returncode
    assert sorted(paths_of(out)) == sorted(map(str, photos.iterdir())) and os.listdir(tmp_path) == [out.name]


def test_two_processes_do_not_write_one_file(run, photos, model, tmp_path):
    out = tmp_path / "counts.csv"
    counting = command("count", *[photos] * 200, "--model", model, "--out", out)
    first = subprocess.Popen(counting, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".counts.csv.*.new")):
        assert first.poll() is None
        time.sleep(0.02)
    for more in ([], ["--resume"]):
        code, _, err = run("count", photos, "--model", model, "--out", out, *more)
        assert code == 1 and "another process is writing it" in err
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130 and rows_of(out) and os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_odd_names_read_back_and_are_not_counted_again(run, model, tmp_path, form):
    folder, out = tmp_path / "odd", tmp_path / f"counts.{form}"
    folder.mkdir()
    for name in ODD_NAMES:
        Image.fromarray(tiny_onnx.dots(3)).save(os.path.join(os.fsencode(folder), name), "PNG")
    assert run("count", folder, "--model", model, "--out", out)[0] == 0
    before = out.read_bytes()
    assert sorted(paths_of(out)) == sorted(os.fsdecode(os.path.join(os.fsencode(folder), n)) for n in ODD_NAMES)
    _, _, err = run("count", folder, "--model", model, "--out", out, "--resume")
    assert f"already contains {len(ODD_NAMES)} of {len(ODD_NAMES)}" in err and out.read_bytes() == before
    assert form == "jsonl" or len(before.decode().splitlines()) == len(ODD_NAMES) + 1


def test_an_image_that_ends_the_process_is_left_out_and_stays_so(run, photos, model, tmp_path):
    out, poison = tmp_path / "counts.jsonl", str(photos / "IMG_2.png")
    crash = f"""import os, signal
from headcount.inference.counter import Counter
prepare = Counter.prepare
def deadly(self, image, *more):
    if str(image) == {poison!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare(self, image, *more)
Counter.prepare = deadly
from headcount.cli.main import main
main()"""
    counting = [sys.executable, "-c", crash, *command("count", photos, "--model", model, "--out", out, "--resume")[3:]]
    codes = [subprocess.run(counting, capture_output=True, text=True).returncode for _ in range(4)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 1, 0]
    rows = {row["path"]: row for row in rows_of(out)}
    assert len(rows) == len(rows_of(out)) == IMAGES and "2 processes died" in rows.pop(poison)["error"]
    assert not any("error" in row for row in rows.values()) and os.listdir(tmp_path) == [out.name]


def test_a_damaged_note_blames_nothing(run, photos, model, tmp_path):
    out = tmp_path / "counts.csv"
    for note in (b"", b"{", b"[]\n", write_note({}, ["x"])[:9]):
        (tmp_path / ".counts.csv.trying").write_bytes(note)
        assert run("count", photos, "--model", model, "--out", out, "--resume")[0] == 0
        assert len(rows_of(out)) == IMAGES


def test_annotations_keep_exact_names_and_stay_in_the_folder(tmp_path):
    folder, secret = tmp_path / "project", photo(tmp_path / "secret.jpg", [])
    names = ["a.jpg", " a.jpg", "a.jpg ", "a\nb.jpg", os.fsdecode(b"\xff.jpg")]
    for name in names:
        folder.mkdir(exist_ok=True)
        (folder / name.rstrip()).write_bytes(secret.read_bytes())
    (folder / "link.jpg").symlink_to(secret)
    (folder / "inner.jpg").symlink_to(folder / "a.jpg")
    os.mkfifo(folder / "pipe.jpg")
    project = Project(folder)
    listed = [shown["name"] for shown in project.summary()["photos"]]
    assert {"a.jpg", " a.jpg", "a\\u000ab.jpg", "\\udcff.jpg", "inner.jpg"} == set(listed)
    json.dumps(project.summary(), ensure_ascii=False).encode()
    for number, name in enumerate(listed):
        project.save(name, [(1, 1)] * number)
    assert [len(project.points(name)) for name in listed] == list(range(len(listed)))
    samples = read(folder, "csv", "all")
    assert {name_to_text(sample.image.name): len(sample.points) for sample in samples} == {
        name: number for number, name in enumerate(listed)
    }
    (folder / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^broken\.jpg: ") as caught:
        project.save("broken.jpg", [])
    assert str(tmp_path) not in str(caught.value)


def test_a_point_beyond_any_image_is_refused(tmp_path):
    photo(tmp_path / "a.jpg", [])
    (tmp_path / "points.csv").write_text("image,x,y\na.jpg,1e308,5\n")
    refused(r"points.csv, a.jpg: points must be", read, tmp_path / "points.csv", "csv", "all")


def test_models_with_wrong_numbers_are_refused_in_one_line(tmp_path):
    serialization = pytest.importorskip("headcount.models.serialization", reason="needs: pip install '.[train]'")
    for wrong, says in (
        ({"density_scale": "x"}, "density_scale"),
        ({"density_scale": 0}, "density_scale"),
        ({"std": [0.0, 1.0, 1.0]}, "std"),
        ({"mean": [float("nan"), 1.0, 1.0]}, "mean"),
        ({"members": [{"backbone": "lite0"}] * 2000}, "at most 32"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=says) as caught:
            serialization.load(tmp_path)
        assert "\n" not in str(caught.value)
    for key in ("stride", "pad"):
        values = ModelMeta("m", 8, 32, 64).to_strings() | {key: "1000000"}
        with pytest.raises(EngineError, match="its metadata is not that"):
            ModelMeta.from_strings(values, tmp_path / "m.onnx")

"""The `headcount` command: its output, its errors and its exit codes."""

import csv
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import dataset_factory as factory
from helpers import tiny_onnx
from PIL import Image

from headcount import __version__, load
from headcount.cli import main
from headcount.cli.demo import EXAMPLE
from headcount.inference.engines import open_engine
from headcount.inference.pretrained import DEFAULT_MODEL, find_model

NO_TORCH = """import sys
for name in ("torch", "scipy", "onnx", "onnxruntime"):
    sys.modules[name] = None  # importing it fails
from headcount.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx"))


@pytest.fixture
def photos(tmp_path):
    """photos/day/crowd.png has 12 white pixels and photos/night/crowd.png has 30."""
    for name, people in (("day", 12), ("night", 30)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(tiny_onnx.dots(people)).save(tmp_path / "photos" / name / "crowd.png")
    return tmp_path / "photos"


def test_count_a_folder_as_a_table(run, photos, model):
    code, out, err = run("count", photos, "--model", model)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert max(map(len, out.splitlines())) <= 80
    assert lines[0] == ["image", "people", "size", "seconds"]
    assert [line[1] for line in lines if line[0].endswith(".png")] == ["12", "30"]
    assert lines[-1][:3] == ["2", "images", "42"]


def test_a_long_path_is_shortened_at_its_start(run, tmp_path, model):
    path = tmp_path / ("a-long-name-" * 6 + "the-end.png")
    Image.fromarray(tiny_onnx.dots(1)).save(path)
    code, out, _ = run("count", path, "--model", model)
    assert code == 0 and "the-end.png" in out and max(map(len, out.splitlines())) <= 80


def test_count_as_json_lines(run, photos, model):
    code, out, _ = run("count", photos, "--model", model, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["count"] for row in rows] == [12.0, 30.0]
    assert list(rows[0]) == ["path", "count", "low", "high", "width", "height", "scale", "seconds", "model"]
    assert rows[0]["path"] == str(photos / "day" / "crowd.png")


def test_bad_files_are_reported_and_the_others_are_counted(run, photos, model):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff not really")
    (photos / "empty.png").touch()
    (photos / "notes.txt").write_text("not an image")
    missing, notes = photos / "missing.jpg", photos / "notes.txt"
    code, out, err = run("count", photos, missing, notes, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1 and len(rows) == 6
    assert sorted(float(row["count"]) for row in rows if not row["error"]) == [12.0, 30.0]
    lines = err.splitlines()
    assert len(lines) == 5 and "Traceback" not in err and "photos: skipped files: 1 .txt" in lines.pop(0)
    for name in ("broken.jpg", "empty.png", "missing.jpg", "notes.txt"):
        assert sum(name in line for line in lines) == 1
        assert [row["count"] for row in rows if row["path"].endswith(name)] == [""]


def test_a_folder_without_images(run, tmp_path, photos, model):
    (tmp_path / "empty").mkdir()
    code, out, err = run("count", tmp_path / "empty", "--model", model)
    assert (code, out) == (1, "") and "no images" in err and "empty" in err
    code, out, err = run("count", tmp_path / "empty", photos, "--model", model)
    assert code == 1 and "no images" in err and "42" in out


def test_a_folder_of_unreadable_kinds_says_which_and_the_cure(run, tmp_path, model):
    for name in ("a.cr2", "b.pdf", "clip.mp4"):
        (tmp_path / name).touch()
    code, _, err = run("count", tmp_path, "--model", model)
    assert code == 1 and "no images in this folder" in err and "1 .cr2, 1 .mp4, 1 .pdf" in err
    assert "save photos of other kinds as JPEG, and give videos by name" in err


def test_out_is_complete_and_its_suffix_chooses_the_format(run, photos, model, tmp_path):
    code, out, _ = run("count", photos, "--model", model, "--out", tmp_path / "counts.csv")
    assert (code, out) == (0, "")
    header = (tmp_path / "counts.csv").read_text().splitlines()[0]
    assert header == "path,count,low,high,width,height,scale,seconds,model,warning,error"
    code, _, _ = run("count", photos, "--model", model, "--out", tmp_path / "counts.jsonl")
    assert [json.loads(line)["count"] for line in (tmp_path / "counts.jsonl").open()] == [12.0, 30.0]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["counts.csv", "counts.jsonl"]


def test_overlays_mirror_the_folders(run, photos, model, tmp_path, monkeypatch):
    """Images of one name have an overlay each, in one run and in two."""
    monkeypatch.chdir(photos)
    assert run("count", "day", "day/crowd.png", "--model", model, "--overlay", tmp_path / "drawn")[0] == 0
    code, _, err = run("count", "night", "--model", model, "--overlay", tmp_path / "drawn")
    assert code == 0 and f"{tmp_path / 'drawn'}: overlays" in err
    drawn = sorted(p.relative_to(tmp_path / "drawn").as_posix() for p in (tmp_path / "drawn").rglob("*.jpg"))
    assert drawn == ["day/crowd-2.overlay.jpg", "day/crowd.overlay.jpg", "night/crowd.overlay.jpg"]
    assert run("count", "night/crowd.png", "--model", model, "--overlay", tmp_path / "one.png")[0] == 0
    assert Image.open(tmp_path / "one.png").size == (96, 64)


def test_folders_are_counted_in_natural_order_and_say_what_they_skip(run, photos, model):
    for name in ("IMG_10.png", "IMG_2.png", "a.pdf", "b.PDF", "scan", "__MACOSX/._IMG_2.png", ".cache/x.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "day" / "crowd.png").read_bytes())
    code, out, err = run("count", photos, "--model", model, "--format", "csv")
    names = [Path(row["path"]).name for row in csv.DictReader(io.StringIO(out))]
    assert code == 0 and names == ["IMG_2.png", "IMG_10.png", "crowd.png", "crowd.png"]
    assert "photos: skipped files: 2 .pdf, 2 hidden, 1 without a suffix" in err


def test_the_table_says_what_could_not_be_read(run, photos, model):
    (photos / "broken.jpg").write_bytes(b"no image")
    code, out, _ = run("count", photos, "--model", model)
    assert code == 1 and out.endswith("1 could not be read\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x.xlsx"], "give a .csv or .jsonl or .parquet file"),
        (["--out", "x"], "give a .csv or .jsonl or .parquet file"),
        (["--points", "x.xlsx"], "give a .csv or .json or .geojson file"),
        (["--overlay", "x.gif"], ".jpg, .jpeg, .png, .webp for an image"),
        (["--overlay", "x.png"], "the file takes a single image"),
        (["--model", "nope"], "headcount-small"),
    ],
)
def test_unknown_suffixes_and_models_name_the_known_ones(run, photos, arguments, says, monkeypatch):
    monkeypatch.chdir(photos)
    code, _, err = run("count", "day", "night", *arguments)
    assert code == 2 and says in err and sorted(os.listdir()) == ["day", "night"]


def test_a_run_folder_means_its_best_checkpoint(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").touch()
    assert find_model(tmp_path) == tmp_path / "best" and find_model("headcount-small").is_file()


def test_own_photos_without_splits_are_measured_whole(run, tmp_path, model):
    factory.csv_table(tmp_path, splits=("", ""))
    code, out, err = run("evaluate", next(tmp_path.glob("*.csv")), "--model", model)
    assert code == 0 and "MAE" in out and "marks no splits, so all 2 images are measured" in err


def test_convert_does_not_overwrite_what_it_reads(run, tmp_path):
    factory.csv_table(tmp_path)
    table = next(tmp_path.glob("*.csv"))
    before = table.read_bytes()
    for source in (table, tmp_path):
        code, _, err = run("convert", source, "--from", "csv", "--out", table)
        assert code == 1 and "would be overwritten" in err and table.read_bytes() == before


def test_info_takes_a_model_by_name_and_refuses_more(run):
    code, out, _ = run("info", "headcount-small")
    assert code == 0 and "headcount-small.onnx" in out
    code, _, err = run("info", "headcount-small", "more")
    assert code == 2 and "unexpected argument: more" in err


def test_count_inside_a_polygon(run, photos, model):
    code, out, _ = run("count", photos / "day", "--model", model, "--roi", "0,0 200,0 200,3 0,3", "--format", "jsonl")
    assert code == 0 and 0 < json.loads(out)["count"] < 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["count"], "no input given"),
        (["count", "x.jpg", "--color"], "--color"),
        (["count", "x.jpg", "--format", "xml"], "jsonl"),
        (["count", "x.jpg", "--model", "no-such.onnx"], "no-such.onnx"),
        (["count", "x.jpg", "--engine", "abacus"], "openvino"),
        (["count", "x.jpg", "--precision", "fp8"], "fp16"),
        (["count", "x.jpg", "--roi", "1,2"], "corners"),
        (["count", "x.jpg", "--out", "no/such/folder/x.csv"], "no such folder"),
        (["evaluate", "no-such-folder", "--format", "shanghaitech"], "no-such-folder"),
        (["evaluate", ".", "--format", "runes"], "shanghaitech"),
        (["export", "x", "y.onnx", "--metric", "good"], "name=number"),
        (["export", "x", "y.onnx"], "x: not a headcount checkpoint"),
        (["train", "--recipe", "no-such", "--data", "."], "no-such"),
        (["divine"], "divine"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(run, arguments, says):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and says in err
    assert len(err.splitlines()) == 2 and "Traceback" not in err


def test_a_file_that_is_not_a_model(run, photos):
    code, _, err = run("count", photos, "--model", photos / "day" / "crowd.png")
    assert code == 2 and "crowd.png" in err and "Traceback" not in err


def test_report(run, tmp_path, model):
    factory.csv_table(tmp_path, splits=("test", "test"))
    table = next(tmp_path.glob("*.csv"))
    files = ["--json", tmp_path / "report.json", "--csv", tmp_path / "rows.csv"]
    code, out, err = run("evaluate", table, "--format", "csv", "--split", "all", "--model", model, *files)
    assert (code, err) == (0, "") and "MAE" in out and max(map(len, out.splitlines())) <= 80
    assert json.loads((tmp_path / "report.json").read_text())["about"]["model"] == "white"
    assert len(list(csv.DictReader((tmp_path / "rows.csv").open()))) == 2


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of Unix")
def test_odd_names_pipes_and_devices(run, photos, model, tmp_path, monkeypatch):
    odd = photos / "[1] a.png"
    (photos / "day" / "crowd.png").rename(odd)
    os.mkfifo(photos / "pipe.jpg")
    device = tmp_path / "device"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "real.jsonl")
    monkeypatch.chdir(photos)
    assert run("count", odd.name, "--model", model, "--out", link)[0] == 0
    assert link.is_symlink() and json.loads((tmp_path / "real.jsonl").read_text())["count"] == 12
    code, _, err = run("count", odd.name, "pipe.jpg", "--model", model, "--out", device, "--format", "csv")
    assert code == 1 and "pipe.jpg: is a pipe or a device" in err
    assert b"[1] a.png,12" in os.read(reader, 10_000) and device.is_fifo()
    os.close(reader)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_cannot_write_to_the_terminal(run, photos, model):
    """The table and messages replace control characters. CSV escapes them."""
    crowd, broken = photos / "day" / "\x1b[2Jcrowd.png", photos / "day" / "\x1b[2Jbroken.png"
    (photos / "day" / "crowd.png").rename(crowd)
    broken.write_bytes(b"no image")
    _, out, err = run("count", crowd, broken, "--model", model)
    assert "\x1b[2J" not in out + err and "[2Jcrowd.png" in out and "[2Jbroken.png" in err
    assert "\\u001b[2Jcrowd.png" in run("count", crowd, "--model", model, "--format", "csv")[1]


def test_counting_opens_no_connection_and_starts_no_process(photos, model, tmp_path):
    """There is no telemetry and no file in the home folder, whether or not CI is set."""
    watch = """import sys
def hook(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "urllib", "os.fork", "subprocess")):
        print(event, arguments, file=sys.stderr)
sys.addaudithook(hook)
from headcount.cli.main import main
main(sys.argv[1:])
"""
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "GITHUB_ACTIONS")} | {"HOME": str(home)}
    command = [sys.executable, "-c", watch, "count", str(photos), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "") and not list(home.iterdir())


def test_estimates_become_a_file_to_correct_in_a_labeling_tool(run, photos, model, tmp_path):
    out = tmp_path / "annotations.xml"
    code, text, err = run("convert", photos, "--estimate", "--to", "cvat", "--out", out, "--model", model)
    assert (code, err, text) == (0, "", f"{out}: 2 images, 42 estimated positions to correct\n")
    assert out.read_text().count('<points label="head" source="auto"') == 42
    (photos / "broken.jpg").write_bytes(b"no image")
    code, text, err = run(
        "convert", photos, "--estimate", "--to", "labelstudio", "--out", tmp_path / "tasks.json", "--model", model
    )
    assert code == 1 and "broken.jpg: not an image" in err and "2 images, 42" in text
    (tmp_path / "empty").mkdir()
    code, _, err = run("convert", tmp_path / "empty", "--estimate", "--out", out)
    assert code == 2 and "no images in this folder" in err
    code, _, err = run("convert", photos, "--estimate", "--from", "csv", "--out", out)
    assert code == 2 and "--estimate cannot be combined with --from" in err


def test_convert_then_check_then_evaluate(run, tmp_path, model):
    """The other commands read the table that convert makes of a YOLO folder."""
    factory.yolo(tmp_path / "set")
    out = tmp_path / "set" / "points.csv"
    code, text, err = run("convert", tmp_path / "set", "--out", out)
    assert (code, err) == (0, "") and "this looks like yolo" in text and "9 images, 15 people" in text
    code, text, _ = run("convert", tmp_path / "set", "--from", "yolo", "--out", out, "--classes", "car, person")
    assert code == 0 and "9 images, 24 people" in text and "boxes of car: centre, boxes of person: head" in text
    report = tmp_path / "report.json"
    code, text, err = run("check", out, "--split", "test", "--json", report)
    assert (code, err) == (0, "") and text.rstrip().endswith("0 errors, 0 warnings")
    assert json.loads(report.read_text())["splits"] == {"test": {"images": 3, "points": 8}}
    code, text, _ = run("evaluate", out, "--model", model)
    assert code == 0 and "all" in text


def test_check_fails_if_a_test_photo_is_in_the_training_split(run, tmp_path, photos):
    rows = "image,x,y,split\nday/crowd.png,5,5,train\nday/again.png,5,5,test\n"
    (photos / "points.csv").write_text(rows)
    (photos / "day/again.png").write_bytes((photos / "day/crowd.png").read_bytes())
    (photos / "night/crowd.png").unlink()
    code, out, err = run("check", photos, "--sheet", tmp_path / "sheet.jpg")
    assert (code, err) == (1, "") and "shows the photo of test again.png (to the pixel; 1 and 1 people)" in out
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000


def test_convert_and_check_refuse_with_one_message(run, tmp_path):
    factory.voc(tmp_path / "set")
    (tmp_path / "set/Annotations/0001.xml").write_text("<annotation>")
    for command, code, says in (
        (["convert", tmp_path / "set", "--out", tmp_path / "out.csv"], 1, "0001.xml: not readable as XML"),
        (["convert", tmp_path / "set", "--out", tmp_path], 2, "is a folder"),
        (["convert", tmp_path / "set", "--from", "runes", "--out", tmp_path / "out.csv"], 1, "unknown format 'runes'"),
        (["convert", tmp_path / "none", "--out", tmp_path / "out.csv"], 1, "no such file or folder"),
        (["check", tmp_path / "none"], 1, "no such file or folder"),
        (["check", tmp_path / "set", "--sheet", tmp_path / "sheet.gif"], 2, "give a .png, .jpg or .webp file"),
        (["check"], 2, "give the folder of a data set"),
    ):
        found, out, err = run(*command)
        assert found == code and says in err and not out and "Traceback" not in err
    assert not (tmp_path / "out.csv").exists()


def test_info(run, model):
    code, out, err = run("info", "--model", model)
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert (code, err) == (0, "")
    assert lines["headcount"] == __version__ and lines["python"] == platform.python_version()
    for engine in ("openvino", "onnxruntime", "torch"):
        installed = importlib.util.find_spec(engine) is not None
        assert lines[engine] == (importlib.metadata.version(engine) if installed else "not installed")
    opened = open_engine(Path(model))
    assert lines["auto selects"] == f"{opened.name}, {opened.precision}"
    assert "headcount-small" in lines["models"].split(", ")
    assert (lines["model"], lines["file"]) == ("white", model)
    assert (lines["density cells"], lines["tile overlap"]) == ("4 px", "4 px")
    assert (lines["trained on"], lines["measured"]) == ("unknown", "unknown")
    assert lines["intervals"].startswith("none")


def test_info_describes_the_default_model(run):
    code, out, _ = run("info")
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    meta = load().engine.meta
    assert code == 0 and lines["model"] == meta.name == DEFAULT_MODEL
    assert lines["parameters"] == f"{meta.parameters / 1e6:.1f} million"
    assert lines["trained on"] == meta.data and lines["intervals"].startswith(
        f"{meta.interval['coverage']:.0%} coverage"
    )
    assert all(f"{name} {value}" in lines["measured"] for name, value in meta.metrics.items())


def test_demo_prints_the_count_and_the_true_count(run, tmp_path):
    code, out, err = run("demo", "--out", tmp_path)
    assert (code, err) == (0, "")
    counted, true_count = re.match(r"counted (\d+) people in [\d.]+ s; the true count is (\d+)\n", out).groups()
    annotated = json.loads(EXAMPLE.with_suffix(".json").read_text())
    assert int(true_count) == annotated["count"] == len(annotated["points"])
    assert int(counted) == round(load().count(EXAMPLE).count)
    assert int(counted) == pytest.approx(int(true_count), rel=0.15)
    overlay = tmp_path / "crowd.overlay.jpg"
    assert str(overlay) in out and Image.open(overlay).size[0] == Image.open(EXAMPLE).size[0]


def test_counting_needs_no_torch_and_export_says_that_it_does(photos, model):
    command = [sys.executable, "-c", NO_TORCH]
    done = subprocess.run([*command, "count", str(photos), "--model", model], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "42" in done.stdout
    done = subprocess.run([*command, "export", "x", "y.onnx"], capture_output=True, text=True)
    assert done.returncode == 1 and "torch" in done.stderr and "pip install '.[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes and signals of Unix")
def test_head_and_ctrl_c(photos, model, tmp_path):
    """If the reader of a pipe stops, or on Ctrl-C, there is no traceback and the results so far stand."""
    base = [sys.executable, "-m", "headcount", "count", *[str(photos)] * 2000, "--model", model, "--format", "jsonl"]
    counting = subprocess.Popen(base, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    json.loads(counting.stdout.readline())
    counting.stdout.close()
    assert counting.stderr.read() == "" and counting.wait(timeout=60) == 141

    out = tmp_path / "counts.jsonl"
    counting = subprocess.Popen([*base, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    draft = f".counts.jsonl.{counting.pid}.new"
    for _ in range(600):
        if (tmp_path / draft).exists() and (tmp_path / draft).stat().st_size > 0:
            break
        time.sleep(0.05)
    counting.send_signal(signal.SIGINT)
    assert counting.wait(timeout=60) == 130
    rows = [json.loads(line) for line in out.open()]
    assert counting.stderr.read() == f"headcount: {out}: {len(rows):,} rows; stopped before the end\n"
    assert 0 < len(rows) < 4000 and {row["count"] for row in rows} <= {12.0, 30.0}


def test_a_missing_package_is_named_with_the_extra_that_provides_it():
    torch = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert main.missing_package(torch) == "torch is not installed; in a clone of headcount run: pip install '.[train]'"
    assert main.missing_package(ModuleNotFoundError("No module named 'cv2'", name="cv2")) == "cv2 is not installed"


def test_a_file_in_the_working_folder_sets_defaults(photos, model, tmp_path):
    def count(text):
        (tmp_path / "headcount.toml").write_text(text)
        command = [sys.executable, "-m", "headcount", "count", str(photos / "day"), "--model", model]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = count('[count]\nformat = "jsonl"\nscale = 2.0\n')
    assert done.returncode == 0 and json.loads(done.stdout)["scale"] == 2, done.stderr
    for text, says in (("[count]\nscael = 1\n", "scael"), ("[count\n", "headcount.toml: ")):
        done = count(text)
        assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 2

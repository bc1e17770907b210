import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import dataset_factory as factory
from helpers import tiny_onnx
from PIL import Image

from headcount.cli import main

NO_TORCH = """import sys
for name in ("torch", "scipy", "onnx", "onnxruntime"):
    sys.modules[name] = None  # importing it fails
from headcount.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx"))


@pytest.fixture
def photos(tmp_path):
    """photos/day/crowd.png has 12 white pixels, photos/night/crowd.png 30."""
    for name, people in (("day", 12), ("night", 30)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(tiny_onnx.dots(people)).save(tmp_path / "photos" / name / "crowd.png")
    return tmp_path / "photos"


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main.main([str(a) for a in arguments])
        return exit.value.code, *capsys.readouterr()

    return call


def test_count_a_folder_as_a_table(run, photos, model):
    code, out, err = run("count", photos, "--model", model)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert max(map(len, out.splitlines())) <= 80
    assert lines[0] == ["picture", "people", "size", "seconds"]
    assert [line[1] for line in lines if line[0].endswith(".png")] == ["12", "30"]
    assert lines[-1][:3] == ["2", "pictures", "42"]


def test_a_long_path_keeps_the_end_of_its_name(run, tmp_path, model):
    path = tmp_path / ("a-long-name-" * 6 + "the-end.png")
    Image.fromarray(tiny_onnx.dots(1)).save(path)
    code, out, _ = run("count", path, "--model", model)
    assert code == 0 and "the-end.png" in out and max(map(len, out.splitlines())) <= 80


def test_count_as_json_lines(run, photos, model):
    code, out, _ = run("count", photos, "--model", model, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["count"] for row in rows] == [12.0, 30.0]
    assert list(rows[0]) == ["path", "count", "low", "high", "width", "height", "seconds", "model"]
    assert rows[0]["path"] == str(photos / "day" / "crowd.png")


def test_bad_files_are_named_and_the_rest_are_counted(run, photos, model):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff not really")
    (photos / "empty.png").touch()
    (photos / "notes.txt").write_text("not a picture")
    missing, notes = photos / "missing.jpg", photos / "notes.txt"
    code, out, err = run("count", photos, missing, notes, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1 and len(rows) == 6
    assert sorted(float(row["count"]) for row in rows if not row["error"]) == [12.0, 30.0]
    lines = err.splitlines()
    assert len(lines) == 4 and "Traceback" not in err
    for name in ("broken.jpg", "empty.png", "missing.jpg", "notes.txt"):
        assert sum(name in line for line in lines) == 1
        assert [row["count"] for row in rows if row["path"].endswith(name)] == [""]


def test_a_folder_without_pictures(run, tmp_path, photos, model):
    (tmp_path / "empty").mkdir()
    code, out, err = run("count", tmp_path / "empty", "--model", model)
    assert (code, out) == (1, "") and "no pictures" in err and "empty" in err
    code, out, err = run("count", tmp_path / "empty", photos, "--model", model)
    assert code == 1 and "no pictures" in err and "42" in out


def test_out_is_written_whole_and_its_suffix_chooses_the_format(run, photos, model, tmp_path):
    code, out, _ = run("count", photos, "--model", model, "--out", tmp_path / "counts.csv")
    assert (code, out) == (0, "")
    header = (tmp_path / "counts.csv").read_text().splitlines()[0]
    assert header == "path,count,low,high,width,height,seconds,model,warning,error"
    code, _, _ = run("count", photos, "--model", model, "--out", tmp_path / "counts.jsonl")
    assert [json.loads(line)["count"] for line in (tmp_path / "counts.jsonl").open()] == [12.0, 30.0]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["counts.csv", "counts.jsonl"]


def test_overlays_of_the_same_name_do_not_overwrite_each_other(run, photos, model, tmp_path):
    code, _, _ = run("count", photos, photos / "day" / "crowd.png", "--model", model, "--overlay", tmp_path / "drawn")
    assert code == 0
    names = ["crowd-2.overlay.jpg", "crowd-3.overlay.jpg", "crowd.overlay.jpg"]
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == names
    assert Image.open(tmp_path / "drawn" / names[0]).size == (96, 64)


def test_count_inside_a_polygon(run, photos, model):
    code, out, _ = run("count", photos / "day", "--model", model, "--roi", "0,0 200,0 200,3 0,3", "--format", "jsonl")
    assert code == 0 and 0 < json.loads(out)["count"] < 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["count"], "no picture"),
        (["count", "x.jpg", "--colour"], "--colour"),
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


def test_evaluate(run, tmp_path, model):
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
    """Rows and complaints show control characters as a sign of their own; CSV keeps the name as it is."""
    crowd, broken = photos / "day" / "\x1b[2Jcrowd.png", photos / "day" / "\x1b[2Jbroken.png"
    (photos / "day" / "crowd.png").rename(crowd)
    broken.write_bytes(b"no picture")
    _, out, err = run("count", crowd, broken, "--model", model)
    assert "\x1b[2J" not in out + err and "[2Jcrowd.png" in out and "[2Jbroken.png" in err
    assert str(crowd) in run("count", crowd, "--model", model, "--format", "csv")[1]


def test_counting_calls_nobody(photos, model, tmp_path):
    """No telemetry: no connection, no process, no file at home; also where it does not run in CI."""
    watch = """import sys
def hook(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "urllib", "os.fork", "subprocess")):
        print(event, arguments, file=sys.stderr)
sys.addaudithook(hook)
from headcount.cli import main
main(sys.argv[1:])
"""
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "GITHUB_ACTIONS")} | {"HOME": str(home)}
    command = [sys.executable, "-c", watch, "count", str(photos), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "") and not list(home.iterdir())


def test_convert_then_check_then_evaluate(run, tmp_path, model):
    """A YOLO folder becomes a table that the other commands take."""
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


def test_check_fails_where_a_test_photo_is_trained_on(run, tmp_path, photos):
    rows = "image,x,y,split\nday/crowd.png,5,5,train\nday/again.png,5,5,test\n"
    (photos / "points.csv").write_text(rows)
    (photos / "day/again.png").write_bytes((photos / "day/crowd.png").read_bytes())
    (photos / "night/crowd.png").unlink()
    code, out, err = run("check", photos, "--sheet", tmp_path / "sheet.jpg")
    assert (code, err) == (1, "") and "shows the photo of test again.png (to the pixel; 1 and 1 people)" in out
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000


def test_convert_and_check_refuse_in_one_line(run, tmp_path):
    factory.voc(tmp_path / "set")
    (tmp_path / "set/Annotations/0001.xml").write_text("<annotation>")
    for command, code, says in (
        (["convert", tmp_path / "set", "--out", tmp_path / "out.csv"], 1, "0001.xml: not readable as XML"),
        (["convert", tmp_path / "set", "--out", tmp_path], 2, "is a folder"),
        (["convert", tmp_path / "set", "--from", "runes", "--out", tmp_path / "out.csv"], 1, "unknown format 'runes'"),
        (["convert", tmp_path / "none", "--out", tmp_path / "out.csv"], 1, "no such file or folder"),
        (["check", tmp_path / "none"], 1, "no such file or folder"),
        (["check", tmp_path / "set", "--sheet", tmp_path / "sheet.gif"], 2, "written as .png, .jpg or .webp"),
        (["check"], 2, "name the folder of a data set"),
    ):
        found, out, err = run(*command)
        assert found == code and says in err and not out and "Traceback" not in err
    assert not (tmp_path / "out.csv").exists()


def test_info(run, model):
    code, out, _ = run("info", "--model", model)
    assert code == 0 and "openvino" in out and "white" in out and "4 px" in out


def test_demo_tells_the_true_number(run, tmp_path):
    code, out, _ = run("demo", "--out", tmp_path)
    assert code == 0 and "there are" in out
    assert (tmp_path / "crowd.overlay.jpg").stat().st_size > 10_000


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in ("count", "evaluate", "convert", "check", "train", "info"))


def test_counting_needs_no_torch_and_training_says_what_it_needs(photos, model):
    command = [sys.executable, "-c", NO_TORCH]
    done = subprocess.run([*command, "count", str(photos), "--model", model], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "42" in done.stdout
    done = subprocess.run([*command, "export", "x", "y.onnx"], capture_output=True, text=True)
    assert done.returncode == 1 and "torch" in done.stderr and "pip install '.[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes and signals of Unix")
def test_head_and_ctrl_c(photos, model, tmp_path):
    """A reader that stops reading, and Ctrl-C: no traceback, and what was counted stands."""
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
    assert counting.wait(timeout=60) == 130 and counting.stderr.read() == ""
    rows = [json.loads(line) for line in out.open()]
    assert 0 < len(rows) < 4000 and {row["count"] for row in rows} <= {12.0, 30.0}

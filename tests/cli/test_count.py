"""`headcount count` with many images, with videos and with regions, through the command line."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import tiny_onnx
from matplotlib.figure import Figure
from PIL import Image

from headcount.cli import main
from headcount.cli.chart import Series, write_chart
from headcount.datasets import readers
from headcount.io.video import read_frames
from headcount.io.video_writer import write_video

ZONES = {
    "regions": [
        {"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "units": "fractions", "max": 20},
        {"name": "all", "polygon": [[0, 0], [96, 0], [96, 64], [0, 64]], "area": 120},
    ]
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that counts white pixels. It pads images, so images of different sizes form batches."""
    return str(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx", blank=(0, 0, 0)))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for people in range(1, 7):
        Image.fromarray(tiny_onnx.dots(people)).save(folder / f"{people}.png")
    return folder


@pytest.fixture
def clip(tmp_path):
    """Two seconds at ten frames per second. In the last second, 16 x 16 pixels in the left half are white."""
    frames = [np.zeros((64, 96, 3), np.uint8) for _ in range(20)]
    for frame in frames[10:]:
        frame[24:40, 24:40] = 255
    write_video(tmp_path / "clip.webm", frames, fps=10)
    return tmp_path / "clip.webm"


@pytest.fixture
def run(capsys, model):
    """Run `headcount count ... --model white` in this process and return exit code, stdout and stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main.main(["count", *(str(a) for a in arguments), "--model", model, "--precision", "fp32"])
        return exit.value.code, *capsys.readouterr()

    return call


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_skips_what_a_killed_run_has_counted(run, photos, tmp_path, form):
    out = tmp_path / f"counts.{form}"
    (photos / "7.png").write_bytes(b"not an image")
    assert run(photos, "--out", out)[0] == 1
    lines = out.read_text().splitlines(keepends=True)
    head = [] if form == "jsonl" else lines[:1]
    kept = [line.replace(f"{n}.0,", "55.0,") for n, line in enumerate(lines[len(head) :][:3], start=1)]
    torn = lines[len(head) + 3][:20]
    (tmp_path / f".counts.{form}.123.new").write_text("".join([*head, *kept, torn]))
    failed = lines[-1]
    out.write_text("".join([*head, failed]))

    code, _, err = run(photos, "--out", out, "--resume")
    assert code == 1 and "already contains 3 of 7 images" in err
    rows = [json.loads(line) for line in out.open()] if form == "jsonl" else table(out.read_text())
    assert [row["count"] and float(row["count"]) for row in rows][:-1] == [55, 55, 55, 4, 5, 6]
    assert rows[-1]["error"], "the failed image is counted again"
    assert not list(tmp_path.glob(".*"))


def test_resume_with_nothing_left(run, photos, tmp_path):
    out = tmp_path / "counts.csv"
    run(photos, "--out", out)
    before = out.read_text()
    code, _, err = run(photos, "--out", out, "--resume")
    assert code == 0 and "already contains 6 of 6" in err and out.read_text() == before


@pytest.mark.skipif(os.name == "nt", reason="needs Unix signals")
def test_sigterm_leaves_a_complete_file(photos, model, tmp_path):
    out = tmp_path / "counts.csv"
    command = [sys.executable, "-m", "headcount", "count", *[str(photos)] * 2000, "--model", model, "--out", str(out)]
    counting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    draft = tmp_path / f".counts.csv.{counting.pid}.new"
    deadline = time.monotonic() + 60
    while not (draft.exists() and draft.stat().st_size > 200) and time.monotonic() < deadline:
        time.sleep(0.05)
    counting.send_signal(signal.SIGTERM)
    assert counting.wait(timeout=60) == 128 + signal.SIGTERM
    assert "rows; stopped before the end" in counting.stderr.read()
    rows = table(out.read_text())
    assert rows and all(row["path"].endswith(f"{float(row['count']):.0f}.png") for row in rows)


def test_regions_in_csv_json_and_the_table(run, photos, tmp_path):
    zones = tmp_path / "zones.json"
    zones.write_text(json.dumps(ZONES))
    code, out, err = run(photos / "6.png", "--regions", zones, "--format", "csv")
    [row] = table(out)
    assert code == 0 and err == "" and float(row["region: all"]) == 6 and float(row["region per m2: all"]) == 0.05
    _, out, _ = run(photos / "6.png", "--regions", zones, "--format", "jsonl")
    left, whole = json.loads(out)["regions"]
    assert (left["name"], left["over"], whole["per_square_metre"]) == ("left", False, 0.05)
    _, out, _ = run(photos / "6.png", "--regions", zones)
    assert ["all", "6", "0.05/m2"] in [line.split() for line in out.splitlines()]
    (tmp_path / "bad.json").write_text("{")
    code, _, err = run(photos, "--regions", tmp_path / "bad.json")
    assert code == 2 and "bad.json" in err


def test_a_region_outside_an_image_fails_only_that_image(run, photos, tmp_path):
    Image.fromarray(tiny_onnx.dots(9, height=300, width=300)).save(photos / "large.png")
    far = {"regions": [{"name": "far", "polygon": [[200, 200], [300, 200], [300, 300]]}]}
    (tmp_path / "far.json").write_text(json.dumps(far))
    code, out, err = run(photos / "6.png", photos / "large.png", "--regions", tmp_path / "far.json", "--format", "csv")
    small, large = table(out)
    assert code == 1 and small["error"] and float(large["count"]) == 9 and "6.png" in err and "far" in err


def test_a_video_gives_one_row_per_interval(run, clip, tmp_path):
    zones = tmp_path / "zones.json"
    zones.write_text(json.dumps(ZONES))
    chart, drawn = tmp_path / "chart.png", tmp_path / "drawn.webm"
    options = ["--every", "0.5s", "--smooth", 1, "--regions", zones, "--plot", chart, "--overlay", drawn]
    code, out, err = run(clip, *options)
    rows = table(out)
    counts = [float(row["count"]) for row in rows]
    assert code == 0 and [float(row["time"]) for row in rows] == [0, 0.5, 1, 1.5]
    assert counts[:2] == pytest.approx([0, 0], abs=2) and counts[2:] == pytest.approx([256, 256], rel=0.05)
    assert [float(row["smoothed"]) for row in rows] == pytest.approx([0, 0, 128, 256], abs=15)
    over, *files = err.splitlines()
    assert over == f"headcount: {clip} at 1.0 s: left: {counts[2]:.0f} people, over its maximum of 20"
    assert files == [f"headcount: {drawn}: overlay", f"headcount: {chart}: chart"]
    frames = list(read_frames(drawn))
    assert len(frames) == 4 and frames[0].image.shape == (64, 96, 3) and frames[1].time == pytest.approx(0.5, abs=0.01)
    assert Image.open(chart).size == (1080, 540)


def test_the_chart_has_a_title_a_band_and_the_smoothed_counts(tmp_path, monkeypatch):
    clip = Series("folder/clip.mp4")
    for i in range(4):
        clip.add(60.0 * i, 10 + i, (8, 14), smoothed=10 + i / 2)
    part = Series("folder/clip.mp4 left", [0, 180], [3, 4])
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    write_chart(tmp_path / "chart.png", [clip, part], "cars")
    [axes] = figures[0].axes
    names = axes.get_legend_handles_labels()[1]
    assert axes.get_title() == "Cars in clip.mp4" and axes.get_ylabel() == "cars"
    assert axes.get_xlabel() == "time (minutes:seconds)"
    assert sorted(name.removeprefix("folder/clip.mp4") for name in names) == ["", " left", ", interval", ", smoothed"]
    smoothed = next(line for line in axes.lines if line.get_label().endswith("smoothed"))
    assert list(smoothed.get_ydata()) == clip.smoothed


def test_a_region_outside_a_video_fails_each_frame_without_a_traceback(run, clip, tmp_path):
    far = {"regions": [{"name": "far", "polygon": [[200, 200], [300, 200], [300, 300]]}]}
    (tmp_path / "far.json").write_text(json.dumps(far))
    code, out, err = run(clip, "--regions", tmp_path / "far.json", "--smooth", 1, "--plot", tmp_path / "chart.png")
    rows = table(out)
    assert code == 1 and len(rows) == 2 and all("far" in row["error"] and row["count"] == "" for row in rows)
    assert "Traceback" not in err and "no frame was counted" in err and not (tmp_path / "chart.png").exists()


def test_images_and_videos_together(run, clip, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    code, out, _ = run(photos / "3.png", clip, "--every", "10f", "--format", "jsonl", "--overlay", tmp_path / "drawn")
    image, first, second = (json.loads(line) for line in out.splitlines())
    assert code == 0 and "time" not in image and (first["time"], second["time"]) == (0, 1)
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["3.overlay.jpg", "clip.overlay.webm"]


def test_a_truncated_video_is_counted_and_reported(run, clip, tmp_path, photos):
    noisy = [np.random.default_rng(i).integers(0, 255, (64, 96, 3), dtype=np.uint8) for i in range(30)]
    write_video(tmp_path / "whole.webm", noisy, fps=10)
    data = (tmp_path / "whole.webm").read_bytes()
    (tmp_path / "short.webm").write_bytes(data[: len(data) // 2])
    code, out, err = run(tmp_path / "short.webm", tmp_path / "none.mp4", clip, "--every", "5f")
    names = [row["path"] for row in table(out)]
    assert code == 1 and names.count(str(clip)) == 4 and names.count(str(tmp_path / "short.webm")) >= 1
    first, second = err.splitlines()
    assert "short.webm: ends after" in first and "none.mp4: no such file" in second


def test_points_can_be_read_as_annotations(run, photos, tmp_path):
    code, _, _ = run(photos, "--points", tmp_path / "dots.csv")
    samples = readers.read(tmp_path / "dots.csv", "csv", "all")
    assert code == 0 and {s.name: len(s.points) for s in samples} == {str(n): n for n in range(1, 7)}


def test_points_for_a_map(run, photos, tmp_path):
    code, _, _ = run(photos, "--points", tmp_path / "dots.geojson")
    images = [
        feature["properties"]["image"] for feature in json.loads((tmp_path / "dots.geojson").read_text())["features"]
    ]
    assert code == 0 and len(images) == 21 and images.count("photos/6.png") == 6


def test_a_decompression_bomb_is_refused_unless_allowed(run, tmp_path):
    Image.new("L", (3000, 2000)).save(tmp_path / "bomb.png")  # 6 kB
    code, out, err = run(tmp_path / "bomb.png", "--max-pixels", 5, "--format", "csv")
    assert code == 1 and "bomb.png: 3000x2000 is 6 megapixels, over the limit of 5" in err and "max-pixels" in err
    code, out, _ = run(tmp_path / "bomb.png", "--max-pixels", 6, "--format", "csv")
    assert code == 0 and float(table(out)[0]["count"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x.jpg", "--resume"], "--resume requires --out"),
        (["x.mp4", "--resume", "--out", "x.csv"], "--resume cannot be combined with a video"),
        (["x.mp4", "--points", "x.csv"], "--points requires images"),
        (["x.jpg", "--plot", "x.png"], "--plot requires a video"),
        (["x.mp4", "--plot", "x.svg"], "give a .png file"),
        (["x.mp4", "--every", "often"], "as 1s or 0.2s"),
        (["x.mp4", "--smooth", "-1"], "--smooth must be between 0 and 3600 seconds, got -1"),
        (["x.jpg", "--max-pixels", "0"], "--max-pixels must be above 0 megapixels, got 0"),
        (["x.jpg", "--scale", "9"], "--scale must be between 0.05 and 8, got 9"),
        (["x.jpg", "--overlay", "x.webm"], "takes a single video"),
        (["x.jpg", "--regions", "none.json"], "none.json"),
    ],
)
def test_impossible_options_are_usage_errors(run, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and says in err and len(err.splitlines()) == 2

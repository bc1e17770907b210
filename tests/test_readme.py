"""The README keeps its word: its commands run as they stand, in an empty folder with a photo in it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from helpers import dataset_factory as factory

from headcount.io.video_writer import write_video

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.M | re.S)


@pytest.fixture
def folder(tmp_path):
    """What the README supposes: photo.jpg, a folder of photos, a clip, its regions, a data set, own annotations."""
    example = ROOT / "headcount" / "examples" / "crowd.jpg"
    picture = cv2.resize(cv2.imread(str(example)), None, fx=0.5, fy=0.5)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        cv2.imwrite(str(tmp_path / name), picture)
    write_video(tmp_path / "clip.webm", [picture[:, :, ::-1]] * 9, fps=3)
    (tmp_path / "zones.json").write_text(re.search(r"^```json\n(.*?)^```", README, re.M | re.S)[1])
    factory.shanghaitech(tmp_path / "part_A")
    factory.shanghaitech(tmp_path / "data" / "shanghaitech" / "part_A")
    factory.csv_table(tmp_path / "own", splits=("train", "train", "val", "val", "test"))
    for table in (tmp_path / "own").glob("*.csv"):
        table.rename(table.with_name("people.csv"))
    return tmp_path


def test_commands_run(folder):
    lines = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("headcount ")]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "headcount", *command.split()[1:]], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, command
    rows = [json.loads(line) for line in (folder / "counts.jsonl").read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["one.jpg", "two.jpg"]
    assert len(list((folder / "overlays").rglob("*.*"))) == 3
    assert len((folder / "counts.csv").read_text().splitlines()) == 3
    assert [line.split(",")[1] for line in (folder / "video.csv").read_text().splitlines()] == ["time", "0.0", "2.0"]
    assert (folder / "dots.csv").read_text().startswith("image,x,y")


def test_python_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names: dict = {}  # one session: later blocks use what earlier ones made
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), names)
    assert re.search(r"\d+ people", capsys.readouterr().out)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"`make (\w+)`", README)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert shutil.which("make"), "make is needed for the README's two commands"


def test_files_and_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link

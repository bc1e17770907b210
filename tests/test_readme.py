"""The commands and the Python of the README run as they are, and its links and options exist."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from helpers import dataset_factory as factory

from headcount import load
from headcount.cli.main import app
from headcount.io.video_writer import write_video

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.M | re.S)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def folder(tmp_path):
    """The files that the README names: photo.jpg, photos, clip.webm, zones.json, data sets and annotations."""
    example = ROOT / "headcount" / "examples" / "crowd.jpg"
    image = cv2.resize(cv2.imread(str(example)), None, fx=0.5, fy=0.5)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        cv2.imwrite(str(tmp_path / name), image)
    write_video(tmp_path / "clip.webm", [image[:, :, ::-1]] * 9, fps=3)
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
    names: dict = {}  # later blocks use the names of earlier ones
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    result = load().count("photo.jpg")
    assert f"{result.count:.0f} people, probably {result.low:.0f} to {result.high:.0f}\n" in printed
    frames = [line.split() for line in printed.splitlines() if re.fullmatch(r"[\d.]+ \d+", line)]
    assert [float(time) for time, _ in frames] == [0.0, 2.0]
    assert [int(people) for _, people in frames] == pytest.approx([result.count] * 2, rel=0.2)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_and_options_exist(document):
    """Also the commands that are too slow to run here."""
    for block in re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", document.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if len(words) < 2 or words[0] != "headcount" or words[1].startswith("-"):
                continue
            arguments = app[words[1]].assemble_argument_collection()
            known = {name for argument in arguments for name in argument.names} | {"--help"}
            options = {word.partition("=")[0] for word in words[2:] if re.match(r"--\w", word)}
            assert options <= known, f"{line}: unknown {', '.join(sorted(options - known))}"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"`make (\w+)`", README)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert shutil.which("make"), "the README's two commands need make"


def test_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link

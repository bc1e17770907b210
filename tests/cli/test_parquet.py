"""`headcount count --out counts.parquet`."""

import importlib.util
import json
from pathlib import Path

import pytest
from helpers import tiny_onnx
from PIL import Image

from headcount.cli import main
from headcount.inference.result import COLUMNS
from headcount.io.video_writer import write_video

parquet = pytest.importorskip("pyarrow.parquet")
LEFT = {"regions": [{"name": "left", "polygon": [[0, 0], [48, 0], [48, 64], [0, 64]], "max": 20}]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx")


@pytest.fixture
def run(model, tmp_path, monkeypatch, capsys):
    """Count with the options in a folder with 3.png and 8.png: (exit code, messages)."""
    monkeypatch.chdir(tmp_path)
    for people in (3, 8):
        Image.fromarray(tiny_onnx.dots(people)).save(f"{people}.png")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main.main(["count", *map(str, arguments), "--model", str(model)])
        return exit.value.code, capsys.readouterr().err

    return call


def test_a_parquet_file_has_the_columns_of_csv_with_their_types(run):
    Path("broken.jpg").write_bytes(b"no image")
    code, err = run("3.png", "8.png", "broken.jpg", "--out", "counts.parquet")
    table = parquet.read_table("counts.parquet")
    assert code == 1 and "counts.parquet: 3 rows, 1 could not be read" in err
    assert tuple(table.column_names) == COLUMNS and str(table.schema.field("count").type) == "double"
    rows = table.to_pylist()
    assert [row["count"] and round(row["count"]) for row in rows] == [3, 8, None]
    assert rows[0]["width"] == 96 and rows[2]["path"] == "broken.jpg" and "not an image" in rows[2]["error"]
    assert not list(Path().glob(".counts*")), "no partial files are left"


def test_regions_and_times_are_columns_too(run):
    Path("zones.json").write_text(json.dumps(LEFT))
    write_video("clip.webm", [tiny_onnx.dots(0)] * 20, fps=10)
    options = ["--every", "1s", "--smooth", 1, "--regions", "zones.json", "--format", "parquet"]
    code, _ = run("clip.webm", *options, "--out", "rows")
    rows = parquet.read_table("rows").to_pylist()
    assert code == 0 and [row["time"] for row in rows] == [0, 1]
    assert {"smoothed", "region: left", "region over: left"} <= set(rows[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "parquet"], "--format parquet requires --out"),
        (["--out", "x.parquet", "--resume"], "--resume requires --out with the .csv or .jsonl file"),
    ],
)
def test_what_parquet_cannot_do_is_a_usage_error(run, options, says):
    code, err = run("3.png", *options)
    assert code == 2 and says in err and not Path("x.parquet").exists()


def test_without_pyarrow_nothing_is_counted_in_vain(run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else found(name))
    code, err = run("3.png", "--out", "counts.parquet")
    assert code == 2 and "pip install '.[parquet]'" in err and not Path("counts.parquet").exists()

"""`headcount count` with photos in archives, behind web addresses and on standard input."""

import csv
import functools
import http.server
import io
import sys
import threading
import zipfile
from types import SimpleNamespace

import pytest
from helpers import tiny_onnx
from PIL import Image

from headcount.cli import gathering, main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_onnx.white_pixels(tmp_path_factory.mktemp("models") / "white.onnx"))


@pytest.fixture
def run(model, capsys):
    """Count, and give the exit code, the people in each image by its name, and the messages."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main.main(["count", *map(str, arguments), "--model", model, "--format", "csv"])
        captured = capsys.readouterr()
        rows = csv.DictReader(io.StringIO(captured.out))
        return exit.value.code, {row["path"]: row["count"] and round(float(row["count"])) for row in rows}, captured.err

    return call


def photo(people):
    """The content of a PNG file with this many white dots."""
    buffer = io.BytesIO()
    Image.fromarray(tiny_onnx.dots(people)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for name, people in (("b/10.png", 4), ("b/9.png", 3), ("../../up.png", 5), ("__MACOSX/._9.png", 1)):
            opened.writestr(name, photo(people))
        opened.writestr("notes.txt", "three people")
    return path


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """The address of a web server of one photo and one text."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "crowd.png").write_bytes(photo(6))
    (folder / "words.txt").write_text("no photo")
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_zip_archive_is_counted_like_a_folder(run, archive, tmp_path):
    code, people, err = run(archive, "--overlay", tmp_path / "drawn")
    assert code == 0, err
    assert people == {f"{archive}/b/9.png": 3, f"{archive}/b/10.png": 4}, "in natural order, without hidden files"
    drawn = [path for path in (tmp_path / "drawn").rglob("*") if path.is_file()]
    assert len(drawn) == 2 and not list(tmp_path.glob("up*")), "nothing is written outside of the folders"


def test_a_damaged_archive_costs_only_itself(run, archive, tmp_path):
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:200])
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as opened:
        opened.writestr("notes.txt", "three people")
    code, people, err = run(tmp_path / "cut.zip", tmp_path / "words.zip", archive)
    assert code == 1 and len(people) == 2 and len(err.splitlines()) == 2
    assert "cut.zip: cannot be unpacked" in err and "words.zip: holds no photos" in err


def test_the_photo_at_a_web_address_is_counted(run, site):
    assert run(f"{site}/crowd.png?size=large") == (0, {f"{site}/crowd.png?size=large": 6}, "")


def test_a_missing_page_is_reported_at_once(run, site):
    code, people, err = run(f"{site}/none.jpg", f"{site}/crowd.png")
    assert code == 1 and list(people.values()) == [6]
    assert err == f"headcount: {site}/none.jpg: the server answers 404 File not found; check the address\n"


def test_standard_input_is_an_image(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(photo(7))))
    assert run("-") == (0, {"stdin": 7}, "")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"words")))
    code, people, err = run("-")
    assert code == 1 and people == {"stdin": ""} and err.startswith("headcount: stdin: not an image")


def test_a_mistyped_option_is_no_file(run):
    code, _, err = run("crowd.jpg", "--scael", 3)
    assert (code, err) == (2, "headcount: unknown option: --scael\nheadcount: see headcount --help\n")


def test_what_is_larger_than_the_limit_is_refused(run, archive, site, monkeypatch):
    monkeypatch.setattr(gathering, "MAX_BYTES", 50)
    code, people, err = run(archive, f"{site}/crowd.png")
    assert code == 1 and people == {} and len(err.splitlines()) == 2 and err.count("is larger than") == 2


def test_a_pattern_that_the_shell_left_is_expanded(run, tmp_path):
    for people in (2, 10):
        (tmp_path / f"{people}.png").write_bytes(photo(people))
    code, people, _ = run(tmp_path / "*.png")
    assert code == 0 and list(people.values()) == [2, 10], "in natural order"
    assert "no such file" in run(tmp_path / "*.jpg")[2]

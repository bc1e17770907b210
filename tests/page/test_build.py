"""The built files in the package are those that web/ builds now."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from headcount.page import BUILT

WEB = Path(__file__).parents[2] / "web"
if not (shutil.which("node") and (WEB / "node_modules").is_dir()):
    pytest.skip("building the page needs Node and `npm ci` in web/", allow_module_level=True)


def content(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_the_built_files_are_those_of_the_sources(tmp_path):
    subprocess.run(["node", "build.js", str(tmp_path)], cwd=WEB, check=True)
    names = {file.name for file in BUILT.iterdir()}
    assert names == {file.name for file in tmp_path.iterdir()}
    for name in names:
        assert content(BUILT / name) == content(tmp_path / name), f"{name}: run `npm run build` in web/"


def test_types_lint_and_format_of_the_scripts():
    checked = subprocess.run(["npm", "run", "--silent", "check"], cwd=WEB, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr

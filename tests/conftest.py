"""Fixtures for every test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder HEADCOUNT_DATA, which holds real `data/` and `weights/`; tests that need it are skipped without it."""
    folder = os.environ.get("HEADCOUNT_DATA", "")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("real data is missing: set HEADCOUNT_DATA to the folder that holds data/ and weights/")
    return Path(folder)


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    from headcount.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main.main([str(a) for a in arguments])
        return exit.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(client, app) of a server in this process, whose model counts white pixels."""
    from helpers.serving import serving

    with serving(tmp_path_factory.mktemp("server")) as (client, app):
        yield client, app


@pytest.fixture
def client(server):
    return server[0]

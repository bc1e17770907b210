"""What `headcount --help` and `headcount COMMAND --help` show, and what they cost."""

import subprocess
import sys
from dataclasses import fields
from typing import get_args

import pytest

from headcount.cli import main, options
from headcount.cli.app import app
from headcount.datasets.registry import FORMATS
from headcount.inference.engines import ENGINES, PRECISIONS

COMMANDS = {
    *("annotate", "average", "calibrate", "check", "convert", "count", "crossvalidate", "demo"),
    *("evaluate", "export", "info", "page", "reproduce", "serve", "train"),
}
NOT_FOR_HELP = {
    *("torch", "openvino", "onnxruntime", "fastapi", "starlette", "ray", "pyarrow"),
    *("scipy", "shapely", "matplotlib", "cv2", "PIL", "av", "numpy"),
}


@pytest.fixture
def help_text(capsys, monkeypatch):
    """The output of `headcount ... --help` on a terminal of 80 columns."""

    def call(*command):
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as exit:
            main.main([*command, "--help"])
        captured = capsys.readouterr()
        assert (exit.value.code, captured.err) == (0, "")
        return captured.out

    return call


def commands():
    return {name for name in app if not name.startswith("-")}


def shown_arguments(command):
    """The arguments of a command, without the dataclasses that only group some of them."""
    return [a for a in app[command].assemble_argument_collection(parse_docstring=True) if a.name != "*"]


def test_help_lists_every_command_with_its_summary(help_text):
    assert commands() == COMMANDS
    words = help_text().split()
    for command in COMMANDS:
        assert command in words
        summary = app[command].help.splitlines()[0]
        assert summary in " ".join(word for word in words if word != "│"), command


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_a_one_line_summary(command):
    summary, *rest = app[command].help.splitlines()
    assert summary.endswith(".") and len(summary) <= 80
    assert not rest or rest[0] == "", "the summary is one line, then comes an empty one"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_parameter_has_a_help_text_that_is_shown(command, help_text):
    text = help_text(command)
    assert max(map(len, text.splitlines())) <= 80
    shown = " ".join(text.replace("│", " ").split())
    arguments = shown_arguments(command)
    assert arguments
    for argument in arguments:
        assert argument.parameter.help, f"{command} {argument.name} has no help text"
        assert argument.name in shown
        assert argument.parameter.help.split()[0] in shown


def test_the_options_of_count_are_the_fields_of_its_dataclasses():
    names = {f.name for kind in (options.CountOptions, options.RayOptions) for f in fields(kind)}
    shown = {a.name for a in shown_arguments("count")} - {"INPUTS"}
    assert shown == {f"--{name.replace('_', '-')}" for name in names}


def test_engines_and_precisions_are_those_of_inference():
    assert get_args(options.EngineName) == ("auto", *ENGINES)
    assert get_args(options.Precision) == PRECISIONS


def test_help_imports_nothing_heavy():
    code = """import sys
from headcount.cli.main import main
try:
    main(["--help"])
finally:
    print(*{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert done.returncode == 0 and "cyclopts" in loaded
    assert not loaded & NOT_FOR_HELP


def test_convert_names_every_format(help_text):
    words = set(help_text("convert").replace("│", " ").replace(",", " ").replace(".", " ").split())
    assert set(FORMATS) <= words, f"name {sorted(set(FORMATS) - words)} in headcount/cli/datasets.py"

"""The progress bar shows what is done on a terminal, and nothing elsewhere."""

import io
import sys

from headcount.io.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_description_and_the_steps(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(5, "training", done=2) as step:
        step()
        step()
    assert "training" in sys.stderr.getvalue() and "4/5" in sys.stderr.getvalue()


def test_elsewhere_nothing_is_written(monkeypatch, capsys):
    with progress_bar(2) as step:
        step()
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(2, shown=False) as step:
        step()
    assert sys.stderr.getvalue() == "" and capsys.readouterr() == ("", "")

"""Messages and progress on stderr, and errors in the use of the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from headcount.io.names import one_line
from headcount.io.progress import progress_bar


class UsageError(ValueError):
    """The command line asks for something impossible. The command exits with code 2."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the errors of a block that checks user input into usage errors.

    Raises:
        UsageError: If the block raises ValueError or OSError, with the same message.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UsageError(error) from None


def check_target(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written before any work is done for it.

    Args:
        option: The option that names the file, as "--out".
        path: The file, or None if the option is not given.

    Raises:
        UsageError: If the path is a folder or its parent folder does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; give a file")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: no such folder; give a file in an existing folder")


def print_message(message: str) -> None:
    """Print a message as one line to stderr, after the name of the command."""
    print(f"headcount: {printable(one_line(message))}", file=sys.stderr)


def printable(text: str) -> str:
    """Replace control characters, which could move the cursor or hide text, by U+FFFD."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def progress(total: int | None, quiet: bool = False) -> AbstractContextManager[Callable[[], None]]:
    """Show a progress bar with rate and remaining time on stderr if that is a terminal.

    Args:
        total: Number of steps, or None if unknown. A single step shows no bar.
        quiet: Show nothing, because rows are written to the same terminal.

    Returns:
        A context that gives a function to call after each step.
    """
    return progress_bar(total, shown=total not in (0, 1) and not quiet)

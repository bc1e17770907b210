"""Messages to the user on stderr, and errors in the use of the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


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
    """Print each line of a message to stderr, after the name of the command."""
    for line in message.splitlines():
        if line.strip():
            print(f"headcount: {printable(line.strip())}", file=sys.stderr)


def printable(text: str) -> str:
    """Replace control characters, which could move the cursor or hide text, by U+FFFD."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)

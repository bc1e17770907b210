"""Names of files: their order, which of them are hidden, and how a table spells those that are no plain text.

On Unix a file name is any bytes. It may hold line breaks, or bytes that are not UTF-8, for which Python has lone
surrogates. A line of a table can hold neither, so `name_to_text` escapes them and `name_from_text` restores the name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

ARCHIVE_LEFTOVERS = "__MACOSX"  # the folder that archives made on a Mac unpack beside the real one

# Control characters, the line breaks of Unicode, and surrogates.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPE = r"u(?:00[01][0-9a-f]|005c|007f|00[89][0-9a-f]|202[89]|d[89a-f][0-9a-f]{2})"
_BACKSLASH = re.compile(rf"\\(?={_ESCAPE})")
_ESCAPED = re.compile(rf"\\({_ESCAPE})")


def name_to_text(name: str) -> str:
    r"""Spell a file name as one line of valid text: "a\nb.jpg" becomes "a\u000ab.jpg". Other names stay as they are.

    Different names have different spellings.
    """
    return one_line(_BACKSLASH.sub(r"\\u005c", name))


def name_from_text(text: str) -> str:
    """The inverse of `name_to_text`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1][1:], 16)), text)


def one_line(text: str) -> str:
    """Escape what would break the line of a message, or is no valid text: a message may quote the name of a file."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


NaturalKey = tuple[list[str | tuple[int, str]], str]


def natural_key(text: str) -> NaturalKey:
    """A sort key that compares digits as numbers: IMG_2 comes before IMG_10, and both before IMG_10b."""
    parts = re.split(r"(\d+)", text)  # text and numbers alternate, so any two keys can be compared
    numbers = [part.lstrip("0") for part in parts]
    # A longer number is larger. int() would refuse one of thousands of digits.
    return [(len(numbers[i]), numbers[i]) if i % 2 else part for i, part in enumerate(parts)], text


def is_hidden(path: PurePath) -> bool:
    """Whether a path, relative to the folder that is searched, is hidden or in a hidden folder.

    What archives made on a Mac leave behind counts as hidden.
    """
    return any(part.startswith(".") or part == ARCHIVE_LEFTOVERS for part in path.parts)


def files_in(folder: str | Path) -> list[Path]:
    """All files below a folder, hidden ones too, in no particular order. Links to folders are not followed."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]

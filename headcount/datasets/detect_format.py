"""Detecting the annotation format of a folder or file."""

from __future__ import annotations

from pathlib import Path

from headcount.datasets.annotations import PointsError
from headcount.datasets.registry import FORMATS

FORMAT_OPTION = "format=NAME (--format; headcount convert: --from)"


def detect(root: str | Path) -> tuple[str, str]:
    """Detect the annotation format of a folder or file, from names and the first lines of files.

    Args:
        root: Folder of a data set, or an annotation file.

    Returns:
        The name of the format, and in words how it was recognized.

    Raises:
        PointsError: no format fits, or several do. The message says what was looked for, or which formats fit.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise PointsError(f"{root}: no such file or folder; check the path")
    signs = {name: format.sign for name, format in FORMATS.items() if format.sign}
    found = [name for name in signs if FORMATS[name].matches(root)]
    if len(found) == 1:
        return found[0], f"this looks like {found[0]}: {signs[found[0]]}"
    if found:
        fits = "; ".join(f"{name} ({signs[name]})" for name in found)
        raise PointsError(f"{root}: more than one format fits: {fits}; pass {FORMAT_OPTION}, or give the file itself")
    known = "; ".join(f"{name} ({sign})" for name, sign in signs.items())
    raise PointsError(f"{root}: in no known format; looked for {known}; pass {FORMAT_OPTION}")

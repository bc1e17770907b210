"""The command `headcount page`."""

from __future__ import annotations

from pathlib import Path

from headcount.cli.app import COUNTING, app
from headcount.cli.messages import usage_errors
from headcount.cli.options import Flag


@app.command(group=COUNTING)
def page(*, out: Path = Path("site"), model: str | None = None, single_file: Flag = False) -> int:
    """Write a web page that counts photos in the visitor's browser.

    The page sends nothing. Any web server can host the folder; the single file also opens from a disk.

    Args:
        out: Folder to write. With --single-file, the folder of headcount.html.
        model: The model that counts: an .onnx file or the name of a bundled model.
        single_file: Write one HTML file instead of a folder of files.
    """
    from headcount.page import write_file, write_site

    with usage_errors():
        if single_file:
            target = out if out.suffix == ".html" else out / "headcount.html"
            write_file(target, model)
            print(f"{target}: open it in a browser ({target.stat().st_size / 1e6:.1f} MB)")
            return 0
        files = write_site(out, model)
    total = sum(file.stat().st_size for file in files) / 1e6
    print(f"{out / 'index.html'} and {len(files) - 1} more files, {total:.1f} MB: any web server can host this folder")
    return 0

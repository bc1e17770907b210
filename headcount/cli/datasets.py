"""Commands for annotated data: convert, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from headcount.cli.app import app
from headcount.cli.output import UsageError, check_target, opened, progress


@app.command
def convert(
    source: Path,
    /,
    *,
    source_format: Annotated[str, cyclopts.Parameter(name="--from")] = "auto",
    to: Literal["csv", "json", "coco"] = "csv",
    out: Path,
    split: str | None = None,
    boxes: Literal["head", "centre"] | None = None,
    classes: str = "",
) -> int:
    """Write the annotations of a data set as one file that headcount trains on; pictures stay where they are.

    Parameters
    ----------
    source
        Folder of the data set, or an annotation file.
    source_format
        shanghaitech, ucf_cc_50, worldexpo, ucf_qnrf, nwpu, jhu, mall, ucsd, carpk, trancos, visdrone, p2pnet, yolo,
        voc, cvat, labelme, labelstudio, coco, json or csv; auto finds out.
    to
        The format to write. Where a data set says in which region to count, it must be json or coco.
    out
        The file to write. It moves together with the pictures below its folder.
    split
        One split; by default all, and the file marks the split of each picture.
    boxes
        Where in a box its person is counted: half a head below the top edge, or in the centre. By default what suits
        the class: head for people, centre for heads and all else.
    classes
        The classes to count, as person,rider; by default heads, else people, else the only one there is.
    """
    from headcount.datasets.conversion import convert as write

    check_target("--out", out)
    named = [name for name in classes.split(",") if name.strip()]
    print(write(source, out, to=to, format=source_format, split=split, boxes=boxes, classes=named))
    return 0


@app.command
def check(
    *data: Path,
    format: str = "auto",
    split: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    sheet: Path | None = None,
    json: Path | None = None,
) -> int:
    """Look for what is wrong with a data set: pictures, points, and photos that occur twice, above all across splits.

    The exit code is 1 where there are errors, which make training or testing on the set wrong.

    Parameters
    ----------
    data
        Folder of a data set, or an annotation file. Of several, photos that two of them share are found too.
    format
        As --from of headcount convert.
    split
        Look at this one alone; may be given again.
    sheet
        Write the pictures with findings as thumbnails with dots, .png or .jpg.
    json
        Write the whole report to this file; what is printed names ten findings of a kind.
    """
    from json import dump

    from headcount.datasets.validation import check as look

    if not data:
        raise UsageError("check: name the folder of a data set")
    check_target("--sheet", sheet)
    check_target("--json", json)
    if sheet and sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--sheet {sheet}: pictures are written as .png, .jpg or .webp; name one of them")
    with progress(None) as step:
        report = look(data, format, split or None, step)
    print(report)
    if sheet and report.sheet(sheet):
        print(f"pictures with findings: {sheet}")
    if json:
        with opened(json) as stream:
            dump(report.to_dict(), stream, indent=2)
    return 1 if report.errors else 0

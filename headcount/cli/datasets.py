"""The commands for annotated data: `headcount convert` and `headcount check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from headcount.cli.app import DATA, app
from headcount.cli.messages import UsageError, check_target, print_message, progress, usage_errors
from headcount.cli.options import Flag, Repeatable
from headcount.io.files import atomic_write

WrittenFormat = Literal["csv", "json", "coco", "cvat", "labelstudio", "geojson"]
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@app.command(group=DATA)
def convert(
    source: Path,
    /,
    *,
    source_format: Annotated[str, cyclopts.Parameter(name="--from")] = "auto",
    to: WrittenFormat = "csv",
    out: Path,
    split: str | None = None,
    boxes: Literal["head", "centre"] | None = None,
    classes: Annotated[str, cyclopts.Parameter(show_default=False)] = "",
    estimate: Flag = False,
    model: Path | None = None,
) -> int:
    """Convert the annotations of a data set to one file for training or labeling.

    The images stay where they are.

    Args:
        source: Folder of the data set, or an annotation file. With --estimate: a folder of photos.
        source_format: shanghaitech, ucf_cc_50, worldexpo, ucf_qnrf, nwpu, jhu, mall, ucsd, carpk, trancos,
            visdrone, scut_head, unity_crowds, p2pnet, yolo, voc, cvat, labelme, labelstudio, coco, json, csv or
            people_free. auto detects the format.
        to: The format to write. CVAT and Label Studio import cvat and labelstudio. A data set with regions of interest
            needs json or coco.
        out: The file to write. It refers to the images below its own folder by relative paths.
        split: Convert only this split. By default all splits are converted, and the file marks the split of each
            image.
        boxes: Where a box counts its person: head is half a head below the top edge, centre is the centre. By default
            head for boxes of persons, and centre for boxes of heads and other objects.
        classes: The classes to count, separated by commas, as person,rider. By default heads, else persons, else the
            only class there is.
        estimate: Write the positions that a model estimates, to correct them in CVAT or Label Studio instead of marking
            every head.
        model: With --estimate, the model, as in headcount count.
    """
    if estimate:
        if source_format != "auto" or split or boxes or classes:
            raise UsageError("--estimate cannot be combined with --from, --split, --boxes or --classes")
        return write_estimates(source, out, to, model)
    if model:
        raise UsageError("--model requires --estimate")
    from headcount.datasets.conversion import convert as convert_annotations

    check_target("--out", out)
    names = [name for name in classes.split(",") if name.strip()]
    print(convert_annotations(source, out, to=to, format=source_format, split=split, boxes=boxes, classes=names))
    return 0


def write_estimates(source: Path, out: Path, to: WrittenFormat, model: Path | None) -> int:
    """Write the positions that a model estimates in photos. Returns the exit code: 1 if a photo cannot be read."""
    from headcount.datasets import readers
    from headcount.datasets.sample import Sample
    from headcount.inference.counter import load
    from headcount.io.images import list_images

    check_target("--out", out)
    images = list_images(source)
    if not images:
        raise UsageError(f"{source}: no images in this folder; give a folder of photos")
    with usage_errors():
        counter = load(model)
    samples, failures = [], 0
    with progress(len(images)) as step:
        for image, result in zip(images, counter.count_many(images), strict=True):
            if result.error:
                print_message(result.error if str(image) in result.error else f"{image}: {result.error}")
                failures += 1
            else:
                samples.append(Sample(image, result.points()))
            step()
    if samples:
        readers.write_estimates(samples, out, to, counter.engine.meta.name)
        heads = sum(len(sample.points) for sample in samples)
        print(f"{out}: {len(samples):,} images, {heads:,} estimated positions to correct")
    return 1 if failures else 0


@app.command(group=DATA)
def check(
    *data: Path,
    format: str = "auto",
    split: Repeatable[str] = (),
    sheet: Path | None = None,
    json: Path | None = None,
) -> int:
    """Check a data set for damaged images, bad points and duplicate photos.

    Photos that are in more than one split are the worst finding. The exit code is 1 if there are errors, which would
    make training or testing on the data set wrong.

    Args:
        data: Folder of a data set, or an annotation file. With several, photos that two of them share are found too.
        format: The format of the data, as --from of headcount convert.
        split: Check only this split. Repeat the option for several splits.
        sheet: Write thumbnails of the images with findings, and their points, to this .png or .jpg file.
        json: Write the full report to this file. The printed report shows at most ten findings of each kind.
    """
    from json import dump

    from headcount.datasets.validation import check as check_data

    if not data:
        raise UsageError("check: give the folder of a data set")
    check_target("--sheet", sheet)
    check_target("--json", json)
    if sheet and sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise UsageError(f"--sheet {sheet}: give a .png, .jpg or .webp file")
    with progress(None) as step:
        report = check_data(data, format, split or None, step)
    print(report)
    if sheet and report.sheet(sheet):
        print(f"images with findings: {sheet}")
    if json:
        with atomic_write(json) as stream:
            dump(report.to_dict(), stream, indent=2)
    return 1 if report.errors else 0

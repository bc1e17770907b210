"""UCSD pedestrians, ten annotated clips of one walkway.

Citation:
    Chan, Liang, Vasconcelos: "Privacy Preserving Crowd Monitoring: Counting People without People Models or Tracking",
    CVPR 2008.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    ::

        vidf/vidf1_33_000.y/vidf1_33_000_f001.png .. _f200.png
        vidf-cvpr/vidf1_33_000_frame_full.mat
        vidf-cvpr/vidf1_33_roi_mainwalkway.mat

    The folders may be anywhere below the root. `frame` is a cell (1, 200) of structs with `loc` (N, 3): x, y and a
    third value that is not read. The region of interest is the polygon `xi`, `yi` of `roi`, if that file is there.
    Clips 003 to 006, which are frames 601 to 1400, are the training split, the others the test split. Only frames
    stored as PNG are read, not a video.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import read_mat_points
from headcount.datasets.annotations import AnnotationRecord, PointsError
from headcount.datasets.folders import list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.published.video_frames import frame_records
from headcount.datasets.signs import holds
from headcount.io.images import IMAGE_SUFFIXES

ENDING = "_frame_full.mat"
TRAINING_CLIPS = ("003", "004", "005", "006")


def parse_ucsd(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each frame; see the module for the layout."""
    files = list_files(root, (".mat",), f"**/*{ENDING}")
    if not files:
        raise PointsError(f"{root}: holds no vidf1_33_000{ENDING}; unpack vidf-cvpr.zip there")
    roi_file = next(iter(list_files(root, (".mat",), "**/vidf1_33_roi_mainwalkway.mat")), None)
    roi = read_mat_points(roi_file, _walkway) if roi_file else None
    for file in files:
        clip = file.name.removesuffix(ENDING)  # vidf1_33_000
        frames = {int(path.stem[-3:]): path for path in list_files(root, IMAGE_SUFFIXES, f"**/{clip}_f*")}
        split = "train" if clip[-3:] in TRAINING_CLIPS else "test"
        yield from (replace(record, split=split) for _, record in frame_records(file, frames, roi, "ucsd"))


def _walkway(variables: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack([variables["roi"][axis][0, 0].ravel() for axis in ("xi", "yi")])


FORMAT = RecordFormat(
    sign="vidf1_33_000_frame_full.mat",
    matches=holds("vidf*_frame_full.mat", "*/vidf*_frame_full.mat"),
    parse=parse_ucsd,
)

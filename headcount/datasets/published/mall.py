"""Mall, 2,000 frames of one camera in a shopping mall.

Citation:
    Chen, Loy, Gong, Xiang: "Feature Mining for Localised Crowd Counting", BMVC 2012.

Licence:
    See the page of its owners; such sets are mostly for research only.

Layout:
    `frames/seq_000001.jpg` to `seq_002000.jpg`, `mall_gt.mat` and `perspective_roi.mat`. `frame` is a cell (1, 2000) of
    structs with `loc` (N, 2). The outline of `roi.mask` is the region of interest. Without that file the whole frame is
    counted. Frames 1 to 800 are the training split, the others the test split.

Read as its owners describe the layout, and tested on folders made in that layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from headcount.datasets.annotation_files import extract, mask_polygon, read_mat
from headcount.datasets.annotations import AnnotationRecord
from headcount.datasets.folders import find_home, list_files
from headcount.datasets.format import RecordFormat
from headcount.datasets.published.video_frames import frame_records
from headcount.datasets.signs import holds
from headcount.io.images import IMAGE_SUFFIXES

LAST_TRAINING_FRAME = 800


def parse_mall(root: Path) -> Iterator[AnnotationRecord]:
    """Yield a record for each frame; see the module for the layout."""
    home = find_home(root, "mall_gt.mat")
    images = list_files(home / "frames", IMAGE_SUFFIXES, "seq_*")
    frames = {int(path.stem.rsplit("_", 1)[-1]): path for path in images}
    for number, record in frame_records(home / "mall_gt.mat", frames, _roi(home / "perspective_roi.mat"), "mall"):
        yield replace(record, split="train" if number <= LAST_TRAINING_FRAME else "test")


def _roi(file: Path) -> np.ndarray | None:
    if not file.is_file():
        return None
    return mask_polygon(extract(file, read_mat(file), lambda variables: variables["roi"]["mask"][0, 0]), file)


FORMAT = RecordFormat(sign="mall_gt.mat", matches=holds("mall_gt.mat"), parse=parse_mall)

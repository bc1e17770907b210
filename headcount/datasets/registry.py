"""The registry of annotation formats."""

from __future__ import annotations

from pathlib import Path

from headcount.datasets import coco, people_free, tables
from headcount.datasets.annotations import PointsError
from headcount.datasets.format import Format, Writer
from headcount.datasets.geojson import write_geojson
from headcount.datasets.labeling_tools import cvat, labelme, labelstudio, voc, yolo
from headcount.datasets.published import (
    carpk,
    jhu,
    mall,
    nwpu,
    p2pnet,
    scut_head,
    shanghaitech,
    trancos,
    ucf_cc_50,
    ucf_qnrf,
    ucsd,
    unity_crowds,
    visdrone,
    worldexpo,
)

FORMATS: dict[str, Format] = {
    "shanghaitech": shanghaitech.FORMAT,
    "ucf_cc_50": ucf_cc_50.FORMAT,
    "worldexpo": worldexpo.FORMAT,
    "ucf_qnrf": ucf_qnrf.FORMAT,
    "nwpu": nwpu.FORMAT,
    "jhu": jhu.FORMAT,
    "mall": mall.FORMAT,
    "ucsd": ucsd.FORMAT,
    "carpk": carpk.FORMAT,
    "trancos": trancos.FORMAT,
    "visdrone": visdrone.FORMAT,
    "scut_head": scut_head.FORMAT,
    "unity_crowds": unity_crowds.FORMAT,
    "p2pnet": p2pnet.FORMAT,
    "yolo": yolo.FORMAT,
    "voc": voc.FORMAT,
    "cvat": cvat.FORMAT,
    "labelme": labelme.FORMAT,
    "labelstudio": labelstudio.FORMAT,
    "csv": tables.CSV_FORMAT,
    "json": tables.JSON_FORMAT,
    "coco": coco.FORMAT,
    "people_free": people_free.FORMAT,
}


def find_format(root: Path, name: str) -> Format:
    """The format of this name. Raises PointsError, with `root` in the message, if there is none."""
    if name not in FORMATS:
        raise PointsError(f"{root}: unknown format '{name}'; choose one of {', '.join(FORMATS)}, or auto")
    return FORMATS[name]


def find_writer(path: Path, name: str) -> Writer:
    """What writes the format of this name. Raises PointsError, with `path` in the message, if it is not written."""
    writers = {key: format.write for key, format in FORMATS.items() if format.write is not None}
    writers["geojson"] = write_geojson
    if name not in writers:
        raise PointsError(f"{path}: cannot write format '{name}'; choose one of {', '.join(writers)}")
    return writers[name]

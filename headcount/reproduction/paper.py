"""What the paper prints, as data: its tables, row by row, and the recipe that makes each row here.

*Mask-aware networks for crowd counting* (Jiang, Lu, Lei, Liu), tables I-V. Its "MSE" is the root of the mean square.
A row without a recipe is a figure that the paper cites from elsewhere: it is printed beside ours and never trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSet:
    """A set as it lies under the data folder; `folds` > 0 is cross validation over splits fold1-train .. foldN-test.

    crops: crops of each picture in an epoch of the paper's budget."""

    title: str
    folder: str
    format: str
    folds: int = 0
    crops: int = 200


@dataclass(frozen=True)
class Row:
    """printed: {set: the paper's figures}, MAE and RMSE; for WorldExpo'10 the MAE of five scenes and their mean."""

    label: str
    recipe: str = ""
    printed: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    title: str
    sets: tuple[str, ...]
    rows: tuple[Row, ...]


SETS = {
    "part_A": DataSet("ShanghaiTech A", "shanghaitech/part_A", "shanghaitech"),
    "part_B": DataSet("ShanghaiTech B", "shanghaitech/part_B", "shanghaitech"),
    "ucf_cc_50": DataSet("UCF_CC_50", "ucf_cc_50", "ucf_cc_50", folds=5, crops=60),
    "worldexpo": DataSet("WorldExpo'10", "worldexpo", "worldexpo"),
}


def _a(mae: float, rmse: float) -> dict[str, tuple[float, ...]]:
    return {"part_A": (mae, rmse)}


SOLUTION_5 = Row("solution 5: feature, posterior", "solution-5", _a(65.74, 107.83))
MODEL_CSR = Row("model_csr: VGG16, solution 5", "model-csr", _a(61.82, 100.01))
CSRNET = Row("CSRNet", "csrnet", _a(68.2, 115.0))

# Tables III-V compare with the literature: {name: (recipe, A, B, UCF_CC_50, WorldExpo'10)}.
LITERATURE = {
    "CC-Counting": ("", (181.8, 277.7), (32.0, 49.8), (467.0, 498.5), (9.8, 14.1, 14.3, 22.2, 3.7, 12.82)),
    "FCN": ("", (126.5, 173.5), (23.8, 33.1), (338.6, 424.5), ()),
    "MCNN": ("mcnn", (110.2, 173.2), (26.4, 41.3), (377.6, 509.1), (3.4, 20.6, 12.9, 13.0, 8.1, 11.6)),
    "TDF-net": ("", (97.5, 145.1), (20.7, 32.8), (354.7, 491.4), (2.7, 23.4, 10.7, 17.6, 3.3, 11.54)),
    "Switching-net": ("", (90.4, 135.0), (21.6, 33.4), (318.1, 439.2), (4.4, 15.7, 10.0, 11.0, 5.9, 9.4)),
    "BA-CNN": ("", (), (20.2, 35.6), (409.5, 563.7), (4.1, 21.7, 11.9, 11.0, 3.5, 10.44)),
    "NetVLAD (multitask)": ("", (107.6, 169.3), (21.4, 33.9), (311.3, 401.8), (3.7, 15.9, 10.2, 15.2, 6.7, 10.5)),
    "CP-CNN": ("", (73.6, 106.4), (20.1, 30.1), (295.8, 320.9), (2.9, 14.7, 10.5, 10.4, 5.8, 8.86)),
    "CSRNet": ("csrnet", (68.2, 115.0), (10.6, 16.0), (266.1, 397.5), (2.9, 11.5, 8.6, 16.6, 3.4, 8.6)),
    "ours, light (solution 5)": (
        "solution-5", (65.7, 107.8), (11.7, 16.4), (283.3, 411.6), (3.0, 16.7, 11.6, 12.5, 4.1, 9.58),
    ),
    "ours, model_csr": ("model-csr", (61.8, 100.0), (8.6, 13.3), (245.4, 349.3), (2.2, 11.5, 11.6, 13.9, 2.5, 8.34)),
}  # fmt: skip


def literature(*sets: str) -> tuple[Row, ...]:
    rows = []
    for label, (recipe, *figures) in LITERATURE.items():
        printed = dict(zip(SETS, figures, strict=True))
        rows.append(Row(label, recipe, {name: printed[name] for name in sets if printed[name]}))
    return tuple(row for row in rows if row.printed)


TABLES = {
    "table1": Table(
        "Table I: where the mask joins the density",
        ("part_A",),
        (
            Row("baseline 1: no mask", "baseline-1", _a(77.25, 127.21)),
            Row("baseline 2: no mask, deeper", "baseline-2", _a(74.96, 117.72)),
            Row("solution 1: product, true mask", "solution-1", _a(87.45, 128.81)),
            Row("solution 2: product, posterior", "solution-2", _a(69.77, 120.61)),
            Row("solution 3: product, binarised", "solution-3", _a(76.66, 115.40)),
            Row("solution 4: feature, true mask", "solution-4", _a(71.37, 111.91)),
            SOLUTION_5,
            Row("solution 5, recipe as printed", "solution-5-printed", _a(65.74, 107.83)),
        ),
    ),
    "table2": Table(
        "Table II: a mask, or only more parameters?",
        ("part_A",),
        (
            Row("baseline 3: density for mask", "baseline-3", _a(73.66, 120.26)),
            SOLUTION_5,
            Row("solution 5, cross-entropy", "solution-5-bce", _a(66.08, 104.69)),
            CSRNET,
            MODEL_CSR,
            Row("model_csr, trained for longer", "model-csr-long", _a(61.82, 100.01)),
        ),
    ),
    "table3": Table("Table III: ShanghaiTech", ("part_A", "part_B"), literature("part_A", "part_B")),
    "table4": Table("Table IV: UCF_CC_50, five folds", ("ucf_cc_50",), literature("ucf_cc_50")),
    "table5": Table("Table V: WorldExpo'10, MAE by scene", ("worldexpo",), literature("worldexpo")),
}

FIGURE_ROWS = {
    "figure4": (Row("solution 5", "solution-5"), Row("baseline 1", "baseline-1"), Row("baseline 2", "baseline-2")),
    "figure5": (Row("solution 5", "solution-5"),),
    "figure6": (
        Row("baseline 1", "baseline-1"),
        Row("baseline 2", "baseline-2"),
        Row("baseline 3", "baseline-3"),
        Row("solution 5", "solution-5"),
        Row("model_csr", "model-csr"),
    ),
}

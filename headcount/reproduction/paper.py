"""The paper's tables as data: the rows as printed, and the recipe that reproduces each row here.

The paper is *Mask-aware networks for crowd counting* (Jiang, Lu, Lei, Liu). Its "MSE" is the root of the mean square.
Printed numbers are strings, so that they keep the paper's decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSet:
    """One of the paper's data sets, as it is stored under the data folder.

    Attributes:
        title: The name in reports.
        folder: Path under the data folder.
        format: Name of the reader.
        folds: Number of folds of the cross validation; 0 for a set with an official test split.
        crops_per_image: Crops of each image in one of the paper's epochs.
        test_folders: Folders of the test split, relative to `folder`. A copy with none of them has no test split.
            Empty where `folds` provide one.
    """

    title: str
    folder: str
    format: str
    folds: int = 0
    crops_per_image: int = 200
    test_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """The trained weights that an experiment starts from.

    Attributes:
        recipe: Name of the recipe that produces them.
        part: "all", or "backbone" for a new head.
        dataset: The data set on which they are trained; "" for that of the experiment itself.
    """

    recipe: str
    part: str = "all"
    dataset: str = ""


@dataclass(frozen=True)
class Recipe:
    """How the tables use one of the recipes in headcount/recipes.

    Attributes:
        name: Name of the TOML file.
        starts: Budget -> trained weights to start from. In other budgets, the recipe's own initialization holds.
        fold_starts: The same for a fold of a cross validation.
        own_length: Budgets in which the recipe keeps its own length.
        budgets: Budgets in which tables train it.
        crops_by_dataset: An epoch has as many crops as the data set says, rather than as many as the recipe says.
    """

    name: str
    starts: Mapping[str, Start] = field(default_factory=dict)
    fold_starts: Mapping[str, Start] = field(default_factory=dict)
    own_length: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ("smoke", "short", "full")
    crops_by_dataset: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: First column.
        recipe: What reproduces it; None for a figure that the paper cites from elsewhere, which is never trained.
        printed: Data set -> the paper's figures as printed: MAE and RMSE, or for WorldExpo'10 the MAE of its five
            scenes and their mean. Empty for a row that the paper lacks.
    """

    label: str
    recipe: Recipe | None = None
    printed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: Heading of the report.
        datasets: Keys of `DATASETS`.
        rows: In the order of the report.
    """

    title: str
    datasets: tuple[str, ...]
    rows: tuple[Row, ...]

    def rows_of(self, dataset: str) -> list[Row]:
        """The rows that have a figure on a data set, printed or measured."""
        return [row for row in self.rows if row.recipe or dataset in row.printed]


DATASETS = {
    "part_A": DataSet("ShanghaiTech A", "shanghaitech/part_A", "shanghaitech", test_folders=("test_data",)),
    "part_B": DataSet("ShanghaiTech B", "shanghaitech/part_B", "shanghaitech", test_folders=("test_data",)),
    "ucf_cc_50": DataSet("UCF_CC_50", "ucf_cc_50", "ucf_cc_50", folds=5, crops_per_image=60),
    "worldexpo": DataSet("WorldExpo'10", "worldexpo", "worldexpo", test_folders=("test_frame", "test_label")),
}

WORLDEXPO_SCENES = ("104207", "200608", "200702", "202201", "500717")  # the test scenes S1 to S5, by id
REFERENCE = "solution-5"  # the recipe that every other row is compared with


def _light(name: str) -> Recipe:
    """A recipe of the light backbone. In the short budget, all of them start from one trained backbone."""
    return Recipe(
        name,
        starts={"short": Start("light-start", part="backbone")},
        fold_starts={"short": Start(name, dataset="part_A")},
        budgets=("smoke", "short", "long", "full"),
        crops_by_dataset=True,
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        *(_light(f"baseline-{number}") for number in (1, 2, 3)),
        *(_light(f"solution-{number}") for number in (1, 2, 3, 4, 5)),
        _light("solution-5-bce"),
        Recipe("light-start", own_length=("short",), crops_by_dataset=True),
        Recipe("solution-5-printed", crops_by_dataset=True),
        Recipe("mcnn", fold_starts={"short": Start("mcnn", dataset="part_A")}, crops_by_dataset=True),
        Recipe("csrnet", fold_starts={"short": Start("csrnet", dataset="part_A")}),
        Recipe("model-csr", fold_starts={"short": Start("model-csr-long", dataset="part_A")}),
        Recipe(
            "model-csr-long",
            starts={"smoke": Start("model-csr"), "short": Start("model-csr")},
            own_length=("short",),
            budgets=("smoke", "short"),  # the full budget trains model-csr itself for long enough
        ),
    )
}

# Tables III-V compare with the literature: label -> (recipe, A, B, UCF_CC_50, WorldExpo'10).
_LITERATURE = {
    "CC-Counting": ("", "181.8 277.7", "32.0 49.8", "467.0 498.5", "9.8 14.1 14.3 22.2 3.7 12.82"),
    "FCN": ("", "126.5 173.5", "23.8 33.1", "338.6 424.5", ""),
    "MCNN": ("mcnn", "110.2 173.2", "26.4 41.3", "377.6 509.1", "3.4 20.6 12.9 13.0 8.1 11.6"),
    "TDF-net": ("", "97.5 145.1", "20.7 32.8", "354.7 491.4", "2.7 23.4 10.7 17.6 3.3 11.54"),
    "Switching-net": ("", "90.4 135.0", "21.6 33.4", "318.1 439.2", "4.4 15.7 10.0 11.0 5.9 9.4"),
    "BA-CNN": ("", "", "20.2 35.6", "409.5 563.7", "4.1 21.7 11.9 11.0 3.5 10.44"),
    "NetVLAD (multitask)": ("", "107.6 169.3", "21.4 33.9", "311.3 401.8", "3.7 15.9 10.2 15.2 6.7 10.5"),
    "CP-CNN": ("", "73.6 106.4", "20.1 30.1", "295.8 320.9", "2.9 14.7 10.5 10.4 5.8 8.86"),
    "CSRNet": ("csrnet", "68.2 115.0", "10.6 16.0", "266.1 397.5", "2.9 11.5 8.6 16.6 3.4 8.6"),
    "ours, light (solution 5)": ("solution-5", "65.7 107.8", "11.7 16.4", "283.3 411.6", "3.0 16.7 11.6 12.5 4.1 9.58"),
    "ours, model_csr": ("model-csr", "61.8 100.0", "8.6 13.3", "245.4 349.3", "2.2 11.5 11.6 13.9 2.5 8.34"),
}


def _literature(*datasets: str) -> tuple[Row, ...]:
    rows = []
    for label, (recipe, *columns) in _LITERATURE.items():
        figures = dict(zip(DATASETS, columns, strict=True))
        printed = {name: tuple(figures[name].split()) for name in datasets if figures[name]}
        if printed:
            rows.append(Row(label, RECIPES.get(recipe), printed))
    return tuple(rows)


def _part_a(label: str, recipe: str, mae: str = "", rmse: str = "") -> Row:
    return Row(label, RECIPES[recipe], {"part_A": (mae, rmse)} if mae else {})


_SOLUTION_5 = _part_a("solution 5: feature, posterior", "solution-5", "65.74", "107.83")

TABLES = {
    "table1": Table(
        "Table I: where the mask joins the density",
        ("part_A",),
        (
            _part_a("baseline 1: no mask", "baseline-1", "77.25", "127.21"),
            _part_a("baseline 2: no mask, deeper", "baseline-2", "74.96", "117.72"),
            _part_a("solution 1: product, true mask", "solution-1", "87.45", "128.81"),
            _part_a("solution 2: product, posterior", "solution-2", "69.77", "120.61"),
            _part_a("solution 3: product, binarized", "solution-3", "76.66", "115.40"),
            _part_a("solution 4: feature, true mask", "solution-4", "71.37", "111.91"),
            _SOLUTION_5,
            _part_a("solution 5, recipe as printed", "solution-5-printed"),
        ),
    ),
    "table2": Table(
        "Table II: a mask, or only more parameters?",
        ("part_A",),
        (
            _part_a("baseline 3: density for mask", "baseline-3", "73.66", "120.26"),
            _SOLUTION_5,
            _part_a("solution 5, cross-entropy", "solution-5-bce"),
            _part_a("CSRNet", "csrnet", "68.2", "115.0"),
            _part_a("model_csr: VGG16, solution 5", "model-csr", "61.82", "100.01"),
            _part_a("model_csr, trained for longer", "model-csr-long"),
        ),
    ),
    "table3": Table("Table III: ShanghaiTech", ("part_A", "part_B"), _literature("part_A", "part_B")),
    "table4": Table("Table IV: UCF_CC_50, five folds", ("ucf_cc_50",), _literature("ucf_cc_50")),
    "table5": Table("Table V: WorldExpo'10, MAE by scene", ("worldexpo",), _literature("worldexpo")),
}

FIGURE_ROWS = {
    "figure4": (
        _part_a("solution 5", "solution-5"),
        _part_a("baseline 1", "baseline-1"),
        _part_a("baseline 2", "baseline-2"),
    ),
    "figure5": (_part_a("solution 5", "solution-5"),),
    "figure6": (
        _part_a("baseline 1", "baseline-1"),
        _part_a("baseline 2", "baseline-2"),
        _part_a("baseline 3", "baseline-3"),
        _part_a("solution 5", "solution-5"),
        _part_a("model_csr", "model-csr"),
    ),
}

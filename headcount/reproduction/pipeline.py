"""One command for the paper's tables and figures: train what is missing, measure it, write reports and figures.

Reports and figures use the files of finished experiments alone. A stopped command therefore resumes, and can report
what there is at any time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from headcount.datasets import splits
from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import CROWD_LEVELS
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.io.files import atomic_write
from headcount.io.images import read_image, write_image
from headcount.models.serialization import load_single
from headcount.reproduction import figures
from headcount.reproduction.diagnostics import feature_maps
from headcount.reproduction.experiments import BUDGETS, Experiment, Workspace, experiments_of, run, test_samples
from headcount.reproduction.paper import DATASETS, FIGURE_ROWS, TABLES, Row
from headcount.reproduction.report import render_table
from headcount.reproduction.results import Result, metrics_of, pool
from headcount.training.config import TrainError

FIGURE_DATASET = "part_A"
REPORT = "report"  # as the only recipe: train nothing


def reproduce(
    target: str,
    data: str | Path,
    budget: str,
    out: str | Path,
    backbone_weights: str | Path | None = None,
    seeds: Sequence[int] = (1,),
    only: Sequence[str] = (),
) -> list[Path]:
    """Make a table or a figure of the paper.

    Trains and measures what is missing, then writes the report or figure into `out`.

    Args:
        target: A key of `TARGETS`, or "all".
        data: Folder of the data sets (see `paper.DATASETS`). The rows of a missing set stay "not run", and the report
            states why.
        budget: smoke, short or full.
        out: Folder for runs, reports and figures. Different spellings of one path are the same folder.
        backbone_weights: A file of VGG16's ImageNet weights; None to download them.
        seeds: Seeds of the runs. Rows are pooled over them.
        only: Names of recipes to train, among those that the target needs. "report" alone trains nothing.

    Returns:
        The files that were written.

    Raises:
        TrainError: The target, the budget or a recipe is unknown, or `out` holds a run with other settings.
        PointsError: A data set is damaged.
        Interrupted: Training was stopped; calling again resumes it.
    """
    if target != "all" and target not in TARGETS:
        raise TrainError(f"unknown target {target!r}: use {', '.join(TARGETS)} or all")
    if budget not in BUDGETS:
        raise TrainError(f"unknown budget {budget!r}: use {', '.join(BUDGETS)}")
    weights = None if backbone_weights is None else Path(backbone_weights)
    workspace = Workspace(Path(data), budget, Path(out).expanduser().resolve(), weights, tuple(seeds))
    if not workspace.data.is_dir():
        folders = ", ".join(dataset.folder for dataset in DATASETS.values())
        raise TrainError(f"{workspace.data}: no such folder; give the one that holds {folders}")
    chosen = TARGETS if target == "all" else {target: TARGETS[target]}
    wanted = select(figures_of(chosen), only, target)
    workspace.out.mkdir(parents=True, exist_ok=True)
    run_missing(workspace, wanted)
    written = []
    for name, make in chosen.items():
        written += make(name, workspace)
    return written


def figures_of(targets: Iterable[str]) -> list[tuple[Row, str]]:
    """Every pair of a row and a data set that the targets need a measured figure of, each recipe once per set."""
    found: dict[tuple[str, str], tuple[Row, str]] = {}
    for target in targets:
        if target in TABLES:
            pairs = [(row, dataset) for row in TABLES[target].rows for dataset in TABLES[target].datasets]
        else:
            pairs = [(row, FIGURE_DATASET) for row in FIGURE_ROWS[target]]
        for row, dataset in pairs:
            if row.recipe:
                found.setdefault((row.recipe.name, dataset), (row, dataset))
    return list(found.values())


def select(pairs: list[tuple[Row, str]], only: Sequence[str], target: str) -> list[tuple[Row, str]]:
    """The pairs whose recipe is named by `only`; all of them if it is empty.

    Raises:
        TrainError: `only` names a recipe that none of the pairs has.
    """
    known = list(dict.fromkeys(row.recipe.name for row, _ in pairs if row.recipe))
    unknown = sorted(set(only) - {*known, REPORT})
    if unknown:
        raise TrainError(f"--only {', '.join(unknown)}: not a recipe of {target}; it has {', '.join(known)}")
    return [pair for pair in pairs if not only or (pair[0].recipe and pair[0].recipe.name in only)]


def run_missing(workspace: Workspace, pairs: Sequence[tuple[Row, str]]) -> None:
    """Train and measure every pair that is not finished and whose data set is in the data folder."""
    absent = [dataset for dataset in DATASETS if not workspace.data_folder(dataset).is_dir()]
    for dataset in absent:
        if any(dataset == needed for _, needed in pairs):
            print(absent_note(dataset), file=sys.stderr)
    for row, dataset in pairs:
        if dataset not in absent and row.recipe and workspace.budget in row.recipe.budgets:
            for experiment in experiments_of(row, dataset, workspace.seeds):
                run(experiment, workspace)


def absent_note(dataset: str) -> str:
    return f"{DATASETS[dataset].title} was not run: there is no {DATASETS[dataset].folder} in the data folder."


def results_of(workspace: Workspace, row: Row, dataset: str) -> list[Result]:
    """The results behind a row's figure; none unless every fold and seed is finished."""
    found = [workspace.result(experiment) for experiment in experiments_of(row, dataset, workspace.seeds)]
    finished = [result for result in found if result is not None]
    return finished if len(finished) == len(found) else []


# Tables


def write_table(name: str, workspace: Workspace) -> list[Path]:
    table = TABLES[name]

    def lookup(row: Row, dataset: str) -> list[Result]:
        return results_of(workspace, row, dataset)

    notes = []
    for dataset in table.datasets:
        if not workspace.data_folder(dataset).is_dir() and not any(lookup(row, dataset) for row in table.rows):
            notes.append(f"- {absent_note(dataset)}")
        notes += start_notes(workspace, dataset)
        notes += [note for row in table.rows for note in unseen_notes(workspace, row, dataset)]
    path = workspace.out / f"{name}.md"
    with atomic_write(path) as file:
        file.write(render_table(table, lookup, notes))
    return [path]


def start_notes(workspace: Workspace, dataset: str) -> list[str]:
    """What the light rows of the short budget started from, and its cost."""
    notes = []
    for seed in workspace.seeds:
        result = workspace.result(Experiment("light-start", dataset, seed))
        if result and workspace.budget == "short":
            notes.append(
                f"- Rows of the light backbone on {DATASETS[dataset].title} (seed {seed}) started from one backbone and"
                f" a new head. The backbone was trained from scratch in baseline 1, on {result['crops']:,} crops in"
                f" {result['seconds'] / 60:.0f} minutes."
            )
    return notes


def unseen_notes(workspace: Workspace, row: Row, dataset: str) -> list[str]:
    """The cross-validation figures without images that the networks had seen in Part A, if they started from it."""
    start = row.recipe.fold_starts.get(workspace.budget) if row.recipe and DATASETS[dataset].folds else None
    results = results_of(workspace, row, dataset) if start and start.dataset == "part_A" else []
    if not results:
        return []
    seen = set(splits.split_list("ucf_cc_50_in_part_A_train"))
    folds = [[image for image in result["test"]["images"] if image["name"] not in seen] for result in results]
    pooled = metrics_of([image for fold in folds for image in fold])
    by_fold = mean(metrics_of(fold).rmse for fold in folds)
    return [
        f"- {row.label}: each fold started from a run on Part A, whose training images show {len(seen)} of the 50"
        f" images. Without them: MAE {pooled.mae:.1f}, RMSE {by_fold:.1f} (mean of folds) or {pooled.rmse:.1f} (pooled)"
        f" over {len(pooled)} images."
    ]


# Figures


def figure4(name: str, workspace: Workspace) -> list[Path]:
    """An image of each level from the test set, the one with the median count, and the rendered example."""
    models = {row.label: best_of(workspace, row) for row in FIGURE_ROWS[name]}
    if not all(path.is_dir() for path in models.values()):
        return report_untrained(name)
    counters = {label: Counter(TorchEngine(load_single(path))) for label, path in models.items()}
    split, samples = figure_samples(workspace)
    sources = {"": (caption("image", split), of_each_level(samples)), "-example": ("image", [example()])}
    written = []
    for suffix, (title, chosen) in sources.items():
        rows = []
        for sample in chosen:
            results = {label: counter.count(sample.image) for label, counter in counters.items()}
            maps = {label: (result.density, result.stride) for label, result in results.items()}
            rows.append(figures.Comparison(read_image(sample.image), sample.points, maps, title))
        written.append(save_image(workspace.out / f"{name}{suffix}.png", figures.figure4(rows)))
    return written


def figure5(name: str, workspace: Workspace) -> list[Path]:
    """Inside solution 5, for the test image with the median count and for the rendered example."""
    path = best_of(workspace, FIGURE_ROWS[name][0])
    if not path.is_dir():
        return report_untrained(name)
    model = load_single(path)
    split, samples = figure_samples(workspace)
    sources = {"": (caption("input", split), median_sample(samples)), "-example": ("input", example())}
    written = []
    for suffix, (title, sample) in sources.items():
        image = read_image(sample.image)
        sheet = figures.figure5(image, feature_maps(model, image), title)
        written.append(save_image(workspace.out / f"{name}{suffix}.png", sheet))
    return written


def figure6(name: str, workspace: Workspace) -> list[Path]:
    """MAE by level on the test set: a bar chart, and its numbers as CSV."""
    found = {row.label: results_of(workspace, row, FIGURE_DATASET) for row in FIGURE_ROWS[name]}
    results = [result for row in found.values() for result in row]
    if not results:
        return report_untrained(name)
    levels = {label: pool(row, "test").by_level() for label, row in found.items() if row}
    maes = {label: {k: v.mae for k, v in parts.items() if k != "none"} for label, parts in levels.items()}
    images = {level: len(part) // len(workspace.seeds) for level, part in next(iter(levels.values())).items()}
    chart, numbers = figures.figure6(maes, images, results[0]["test_split"])
    csv = workspace.out / f"{name}.csv"
    with atomic_write(csv) as file:
        file.write(numbers)
    return [save_image(workspace.out / f"{name}.png", chart), csv]


def best_of(workspace: Workspace, row: Row) -> Path:
    """The chosen checkpoint of a row, of the first seed."""
    return workspace.folder(experiments_of(row, FIGURE_DATASET, workspace.seeds[:1])[0]) / "best"


def figure_samples(workspace: Workspace) -> tuple[str, list[Sample]]:
    """The test split that figures are of, or what stands in for it."""
    return test_samples(experiments_of(FIGURE_ROWS["figure5"][0], FIGURE_DATASET, workspace.seeds)[0], workspace)


def caption(title: str, split: str) -> str:
    """The caption of an image, which says so if it is not of a test split."""
    return title if split == "test" else f"{title} (validation list: no test split)"


def report_untrained(name: str) -> list[Path]:
    print(f"{name}: its rows are not trained yet; run it without --only report", file=sys.stderr)
    return []


def save_image(path: Path, image: np.ndarray) -> Path:
    write_image(path, image)
    return path


def median_sample(samples: Sequence[Sample]) -> Sample:
    """The sample of median count. A rule chooses, so that nobody can pick a flattering image."""
    return sorted(samples, key=lambda sample: len(sample.points))[len(samples) // 2]


def of_each_level(samples: Sequence[Sample]) -> list[Sample]:
    """The median sample of each level of crowding that has any."""
    groups = [
        [s for s in samples if level.min_count <= len(s.points) <= level.max_count] for level in CROWD_LEVELS.values()
    ]
    return [median_sample(group) for group in groups if group]


def example() -> Sample:
    """The bundled rendered crowd; figures of it may be published."""
    folder = Path(__file__).parents[1] / "examples"
    known = json.loads((folder / "crowd.json").read_text(encoding="utf-8"))
    return Sample(folder / "crowd.jpg", np.array(known["points"], np.float32))


TARGETS: dict[str, Callable[[str, Workspace], list[Path]]] = {
    **{name: write_table for name in TABLES},
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
}

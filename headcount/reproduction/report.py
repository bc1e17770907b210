"""Reports in Markdown: every row as printed in the paper and as measured here.

A report contains the results that exist. A row without results says "not run", so a report can be made at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import mean

from headcount.evaluation.metrics import CROWD_LEVELS, RESAMPLES
from headcount.reproduction.paper import DATASETS, REFERENCE, WORLDEXPO_SCENES, Row, Table
from headcount.reproduction.results import (
    Part,
    Result,
    errors_by_image,
    interval_of_mean,
    mean_rmse,
    picked_on_test,
    pool,
)

Lookup = Callable[[Row, str], list[Result]]  # (row, data set) -> its results; [] unless all of them exist
Cell = tuple[Row, list[Result]]
Column = tuple[str, Callable[[list[Result]], str]]  # title, and how it renders a row's results

PROTOCOL = f"""\
- **printed**: the paper's figures; "-" where the paper has no such row.
- **MAE, RMSE, bias**: on the test set, of the checkpoint with the lowest MAE on the validation list. The paper prints
  RMSE as "MSE". Bias is the mean of predicted - true. Intervals are 95 % bootstrap intervals over the choice of images
  ({RESAMPLES:,} resamples). They do not cover the variation from one training run to another.
- **picked on test**: the customary protocol, which is optimistic: of each run, the better of the chosen and the last
  checkpoint by test MAE.
- **GMAC**: billions of multiply-adds of the convolutions for one image of 576x768. **crops**, **minutes**: the row's
  own training, validation included. Notes below state what it started from.
- **difference to solution 5**: MAE minus that of solution 5 on the same images, paired. Below zero is better.
- **mask IoU**: overlap of the predicted and the true foreground over the cells of the validation list.
- **gradients**: norm of a loss's gradient, times the loss's weight, on the parameters of a part, over four crops."""

FOLD_PROTOCOL = """\
- **Cross validation**: each image is tested once, in its own fold. MAE is the mean over all images, which is the mean
  of the folds, as they are of one size. **RMSE, mean of folds** is the customary figure: each fold's RMSE, averaged.
  **RMSE, pooled** is one RMSE over all images, and is never lower. "Picked on test" picks a checkpoint in each fold."""


def render_table(table: Table, lookup: Lookup, notes: Sequence[str] = ()) -> str:
    """The report of a table: its figures, how they came about, and diagnostics of the networks."""
    lines = [f"# {table.title}", ""]
    found: list[Result] = []
    for dataset in table.datasets:
        lines += [f"## {DATASETS[dataset].title}", "", *dataset_lines(table, dataset, lookup), ""]
        found += [result for row in table.rows for result in lookup(row, dataset)]
    details = list(notes)
    if found:
        folds = [FOLD_PROTOCOL] if any(DATASETS[dataset].folds for dataset in table.datasets) else []
        details = [PROTOCOL, *folds, *provenance_lines(found), *notes]
    if details:
        lines += ["## Method", "", *details, ""]
    return "\n".join(lines)


def dataset_lines(table: Table, dataset: str, lookup: Lookup) -> list[str]:
    """The figures of all rows on one data set, and below them the diagnostics."""
    cells = [(row, lookup(row, dataset)) for row in table.rows_of(dataset)]
    if dataset == "worldexpo":
        return [*scene_lines(cells), *stand_in_lines(cells, dataset)]
    columns = FOLD_COLUMNS if DATASETS[dataset].folds else COLUMNS
    lines = heading(["row", "printed MAE / MSE", *(title for title, _ in columns)])
    for row, results in cells:
        measured = [""] * len(columns)
        if results:
            measured = [render(results) for _, render in columns]
        elif row.recipe:
            measured[0] = "not run"
        lines.append(markdown_row([row.label, " / ".join(row.printed.get(dataset, "-")), *measured]))
    return [*lines, *stand_in_lines(cells, dataset), "", *diagnostic_lines(cells)]


def stand_in_lines(cells: Sequence[Cell], dataset: str) -> list[str]:
    """States that the validation list stands in for a missing test split, if it does."""
    if not any(result["test_split"] == "val" for _, results in cells for result in results):
        return []
    title = DATASETS[dataset].title
    return ["", f"{title} has no test split here: every figure is of the validation list, which also chose."]


def scene_lines(cells: Sequence[Cell]) -> list[str]:
    """WorldExpo'10: the MAE of each test scene inside its region of interest, and their mean."""
    lines = heading(["row", "", "S1", "S2", "S3", "S4", "S5", "mean"])
    for row, results in cells:
        if "worldexpo" in row.printed:
            lines.append(markdown_row([row.label, "printed", *row.printed["worldexpo"]]))
        if results:
            lines.append(markdown_row(["", "measured", *scene_columns(results)]))
        elif row.recipe:
            lines.append(markdown_row(["", "measured", "not run", *[""] * 5]))
    return lines


def scene_columns(results: Sequence[Result]) -> list[str]:
    """The columns S1 to S5 and their mean, by scene id. Validation scenes have a mean alone."""
    maes = {scene: metrics.mae for scene, metrics in pool(results, "test").by_scene().items()}
    if any(result["test_split"] == "val" for result in results):
        return [""] * len(WORLDEXPO_SCENES) + [f"{mean(maes.values()):.1f} ({len(maes)} validation scenes)"]
    found = [scene for scene in WORLDEXPO_SCENES if scene in maes]
    columns = [f"{maes[scene]:.1f}" if scene in maes else "" for scene in WORLDEXPO_SCENES]
    if not found:
        return [*columns, ""]
    average = f"{mean(maes[scene] for scene in found):.1f}"
    return [*columns, average if len(found) == len(WORLDEXPO_SCENES) else f"{average} ({len(found)} scenes)"]


# Columns of figures


def mae_column(results: list[Result]) -> str:
    low, high = interval_of_mean(list(errors_by_image(results, "test").values()))
    text = f"{pool(results, 'test').mae:.1f} ({low:.1f} to {high:.1f})"
    seeds = sorted({result["experiment"]["seed"] for result in results})
    if len(seeds) > 1:
        groups = [[result for result in results if result["experiment"]["seed"] == seed] for seed in seeds]
        text += "; seeds " + ", ".join(f"{pool(group, 'test').mae:.1f}" for group in groups)
    return text


def fold_column(results: list[Result]) -> str:
    return ", ".join(f"{pool([result], 'test').mae:.0f}" for result in results)


MAE: Column = ("MAE (95 %)", mae_column)
RMSE: tuple[Column, ...] = (("RMSE", lambda results: f"{pool(results, 'test').rmse:.1f}"),)
FOLD_RMSE: tuple[Column, ...] = (
    ("RMSE, mean of folds", lambda results: f"{mean_rmse(results, 'test'):.1f}"),
    ("RMSE, pooled", lambda results: f"{pool(results, 'test').rmse:.1f}"),
)
OTHERS: tuple[Column, ...] = (
    ("bias", lambda results: f"{pool(results, 'test').bias:+.1f}"),
    ("picked on test", lambda results: f"{picked_on_test(results):.1f}"),
    ("validation MAE", lambda results: f"{pool(results, 'val').mae:.1f}"),
    ("M param.", lambda results: f"{results[0]['parameters'] / 1e6:.2f}"),
    ("GMAC", lambda results: f"{results[0]['multiply_adds'] / 1e9:.1f}"),
    ("crops", lambda results: f"{mean(result['crops'] for result in results):,.0f}"),
    ("minutes", lambda results: f"{mean(result['seconds'] for result in results) / 60:.0f}"),
)
COLUMNS = (MAE, *RMSE, *OTHERS)
FOLD_COLUMNS = (MAE, *FOLD_RMSE, *OTHERS, ("MAE by fold", fold_column))


# Diagnostics


def diagnostic_lines(cells: Sequence[Cell]) -> list[str]:
    """Why the rows differ: image by image, by level of crowding, in the mask and in the gradients of the losses."""
    reference = next((results for row, results in cells if row.recipe and row.recipe.name == REFERENCE), [])
    lines = [
        markdown_row(
            [row.label, *differences(results, reference), *bias_by_level(results), *mask_and_gradient_columns(results)]
        )
        for row, results in cells
        if results
    ]
    if not lines:
        return []
    titles = ["row", "difference to solution 5, test (95 %)", "validation (95 %)"]
    titles += [f"bias {level}" for level in CROWD_LEVELS]
    titles += ["mask IoU", "density gradient on backbone", "on mask branch"]
    titles += ["mask gradient on backbone", "on mask branch"]
    return [*heading(titles), *lines]


def differences(results: list[Result], reference: list[Result]) -> list[str]:
    return [paired_difference(results, reference, "test"), paired_difference(results, reference, "val")]


def paired_difference(results: list[Result], reference: list[Result], part: Part) -> str:
    """The difference in MAE to the reference on the same images, with its bootstrap interval; "" if there is none."""
    ours, theirs = errors_by_image(results, part), errors_by_image(reference, part)
    if not theirs or results == reference or ours.keys() != theirs.keys():
        return ""
    difference = [ours[name] - theirs[name] for name in ours]
    low, high = interval_of_mean(difference)
    return f"{mean(difference):+.1f} ({low:+.1f} to {high:+.1f})"


def bias_by_level(results: list[Result]) -> list[str]:
    levels = pool(results, "test").by_level()
    return [f"{levels[level].bias:+.1f}" if level in levels else "-" for level in CROWD_LEVELS]


def mask_and_gradient_columns(results: list[Result]) -> list[str]:
    """Mask IoU, and the gradient norms of the density loss and of the mask loss on two parts of the network."""
    overlaps = [overlap for result in results if (overlap := result["mask_iou"]) is not None]
    norms = results[0]["gradient_norms"]
    columns = [f"{mean(overlaps):.3f}" if overlaps else "-"]
    for term in ("density", "mask"):
        for part in ("backbone", "mask branch"):
            columns.append(f"{norms[term][part]:.3g}" if part in norms.get(term, {}) else "-")
    return columns


# Text


def provenance_lines(results: Sequence[Result]) -> list[str]:
    """Budget, seeds, commit, versions and hardware behind the figures, and the time of training."""
    budgets = listed(result["budget"] for result in results)
    seeds = listed(result["experiment"]["seed"] for result in results)
    commits = listed(result["commit"] for result in results)
    headcounts = listed(result["versions"]["headcount"] for result in results)
    torches = listed(result["versions"]["torch"] for result in results)
    precisions = listed(result["config"]["precision"] for result in results)
    devices = listed(result["device"] for result in results)
    minutes = sum(result["seconds"] for result in results) / 60
    return [
        f"- Budget {budgets}, seed {seeds}; commit {commits}; headcount {headcounts}, torch {torches}"
        f" in {precisions}; {devices}.",
        f"- Training these rows took {minutes:.0f} minutes.",
    ]


def listed(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def heading(titles: Sequence[str]) -> list[str]:
    return [markdown_row(titles), markdown_row(["---"] * len(titles))]


def markdown_row(columns: Sequence[str]) -> str:
    return "| " + " | ".join(columns) + " |"

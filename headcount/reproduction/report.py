"""What was measured, as Markdown, each row beside the figure the paper prints.

Unusual: made from the results that are there (`find` gives those behind a row), so that a report can be made at any
moment; a row that is not there yet says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import numpy as np

from headcount.evaluation.metrics import CROWD_LEVELS, RESAMPLES, CountMetrics
from headcount.reproduction.paper import SETS, Row, Table

Result = dict[str, Any]
Find = Callable[[Row, str], list[Result]]  # the results behind one cell, [] where one of them is missing

PROTOCOL = f"""\
- **MAE, RMSE, bias**: in test, of the checkpoint with the lowest MAE on the validation list. RMSE is what the paper
  prints as "MSE"; bias is the mean of predicted - true. Intervals are 95 % bootstrap intervals over the choice of
  pictures ({RESAMPLES:,} resamples), and say nothing of another training run.
- **picked on test**: the customary protocol, the lower of the chosen and the last checkpoint's test MAE. It flatters.
- **GMAC**: multiply-adds of the convolutions for one picture of 576x768. **crops**, **minutes**: what the row was
  trained on and for, validation included; what it began with, if anything, is said below.
- **less solution 5**: MAE minus that of solution 5 on the same pictures, paired; below zero is better than solution 5.
- **mask IoU**: of the predicted foreground with the true one, over the cells of the validation list.
- **gradients**: norm of a loss's gradient, times its weight, on the parameters of a part, over four crops."""


def render_table(table: Table, find: Find, notes: Sequence[str] = ()) -> str:
    """The whole report of a table: figures, what it was trained with, what the networks do inside."""
    lines = [f"# {table.title}", ""]
    found: list[Result] = []
    for name in table.sets:
        lines += [f"## {SETS[name].title}", "", *set_lines(table, name, find), ""]
        found += [result for row in table.rows for result in cell(row, name, find)]
    if found:
        lines += ["## How", "", PROTOCOL, *how(found), *notes, ""]
    return "\n".join(lines)


def cell(row: Row, name: str, find: Find) -> list[Result]:
    return find(row, name) if row.recipe and name in row.printed else []


def set_lines(table: Table, name: str, find: Find) -> list[str]:
    rows = [row for row in table.rows if name in row.printed]
    if name == "worldexpo":
        return scene_lines(rows, find)
    reference = next((cell(row, name, find) for row in rows if row.recipe == "solution-5"), [])
    head = ["row", "printed MAE / MSE", "MAE (95 %)", "RMSE", "bias", "picked on test"]
    head += ["validation MAE", "M param.", "GMAC", "crops", "minutes"]
    if SETS[name].folds:
        head.append("MAE by fold")
    lines = [line(head), line(["---"] * len(head))]
    for row in rows:
        results = cell(row, name, find)
        printed = "{:.1f} / {:.1f}".format(*row.printed[name])
        if not row.recipe:
            lines.append(line([row.label, printed] + [""] * (len(head) - 2)))
        elif not results:
            lines.append(line([row.label, printed, "not run"] + [""] * (len(head) - 3)))
        else:
            lines.append(line([row.label, printed, *figures(results, name)]))
    splits = {result["test_split"] for row in rows for result in cell(row, name, find)}
    if "val" in splits:
        lines += [
            "",
            f"{SETS[name].title} has no test split here: every figure is of the validation list, which also chose.",
        ]
    return lines + ["", *inside_lines(rows, name, find, reference)]


def figures(results: list[Result], name: str) -> list[str]:
    """The measured columns of one row, over its folds and seeds."""
    test, val = pool(results, "test"), pool(results, "val")
    customary = min(test.mae, pool(results, "test_last").mae)
    one = results[0]
    columns = [
        "{:.1f} ({:.1f} to {:.1f})".format(test.mae, *bootstrap(list(error_by_picture(results, "test").values()))),
        f"{test.rmse:.1f}",
        f"{test.bias:+.1f}",
        f"{customary:.1f}",
        f"{val.mae:.1f}",
        f"{one['parameters'] / 1e6:.2f}",
        f"{one['multiply_adds'] / 1e9:.1f}",
        f"{mean(r['crops'] for r in results):,.0f}",
        f"{mean(r['seconds'] for r in results) / 60:.0f}",
    ]
    seeds = {r["job"]["seed"] for r in results}
    if len(seeds) > 1:
        by_seed = [pool([r for r in results if r["job"]["seed"] == seed], "test").mae for seed in sorted(seeds)]
        columns[0] += "; seeds " + ", ".join(f"{mae:.1f}" for mae in by_seed)
    if SETS[name].folds:
        columns.append(", ".join(f"{r['test']['mae']:.0f}" for r in results))
    return columns


def pool(results: Sequence[Result], part: str) -> CountMetrics:
    """One CountMetrics of every picture of several results (folds, seeds)."""
    images = [image for result in results for image in result[part]["images"]]
    scenes = [image["scene"] for image in images]
    names = [image["name"] for image in images]
    true, predicted = ([image[key] for image in images] for key in ("true", "predicted"))
    return CountMetrics(true, predicted, names, scenes if any(scenes) else None)


def error_by_picture(results: Sequence[Result], part: str) -> dict[str, float]:
    """Each picture's |predicted - true|, the mean over seeds: pictures are what an interval resamples."""
    errors: dict[str, list[float]] = {}
    for result in results:
        for image in result[part]["images"]:
            errors.setdefault(image["name"], []).append(abs(image["predicted"] - image["true"]))
    return {name: mean(values) for name, values in errors.items()}


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over pictures."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def paired(results: list[Result], reference: list[Result], part: str) -> str:
    """The difference in MAE from the reference on the same pictures, with its bootstrap interval."""
    ours, theirs = error_by_picture(results, part), error_by_picture(reference, part)
    if not theirs or results == reference or ours.keys() != theirs.keys():
        return ""
    difference = [ours[name] - theirs[name] for name in ours]
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(mean(difference), *bootstrap(difference))


def inside_lines(rows: Sequence[Row], name: str, find: Find, reference: list[Result]) -> list[str]:
    """Why: against solution 5 picture by picture, bias by level, the mask, gradients of the two losses."""
    head = ["row", "less solution 5, test (95 %)", "validation (95 %)", "bias low", "middle", "high", "mask IoU"]
    head += ["density gradient on backbone", "on mask branch", "mask gradient on backbone", "on mask branch"]
    lines = []
    for row in rows:
        results = cell(row, name, find)
        if results:
            one, levels = results[0], pool(results, "test").by_level()
            iou = [r["mask_iou"] for r in results if r["mask_iou"] is not None]
            columns = [paired(results, reference, "test"), paired(results, reference, "val")]
            columns += [f"{levels[level].bias:+.1f}" if level in levels else "-" for level in CROWD_LEVELS]
            columns.append(f"{mean(iou):.3f}" if iou else "-")
            columns += [
                f"{one['gradient_norms'][term][part]:.3g}" if part in one["gradient_norms"].get(term, {}) else "-"
                for term in ("density", "mask")
                for part in ("backbone", "mask branch")
            ]
            lines.append(line([row.label, *columns]))
    return [line(head), line(["---"] * len(head)), *lines] if lines else []


def scene_lines(rows: Sequence[Row], find: Find) -> list[str]:
    """WorldExpo'10: MAE of each scene inside its region of interest, and their mean; printed / measured."""
    head = ["row", "", "S1", "S2", "S3", "S4", "S5", "mean"]
    lines = [line(head), line(["---"] * len(head))]
    for row in rows:
        lines.append(line([row.label, "printed", *(f"{value:.1f}" for value in row.printed["worldexpo"])]))
        results = cell(row, "worldexpo", find)
        if results:
            test = pool(results, "test")
            scenes = [scene.mae for scene in test.by_scene().values()]
            measured = [f"{mae:.1f}" for mae in scenes] + [""] * (5 - len(scenes))
            lines.append(line(["", "measured", *measured, f"{test.scene_mae:.1f}"]))
        elif row.recipe:
            lines.append(line(["", "measured", "not run", *[""] * 5]))
    return lines


def how(results: Sequence[Result]) -> list[str]:
    """Where the figures come from: commit, hardware, versions, budget, seeds."""

    def every(*path: str) -> str:
        values = set()
        for result in results:
            value: Any = result
            for key in path:
                value = value[key]
            values.add(str(value))
        return ", ".join(sorted(values))

    minutes = sum(result["seconds"] for result in results) / 60
    return [
        f"- Budget {every('budget')}, seed {every('job', 'seed')}; commit {every('commit')};"
        f" headcount {every('versions', 'headcount')}, torch {every('versions', 'torch')}"
        f" in {every('config', 'precision')}; {every('device')}.",
        f"- Training these rows took {minutes:.0f} minutes.",
    ]


def line(columns: Sequence[str]) -> str:
    return "| " + " | ".join(columns) + " |"

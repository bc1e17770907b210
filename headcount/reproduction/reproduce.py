"""The paper's tables and figures by one command: trains what is missing, measures it, writes it beside what is printed.

Unusual: reports and figures are made from the files of finished jobs alone (lab.py), so a killed command goes on where
it was, and can be asked at any moment for what there is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headcount.datasets import splits
from headcount.datasets.sample import Sample
from headcount.evaluation.metrics import CROWD_LEVELS, root_mean_square
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.io.images import read_image, write_image
from headcount.models.serialization import load_single
from headcount.reproduction import figures
from headcount.reproduction.diagnostics import feature_maps
from headcount.reproduction.experiments import BUDGETS, Job, Lab, jobs_of, perform, test_samples
from headcount.reproduction.paper import FIGURE_ROWS, SETS, TABLES, Row
from headcount.reproduction.report import pool, render_table
from headcount.training.config import TrainError


def reproduce(
    target: str,
    data: str | Path,
    budget: str,
    out: str | Path,
    backbone_weights: str | Path | None = None,
    seeds: Sequence[int] = (1,),
    only: Sequence[str] = (),
) -> list[Path]:
    """Make one of TARGETS, or "all": train and measure what is missing, write reports and figures into `out`.

    data: the folder the sets lie in (see paper.SETS); a set that is not there leaves its rows "not run", and the
    report says so. budget: smoke, short or full. only: the recipes to train, of those that the target
    needs; none of them is "report", which trains nothing and writes what there is.

    Returns the files that were written.

    Raises:
        TrainError: an unknown target or budget, or a run of other settings in `out`.
    """
    if target != "all" and target not in TARGETS:
        raise TrainError(f"unknown target {target!r}: use {', '.join(TARGETS)} or all")
    if budget not in BUDGETS:
        raise TrainError(f"unknown budget {budget!r}: use {', '.join(BUDGETS)}")
    weights = None if backbone_weights is None else Path(backbone_weights)
    lab = Lab(Path(data), budget, Path(out), weights, tuple(seeds))
    if not lab.data.is_dir():
        raise TrainError(
            f"{lab.data}: no such folder; give the one that holds {', '.join(s.folder for s in SETS.values())}"
        )
    lab.out.mkdir(parents=True, exist_ok=True)
    chosen = TARGETS if target == "all" else {target: TARGETS[target]}
    cells = cells_of(chosen)
    unknown = set(only) - {row.recipe for row, _ in cells} - {"report"}
    if unknown:
        known = ", ".join(dict.fromkeys(row.recipe for row, _ in cells))
        raise TrainError(f"--only {', '.join(sorted(unknown))}: not a recipe of {target}; it has {known}")
    notes = work(lab, [(row, name) for row, name in cells if not only or row.recipe in only])
    written = []
    for name, make in chosen.items():
        written += make(name, lab, notes)
    return written


def cells_of(targets: Iterable[str]) -> list[tuple[Row, str]]:
    """Every row and set that must be measured, each once."""
    cells: dict[tuple[str, str], tuple[Row, str]] = {}
    for target in targets:
        if target in TABLES:
            wanted = [(row, name) for row in TABLES[target].rows for name in row.printed if row.recipe]
        else:
            wanted = [(row, "part_A") for row in FIGURE_ROWS[target]]
        for row, name in wanted:
            cells.setdefault((row.recipe, name), (row, name))
    return list(cells.values())


def work(lab: Lab, cells: Sequence[tuple[Row, str]]) -> list[str]:
    """Train and measure every cell; what is missing for it is said, and does not stop the others."""
    notes = []
    absent = [name for name in dict.fromkeys(name for _, name in cells) if not (lab.data / SETS[name].folder).is_dir()]
    for name in absent:
        notes.append(f"- {SETS[name].title} was not run: there is no {SETS[name].folder} in the data folder.")
        print(notes[-1].removeprefix("- "), file=sys.stderr)
    for row, name in cells:
        if name not in absent and not (row.recipe == "model-csr-long" and lab.budget == "full"):
            for job in jobs_of(row, name, lab.seeds):
                perform(job, lab)
    return notes


def find_in(lab: Lab, row: Row, name: str) -> list[dict[str, Any]]:
    """The results behind a cell; none where one is missing, since half of the folds are no row."""
    found = [lab.result(job) for job in jobs_of(row, name, lab.seeds)]
    return [] if None in found else [result for result in found if result]


def write_table(name: str, lab: Lab, notes: Sequence[str]) -> list[Path]:
    file = lab.out / f"{name}.md"
    said = without_shown(lab) if name == "table4" else beginnings_said(lab)
    text = render_table(TABLES[name], lambda row, set: find_in(lab, row, set), [*notes, *said])
    file.write_text(text, encoding="utf-8")
    return [file]


def beginnings_said(lab: Lab) -> list[str]:
    """What rows of the short budget began with, and what that had cost."""
    said = []
    for name in SETS:
        for seed in lab.seeds:
            result = lab.result(Job("light-start", name, seed))
            if result and lab.budget == "short":
                said.append(
                    f"- Rows of the light backbone on {SETS[name].title} (seed {seed}) began with one backbone, trained"
                    f" from scratch in baseline 1 on {result['crops']:,} crops in {result['seconds'] / 60:.0f} minutes,"
                    " and fresh heads."
                )
    return said


def without_shown(lab: Lab) -> list[str]:
    """Five-fold MAE without the pictures that a network which began with Part A had seen there."""
    shown = set(splits.split_list("ucf_cc_50_in_part_A_train"))
    said = []
    for row in TABLES["table4"].rows:
        results = find_in(lab, row, "ucf_cc_50") if row.recipe and lab.budget == "short" else []
        if results:
            test = pool(results, "test")
            errors = np.abs(test.predicted - test.true)[[name not in shown for name in test.names]]
            seen = f"each fold began with Part A, whose training images show {len(shown)} of the 50 pictures"
            rest = f"MAE {errors.mean():.1f}, RMSE {root_mean_square(errors):.1f} over {len(errors)}"
            said.append(f"- {row.label}: {seen}. Without them: {rest}.")
    return said


def figure4(name: str, lab: Lab, notes: Sequence[str]) -> list[Path]:
    """A picture of each level from the test split, the one of middling count, and the rendered example."""
    models = {row.label: lab.run(Job(row.recipe, "part_A", lab.seeds[0])) / "best" for row in FIGURE_ROWS[name]}
    if not all(path.is_dir() for path in models.values()):
        return not_yet(name)
    counters = {label: Counter(TorchEngine(load_single(path))) for label, path in models.items()}
    _, samples = test_samples(lab.data / SETS["part_A"].folder, Job("", "part_A"))
    written = []
    for suffix, chosen in (("", of_each_level(samples)), ("-example", [example()])):
        rows = []
        for sample in chosen:
            results = {label: counter.count(sample.image) for label, counter in counters.items()}
            maps = {label: (result.density, result.stride) for label, result in results.items()}
            rows.append(figures.Comparison(read_image(sample.image), sample.points, maps))
        written.append(write(lab.out / f"{name}{suffix}.png", figures.figure4(rows)))
    return written


def figure5(name: str, lab: Lab, notes: Sequence[str]) -> list[Path]:
    """Inside solution 5, for the picture of middling count in test and for the rendered example."""
    path = lab.run(Job(FIGURE_ROWS[name][0].recipe, "part_A", lab.seeds[0])) / "best"
    if not path.is_dir():
        return not_yet(name)
    model = load_single(path)
    _, samples = test_samples(lab.data / SETS["part_A"].folder, Job("", "part_A"))
    written = []
    for suffix, sample in (("", middling(samples)), ("-example", example())):
        image = read_image(sample.image)
        written.append(write(lab.out / f"{name}{suffix}.png", figures.figure5(image, feature_maps(model, image))))
    return written


def figure6(name: str, lab: Lab, notes: Sequence[str]) -> list[Path]:
    """MAE by level in test, and its numbers."""
    found = {row.label: find_in(lab, row, "part_A") for row in FIGURE_ROWS[name]}
    levels = {label: pool(results, "test").by_level() for label, results in found.items() if results}
    if not levels:
        return not_yet(name)
    maes = {label: {k: v.mae for k, v in parts.items() if k != "none"} for label, parts in levels.items()}
    images = {k: len(v) // len(lab.seeds) for k, v in next(iter(levels.values())).items()}
    picture, numbers = figures.figure6(maes, images)
    (lab.out / f"{name}.csv").write_text(numbers, encoding="utf-8")
    return [write(lab.out / f"{name}.png", picture), lab.out / f"{name}.csv"]


def not_yet(name: str) -> list[Path]:
    print(f"{name}: its rows are not trained yet; run it without --only report", file=sys.stderr)
    return []


def write(path: Path, picture: np.ndarray) -> Path:
    write_image(path, picture)
    return path


def middling(samples: Sequence[Sample]) -> Sample:
    """The sample of median count: a rule, so that nobody picks a picture that flatters."""
    return sorted(samples, key=lambda sample: len(sample.points))[len(samples) // 2]


def of_each_level(samples: Sequence[Sample]) -> list[Sample]:
    levels = CROWD_LEVELS.values()
    groups = [[s for s in samples if level.least <= len(s.points) <= level.most] for level in levels]
    return [middling(group) for group in groups if group]


def example() -> Sample:
    """The rendered crowd that comes with headcount: figures of it may be published."""
    folder = Path(__file__).parents[1] / "examples"
    known = json.loads((folder / "crowd.json").read_text(encoding="utf-8"))
    return Sample(folder / "crowd.jpg", np.array(known["points"], np.float32))


TARGETS: dict[str, Callable[[str, Lab, Sequence[str]], list[Path]]] = {
    **{name: write_table for name in TABLES},
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
}

"""Reports: each figure beside the printed one, and every definition of a figure."""

import math

import numpy as np
import pytest
from helpers.result_factory import joined, result, split_result

from headcount.reproduction import report
from headcount.reproduction.paper import RECIPES, TABLES, WORLDEXPO_SCENES, Row
from headcount.reproduction.results import Result, interval_of_mean, mean_rmse, picked_on_test, pool


def rows_of(text: str) -> list[list[str]]:
    """The rows of every Markdown table, cells stripped, rules left out."""
    found = [line.strip()[1:-1].split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in found if set(cells[0].strip()) != {"-"}]


def render(table: str, results: dict[str, list[Result]]) -> str:
    """The report of a table whose rows have these results, by recipe."""

    def lookup(row: Row, dataset: str) -> list[Result]:
        return results.get(row.recipe.name, []) if row.recipe else []

    return report.render_table(TABLES[table], lookup)


def cell(text: str, label: str, title: str) -> str:
    head, *rows = rows_of(text)
    return next(dict(zip(head, row, strict=False)).get(title, "") for row in rows if row[0] == label)


def test_printed_numbers_keep_their_decimals():
    text = render("table1", {})
    assert cell(text, "baseline 1: no mask", "printed MAE / MSE") == "77.25 / 127.21"
    assert cell(text, "solution 3: product, binarized", "printed MAE / MSE") == "76.66 / 115.40"
    assert cell(text, "solution 5, recipe as printed", "printed MAE / MSE") == "-"
    assert cell(render("table2", {}), "model_csr: VGG16, solution 5", "printed MAE / MSE") == "61.82 / 100.01"
    scenes = next(row for row in rows_of(render("table5", {})) if row[0] == "CC-Counting")
    assert scenes == ["CC-Counting", "printed", "9.8", "14.1", "14.3", "22.2", "3.7", "12.82"]


def test_measured_figures_stand_beside_the_printed_ones():
    test, last = split_result([-30, 10, 50]), split_result([-20, 10, 30])
    text = render("table1", {"solution-2": [result(test, last, split_result([7]))]})
    row = next(row for row in rows_of(text) if row[0] == "solution 2: product, posterior")
    assert row[1] == "69.77 / 120.61"
    assert row[2].split()[0] == "30.0" and row[3] == f"{math.sqrt((900 + 100 + 2500) / 3):.1f}"
    assert row[4:] == ["+10.0", "20.0", "7.0", "5.04", "173.1", "4", "1"]
    assert cell(text, "baseline 1: no mask", "MAE (95 %)") == "not run"


def test_seeds_are_pooled_and_shown():
    results = [result(split_result([4.0] * 4), seed=1), result(split_result([6.0] * 4), seed=2)]
    assert report.mae_column(results) == "5.0 (5.0 to 5.0); seeds 4.0, 6.0"  # images agree, seeds do not


def test_the_interval_resamples_images():
    errors = np.random.default_rng(3).exponential(10, 40)
    draws = np.random.default_rng(0).integers(0, 40, (2000, 40))
    expected = np.quantile(errors[draws].mean(axis=1), [0.025, 0.975])
    assert interval_of_mean(errors.tolist()) == pytest.approx(expected)
    assert interval_of_mean((errors - 10).tolist()) == pytest.approx(expected - 10)  # differences may be negative


def test_a_paired_difference_is_of_the_same_images():
    ours, theirs = [result(split_result([3.0] * 4))], [result(split_result([5.0] * 4))]
    assert report.paired_difference(ours, theirs, "test") == "-2.0 (-2.0 to -2.0)"
    assert report.paired_difference(ours, [], "test") == ""
    others = [result(split_result([5.0] * 4, names=["a", "b", "c", "d"]))]
    assert report.paired_difference(ours, others, "test") == ""


def test_every_row_is_compared_with_solution_5():
    results = {"solution-5": [result(split_result([5.0] * 4))], "baseline-1": [result(split_result([8.0] * 4))]}
    diagnostics = rows_of(render("table1", results))[9:]
    assert diagnostics[0][1] == "difference to solution 5, test (95 %)"
    assert {row[0]: row[1] for row in diagnostics[1:]} == {
        "baseline 1: no mask": "+3.0 (+3.0 to +3.0)",
        "solution 5: feature, posterior": "",
    }


def test_diagnostics_list_bias_by_level_and_gradients():
    levels = joined(split_result([4.0], 100), split_result([-5.0, -7.0], 500, ["a", "b"]))
    row = rows_of(render("table1", {"solution-4": [result(levels)]}))[-1]
    assert row[3:] == ["+4.0", "-6.0", "-", "0.500", "14.5", "0", "21.8", "-"]


# Cross validation


def folds() -> list[Result]:
    """Two folds whose errors are so different that pooling and averaging differ."""
    first = result(split_result([10, 10], names=["1", "2"]), split_result([4, 4], names=["1", "2"]), fold=1)
    second = result(split_result([70, 70], names=["3", "4"]), split_result([90, 90], names=["3", "4"]), fold=2)
    return [first, second]


def test_rmse_of_folds_is_their_mean_and_pooled_and_both_are_named():
    assert mean_rmse(folds(), "test") == pytest.approx(40)
    assert pool(folds(), "test").rmse == pytest.approx(50)
    text = render("table4", {"model-csr": folds()})
    assert cell(text, "ours, model_csr", "RMSE, mean of folds") == "40.0"
    assert cell(text, "ours, model_csr", "RMSE, pooled") == "50.0"
    assert cell(text, "ours, model_csr", "MAE by fold") == "10, 70"
    assert "RMSE, mean of folds** is the customary figure" in text
    assert "RMSE, mean of folds" not in render("table1", {"solution-5": [result(split_result([1.0]))]})


def test_picked_on_test_picks_in_each_fold():
    assert picked_on_test(folds()) == pytest.approx((4 + 70) / 2)  # pooled, it would be min(40, 47)
    text = render("table4", {"model-csr": folds()})
    assert cell(text, "ours, model_csr", "picked on test") == "37.0"
    assert "picks a checkpoint in each fold" in text


# WorldExpo'10


def scenes(*errors: tuple[str, float], split: str = "test") -> list[Result]:
    found = [split_result([error] * 2, names=[f"{scene}_1", f"{scene}_2"], scene=scene) for scene, error in errors]
    return [result(joined(*found), test_split=split)]


def measured(text: str) -> list[str]:
    return next(row for row in rows_of(text) if row[0] == "" and row[1] == "measured" and row[2] != "not run")[2:]


def test_the_five_scenes_of_the_paper():
    assert WORLDEXPO_SCENES == ("104207", "200608", "200702", "202201", "500717")


def test_worldexpo_columns_are_filled_by_scene():
    reverse = [(scene, float(number)) for number, scene in enumerate(WORLDEXPO_SCENES, 1)][::-1]
    text = render("table5", {"model-csr": scenes(*reverse)})
    assert measured(text) == ["1.0", "2.0", "3.0", "4.0", "5.0", "3.0"]


def test_a_missing_scene_leaves_its_column_empty():
    text = render("table5", {"model-csr": scenes(("200608", 2.0), ("500717", 5.0))})
    assert measured(text) == ["", "2.0", "", "", "5.0", "3.5 (2 scenes)"]


def test_a_scene_that_is_not_the_paper_s_has_no_column():
    everywhere = [(scene, 1.0) for scene in WORLDEXPO_SCENES]
    text = render("table5", {"model-csr": scenes(("100124", 60.0), *everywhere)})
    assert measured(text) == ["1.0"] * 6
    assert measured(render("table5", {"model-csr": scenes(("100124", 60.0))})) == ["", "", "", "", "", ""]


# The validation list in place of a test split


def test_validation_scenes_are_not_test_scenes():
    validation = [(f"1000{number:02}", 4.0) for number in range(10)]
    text = render("table5", {"model-csr": scenes(*validation, split="val")})
    assert measured(text) == ["", "", "", "", "", "4.0 (10 validation scenes)"]
    assert "WorldExpo'10 has no test split here: every figure is of the validation list" in text


@pytest.mark.parametrize("table", TABLES)
def test_every_report_says_when_the_validation_list_stood_in(table):
    for split, expected in (("val", True), ("test", False)):
        test = split_result([1.0, 2.0], scene="100124" if table == "table5" else "")
        results = {name: [result(test, test_split=split)] for name in RECIPES}
        assert ("has no test split here" in render(table, results)) == expected

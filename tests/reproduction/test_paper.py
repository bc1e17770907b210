"""The paper's tables as data: every printed number, and the recipes behind the rows."""

from dataclasses import asdict

import pytest

from headcount.reproduction import paper
from headcount.training.config import load_recipe

# label in the paper -> its numbers as the paper prints them.
TABLE_1_AND_2 = """
baseline 1 | 77.25 | 127.21
baseline 2 | 74.96 | 117.72
baseline 3 | 73.66 | 120.26
solution 1 | 87.45 | 128.81
solution 2 | 69.77 | 120.61
solution 3 | 76.66 | 115.40
solution 4 | 71.37 | 111.91
solution 5 | 65.74 | 107.83
CSRNet | 68.2 | 115.0
model_csr | 61.82 | 100.01
"""
TABLES_3_TO_5 = """
CC-Counting | 181.8/277.7 | 32.0/49.8 | 467.0/498.5 | 9.8 | 14.1 | 14.3 | 22.2 | 3.7 | 12.82
FCN | 126.5/173.5 | 23.8/33.1 | 338.6/424.5 | | | | | |
MCNN | 110.2/173.2 | 26.4/41.3 | 377.6/509.1 | 3.4 | 20.6 | 12.9 | 13.0 | 8.1 | 11.6
TDF-net | 97.5/145.1 | 20.7/32.8 | 354.7/491.4 | 2.7 | 23.4 | 10.7 | 17.6 | 3.3 | 11.54
Switching-net | 90.4/135.0 | 21.6/33.4 | 318.1/439.2 | 4.4 | 15.7 | 10.0 | 11.0 | 5.9 | 9.4
BA-CNN | | 20.2/35.6 | 409.5/563.7 | 4.1 | 21.7 | 11.9 | 11.0 | 3.5 | 10.44
NetVLAD (multitask) | 107.6/169.3 | 21.4/33.9 | 311.3/401.8 | 3.7 | 15.9 | 10.2 | 15.2 | 6.7 | 10.5
CP-CNN | 73.6/106.4 | 20.1/30.1 | 295.8/320.9 | 2.9 | 14.7 | 10.5 | 10.4 | 5.8 | 8.86
CSRNet | 68.2/115.0 | 10.6/16.0 | 266.1/397.5 | 2.9 | 11.5 | 8.6 | 16.6 | 3.4 | 8.6
ours, light | 65.7/107.8 | 11.7/16.4 | 283.3/411.6 | 3.0 | 16.7 | 11.6 | 12.5 | 4.1 | 9.58
ours, model_csr | 61.8/100.0 | 8.6/13.3 | 245.4/349.3 | 2.2 | 11.5 | 11.6 | 13.9 | 2.5 | 8.34
"""
NOT_IN_THE_PAPER = {"solution 5, recipe as printed", "solution 5, cross-entropy", "model_csr, trained for longer"}


def lines(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


def test_tables_1_and_2_keep_the_paper_s_decimals():
    printed = {
        row.label.split(":")[0]: list(row.printed["part_A"])
        for table in ("table1", "table2")
        for row in paper.TABLES[table].rows
        if row.printed
    }
    assert printed == {label: numbers for label, *numbers in lines(TABLE_1_AND_2)}


def test_tables_3_to_5_keep_the_paper_s_decimals():
    found = {}
    for table in ("table3", "table4", "table5"):
        for row in paper.TABLES[table].rows:
            found.setdefault(row.label.removesuffix(" (solution 5)"), {}).update(row.printed)
    expected = {}
    for label, part_a, part_b, ucf, *scenes in lines(TABLES_3_TO_5):
        numbers = {"part_A": part_a.split("/"), "part_B": part_b.split("/"), "ucf_cc_50": ucf.split("/")}
        numbers["worldexpo"] = [scene for scene in scenes if scene] or [""]
        expected[label] = {name: tuple(values) for name, values in numbers.items() if values != [""]}
    assert found == expected


def test_rows_that_the_paper_lacks_have_no_printed_number():
    unprinted = {row.label for table in paper.TABLES.values() for row in table.rows if not row.printed}
    assert unprinted == NOT_IN_THE_PAPER


def test_every_row_is_cited_or_trained():
    for table in paper.TABLES.values():
        for row in table.rows:
            assert row.recipe or row.printed, row.label
            assert row.recipe is None or row.recipe is paper.RECIPES[row.recipe.name]


@pytest.mark.parametrize("name", paper.RECIPES)
def test_recipes_and_what_they_start_from_exist(name):
    assert load_recipe(name).name == name
    recipe = paper.RECIPES[name]
    for start in (*recipe.starts.values(), *recipe.fold_starts.values()):
        assert start.recipe in paper.RECIPES and start.part in ("all", "backbone")
        assert not start.dataset or start.dataset in paper.DATASETS


def test_rows_of_table_1_differ_in_their_fusion_alone():
    """The table compares fusions, so every other setting is the same."""
    names = [row.recipe.name for row in paper.TABLES["table1"].rows if row.printed]
    rows = [asdict(load_recipe(name)) for name in names]
    assert len({row["model"]["fusion"] for row in rows}) == len(rows) == 7
    for row in rows:
        row["name"] = row["model"]["name"] = row["model"]["fusion"] = ""
        assert row == rows[0]


def test_the_printed_recipe_is_the_paper_s():
    config = load_recipe("solution-5-printed")
    assert (config.optimizer, config.adam_epochs) == ("adam_to_sgd", 10)
    assert (config.schedule, config.step_epochs, config.lr) == ("step", 20, 1e-5)
    assert (config.model.init, config.data.crop, config.crops_per_image) == ("normal", (192, 160), 200)

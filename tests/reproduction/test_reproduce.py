"""The paper's tables and figures: all of them run, on tiny sets in the real formats; what is finished stays."""

import csv
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory

from headcount.datasets.sample import Sample
from headcount.io.images import read_image
from headcount.reproduction import experiments, paper, report, reproduce
from headcount.reproduction.experiments import Job, Lab
from headcount.training.config import RECIPES, TrainError, check_same, load_recipe
from headcount.training.trainer import Trainer

RECIPES_OF_ROWS = {row.recipe for table in paper.TABLES.values() for row in table.rows if row.recipe}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Every set of the paper, tiny. Part B has no test split, as a copy kept for training has none."""
    folder = tmp_path_factory.mktemp("data")
    factory.shanghaitech(folder / "shanghaitech" / "part_A", train=(3, 0, 5, 2), test=(4, 1, 310, 720))
    factory.shanghaitech(folder / "shanghaitech" / "part_B", train=(3, 0, 5, 2), test=())
    factory.ucf_cc_50(folder / "ucf_cc_50")
    factory.worldexpo(folder / "worldexpo")
    return folder


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """OUT after `headcount reproduce all --budget smoke`, and the files it wrote; three minutes at most, on an idle
    core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("out")
    yield out, reproduce.reproduce("all", data, "smoke", out)
    torch.set_num_threads(threads)
    shutil.rmtree(out, ignore_errors=True)  # a gigabyte of untrained networks


def rows_of(file: Path) -> list[list[str]]:
    """The rows of every Markdown table in a file, cells stripped, rules left out."""
    lines = [line.strip("| \n").split(" | ") for line in file.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in lines if set(cells[0]) != {"-"}]


def test_every_row_of_every_table_is_measured(made):
    out, written = made
    names = {path.name for path in written}
    assert names == {
        *(f"table{n}.md" for n in range(1, 6)), "figure4.png", "figure4-example.png",
        "figure5.png", "figure5-example.png", "figure6.png", "figure6.csv",
    }  # fmt: skip
    for n in range(1, 6):
        assert "not run" not in (out / f"table{n}.md").read_text()
    assert not list(out.rglob("state.safetensors"))  # what a finished run has no use for


def test_a_row_stands_beside_the_printed_number(made):
    out, _ = made
    head, *rows = rows_of(out / "table1.md")[: 1 + 8]
    assert head[:3] == ["row", "printed MAE / MSE", "MAE (95 %)"]
    solution_2 = next(row for row in rows if row[0].startswith("solution 2"))
    assert solution_2[1] == "69.8 / 120.6"
    result = json.loads((out / "smoke" / "solution-2" / "part_A-1" / "result.json").read_text())
    errors = [abs(image["predicted"] - image["true"]) for image in result["test"]["images"]]
    assert len(errors) == 4
    assert float(solution_2[2].split()[0]) == pytest.approx(np.mean(errors), abs=0.051)
    assert result["test_split"] == "test" and result["crops"] == 4
    cited = next(row for row in rows_of(out / "table3.md") if row[0] == "CP-CNN")
    assert cited[1] == "73.6 / 106.4" and not any(cited[2:])


def test_density_teaches_the_masks_that_the_paper_says_it_teaches(made):
    """In solutions 1 and 4 the true mask stands between the branches: no gradient passes."""
    out, _ = made
    for number, passes in ((1, False), (2, True), (3, True), (4, False), (5, True)):
        norms = json.loads((out / "smoke" / f"solution-{number}" / "part_A-1" / "result.json").read_text())
        assert (norms["gradient_norms"]["density"]["mask branch"] > 0) == passes, number


def test_a_set_without_a_test_split_says_what_its_figures_are_of(made):
    out, _ = made
    assert "ShanghaiTech B has no test split here" in (out / "table3.md").read_text()
    assert "ShanghaiTech A has no test split here" not in (out / "table3.md").read_text()


def test_five_folds_are_pooled_and_each_is_shown(made):
    out, _ = made
    head = rows_of(out / "table4.md")[0]
    row = next(row for row in rows_of(out / "table4.md") if row[0] == "ours, model_csr")
    assert head[-1] == "MAE by fold" and len(row[-1].split(",")) == 5
    results = [json.loads((out / f"smoke/model-csr/ucf_cc_50-fold{n}-1/result.json").read_text()) for n in range(1, 6)]
    names = [image["name"] for result in results for image in result["test"]["images"]]
    assert sorted(names, key=int) == [str(n) for n in range(1, 51)]  # every picture is tested once


def test_worldexpo_is_reported_by_scene_inside_its_region(made):
    out, _ = made
    table = rows_of(out / "table5.md")
    at = next(i for i, row in enumerate(table) if row[0] == "ours, model_csr")
    printed, measured = table[at], table[at + 1]
    assert printed[1:] == ["printed", "2.2", "11.5", "11.6", "13.9", "2.5", "8.3"]
    assert [bool(cell) for cell in measured] == [True] * 4 + [False, False, True]  # the fake has three scenes


def test_what_is_finished_is_not_trained_again(made, data, monkeypatch):
    out, _ = made
    before = {path: path.read_bytes() for path in out.glob("*.md")}
    monkeypatch.setattr(experiments, "train", lambda *_, **__: pytest.fail("trained again"))
    reproduce.reproduce("all", data, "smoke", out)
    assert {path: path.read_bytes() for path in out.glob("*.md")} == before


def test_a_killed_run_goes_on_where_it_was(made, data, tmp_path, monkeypatch):
    """Killed between training and measuring: what was trained is kept, to the bit."""
    place, job = Lab(data, "smoke", tmp_path), Job("solution-5", "part_A")
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiments.perform(job, place)
    assert place.result(job) is None
    weights = (place.run(job) / "best" / "model.safetensors").read_bytes()
    result = experiments.perform(job, place)
    assert (place.run(job) / "best" / "model.safetensors").read_bytes() == weights
    out, _ = made  # and it is the row that was never interrupted
    whole = json.loads((out / "smoke" / job.folder / "result.json").read_text())
    assert result["test"]["images"] == whole["test"]["images"]


def test_ctrl_c_in_training_saves_and_measures_nothing(data, tmp_path, monkeypatch):
    place, job = Lab(data, "smoke", tmp_path), Job("baseline-1", "part_A")
    learn = Trainer.train_step

    def interrupted(run, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return learn(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiments.perform(job, place)
    assert place.result(job) is None and (place.run(job) / "state.safetensors").exists()
    assert experiments.perform(job, place)["steps"] == 2  # the second step follows the first


def test_pictures_seen_in_part_a_are_taken_out_of_the_folds_that_began_with_it(tmp_path):
    place = Lab(Path(), "short", tmp_path)
    for fold in range(1, 6):
        numbers = range(10 * fold - 9, 10 * fold + 1)
        wrong = {16: 600, 25: 600}  # both are shown by Part A
        images = [{"name": str(n), "scene": "", "true": 9, "predicted": 9 + wrong.get(n, 2)} for n in numbers]
        folder = place.run(Job("model-csr", "ucf_cc_50", fold=fold))
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"test": {"images": images}}))
    (said,) = reproduce.without_shown(place)
    assert said.endswith("show 7 of the 50 pictures. Without them: MAE 2.0, RMSE 2.0 over 43.")


def test_a_run_of_other_settings_is_refused(made, data):
    out, _ = made
    config = experiments.configure(Job("solution-5", "part_A"), Lab(data, "smoke", out))
    config = replace(config, lr=0.5)
    with pytest.raises(TrainError, match=r"solution-5.part_A-1: was run with other settings \(lr\); take those"):
        check_same(config, out / "smoke" / "solution-5" / "part_A-1")


def test_a_set_that_is_not_there_leaves_its_rows_and_says_so(data, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (report_file,) = reproduce.reproduce("table5", tmp_path / "data", "smoke", tmp_path / "out")
    assert "WorldExpo'10 was not run: there is no worldexpo" in capsys.readouterr().err
    assert "not run" in report_file.read_text()


def test_one_row_alone(data, tmp_path):
    (file,) = reproduce.reproduce("table1", data, "smoke", tmp_path, only=["baseline-1"])
    rows = {row[0]: row[2] for row in rows_of(file)[1:9]}
    assert rows["baseline 1: no mask"] != "not run" and rows["baseline 2: no mask, deeper"] == "not run"
    with pytest.raises(TrainError, match="--only csrnet: not a recipe of table1; it has baseline-1, "):
        reproduce.reproduce("table1", data, "smoke", tmp_path, only=["csrnet"])


def test_figures(made):
    out, _ = made
    table = list(csv.DictReader((out / "figure6.csv").open()))
    result = json.loads((out / "smoke" / "baseline-3" / "part_A-1" / "result.json").read_text())
    high = next(row for row in table if row["row"] == "baseline 3" and row["level"] == "high")
    assert float(high["mae"]) == pytest.approx(result["test"]["levels"]["high"]["mae"], abs=0.01)
    for name in ("figure4", "figure4-example", "figure5", "figure5-example", "figure6"):
        assert read_image(out / f"{name}.png").std() > 10, name


def test_pictures_of_figures_are_chosen_by_a_rule():
    people = [factory.people(n) for n in (5, 100, 299, 400, 720, 800, 900)]
    samples = [Sample(Path(f"{len(p)}.jpg"), p) for p in people]
    assert [s.name for s in reproduce.of_each_level(samples)] == ["100", "400", "800"]


# recipes and budgets


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_recipe_is_a_recipe(name):
    config = load_recipe(name)
    assert config.sets and (config.name == name or name.startswith("tuned"))
    if name not in ("headcount-large", "tiny"):
        assert config.model.name == name or name.startswith("tuned")


def test_rows_of_table_one_differ_in_their_fusion_alone():
    """What is compared is the fusion: every other setting is the same."""
    rows = [load_recipe(row.recipe) for row in paper.TABLES["table1"].rows if not row.recipe.endswith("printed")]
    assert len({config.model.fusion for config in rows}) == 7
    rest = [replace(config, name="", model=replace(config.model, name="", fusion="")) for config in rows]
    assert all(config == rest[0] for config in rest)


def test_the_printed_recipe_is_the_papers():
    config = load_recipe("solution-5-printed")
    assert (config.optimizer, config.adam_epochs, config.schedule, config.step_epochs, config.lr) == (
        "adam_to_sgd", 10, "step", 20, 1e-5,
    )  # fmt: skip
    assert (config.model.init, config.data.crop, config.crops_per_image) == ("normal", (192, 160), 200)
    ucf = experiments.configure(Job("solution-5-printed", "ucf_cc_50", fold=2), Lab(Path(), "full", Path()))
    assert (ucf.crops_per_image, ucf.sets["ucf_cc_50"].train) == (60, "fold2-train")


@pytest.mark.parametrize("recipe", sorted(RECIPES_OF_ROWS))
@pytest.mark.parametrize("budget", experiments.BUDGETS)
def test_no_budget_reads_a_test_split(recipe, budget):
    for name, data in paper.SETS.items():
        config = experiments.configure(Job(recipe, name, fold=1 if data.folds else 0), Lab(Path(), budget, Path()))
        (one,) = config.sets.values()
        assert not one.train.endswith("test") and not one.val.endswith("test")


def test_short_rows_share_their_beginning_and_the_printed_recipe_starts_from_nothing():
    place = Lab(Path(), "short", Path("out"))
    starts = {
        r: experiments.configure(Job(r, "part_A"), place).start for r in ("baseline-1", "solution-1", "solution-5")
    }
    assert set(starts.values()) == {str(Path("out/short/light-start/part_A-1/best"))}
    assert (
        experiments.configure(Job("baseline-1", "part_A"), place).start_part == "backbone"
    )  # fresh heads, for all of them
    assert not experiments.configure(Job("solution-5-printed", "part_A"), place).start
    assert not experiments.configure(Job("solution-5", "part_A"), Lab(Path(), "full", Path())).start


def test_seeds_are_pooled_and_shown():
    def result(seed: int, wrong: float) -> dict:
        images = [{"name": str(n), "scene": "", "true": 10 * n, "predicted": 10 * n + wrong} for n in range(1, 5)]
        some = {"images": images, "mae": wrong}
        return {
            "job": {"seed": seed}, "test": some, "test_last": some, "val": some, "parameters": 1e6,
            "multiply_adds": 1e9, "crops": 8, "seconds": 60,
        }  # fmt: skip

    columns = report.figures([result(1, 4.0), result(2, 6.0)], "part_A")
    assert columns[0] == "5.0 (5.0 to 5.0); seeds 4.0, 6.0"  # the pictures agree; the seeds do not


def test_paired_difference_is_of_the_same_pictures():
    def result(wrong: float) -> list[dict]:
        images = [{"name": str(n), "scene": "", "true": 10, "predicted": 10 + wrong} for n in range(4)]
        return [{"test": {"images": images}}]

    assert report.paired(result(3.0), result(5.0), "test") == "-2.0 (-2.0 to -2.0)"
    assert report.paired(result(3.0), [], "test") == ""


def test_command_line(made, data, capsys):
    from headcount.cli.main import main

    out, _ = made
    with pytest.raises(SystemExit) as left:
        main(["reproduce", "figure6", "--data", str(data), "--budget", "smoke", "--out", str(out)])
    assert left.value.code == 0 and capsys.readouterr().out.split() == [
        str(out / "figure6.png"),
        str(out / "figure6.csv"),
    ]
    for target, said in (
        ("table9", "unknown target 'table9': use table1, "),
        ("table1", "no such folder; give the one"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["reproduce", target, "--data", "nowhere", "--budget", "smoke", "--out", str(out)])
        assert left.value.code == 1 and re.search(said, capsys.readouterr().err)

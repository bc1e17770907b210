"""`headcount reproduce`: every recipe is trained and measured, on tiny data sets in the real formats."""

import csv
import functools
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import dataset_factory as factory
from helpers.result_factory import result, split_result

from headcount.datasets.sample import Sample
from headcount.inference.counter import Counter
from headcount.inference.engines import TorchEngine
from headcount.io.images import read_image
from headcount.models.serialization import load_single
from headcount.reproduction import experiments, figures, paper, pipeline
from headcount.reproduction.diagnostics import feature_maps
from headcount.reproduction.experiments import Experiment, Workspace
from headcount.reproduction.results import Result
from headcount.training.config import TrainError
from headcount.training.trainer import train


class Reproduced(NamedTuple):
    """The folder after the command, the files it wrote, and the arguments of each call that drew a figure."""

    out: Path
    written: list[Path]
    drawn: dict[str, list[tuple]]

    def result(self, name: str) -> Result:
        return json.loads((self.out / "smoke" / name / "result.json").read_text())


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """Every recipe on Part A, MCNN (the smallest network) on every other data set, and every table and figure."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made")
    out, drawn = folder / "out", {}
    small = Sample(factory.photo(folder / "example.jpg", factory.people(6)), factory.people(6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "example", lambda: small)
        for name in ("figure4", "figure5", "figure6"):
            patch.setattr(figures, name, functools.partial(record, drawn, name, getattr(figures, name)))
        for target in ("table1", "table2"):
            pipeline.reproduce(target, data, "smoke", out)
        for target in ("table3", "table4", "table5"):
            pipeline.reproduce(target, data, "smoke", out, only=["mcnn"])
        written = pipeline.reproduce("all", data, "smoke", out, only=["report"])
    yield Reproduced(out, written, drawn)
    torch.set_num_threads(threads)
    shutil.rmtree(out, ignore_errors=True)  # hundreds of megabytes of untrained networks


def record(drawn: dict[str, list[tuple]], name: str, draw, *arguments):
    drawn.setdefault(name, []).append(arguments)
    return draw(*arguments)


def table(made: Reproduced, name: str) -> list[list[str]]:
    lines = [line for line in (made.out / f"{name}.md").read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def row_of(made: Reproduced, name: str, label: str) -> dict[str, str]:
    head, *rows = table(made, name)
    return next(dict(zip(head, row, strict=False)) for row in rows if row[0] == label)


# What is run


def test_everything_is_written_and_every_recipe_is_measured(made):
    assert {path.name for path in made.written} == {
        *(f"table{n}.md" for n in range(1, 6)), "figure4.png", "figure4-example.png",
        "figure5.png", "figure5-example.png", "figure6.png", "figure6.csv",
    }  # fmt: skip
    assert all(path.is_file() for path in made.written)
    for name in ("table1", "table2"):
        assert "not run" not in (made.out / f"{name}.md").read_text()
    for name in ("table3", "table4", "table5"):
        assert table(made, name)
        measured = row_of(made, name, "MCNN")
        assert "not run" not in measured.values()
    assert not list(made.out.rglob("state.safetensors"))  # only resuming needs it


def test_all_needs_every_row_on_every_data_set():
    pairs = {(row.recipe.name, dataset) for row, dataset in pipeline.figures_of(pipeline.TARGETS)}
    compared = {"mcnn", "csrnet", "solution-5", "model-csr"}
    assert pairs == {
        *((name, "part_A") for name in paper.RECIPES if name != "light-start"),
        *((name, dataset) for name in compared for dataset in ("part_B", "ucf_cc_50", "worldexpo")),
    }


def test_a_row_is_measured_on_the_whole_test_set(made):
    found = made.result("solution-2/part_A-1")
    errors = [abs(image["predicted"] - image["true"]) for image in found["test"]["images"]]
    assert [image["true"] for image in found["test"]["images"]] == [4, 1, 310, 720]
    measured = row_of(made, "table1", "solution 2: product, posterior")
    assert measured["printed MAE / MSE"] == "69.77 / 120.61"
    assert float(measured["MAE (95 %)"].split()[0]) == pytest.approx(np.mean(errors), abs=0.051)
    assert found["test_split"] == "test" and found["crops"] == 4


def test_the_density_loss_trains_the_mask_in_solutions_2_3_and_5(made):
    """In solutions 1 and 4 the true mask stands between the branches, and no gradient passes."""
    for number, passes in ((1, False), (2, True), (3, True), (4, False), (5, True)):
        norms = made.result(f"solution-{number}/part_A-1")["gradient_norms"]
        assert (norms["density"]["mask branch"] > 0) == passes, number


def test_only_part_b_has_no_test_split(made):
    text = (made.out / "table3.md").read_text()
    assert "ShanghaiTech B has no test split here" in text
    assert "ShanghaiTech A has no test split here" not in text
    assert "has no test split here" not in (made.out / "table5.md").read_text()


def test_every_image_of_ucf_cc_50_is_tested_once(made):
    folds = [made.result(f"mcnn/ucf_cc_50-fold{fold}-1") for fold in range(1, 6)]
    names = [image["name"] for fold in folds for image in fold["test"]["images"]]
    assert sorted(names, key=int) == [str(n) for n in range(1, 51)]
    measured = row_of(made, "table4", "MCNN")
    assert float(measured["RMSE, mean of folds"]) == pytest.approx(
        np.mean([f["test"]["rmse"] for f in folds]), abs=0.051
    )
    assert len(measured["MAE by fold"].split(",")) == 5


def test_worldexpo_scenes_are_in_their_own_columns(made):
    """The tiny copy has S1, S3 and S5."""
    rows = table(made, "table5")
    at = next(i for i, row in enumerate(rows) if row[0] == "MCNN")
    assert rows[at][1:] == ["printed", "3.4", "20.6", "12.9", "13.0", "8.1", "11.6"]
    images = made.result("mcnn/worldexpo-1")["test"]["images"]
    errors = {scene: [] for scene in ("104207", "200702", "500717")}
    for image in images:
        errors[image["scene"]].append(abs(image["predicted"] - image["true"]))
    s1, s3, s5 = (f"{np.mean(values):.1f}" for values in errors.values())
    assert rows[at + 1][:-1] == ["", "measured", s1, "", s3, "", s5] and rows[at + 1][-1].endswith("(3 scenes)")


# Resuming


@pytest.mark.parametrize("spelling", ["relative", "trailing slash", "dots"])
def test_finished_experiments_are_found_however_the_folder_is_spelled(made, data, spelling, monkeypatch):
    """Table II has a row that starts from another row's weights, whose path the run records."""
    monkeypatch.chdir(made.out.parent)
    out = {"relative": "out", "trailing slash": f"{made.out}{os.sep}", "dots": made.out / ".." / "out"}[spelling]
    monkeypatch.setattr(experiments, "train", lambda *_, **__: pytest.fail("trained again"))
    before = (made.out / "table2.md").read_bytes()
    assert pipeline.reproduce("table2", data, "smoke", out) == [made.out.resolve() / "table2.md"]
    assert (made.out / "table2.md").read_bytes() == before


def test_a_missing_data_set_leaves_its_rows_and_is_reported(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (report,) = pipeline.reproduce("table5", tmp_path / "data", "smoke", tmp_path / "out")
    assert "WorldExpo'10 was not run: there is no worldexpo" in capsys.readouterr().err
    assert "not run" in report.read_text() and "there is no worldexpo in the data folder" in report.read_text()


def test_one_recipe_alone(data, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(pipeline, "run", lambda experiment, _: ran.append(experiment))
    pipeline.reproduce("table1", data, "smoke", tmp_path, only=["baseline-1"])
    assert ran == [Experiment("baseline-1", "part_A")]
    with pytest.raises(TrainError, match="--only csrnet: not a recipe of table1; it has baseline-1, "):
        pipeline.reproduce("table1", data, "smoke", tmp_path, only=["csrnet"])


def test_the_full_budget_has_no_longer_run(data, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(pipeline, "run", lambda experiment, _: ran.append(experiment.recipe))
    pipeline.reproduce("table2", data, "full", tmp_path)
    assert ran == ["baseline-3", "solution-5", "solution-5-bce", "csrnet", "model-csr"]


def test_images_seen_in_part_a_are_taken_out_of_the_folds_that_started_there(tmp_path):
    workspace = Workspace(Path(), "short", tmp_path)
    wrong = {"16": 600.0, "25": 600.0}  # Part A shows both
    for fold in range(1, 6):
        names = [str(number) for number in range(10 * fold - 9, 10 * fold + 1)]
        errors = [wrong.get(name, float(fold)) for name in names]
        folder = workspace.folder(Experiment("model-csr", "ucf_cc_50", fold=fold))
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result(split_result(errors, names=names), fold=fold)))
    row = next(row for row in paper.TABLES["table4"].rows if row.label == "ours, model_csr")
    (note,) = pipeline.unseen_notes(workspace, row, "ucf_cc_50")
    # seen: 16 of fold 2; 25 and 28 of 3; 32 of 4; 41, 46 and 49 of 5
    mae, pooled = (10 + 18 + 24 + 36 + 35) / 43, ((10 + 36 + 72 + 144 + 175) / 43) ** 0.5
    assert note.endswith(
        f"show 7 of the 50 images. Without them: MAE {mae:.1f}, RMSE 3.0 (mean of folds) or {pooled:.1f} (pooled)"
        " over 43 images."
    )


# Figures


def test_figure_4_shows_the_median_image_of_each_level_with_its_counts(made, data):
    (rows,), (example_rows,) = made.drawn["figure4"]
    assert [len(row.points) for row in rows] == [4, 310, 720]  # of 1 and 4, 310, 720
    assert [list(row.densities) for row in rows] == [["solution 5", "baseline 1", "baseline 2"]] * 3
    image = data / "shanghaitech" / "part_A" / "test_data" / "images" / "IMG_3.jpg"
    np.testing.assert_array_equal(rows[1].image, read_image(image))
    network = load_single(made.out / "smoke" / "baseline-2" / "part_A-1" / "best")
    counted = Counter(TorchEngine(network)).count(image)
    density, stride = rows[1].densities["baseline 2"]
    np.testing.assert_array_equal(density, counted.density)
    assert stride == counted.stride
    np.testing.assert_array_equal(read_image(made.out / "figure4.png"), figures.figure4(rows))
    assert [len(row.points) for row in example_rows] == [6]
    np.testing.assert_array_equal(read_image(made.out / "figure4-example.png"), figures.figure4(example_rows))


def test_figure_5_shows_the_maps_of_solution_5(made, data):
    (image, maps, caption), _ = made.drawn["figure5"]
    network = load_single(made.out / "smoke" / "solution-5" / "part_A-1" / "best")
    file = data / "shanghaitech" / "part_A" / "test_data" / "images" / "IMG_3.jpg"  # of 1, 4, 310 and 720 people
    np.testing.assert_array_equal(image, read_image(file))
    expected = feature_maps(network, image)
    assert list(maps) == list(expected) and caption == "input"
    for name in maps:
        np.testing.assert_array_equal(maps[name], expected[name])
    np.testing.assert_array_equal(read_image(made.out / "figure5.png"), figures.figure5(image, maps, caption))


def test_figure_6_has_the_error_of_each_level(made):
    found = {(row["row"], row["level"]): row for row in csv.DictReader((made.out / "figure6.csv").open())}
    assert len(found) == 5 * 3
    for label, recipe in (("baseline 3", "baseline-3"), ("model_csr", "model-csr")):
        images = made.result(f"{recipe}/part_A-1")["test"]["images"]
        errors = [abs(image["predicted"] - image["true"]) for image in images]
        by_level = {"low": np.mean(errors[:2]), "middle": errors[2], "high": errors[3]}
        for level, error in by_level.items():
            assert float(found[label, level]["mae"]) == pytest.approx(error, abs=1e-3)
            assert (found[label, level]["images"], found[label, level]["split"]) == (
                "2" if level == "low" else "1",
                "test",
            )
    ((maes, images, split),) = made.drawn["figure6"]
    np.testing.assert_array_equal(read_image(made.out / "figure6.png"), figures.figure6(maes, images, split)[0])


def test_figures_say_when_the_validation_list_stood_in(made, tmp_path, monkeypatch):
    part = tmp_path / "shanghaitech" / "part_A"
    factory.shanghaitech(part, train=(3, 0, 5, 2), test=())
    drawn: dict[str, list[tuple]] = {}
    monkeypatch.setattr(pipeline, "example", lambda: Sample(part / "train_data/images/IMG_1.jpg", factory.people(3)))
    for name in ("figure4", "figure5"):
        monkeypatch.setattr(figures, name, functools.partial(record, drawn, name, getattr(figures, name)))
        pipeline.reproduce(name, tmp_path, "smoke", made.out, only=["report"])
    captions = [drawn["figure4"][0][0][0].name, drawn["figure4"][1][0][0].name, *(call[2] for call in drawn["figure5"])]
    stands_in = "(validation list: no test split)"
    assert captions == [f"image {stands_in}", "image", f"input {stands_in}", "input"]


def test_untrained_figures_are_not_drawn(data, tmp_path, capsys):
    for name in ("figure4", "figure5", "figure6"):
        assert pipeline.reproduce(name, data, "smoke", tmp_path, only=["report"]) == []
        assert f"{name}: its rows are not trained yet" in capsys.readouterr().err


def test_images_of_figures_are_chosen_by_a_rule():
    people = [factory.people(n) for n in (0, 5, 100, 299, 400, 720, 800, 900)]
    samples = [Sample(Path(f"{len(points)}.jpg"), points) for points in people]
    assert [sample.name for sample in pipeline.of_each_level(samples)] == ["100", "400", "800"]


def test_the_example_is_the_rendered_crowd():
    sample = pipeline.example()
    height, width = read_image(sample.image).shape[:2]
    assert len(sample.points) == 190 and (sample.points < [width, height]).all()


# The command


def headcount(*arguments: str) -> int:
    from headcount.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *arguments])
    return ended.value.code


def test_command_line(made, data, capsys):
    arguments = ["--data", str(data), "--budget", "smoke", "--out", str(made.out)]
    assert headcount("figure6", *arguments) == 0
    assert capsys.readouterr().out.split() == [str(made.out / "figure6.png"), str(made.out / "figure6.csv")]
    assert headcount("table9", *arguments) == 1
    assert "unknown target 'table9': use table1, " in capsys.readouterr().err
    assert headcount("table1", "--data", "nowhere", "--budget", "smoke", "--out", str(made.out)) == 1
    assert "no such folder; give the one that holds shanghaitech/part_A" in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_resume(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiments, "train", functools.partial(train, stop_after=1))
    arguments = ["--data", str(data), "--budget", "smoke", "--out", str(tmp_path), "--only", "mcnn"]
    assert headcount("table3", *arguments) == 130
    assert "mcnn/part_A-1: interrupted; run again to resume" in capsys.readouterr().err

"""Fine-tuning learns what a few images show, keeps to its time, and reports errors honestly."""

import csv
import itertools
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import dataset_factory as factory
from helpers import synthetic_objects
from safetensors.torch import load_file

import headcount
from headcount.cli import main
from headcount.datasets import readers
from headcount.evaluation.calibration import calibrate
from headcount.evaluation.metrics import CountMetrics
from headcount.evaluation.report import evaluate
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import save
from headcount.training import finetuning, validation
from headcount.training.config import TrainConfig, TrainError
from headcount.training.finetuning import FinetuneTrainer
from headcount.training.holdout import find_annotations, split
from headcount.training.losses import LossConfig

COUNTS = (5, 12, 20, 8, 16, 3, 10, 14, 6, 18, 9, 0)
QUICK = ("data.min_side=0", "data.crop=[128,128]", "steps=30", "warmup=5", "lr=3e-4")


@pytest.fixture(autouse=True, scope="module")
def one_processor_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def agree(one: Path, two: Path) -> bool:
    """Whether two checkpoints have the same weights bit for bit."""
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (one, two))
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


# It learns


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The shipped model of people, trained further on cells: the folder of the run and its report."""
    root = tmp_path_factory.mktemp("cells")
    data = synthetic_objects.folder(root / "photos", synthetic_objects.cells, COUNTS, 192, 144)
    return root / "run", headcount.finetune(data, root / "run", "headcount-small", minutes=5, settings=QUICK)


def test_a_model_of_people_learns_to_count_cells(learned):
    run, report = learned
    assert report.improved and report.before.mae > 5 and report.after.mae < report.before.mae / 5
    image, cells = synthetic_objects.cells(seed=99, count=15, width=192, height=144)
    result = headcount.load(run / "best").count(image)
    assert result.model == "run" and result.count == pytest.approx(len(cells), abs=5)


def test_the_report_can_be_measured_again(learned):
    run, report = learned
    assert report.photos == {"train": 9, "val": 3, "check": 0} and report.checkpoint == run / "best"
    table = report.table().splitlines()
    assert [line.split()[:4] for line in table[1:3]] == [["held", "out,", when, "3"] for when in ("before", "after")]
    assert "9 images, 30 steps" in table[3] and "optimistic" in table[4] and max(map(len, table)) <= 80
    held = readers.read(run / "photos", "json", "val")
    assert evaluate(held, headcount.load(run / "best")).metrics.mae == pytest.approx(report.after.mae, rel=1e-3)
    assert evaluate(held, headcount.load(run / "start")).metrics.mae == pytest.approx(report.before.mae, rel=1e-3)
    assert not {s.image for s in held} & {s.image for s in readers.read(run / "photos", "json", "train")}
    record = json.loads((run / "run.json").read_text())["config"]
    assert record["steps"] == 30 and record["model"]["backbone"] == "lite0" and record["freeze"] == 5
    assert calibrate(run, run).images == 3  # its intervals come from these images


def test_frozen_blocks_and_the_statistics_of_norms_stay(learned):
    run, _ = learned
    before, after = (load_file(run / name / "model.safetensors") for name in ("start", "best"))
    frozen = [name for name in before if name.startswith(("backbone._conv_stem", "backbone._blocks.4."))]
    norms = [name for name in before if "running" in name]
    assert len(frozen) > 3 and all(torch.equal(before[name], after[name]) for name in frozen + norms)
    assert not torch.equal(
        before["backbone._blocks.5._expand_conv.weight"], after["backbone._blocks.5._expand_conv.weight"]
    )


def test_cars_by_the_command_line(tmp_path, monkeypatch, capsys):
    """`headcount annotate` marked the folder, which holds another table as well."""
    monkeypatch.chdir(tmp_path)
    synthetic_objects.folder(tmp_path / "park", synthetic_objects.cars, COUNTS, 192, 144)
    (tmp_path / "park" / "counts.csv").write_text("path,count\n0.png,5\n")
    settings = [part for change in QUICK for part in ("--set", change)]
    with pytest.raises(SystemExit) as exit:
        command = ["train", "--data", "park", "--from", "headcount-small", "--minutes", "5", "--unit", "cars"]
        main.main([*command, *settings])
    out, err = capsys.readouterr()
    assert re.search(r"\d+:\d\d left, step \d+ of \d+: [\d.]+ people off on the held-out images, [\d.]+ before", err)
    assert exit.value.code == 0 and "export it with: headcount export runs/park/best park.onnx" in out
    before, after = (float(line.split()[4]) for line in out.splitlines()[1:3])
    assert before > 5 and after < before / 3
    result = headcount.load("runs/park").count("park/0.png")
    assert result.unit == result.to_dict()["unit"] == "cars" and " cars, " in repr(result)


# Honest reports


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A checkpoint of a small untrained network."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    save(CountingModel(ModelConfig(name="small", backbone="multiscale", fusion="plain", width=8)), folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Ten images of discs, without a marked split."""
    folder = tmp_path_factory.mktemp("data")
    factory.csv_table(folder, splits=("",) * 10)
    return folder


SMALL = ("data.crop=[32,32]", "batch=2", "steps=12")


def test_without_improvement_the_initial_model_is_kept(data, start, tmp_path):
    report = headcount.finetune(data, tmp_path / "run", start, settings=[*SMALL, "lr=0.0"])
    assert not report.improved and "your images did not improve it" in report.table()
    assert agree(tmp_path / "run" / "best", start)


def test_the_best_checkpoint_is_kept_and_a_run_without_a_better_one_ends(data, start, tmp_path, monkeypatch):
    """The validation error falls from 9 to 5 and then rises. Ten validations without a better one end the run."""
    errors, measure = itertools.chain([9, 8, 7, 6, 5], itertools.count(6)), FinetuneTrainer.validate

    def validate(self):
        error = next(errors)
        monkeypatch.setattr(validation, "predict", lambda engine, image, config: len(image.points) + error)
        return measure(self)

    monkeypatch.setattr(FinetuneTrainer, "validate", validate)
    report = headcount.finetune(data, tmp_path, start, settings=[*SMALL, "steps=300"])
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["own_mae"]) for row in rows] == [8, 7, 6, 5, *range(6, 16)]
    assert report.steps == int(rows[-1]["step"]) < 300


def test_unseen_images_may_show_no_improvement(learned):
    _, report = learned
    checked = replace(report, check_before=report.before, check_after=report.before)
    assert "unseen, after" in checked.table() and "on the unseen images it is no better" in checked.table()
    assert "no better" not in replace(checked, check_after=report.after).table()


@pytest.mark.parametrize(
    ("errors", "says"),
    [
        ([(9, 1), (8, 2), (9, 3), (8, 1)], None),
        ([(9, 1), (2, 7), (9, 8)], "3 unseen images are too few to tell the gain from chance; "),
        ([(9, 1)], "one unseen image cannot tell"),
        ([], "too few images to keep some unseen"),
    ],
)
def test_a_gain_on_few_images_is_called_chance(learned, errors, says):
    _, report = learned
    before, after = (CountMetrics([10] * len(errors), [10 + e[i] for e in errors]) if errors else None for i in (0, 1))
    lines = replace(report, check_before=before, check_after=after).doubts()
    assert lines == [] if says is None else lines[0].startswith(says) or says in lines[0]


def test_steps_are_smaller_if_the_model_already_counts_well(tmp_path):
    config = ModelConfig(backbone="multiscale", fusion="plain", width=8)
    rates = [
        finetuning.finetune_config(CountingModel(config), TrainConfig(), tmp_path, CountMetrics([100, 50], counted)).lr
        for counted in ([0.0, 0.0], [95.0, 60.0])
    ]
    assert rates[0] > rates[1] > 0


def test_the_teacher_of_the_earlier_training_is_dropped(tmp_path):
    taught = TrainConfig(teacher="gone", loss=LossConfig(blocks=0.5, teacher=1.0))
    model = CountingModel(ModelConfig(backbone="multiscale", fusion="plain", width=8))
    settings = finetuning.finetune_config(model, taught, tmp_path, CountMetrics([100], [90.0]))
    assert (settings.teacher, settings.loss) == ("", LossConfig(blocks=0.5))


# Time


def test_the_run_and_its_learning_rate_end_with_the_time(data, start, tmp_path, monkeypatch):
    """Each call of the clock takes half a second, and later two: steps become slower than at first."""
    seconds = itertools.accumulate(itertools.chain([0.5] * 40, itertools.repeat(2.0)))
    monkeypatch.setattr(finetuning, "clock", lambda: next(seconds))
    monkeypatch.setattr(finetuning, "PATIENCE", 1000)
    report = headcount.finetune(data, tmp_path, start, minutes=2, settings=[*SMALL[:2]])
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert (
        120 <= report.seconds < 140
        and report.steps < json.loads((tmp_path / "run.json").read_text())["config"]["steps"]
    )
    assert float(rows[-1]["lr"]) < 1e-6 and int(rows[-1]["step"]) == report.steps


def test_ctrl_c_keeps_the_best_checkpoint_so_far(data, start, tmp_path, monkeypatch):
    train_step = FinetuneTrainer.train_step

    def interrupted(self, batch):
        if self.progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, batch)

    monkeypatch.setattr(FinetuneTrainer, "train_step", interrupted)
    report = headcount.finetune(data, tmp_path, start, settings=SMALL)
    assert report.steps == 6 and headcount.load(report.checkpoint).count(data / "a.jpg").error is None


# The split


@pytest.mark.parametrize("count, held, checked", [(8, 3, 0), (20, 4, 0), (30, 6, 3), (60, 10, 6), (120, 12, 12)])
def test_images_are_held_out_automatically(tmp_path, count, held, checked):
    for number in range(count):
        factory.photo(tmp_path / f"{number}.png", factory.people(1, 8, 8), 8, 8)
    rows = [f"{number}.png,1,2" for number in range(count)]
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y", *rows]))
    parts = split(tmp_path, "auto")
    assert [len(parts[name]) for name in ("train", "val", "check")] == [count - held - checked, held, checked]
    assert len({s.image for samples in parts.values() for s in samples}) == count
    names = [s.image for s in parts["val"]]
    assert names == [s.image for s in split(tmp_path, "csv")["val"]]


def test_a_marked_split_is_kept_and_a_test_split_is_not_read(tmp_path):
    """Even where there are enough images to hold out more."""
    factory.photo(tmp_path / "a.png", factory.people(1, 8, 8), 8, 8)
    rows = []
    for number in range(50):
        shutil.copy(tmp_path / "a.png", tmp_path / f"{number}.png")
        rows.append(f"{number}.png,1,2,{'val' if number < 4 else 'test' if number < 10 else 'train'}")
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y,split", *rows]))
    names = {part: [sample.name for sample in samples] for part, samples in split(tmp_path, "auto").items()}
    assert names == {"val": ["0", "1", "2", "3"], "train": [str(n) for n in range(10, 50)], "check": []}


def test_an_annotated_folder_is_read_by_its_table(tmp_path):
    factory.coco(tmp_path / "coco")
    factory.csv_table(tmp_path / "project")
    assert find_annotations(tmp_path / "project", "auto") == (tmp_path / "project" / "points.csv", "csv")
    assert find_annotations(tmp_path / "coco", "auto") == (tmp_path / "coco", "auto")


def test_errors_are_one_line(data, start, tmp_path):
    def refused(match, data=data, out="out", start=start, **more):
        with pytest.raises(ValueError, match=match) as error:
            headcount.finetune(data, tmp_path / out, start, **more)
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    factory.csv_table(tmp_path / "few", splits=("",) * 7)
    refused("7 marked images are too few to train on", tmp_path / "few")
    synthetic_objects.folder(tmp_path / "bare", synthetic_objects.cells, [0] * 9, 96, 64)
    refused("nothing is marked", tmp_path / "bare")
    refused("no such model; give headcount-small", start="headcount-huge")
    refused("minutes must be above 0, got 0", minutes=0)
    refused("no such setting", settings=["speed=fast"])
    (tmp_path / "run" / "best").mkdir(parents=True)
    refused("there is already a run; choose another folder", out="run")
    assert isinstance(TrainError(""), ValueError)


def test_the_command_line_takes_a_recipe_or_a_model(capsys):
    for arguments in ([], ["--recipe", "tiny", "--from", "headcount-small"], ["--from", "headcount-small", "--resume"]):
        with pytest.raises(SystemExit) as exit:
            main.main(["train", "--data", ".", *arguments])
        assert exit.value.code == 2 and "--from" in capsys.readouterr().err

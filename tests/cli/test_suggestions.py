"""What commands suggest to do next."""

import pytest
from helpers import synthetic_objects

from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import save


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """runs/mine, a fine-tuned run without an interval, and the photos that it was trained on."""
    monkeypatch.chdir(tmp_path)
    synthetic_objects.folder(tmp_path / "photos", synthetic_objects.cells, (3, 2), 64, 64)
    save(CountingModel(ModelConfig(backbone="multiscale", fusion="plain", width=8)), tmp_path / "runs/mine/best")
    (tmp_path / "runs/mine/run.json").write_text('{"config": {"sets": {"own": {"folder": "photos"}}}}')
    (tmp_path / "runs/mine/photos").mkdir()


def test_a_fine_tuned_model_without_an_interval_names_calibrate(run, trained, tmp_path):
    hint = "for intervals, run: headcount calibrate runs/mine --data runs/mine"
    photo = next(path for path in (tmp_path / "photos").iterdir() if path.suffix in (".jpg", ".png"))
    code, _, err = run("count", photo, "--model", "runs/mine")
    assert code == 0 and err == f"headcount: {hint}\n"
    code, _, err = run("export", "runs/mine/best", "mine.onnx")
    assert code == 0 and hint in err and "export again" in err
    code, out, _ = run("info", "mine.onnx")
    assert code == 0 and "none; see headcount calibrate" in out
    (tmp_path / "runs/mine/best/calibration.json").write_text("{}")
    assert run("count", photo, "--model", "runs/mine")[2] == ""


def test_the_bundled_model_needs_no_hint(run):
    _, out, _ = run("info")
    assert "see headcount calibrate" not in out

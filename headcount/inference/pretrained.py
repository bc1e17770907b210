"""Finding the bundled models."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "headcount-small"
WEIGHTS = Path(__file__).parents[1] / "weights"


def bundled_model_path(name: str = DEFAULT_MODEL) -> Path:
    """The path of a bundled model, whether or not there is one of this name."""
    return WEIGHTS / f"{name}.onnx"


def find_model(model: str | Path | None) -> Path:
    """The file or folder of a model.

    Args:
        model: a path, or the name of a bundled model; an existing path takes precedence. The folder of a training run
            means its best checkpoint. None is the default model.
    """
    if model is None:
        return bundled_model_path()
    path, bundled = Path(model), bundled_model_path(str(model))
    if not path.exists():
        return bundled if bundled.is_file() else path
    best = path / "best"
    return best if (best / "config.json").is_file() and not (path / "config.json").exists() else path


def bundled_models() -> list[str]:
    """The names of the bundled models."""
    return sorted(file.stem for file in WEIGHTS.glob("*.onnx"))

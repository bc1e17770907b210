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
        model: a path, or the name of a bundled model; an existing path takes precedence. None is the default model.
    """
    if model is None:
        return bundled_model_path()
    bundled = bundled_model_path(str(model))
    return bundled if bundled.is_file() and not Path(model).exists() else Path(model)

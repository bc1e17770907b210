"""Finding the models that ship with headcount."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "headcount-small"
WEIGHTS = Path(__file__).parents[1] / "weights"  # of the models that come with headcount


def embedded(name: str = DEFAULT_MODEL) -> Path:
    """The file of a model that comes with headcount, whether there is one or not."""
    return WEIGHTS / f"{name}.onnx"


def find_model(model: str | Path | None) -> Path:
    """The file or folder of a model: None is the default; the name of one that comes with headcount is that one, unless
    something of this name lies here."""
    if model is None:
        return embedded()
    return embedded(str(model)) if embedded(str(model)).is_file() and not Path(model).exists() else Path(model)

"""What a model says about itself, which an .onnx file carries in its metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headcount.io.files import single_line

if TYPE_CHECKING:
    from headcount.models.counting_model import CountingModel
    from headcount.models.ensemble import Ensemble

JsonObject = dict[str, Any]
STORED_PADDING_COLOR = "blank"  # the key of ModelMeta.padding_color in the metadata of a file
MAX_UNIT = 24  # characters
MAX_SIDE = 4096  # pixels; no network has a larger stride, pad, halo or shortest side
CALIBRATION = "calibration.json"  # beside a checkpoint's weights; headcount calibrate writes it


class EngineError(ValueError):
    """A model cannot be opened. The message is one line: the model or the choice, and what to do."""


@dataclass(frozen=True)
class ModelMeta:
    """What a model says about itself.

    Attributes:
        name: Name of the model.
        stride: Pixels per density cell.
        pad: Number of pixels that tile starts are multiples of.
        halo: Pixels of context that make a tile exact.
        min_side: Shortest side in pixels; smaller images are enlarged to it. 0 disables this.
        mask: Whether the mask is predicted. Otherwise it is 1 everywhere.
        data: Names of the data sets that the model was trained on.
        metrics: Value of each metric by its name.
        unit: What it counts: "people", or "cells", "cars".
        version: Version of headcount that exported the file.
        parameters: Number of parameters.
        interval: Parameters of the interval, as in `calibration.Calibration`. Empty if the model was not calibrated.
        spacing: Smallest known spacing of heads, as in `calibration.Calibration`. 0 if the model was not calibrated.
        limits: What is unfamiliar, as in `calibration.Calibration`. Empty if the model was not calibrated.
        padding_color: RGB color 0..255 that the model pads with; empty if it does not pad.
        weights: "int8" if the file is quantized.
        precision_change: How far counts move when the model is computed in fp16 or bf16 instead of fp32: the mean
            |change| over the mean count, by precision, as measured on photos at export. Empty if it was not measured.
        config: Fields of its ModelConfig or EnsembleConfig, from which `models.from_onnx` builds it again. Empty in
            files that older versions exported.
    """

    name: str
    stride: int
    pad: int
    halo: int
    min_side: int = 0
    mask: bool = True
    data: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    unit: str = "people"
    version: str = ""
    parameters: int = 0
    interval: dict[str, float] = field(default_factory=dict)
    spacing: float = 0.0
    limits: dict[str, float] = field(default_factory=dict)
    padding_color: tuple[int, ...] = ()
    weights: str = ""
    precision_change: dict[str, float] = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)

    def to_strings(self) -> dict[str, str]:
        """Text for an .onnx file's metadata: strings as they are, everything else as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values[STORED_PADDING_COLOR] = values.pop("padding_color")
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    @classmethod
    def stored_keys(cls) -> set[str]:
        """The keys that `to_strings` returns."""
        return {f.name for f in fields(cls)} - {"padding_color"} | {STORED_PADDING_COLOR}

    @classmethod
    def from_strings(cls, strings: dict[str, str], path: Path) -> ModelMeta:
        """The inverse of `to_strings`. Raises EngineError if `path` was not made by `headcount export`."""
        try:
            texts = {"name", "data", "unit", "version", "weights"}
            known = cls.stored_keys() & set(strings)
            values: JsonObject = {k: strings[k] if k in texts else json.loads(strings[k]) for k in known}
            color = tuple(values.pop(STORED_PADDING_COLOR, ()))
            meta = cls(**values, padding_color=color)
            sizes = (meta.stride, meta.pad, meta.halo + 1, meta.min_side + 1)
            if not all(type(n) is int and 0 < n <= MAX_SIDE for n in sizes) or len(color) not in (0, 3):
                raise ValueError
            if not (0 < len(meta.unit) <= MAX_UNIT and meta.unit.isprintable()):
                raise ValueError
            return meta
        except (TypeError, ValueError):
            raise EngineError(
                f"{path}: its metadata is not that of a headcount model; make one with: headcount export"
            ) from None


def describe(model: CountingModel | Ensemble, folder: Path | None = None) -> ModelMeta:
    """The ModelMeta of a network; nothing is computed.

    Args:
        model: the network.
        folder: its checkpoint folder. The run.json beside it names the training data, and its calibration.json gives
            the interval.
    """
    from headcount import __version__
    from headcount.models.complexity import parameter_count

    recipe = read_optional_json(folder.parent / "run.json").get("config", {}) if folder else {}
    calibration = read_optional_json(folder / CALIBRATION) if folder else {}
    return ModelMeta(
        name=model.config.name,
        stride=model.stride,
        pad=model.pad,
        halo=model.halo,
        min_side=model.config.min_side,
        mask=model.predicts_mask,
        data=", ".join(recipe.get("sets", {})),
        unit=recipe.get("unit", "people"),
        version=__version__,
        parameters=parameter_count(model),
        padding_color=padding_color(model),
        interval=calibration.get("interval", {}),
        spacing=calibration.get("spacing", 0.0),
        limits=calibration.get("limits", {}),
        config=asdict(model.config),
    )


def uncertainty_weights(folder: Path | None) -> JsonObject:
    """The arguments of `models.uncertainty.UncertaintyHead` that a checkpoint was calibrated with; empty if none."""
    return read_optional_json(folder / CALIBRATION).get("uncertainty", {}) if folder else {}


def padding_color(model: CountingModel | Ensemble) -> tuple[int, ...]:
    """The RGB color that a network pads with: the zero of its normalization. Empty for one that shrinks instead."""
    if model.config.shrink:
        return ()
    mean = [round(float(value)) for value in model.mean.flatten()]
    return tuple(mean if len(mean) == 3 else mean * 3)


def read_optional_json(path: Path) -> JsonObject:
    """The content of a JSON file; empty if there is no such file. Raises EngineError if it is not JSON."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineError(f"{path}: is not JSON ({single_line(error)}); remove it, or make it again") from None

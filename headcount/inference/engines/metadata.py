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
CALIBRATION = "calibration.json"  # beside a checkpoint's weights; headcount calibrate writes it


class EngineError(ValueError):
    """A model cannot be opened. The message is one line: the model or the choice, and what to do."""


@dataclass(frozen=True)
class ModelMeta:
    """What a model says about itself.

    Attributes:
        name: of the model.
        stride: pixels per density cell.
        pad: tile starts are multiples of it, in pixels.
        halo: pixels of context that make a tile exact.
        min_side: images with a shorter short side are enlarged to it; 0 disables this.
        mask: whether the mask is predicted; otherwise it is 1 everywhere.
        data: the names of the data sets it was trained on.
        metrics: name -> value.
        version: of headcount when the file was exported.
        parameters: their number.
        interval: as in `calibration.Calibration`; empty if the model was not calibrated.
        spacing: as in `calibration.Calibration`; 0 if the model was not calibrated.
        blank: the RGB color 0..255 that the model pads with; empty if it does not pad.
        weights: "int8" if the file is quantized.
        config: the fields of its ModelConfig or EnsembleConfig, from which `models.from_onnx` builds it again. Empty in
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
    version: str = ""
    parameters: int = 0
    interval: dict[str, float] = field(default_factory=dict)
    spacing: float = 0.0
    blank: tuple[int, ...] = ()
    weights: str = ""
    config: JsonObject = field(default_factory=dict)

    def to_strings(self) -> dict[str, str]:
        """Text for an .onnx file's metadata: strings as they are, everything else as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_strings(cls, strings: dict[str, str], path: Path) -> ModelMeta:
        """The inverse of `to_strings`. Raises EngineError if `path` was not made by `headcount export`."""
        try:
            texts = {"name", "data", "version", "weights"}
            known = {f.name for f in fields(cls)} & set(strings)
            values: JsonObject = {k: strings[k] if k in texts else json.loads(strings[k]) for k in known}
            meta = cls(**values | {"blank": tuple(values.get("blank", ()))})
            if not all(type(n) is int and n > 0 for n in (meta.stride, meta.pad)) or len(meta.blank) not in (0, 3):
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

    sets = read_json(folder.parent / "run.json").get("config", {}).get("sets", {}) if folder else {}
    calibration = read_json(folder / CALIBRATION) if folder else {}
    return ModelMeta(
        name=model.config.name,
        stride=model.stride,
        pad=model.pad,
        halo=model.halo,
        min_side=model.config.min_side,
        mask=model.predicts_mask,
        data=", ".join(sets),
        version=__version__,
        parameters=parameter_count(model),
        blank=padding_color(model),
        interval=calibration.get("interval", {}),
        spacing=calibration.get("spacing", 0.0),
        config=asdict(model.config),
    )


def padding_color(model: CountingModel | Ensemble) -> tuple[int, ...]:
    """The RGB color that a network pads with: the zero of its normalization. Empty for one that shrinks instead."""
    if model.config.shrink:
        return ()
    mean = [round(float(value)) for value in model.mean.flatten()]
    return tuple(mean if len(mean) == 3 else mean * 3)


def read_json(path: Path) -> JsonObject:
    """The content of a JSON file; empty if there is no such file. Raises EngineError if it is not JSON."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineError(f"{path}: is not JSON ({single_line(error)}); remove it, or make it again") from None

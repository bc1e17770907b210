"""Saving networks to checkpoint folders and loading them again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from headcount._settings import read_settings
from headcount.io.files import flush_to_disk, single_line
from headcount.models.counting_model import CountingModel, ModelConfig, without_density_scale
from headcount.models.ensemble import Ensemble, EnsembleConfig
from headcount.models.mcnn import load_published_mcnn


def config_from_dict(values: object) -> ModelConfig:
    """A ModelConfig from parsed JSON or TOML.

    Raises:
        ValueError: a setting is unknown, no longer supported or has a value of the wrong type; the message names it.
    """
    where = "model settings"
    return read_settings(ModelConfig, without_density_scale(values, where), where)


def build(values: object) -> CountingModel | Ensemble:
    """The untrained network that settings describe.

    Args:
        values: the fields of a ModelConfig or an EnsembleConfig, parsed from JSON.

    Raises:
        ValueError: the settings are wrong, or they describe no network that can be built.
    """
    if not isinstance(values, dict) or "members" not in values:
        return CountingModel(config_from_dict(values))
    where, members = "ensemble settings", values["members"]
    if isinstance(members, list):
        members = [without_density_scale(member, where) for member in members]
    return Ensemble(read_settings(EnsembleConfig, {**values, "members": members}, where))


def save(model: CountingModel | Ensemble, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write config.json and model.safetensors into `folder`.

    Both files are complete on the disk before either gets its name, so weights never stand beside the settings of
    another network. A calibration in the folder is removed, since it belongs to the previous weights.

    Args:
        model: the network.
        folder: is created if needed.
        weights: written instead of the model's own.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in (weights or model.state_dict()).items()}
    config, text = folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n"
    save_file(state, folder / "model.safetensors.new", metadata={"format": "pt"})
    (folder / "config.json.new").write_text(text)
    for name in ("model.safetensors", "config.json"):
        flush_to_disk(folder / f"{name}.new")
    (folder / "calibration.json").unlink(missing_ok=True)
    if config.exists() and config.read_bytes() != text.encode():
        config.unlink()
    for name in ("model.safetensors", "config.json"):
        (folder / f"{name}.new").replace(folder / name)


def load(path: str | Path) -> CountingModel | Ensemble:
    """A network in eval mode, from a checkpoint folder or a published MCNN .h5 file.

    Raises:
        ValueError: naming the file that is missing or does not hold such a model.
    """
    path = Path(path)
    if path.suffix == ".h5":
        model = CountingModel(ModelConfig(name=path.stem, backbone="mcnn", fusion="plain", shrink=True))
        model.backbone = load_published_mcnn(path)
        return model.eval()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = build(json.loads((path / "config.json").read_text()))
        network.load_state_dict(load_file(path / "model.safetensors"))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = single_line(error)[:300]  # torch lists every tensor that does not fit
        raise ValueError(
            f"{path}: not a headcount checkpoint (a folder with config.json and model.safetensors): {reason}"
        ) from error
    return network.eval()


def load_single(path: str | Path) -> CountingModel:
    """Like `load`, for callers that need a single network. Raises ValueError for an ensemble too."""
    network = load(path)
    if isinstance(network, Ensemble):
        raise ValueError(f"{path}: is an ensemble; only single networks can be trained: give one of its members")
    return network

"""Saving networks to folders and loading them again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from headcount._settings import read_settings
from headcount.io.files import flush_to_disk
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.ensemble import Ensemble, EnsembleConfig
from headcount.models.mcnn import load_published_mcnn


def config_from_dict(values: object) -> ModelConfig:
    """Build a ModelConfig from parsed JSON or TOML.

    Raises:
        ValueError: A setting is unknown or has a value of the wrong type; the message names it.
    """
    return read_settings(ModelConfig, values, "model settings")


def build(values: object) -> CountingModel | Ensemble:
    """Build an untrained network from parsed JSON: the settings of a ModelConfig or of an EnsembleConfig.

    Raises:
        ValueError: The settings are wrong, or they describe no network that can be built.
    """
    if isinstance(values, dict) and "members" in values:
        return Ensemble(read_settings(EnsembleConfig, values, "ensemble settings"))
    return CountingModel(config_from_dict(values))


def save(model: CountingModel | Ensemble, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write config.json and model.safetensors into `folder`: both drafts are on the disk before either takes its name,
    and weights never stand beside the settings of another network."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in (weights or model.state_dict()).items()}
    config, text = folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n"
    save_file(state, folder / "model.safetensors.new", metadata={"format": "pt"})
    (folder / "config.json.new").write_text(text)
    for name in ("model.safetensors", "config.json"):
        flush_to_disk(folder / f"{name}.new")
    (folder / "calibration.json").unlink(missing_ok=True)  # it is of the weights before
    if config.exists() and config.read_bytes() != text.encode():
        config.unlink()
    for name in ("model.safetensors", "config.json"):
        (folder / f"{name}.new").replace(folder / name)


def load(path: str | Path) -> CountingModel | Ensemble:
    """A network in eval mode, from a checkpoint folder or a published MCNN .h5 file.

    Raises:
        ValueError: naming the file, when it is missing or does not hold such a model.
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
        reason = " ".join(str(error).split())[:300]  # torch lists every tensor that does not fit
        raise ValueError(
            f"{path}: not a headcount checkpoint (a folder with config.json and model.safetensors): {reason}"
        ) from error
    return network.eval()


def load_single(path: str | Path) -> CountingModel:
    """As `load`, of what is trained or looked into: one network. Raises ValueError for an ensemble too."""
    network = load(path)
    if isinstance(network, Ensemble):
        raise ValueError(f"{path}: is several networks, which are not trained together; take one of them")
    return network

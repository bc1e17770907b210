"""Saving networks to folders and loading them again."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from torch import Tensor

from headcount.io.files import flush_to_disk
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.ensemble import Ensemble, EnsembleConfig
from headcount.models.mcnn import load_published_mcnn


def config_from_dict(values: dict) -> ModelConfig:
    """A ModelConfig from parsed JSON or TOML; unknown keys are a ValueError that names them."""
    if not isinstance(values, dict):
        raise ValueError(f"model settings are {values!r}, not a table")
    unknown = set(values) - {f.name for f in fields(ModelConfig)}
    if unknown:
        raise ValueError(f"unknown model settings: {', '.join(sorted(unknown))}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return ModelConfig(**values)


def build(values: dict) -> CountingModel | Ensemble:
    """The network that settings (a ModelConfig's or an EnsembleConfig's, parsed from JSON) describe, untrained.
    Raises ValueError."""
    if not isinstance(values, dict) or "members" not in values:
        return CountingModel(config_from_dict(values))
    members = values["members"]
    if not isinstance(members, list) or set(values) - {f.name for f in fields(EnsembleConfig)}:
        raise ValueError("an ensemble's settings are members, a list, and weights, name, min_side and shrink")
    members, weights = tuple(config_from_dict(member) for member in members), tuple(values.get("weights") or ())
    return Ensemble(EnsembleConfig(**{**values, "members": members, "weights": weights}))


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

"""Several trained networks as one model: their averaged counts, or one network with their averaged weights.

Nothing is trained. Networks of different kinds make different errors, so the mean of their counts is usually better; it
costs the time and size of all of them. Networks that were trained from one starting point on different crops can
average their weights instead (a model soup, Wortsman et al. 2022), which costs nothing at inference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headcount.io.files import atomic_write
from headcount.models.counting_model import CountingModel
from headcount.models.ensemble import Ensemble, EnsembleConfig
from headcount.models.serialization import load, save


def average(
    runs: Sequence[str | Path],
    out: str | Path,
    name: str = "",
    weights: Sequence[float] | None = None,
    soup: bool = False,
) -> Path:
    """Write the mean of several checkpoints as a run folder, which can be calibrated, evaluated and exported.

    Args:
        runs: two run folders or more, whose checkpoints RUN/best are averaged, or checkpoint folders such as RUN/last.
        out: the folder to write: OUT/best, and OUT/run.json with the data sets and the record of each run.
        name: of the new model; by default the name of `out`.
        weights: how much each run counts, in any unit; equal by default.
        soup: average the weights of the networks, which gives one network, instead of their counts. The runs must have
            started from the same weights.

    Returns:
        OUT/best.

    Raises:
        ValueError: naming the run that is missing, is not a single network, or does not fit the others.
    """
    if len(runs) < 2:
        raise ValueError("an average needs two runs or more; give each one's folder")
    checkpoints, out = [checkpoint_of(Path(run)) for run in runs], Path(out)
    if (out / "run.json").exists():
        raise ValueError(f"{out}: holds a run already; give a new folder")
    records = [read_record(folder.parent) for folder in checkpoints]
    name = name or out.name
    ensemble = combine([load(folder) for folder in checkpoints], name, weights)
    save(mix(ensemble, name) if soup else ensemble, out / "best")
    sets = {key: settings for record in records for key, settings in record["config"]["sets"].items()}
    recipe = records[0]["config"] if soup else {}  # a soup can be trained further, with the losses of its runs
    record = {
        "config": {**recipe, "name": name, "sets": sets},
        "members": {str(folder): record for folder, record in zip(checkpoints, records, strict=True)},
    }
    with atomic_write(out / "run.json") as file:
        file.write(json.dumps(record, indent=2) + "\n")
    return out / "best"


def combine(networks: Sequence[CountingModel | Ensemble], name: str, weights: Sequence[float] | None) -> Ensemble:
    """An ensemble with the weights of trained networks. Raises ValueError where they do not fit together."""
    members = [network for network in networks if isinstance(network, CountingModel)]
    if len(members) < len(networks):
        raise ValueError("one of the runs is an average already; give single networks")
    shares: tuple[float, ...] = ()
    if weights:
        shares = tuple(weight / (sum(weights) or 1) for weight in weights)
    first = members[0].config
    configs = tuple(member.config for member in members)
    ensemble = Ensemble(EnsembleConfig(configs, shares, name, first.min_side, first.shrink))
    for member, trained in zip(ensemble.members, members, strict=True):
        member.load_state_dict(trained.state_dict())
    return ensemble


def mix(ensemble: Ensemble, name: str) -> CountingModel:
    """One network whose every weight is the weighted mean of the members'.

    Raises:
        ValueError: the members have different architectures.
    """
    first, *others = (replace(config, name=name) for config in ensemble.config.members)
    if any(other != first for other in others):
        raise ValueError("weights can be averaged of equal networks only; leave soup out to average their counts")
    mixed = CountingModel(first)
    states = [member.state_dict() for member in ensemble.members]
    for key, value in mixed.state_dict().items():  # a view: copying into it sets the network's weight
        mean = sum(share * state[key].double() for share, state in zip(ensemble.weights, states, strict=True))
        value.copy_(mean)
    return mixed.eval()


def checkpoint_of(run: Path) -> Path:
    """The checkpoint folder that is meant: `run` itself if it holds weights, otherwise RUN/best."""
    return run if (run / "model.safetensors").exists() else run / "best"


def read_record(run: Path) -> dict[str, Any]:
    """run.json of a run. Raises ValueError."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        record["config"]["sets"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run}: not the folder of a run, which holds run.json and best ({error})") from None
    return record

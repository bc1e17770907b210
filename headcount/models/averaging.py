"""Several trained networks as one model: one that averages their counts, or one network of their averaged weights.

What is unusual: nothing is trained. Networks of different kinds err differently, and their mean mostly errs less;
model.Ensemble says how it is taken. It costs the time and the size of all. Networks of one kind that learned on from
one start, each with other crops, may average their weights instead (a model soup, Wortsman et al. 2022): that costs
nothing. The result is a run's folder like any other, to calibrate, evaluate and export.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
    """Write OUT/best, the mean of the checkpoints RUN/best of two runs or more, and OUT/run.json, which names their
    data sets and each one's record; returns OUT/best. A run may be given as one of its checkpoints, RUN/last.

    weights: how much each counts, in any unit; by default the same. soup: the mean of their weights, one network,
    instead of their counts; for runs that began with the same weights.

    Raises:
        ValueError: naming the run, where one is missing, is no single network, or does not fit the others.
    """
    if len(runs) < 2:
        raise ValueError("an average needs two runs or more; give each one's folder")
    chosen, out = [checkpoint(Path(run)) for run in runs], Path(out)
    if (out / "run.json").exists():
        raise ValueError(f"{out}: holds a run already; give a new folder")
    records = [read_record(folder.parent) for folder in chosen]
    networks = [load(folder) for folder in chosen]
    members = [network for network in networks if isinstance(network, CountingModel)]
    if len(members) < len(networks):
        raise ValueError("one of the runs is an average already; give single networks")
    name = name or out.name
    first = members[0].config
    configs = tuple(member.config for member in members)
    shares = tuple(weight / (sum(weights) or 1) for weight in weights) if weights else ()
    ensemble = Ensemble(EnsembleConfig(configs, shares, name, first.min_side, first.shrink))
    for mine, given in zip(ensemble.members, members, strict=True):
        mine.load_state_dict(given.state_dict())
    save(mix(ensemble, name) if soup else ensemble, out / "best")
    sets = {key: one for record in records for key, one in record["config"]["sets"].items()}
    recipe = records[0]["config"] if soup else {}  # one network may be trained further, with the losses it knows
    record = {
        "config": {**recipe, "name": name, "sets": sets},
        "members": {str(folder): record for folder, record in zip(chosen, records, strict=True)},
    }
    with atomic_write(out / "run.json") as file:
        file.write(json.dumps(record, indent=2) + "\n")
    return out / "best"


def mix(ensemble: Ensemble, name: str) -> CountingModel:
    """One network whose every weight is the mean of the members', by their shares.

    Raises:
        ValueError: they are not of one kind.
    """
    one, *others = (replace(config, name=name) for config in ensemble.config.members)
    if any(other != one for other in others):
        raise ValueError("weights can be averaged of equal networks only; leave soup out to average their counts")
    mixed = CountingModel(one)
    states = [member.state_dict() for member in ensemble.members]
    for key, value in mixed.state_dict().items():  # a view: what is copied into it is the network's
        mean = sum(share * state[key].double() for share, state in zip(ensemble.weights, states, strict=True))
        value.copy_(mean)
    return mixed.eval()


def checkpoint(run: Path) -> Path:
    """The folder of weights that is meant: RUN itself where it is one, RUN/best else."""
    return run if (run / "model.safetensors").exists() else run / "best"


def read_record(run: Path) -> dict:
    """run.json of a run. Raises ValueError."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        record["config"]["sets"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run}: not the folder of a run, which holds run.json and best ({error})") from None
    return record

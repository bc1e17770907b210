"""What a run keeps survives a kill at every file operation, damage, and a full disk."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import torch

from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.models.serialization import load, save
from headcount.training import checkpoint
from headcount.training.config import TrainError


def state_of(step: int) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    return {"model.weight": torch.full((30, 30), float(step)), "optimizer.0.step": torch.tensor(step)}, {"step": step}


def model_of(value: float, **settings) -> CountingModel:
    model = CountingModel(ModelConfig(width=8, **settings))
    torch.nn.init.constant_(model.head.mask[1].bias, value)
    return model


def bias(folder: Path) -> float:
    return load(folder).head.mask[1].bias.item()


def killed_at_each_file_operation(folder: Path, action: Callable[[], None]) -> Iterator[None]:
    """Do it in a child that is killed as it opens, renames or removes its first file in `folder`, its second and so on
    until one is done; between them the caller looks, and restores."""
    for deadline in count(1):
        if not (child := os.fork()):
            left = deadline

            def watch(event: str, arguments: tuple) -> None:
                nonlocal left
                if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            try:
                action()
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        yield
        if not os.WIFSIGNALED(status):
            assert deadline > 4, "nothing was watched"
            return


def test_a_kill_at_any_moment_leaves_the_new_state_or_the_old_one(tmp_path):
    seen = []
    checkpoint.write(tmp_path, *state_of(1))
    checkpoint.write(tmp_path, *state_of(2))
    kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for _ in killed_at_each_file_operation(tmp_path, lambda: checkpoint.write(tmp_path, *state_of(3))):
        assert checkpoint.exists(tmp_path)
        numbers, tensors, _ = checkpoint.read(tmp_path)
        assert tensors["model.weight"].unique().tolist() == [tensors["optimizer.0.step"].item()] == [numbers["step"]]
        seen.append(numbers["step"])
        checkpoint.write(tmp_path, *state_of(4))  # the next one is not troubled by what the killed one left
        assert checkpoint.read(tmp_path)[0] == {"step": 4} and not list(tmp_path.glob("*.new"))
        for file, content in kept.items():
            file.write_bytes(content)
    assert set(seen) == {2, 3} and seen == sorted(seen)


def test_a_kill_at_any_moment_leaves_the_new_checkpoint_or_the_old_one(tmp_path):
    seen, new = [], model_of(3)
    old = model_of(2)
    save(old, tmp_path)
    for _ in killed_at_each_file_operation(tmp_path, lambda: save(new, tmp_path)):
        seen.append(bias(tmp_path))
        save(old, tmp_path)
        assert bias(tmp_path) == 2 and not list(tmp_path.glob("*.new"))
    assert set(seen) == {2, 3} and seen == sorted(seen)


def test_weights_never_stand_beside_the_settings_of_another_network(tmp_path):
    """Both of one network, or no checkpoint: never a count by the wrong rule."""
    seen, new = set(), model_of(3, min_side=448)
    old = model_of(2)
    save(old, tmp_path)
    for _ in killed_at_each_file_operation(tmp_path, lambda: save(new, tmp_path)):
        try:
            seen.add((bias(tmp_path), load(tmp_path).config.min_side))
        except ValueError as error:
            assert "not a headcount checkpoint" in str(error)
        save(old, tmp_path)
    assert seen == {(2, 0), (3, 448)}


def test_what_was_damaged_is_not_kept_in_the_place_of_the_good_one(tmp_path):
    for step in (1, 2):
        checkpoint.write(tmp_path, *state_of(step))
    content = bytearray((tmp_path / "state.safetensors").read_bytes())
    content[-100] ^= 1  # a bit of a weight: safetensors itself does not see it
    (tmp_path / "state.safetensors").write_bytes(content)
    numbers, _, wrong = checkpoint.read(tmp_path)
    assert numbers == {"step": 1} and "state.safetensors: is damaged" in wrong and "\n" not in wrong
    checkpoint.set_aside(tmp_path)
    checkpoint.write(tmp_path, *state_of(2))
    assert (checkpoint.read(tmp_path)[0], checkpoint.read(tmp_path)[2]) == ({"step": 2}, "")
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    assert checkpoint.read(tmp_path)[0] == {"step": 1}
    (tmp_path / "state.before.safetensors").unlink()
    with pytest.raises(TrainError, match=r"state\.safetensors: cannot be read .*; start a new run in another folder"):
        checkpoint.read(tmp_path)
    checkpoint.forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_state_without_a_checksum_can_be_read(tmp_path):
    """As it was written before there were checksums."""
    from safetensors.torch import save_file

    save_file({"model.weight": torch.ones(3)}, tmp_path / "state.safetensors", metadata={"numbers": '{"step": 5}'})
    numbers, tensors, wrong = checkpoint.read(tmp_path)
    assert (numbers, tensors["model.weight"].tolist(), wrong) == ({"step": 5}, [1, 1, 1], "")

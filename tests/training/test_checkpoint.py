"""The saved state and the checkpoints survive a kill at every file operation, and damage."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

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
    """Run `action` in children that are killed at their first file operation in `folder`, their second, and so on.

    Opening, renaming and removing files are operations. After each child the caller inspects and restores the folder.
    The last child finishes.
    """
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
        checkpoint.write(tmp_path, *state_of(4))  # what the killed process left does not disturb the next save
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


def test_weights_are_never_combined_with_the_settings_of_another_network(tmp_path):
    """There are the files of one network, or no checkpoint: never a count by the wrong rule."""
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


def test_a_damaged_state_does_not_replace_the_good_one(tmp_path):
    for step in (1, 2):
        checkpoint.write(tmp_path, *state_of(step))
    content = bytearray((tmp_path / "state.safetensors").read_bytes())
    content[-100] ^= 1  # one bit of a weight, which safetensors itself does not notice
    (tmp_path / "state.safetensors").write_bytes(content)
    numbers, _, problem = checkpoint.read(tmp_path)
    assert numbers == {"step": 1} and "state.safetensors: is damaged" in problem and "\n" not in problem
    checkpoint.set_aside(tmp_path)
    checkpoint.write(tmp_path, *state_of(2))
    assert (checkpoint.read(tmp_path)[0], checkpoint.read(tmp_path)[2]) == ({"step": 2}, "")
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    assert checkpoint.read(tmp_path)[0] == {"step": 1}
    (tmp_path / "state.before.safetensors").unlink()
    with pytest.raises(
        TrainError, match=r"state\.safetensors: cannot be read .* no readable state\.before\..*start=.*last"
    ):
        checkpoint.read(tmp_path)
    checkpoint.delete(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [None, {"numbers": '{"step": 5}'}, {"checksum": "0"}])
def test_a_file_without_numbers_or_checksum_is_no_state(tmp_path, metadata):
    save_file({"model.weight": torch.ones(3)}, tmp_path / "state.safetensors", metadata=metadata)
    with pytest.raises(TrainError, match=r"state\.safetensors: cannot be read"):
        checkpoint.read(tmp_path)

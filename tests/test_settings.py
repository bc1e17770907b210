"""Settings are read into dataclasses, and every wrong value is one line that names it."""

from dataclasses import dataclass, field

import pytest

from headcount._settings import SettingsError, read_settings


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int] = (1, 2)
    mean: tuple[float, ...] | None = None
    share: float = 1.0
    on: bool = False


@dataclass(frozen=True)
class Outer:
    name: str = ""
    inner: Inner = field(default_factory=Inner)
    members: tuple[Inner, ...] = ()
    sets: dict[str, Inner] = field(default_factory=dict)


def test_tables_lists_and_integers_become_dataclasses_tuples_and_floats():
    values = {"name": "a", "inner": {"size": [3, 4], "mean": [1, 2.5]}, "members": [{"share": 2}], "sets": {"b": {}}}
    settings = read_settings(Outer, values, "a.toml")
    assert settings == Outer("a", Inner((3, 4), (1.0, 2.5)), (Inner(share=2.0),), {"b": Inner()})
    assert [type(value) for value in (*settings.inner.mean, settings.members[0].share)] == [float] * 3
    assert read_settings(Outer, {"inner": {"mean": None}}, "a.toml") == Outer()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"inner": {"size": ["a", "b"]}}, "a.toml: inner.size[0] is 'a'; it takes an integer"),
        ({"inner": {"size": [1, 2.5]}}, "a.toml: inner.size[1] is 2.5; it takes an integer"),
        ({"inner": {"size": [1]}}, "a.toml: inner.size is [1]; it takes a list of 2 integers"),
        ({"inner": {"size": 5}}, "a.toml: inner.size is 5; it takes a list of 2 integers"),
        ({"inner": {"mean": "red"}}, "a.toml: inner.mean is 'red'; it takes a list of numbers"),
        ({"inner": {"mean": [1, True]}}, "a.toml: inner.mean[1] is True; it takes a number"),
        ({"inner": {"share": True}}, "a.toml: inner.share is True; it takes a number"),
        ({"inner": {"share": "1"}}, "a.toml: inner.share is '1'; it takes a number"),
        ({"inner": {"on": 1}}, "a.toml: inner.on is 1; it takes true or false"),
        ({"name": 3}, "a.toml: name is 3; it takes text"),
        ({"inner": 3}, "a.toml: inner is 3; it takes a table of settings"),
        ({"members": {}}, "a.toml: members is {}; it takes a list of tables"),
        ({"members": [{}, {"share": "x"}]}, "a.toml: members[1].share is 'x'; it takes a number"),
        ({"sets": {"part A": {"size": [0, "x"]}}}, "a.toml: sets.part A.size[1] is 'x'; it takes an integer"),
        ({"nam": 1, "siz": 2}, "a.toml: unknown setting nam, siz; known: inner, members, name, sets"),
        ({"sets": {"b": {"siz": 1}}}, "a.toml [sets.b]: unknown setting siz; known: mean, on, share, size"),
        ([], "a.toml is []; it takes a table of settings"),
    ],
)
def test_a_wrong_value_is_named_with_what_belongs_there(values, message):
    with pytest.raises(SettingsError) as caught:
        read_settings(Outer, values, "a.toml")
    assert str(caught.value) == message

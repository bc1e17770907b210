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
        ({"inner": {"size": ["a", "b"]}}, "a.toml: inner.size[0] must be an integer, got 'a'"),
        ({"inner": {"size": [1, 2.5]}}, "a.toml: inner.size[1] must be an integer, got 2.5"),
        ({"inner": {"size": [1]}}, "a.toml: inner.size must be a list of 2 integers, got [1]"),
        ({"inner": {"size": 5}}, "a.toml: inner.size must be a list of 2 integers, got 5"),
        ({"inner": {"mean": "red"}}, "a.toml: inner.mean must be a list of numbers, got 'red'"),
        ({"inner": {"mean": [1, True]}}, "a.toml: inner.mean[1] must be a number, got True"),
        ({"inner": {"share": True}}, "a.toml: inner.share must be a number, got True"),
        ({"inner": {"share": "1"}}, "a.toml: inner.share must be a number, got '1'"),
        ({"inner": {"on": 1}}, "a.toml: inner.on must be true or false, got 1"),
        ({"name": 3}, "a.toml: name must be text, got 3"),
        ({"inner": 3}, "a.toml: inner must be a table of settings, got 3"),
        ({"members": {}}, "a.toml: members must be a list of tables, got {}"),
        ({"members": [{}, {"share": "x"}]}, "a.toml: members[1].share must be a number, got 'x'"),
        ({"sets": {"part A": {"size": [0, "x"]}}}, "a.toml: sets.part A.size[1] must be an integer, got 'x'"),
        ({"nam": 1, "siz": 2}, "a.toml: unknown setting nam, siz; known: inner, members, name, sets"),
        ({"sets": {"b": {"siz": 1}}}, "a.toml [sets.b]: unknown setting siz; known: mean, on, share, size"),
        ([], "a.toml must be a table of settings, got []"),
    ],
)
def test_a_wrong_value_is_named_with_what_belongs_there(values, message):
    with pytest.raises(SettingsError) as caught:
        read_settings(Outer, values, "a.toml")
    assert str(caught.value) == message

"""Assertions about errors of annotation files."""

from collections.abc import Callable

import pytest

from headcount.datasets import PointsError


def refused(match: str, call: Callable, *arguments, **options) -> None:
    """Assert that a call raises a PointsError that matches, is one line, and says what to do after a semicolon."""
    with pytest.raises(PointsError, match=match) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)

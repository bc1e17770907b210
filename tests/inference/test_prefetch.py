"""Items are produced ahead, in order, in a thread that ends with its reader."""

import threading

import pytest

from headcount.inference.prefetch import prefetch
from headcount.io.images import MediaError


def test_prefetching_keeps_the_items_and_ends_its_thread():
    made, closed, threads = [], [], threading.active_count()

    def items():
        try:
            for number in range(100):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    reader = prefetch(items(), 2)
    assert [next(reader) for _ in range(3)] == [0, 1, 2]
    reader.close()
    assert closed and len(made) <= 3 + 2 + 1 and threading.active_count() == threads
    assert list(prefetch(items(), 3)) == list(range(100)) and list(prefetch([], 1)) == []


def test_an_error_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise MediaError("gone")

    reader = prefetch(items(), 5)
    assert next(reader) == 1
    with pytest.raises(MediaError, match="gone"):
        next(reader)

"""The table of `headcount count`, row by row."""

import io

from headcount.cli.table import TABLE_WIDTH, TableWriter


def row(path, count, low=None, high=None, **others):
    return {
        "path": path,
        "count": count,
        "low": low,
        "high": high,
        "width": 640,
        "height": 480,
        "seconds": 0.25,
    } | others


def printed(*rows):
    stream = io.StringIO()
    writer = TableWriter(stream)
    for each in rows:
        writer.write(each)
    writer.finish()
    lines = [line.strip() for line in stream.getvalue().splitlines() if line.strip()]
    assert all(len(line) <= TABLE_WIDTH for line in stream.getvalue().splitlines())
    return [line.split() for line in lines if not set(line) <= {"─"}]


def test_a_model_with_intervals_adds_a_column():
    assert printed(row("a.jpg", 1234.4, 1000.0, 1500.6), row("b.jpg", 3.0)) == [
        ["image", "people", "interval", "size", "seconds"],
        ["a.jpg", "1,234", "1,000-1,501", "640x480", "0.25"],
        ["b.jpg", "3", "640x480", "0.25"],
        ["2", "images", "1,237", "0.50"],
    ]


def test_a_single_image_has_no_total():
    assert printed(row("a.jpg", 3.0)) == [["image", "people", "size", "seconds"], ["a.jpg", "3", "640x480", "0.25"]]


def test_counts_of_frames_are_not_added_up():
    *_, total = printed(row("clip.mp4", 3.0, time=0.0), row("clip.mp4", 4.0, time=1.0))
    assert total == ["2", "images", "0.50"]


def test_regions_are_lines_below_their_image():
    stage = {"name": "stage", "count": 12.0, "per_square_metre": 1.5, "over": True}
    lawn = {"name": "lawn", "count": 8.0, "per_square_metre": 0.25, "over": False}
    path = {"name": "path", "count": 1.0, "per_square_metre": None, "over": False}
    lines = printed(row("a.jpg", 21.0, 18.0, 25.0, regions=[stage, lawn, path]))
    assert lines[2:] == [["stage", "12", "over"], ["lawn", "8", "0.25/m2"], ["path", "1"]]


def test_rows_with_an_error_are_left_out_and_counted():
    assert printed(row("broken.jpg", None, error="damaged")) == []
    assert printed(row("broken.jpg", None, error="damaged"), row("a.jpg", 3.0))[1:] == [
        ["a.jpg", "3", "640x480", "0.25"],
        ["1", "could", "not", "be", "read"],
    ]

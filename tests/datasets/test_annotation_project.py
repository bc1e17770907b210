"""A folder of photos that are being annotated: points are saved one photo at a time, and nothing else changes."""

import numpy as np
import pytest
from helpers.annotated_images import photo
from helpers.points_errors import refused

from headcount.datasets import read
from headcount.datasets.annotation_project import Project


@pytest.fixture
def project(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "sub/c.jpg"):
        photo(tmp_path / name, np.zeros((0, 2)))
    (tmp_path / "points.csv").write_text("image,x,y,split,scene\na.jpg,1,2,val,gate\n")
    return Project(tmp_path)


def test_points_are_saved_and_other_rows_kept(project):
    project.save("sub/b.jpg", [(10.239, 20), (95.999, 63.999)])
    project.save("sub/c.jpg", [])
    assert project.points("sub/b.jpg") == [(10.23, 20), (95.99, 63.99)]  # rounded down
    assert project.points("sub/c.jpg") == [] and project.points("a.jpg") == [(1, 2)]
    assert project.table.read_text().splitlines() == [
        "image,x,y,scene,split",
        "a.jpg,1.0,2.0,gate,val",
        "sub/b.jpg,10.23,20.0,,",
        "sub/b.jpg,95.99,63.99,,",
        "sub/c.jpg,,,,",
    ]
    assert {sample.name: len(sample.points) for sample in read(project.folder, "csv", "all")} == {
        "a": 1,
        "b": 2,
        "c": 0,
    }
    assert not list(project.folder.glob(".*"))  # no temporary file is left


def test_saving_keeps_the_split_and_scene_of_a_photo(project):
    project.save("a.jpg", [(3, 4)])
    assert project.table.read_text().splitlines()[1] == "a.jpg,3.0,4.0,gate,val"


def test_the_summary_counts_points_and_saved_photos(project):
    photos = [
        {"name": "a.jpg", "points": 1},
        {"name": "sub/b.jpg", "points": None},
        {"name": "sub/c.jpg", "points": None},
    ]
    assert project.summary() == {"name": project.folder.name, "photos": photos, "saved": 1}


@pytest.mark.parametrize("point", [(96, 1), (-0.1, 1), (1, 64), (float("nan"), 1)])
def test_points_outside_the_photo_are_refused(project, point):
    before = project.table.read_bytes()
    refused("a.jpg: a point is outside its 96x64 pixels", project.save, "a.jpg", [point])
    assert project.table.read_bytes() == before


def test_unknown_photos_and_unusable_folders_are_refused(project, tmp_path):
    for call in (project.points, lambda name: project.save(name, [])):
        with pytest.raises(KeyError):
            call("none.jpg")
    (tmp_path / "empty").mkdir()
    refused("no photos in this folder", Project, tmp_path / "empty")
    refused("no such folder", Project, tmp_path / "none")
    (tmp_path / "points.csv").write_text("file,x,y\n")
    refused("the first line must name the columns", Project, tmp_path)

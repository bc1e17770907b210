"""Files are written whole or not at all."""

import os

import pytest

from headcount.io.files import atomic_write, flush_to_disk, partial_file, partial_files, single_line


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    file = tmp_path / "report.json"
    with atomic_write(file) as stream:
        stream.write("caf\u00e9\n")
        assert not file.exists() and partial_files(file) == [partial_file(file)]
    assert file.read_bytes() == "caf\u00e9\n".encode()
    with atomic_write(file, "wb") as stream:
        stream.write(b"\r\n\xff")
    assert file.read_bytes() == b"\r\n\xff" and os.listdir(tmp_path) == ["report.json"]


def test_an_error_leaves_the_old_file(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("the old one")
    with pytest.raises(RuntimeError), atomic_write(file) as stream:
        stream.write("half of the new one")
        stream.flush()
        raise RuntimeError
    assert file.read_text() == "the old one" and os.listdir(tmp_path) == ["report.json"]


def test_a_link_keeps_pointing_to_its_target(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "folder" / "link.txt"
    target.write_text("old")
    link.parent.mkdir()
    link.symlink_to(target)
    with atomic_write(link) as stream:
        stream.write("new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_pipe_is_written_to_directly():
    reader, writer = os.pipe()
    try:
        with atomic_write(f"/dev/fd/{writer}") as stream:
            stream.write("hello")
        assert os.read(reader, 100) == b"hello"
    finally:
        os.close(reader)
        os.close(writer)


def test_partial_files_of_killed_processes_are_found_by_name_newest_last(tmp_path):
    file = tmp_path / "a[1].csv"  # with characters that a glob would interpret
    names = [".a[1].csv.7.new", ".a[1].csv.3.new"]
    for age, name in enumerate([*names, ".a1.csv.5.new", ".b.csv.5.new"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert [path.name for path in partial_files(file)] == names


def test_flushing_waits_for_the_file_and_closes_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((descriptor, os.fstat(descriptor).st_ino)))
    flush_to_disk(tmp_path / "file")
    [(descriptor, inode)] = synced
    assert inode == (tmp_path / "file").stat().st_ino
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_error_messages_become_one_line():
    assert single_line(ValueError("two\n  lines ")) == "two lines"
    assert single_line(ValueError()) == "ValueError"

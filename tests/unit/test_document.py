"""Documents are whole, whoever writes them, and whatever became of those who did before."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni import document

ROUNDS = 100


def test_writers_of_one_document_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    values = [[number] * 10 ** (number % 5) for number in range(8)]
    document.write(str(path), values[0])

    def write(value: list[int]) -> None:
        for _ in range(ROUNDS):
            document.write(str(path), value)
            assert document.read(str(path), "document") in values

    with ThreadPoolExecutor(len(values)) as pool:
        list(pool.map(write, values))

    assert os.listdir(tmp_path) == ["document.json"]


def test_what_a_killed_writer_left_is_used_up(tmp_path: Path) -> None:
    (tmp_path / "document.json.new").write_text("[1, 2, 3, 4")

    document.write(str(tmp_path / "document.json"), [5])

    assert os.listdir(tmp_path) == ["document.json"]
    assert document.read(str(tmp_path / "document.json"), "document") == [5]


def test_a_writer_that_fails_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "document.json"
    document.write(str(path), "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        document.write(str(path), "new")

    assert os.listdir(tmp_path) == ["document.json"]
    assert document.read(str(path), "document") == "old"


def test_removing_what_was_read_leaves_what_was_written_since(tmp_path: Path) -> None:
    path = str(tmp_path / "document.json")
    document.write(path, "old")
    old = os.stat(path)
    document.write(path, "new")

    document.remove(path, old)
    assert document.read(path, "document") == "new"

    document.remove(path, os.stat(path))
    assert os.listdir(tmp_path) == []

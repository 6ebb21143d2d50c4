"""Nodes from a file: read again when it changes, and kept when it is spoiled."""

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni.agent.nodes.file import FileNodes
from tests.agent.nodes.cluster import Watcher
from tests.lab import wait_until

LOOK = 0.01


def entry(name: str, number: int) -> Any:
    return {
        "name": name,
        "addresses": [f"10.0.0.{number}"],
        "podCIDRs": [f"10.244.{number}.0/24"],
    }


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def by_symlink(path: Path, text: str) -> None:
    """Write as the kubelet writes the files of a ConfigMap."""
    folder = path.parent / f"..{len(os.listdir(path.parent))}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    (path.parent / "..new").symlink_to(folder.name)
    (path.parent / "..new").rename(path.parent / "..data")
    if not path.is_symlink():
        path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("write", [in_place, by_rename, by_symlink])
def test_each_change_of_the_file_is_told(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "nodes"
    write(path, json.dumps([entry("n1", 1)]))

    with Watcher(FileNodes(str(path), LOOK)) as seen:
        assert seen.sees_names("n1")
        write(path, json.dumps({"nodes": [entry("n1", 1), entry("n2", 2)]}))
        assert seen.sees_names("n1", "n2")
        write(path, "- name: n2\n  addresses: [10.0.0.3]\n")
        assert seen.sees_names("n2")

    assert str(seen.nodes["n2"].addresses[0]) == "10.0.0.3"
    assert len(seen.told) == 3


def test_a_file_that_does_not_change_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text(json.dumps([entry("n1", 1)]))

    with Watcher(FileNodes(str(path), LOOK)) as seen:
        assert seen.sees_names("n1")
        before = seen.source.health().last_contact
        assert wait_until(lambda: seen.source.health().last_contact > before)

    assert len(seen.told) == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.write_text('[{"name": "n1"'), "cannot decode nodes file {}: "),
        (lambda path: path.write_text(""), "cannot use nodes file {}: it holds no list of nodes"),
        (
            lambda path: path.write_text(json.dumps([entry("n1", 1), {"name": 7}])),
            "cannot use nodes file {}: cannot use nodes[1].name 7",
        ),
        (
            lambda path: path.write_text(json.dumps([entry("n1", 1), entry("n1", 2)])),
            "cannot use nodes file {}: node n1 occurs twice",
        ),
        (os.unlink, "cannot read nodes file {}: No such file or directory"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot read nodes file {}: Is a directory"),
    ],
    ids=["cut", "empty", "an entry", "twice", "gone", "a directory"],
)
def test_a_file_with_errors_keeps_the_nodes_and_says_so_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], object],
    cause: str,
) -> None:
    path = tmp_path / "nodes"
    path.write_text(json.dumps([entry("n1", 1)]))

    def told() -> list[str]:
        return [one for one in caplog.messages if cause.format(path) in one]

    with Watcher(FileNodes(str(path), LOOK, settle=0)) as seen:
        assert seen.sees_names("n1")
        spoil(path)
        assert wait_until(lambda: cause.format(path) in seen.source.health().last_error)
        health = seen.source.health()
        if path.is_file():
            os.utime(path)
        assert not wait_until(lambda: seen.source.health() != health or len(told()) > 1, 0.1)
        assert sorted(seen.nodes) == ["n1"]
        if path.is_dir():
            path.rmdir()
        by_rename(path, json.dumps([entry("n2", 2)]))
        assert seen.sees_names("n2")

    assert health.synced
    assert len(told()) == 1
    assert seen.source.health().last_error == ""


def test_nodes_come_when_the_file_comes(tmp_path: Path) -> None:
    path = tmp_path / "nodes"

    with Watcher(FileNodes(str(path), LOOK)) as seen:
        assert wait_until(lambda: "No such file" in seen.source.health().last_error)
        assert not seen.source.health().synced
        by_rename(path, json.dumps([entry("n1", 1)]))
        assert seen.sees_names("n1")
        assert seen.source.health().synced


def test_a_file_that_cannot_be_opened_for_a_while_is_read_later(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text(json.dumps([entry("n1", 1)]))
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual[1]))

    try:
        with Watcher(FileNodes(str(path), LOOK)) as seen:
            assert wait_until(lambda: "Too many open files" in seen.source.health().last_error)
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
            assert seen.sees_names("n1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def test_the_same_content_written_anew_mends_the_error(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    text = json.dumps([entry("n1", 1)])
    path.write_text(text)

    with Watcher(FileNodes(str(path), LOOK)) as seen:
        assert seen.sees_names("n1")
        path.unlink()
        assert wait_until(lambda: seen.source.health().last_error != "")
        path.write_text(text)
        assert wait_until(lambda: seen.source.health().last_error == "")


def test_a_file_is_read_when_it_is_written_to_its_end(tmp_path: Path) -> None:
    """Half of a YAML file is a good file, of half of the nodes."""
    path = tmp_path / "nodes"
    path.write_text("".join(f"- name: n{i}\n" for i in range(4)))

    with Watcher(FileNodes(str(path), LOOK, settle=0.5)) as seen:
        assert seen.sees_names("n0", "n1", "n2", "n3")
        with path.open("w") as file:
            for i in range(40):
                file.write(f"- name: m{i}\n")
                file.flush()
                assert not wait_until(lambda: len(seen.told) > 1, 0.005)
        assert seen.sees(lambda nodes: len(nodes) == 40)

    assert len(seen.told) == 2

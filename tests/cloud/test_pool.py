from pathlib import Path

from tests.cloud.node import running


def test_x(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        node.settle()
        node.assert_whole()
        node.settle()
        node.assert_whole()
        n = len(node.cloud.faults.calls)
        for i in range(27):
            node.delete(f"pod-{i}")
        node.pass_time(3600)
        node.settle()
        node.assert_whole()

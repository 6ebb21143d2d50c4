"""The DaemonSet's pod on a node, in a real container with just what its manifest allows."""

from cni.programs import NAMES
from tests.deploy.conftest import Deployed
from tests.runtimes.node import CNI_BIN, NET_D

CONFLIST = NET_D / "10-pycni.conflist"


def test_the_conflist_comes_last(deployed: Deployed) -> None:
    deployed.start()

    written = CONFLIST.stat().st_ctime_ns
    assert all((CNI_BIN / name).stat().st_ctime_ns < written for name in NAMES)
    assert [path.name for path in NET_D.iterdir()] == [CONFLIST.name]

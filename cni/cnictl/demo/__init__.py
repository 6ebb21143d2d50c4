"""The main job, seen by a newcomer: pods get their network, use it, and leave nothing behind."""

import signal
from pathlib import Path
from typing import NoReturn

from cni.cnictl import settings
from cni.cnictl.demo.story import Story
from cni.cnictl.screen import Screen
from cni.errors import CniError, Code
from cni.runtime.network import Runtime

CONFLIST = Path("conflists", "10-kindnet.conflist")


def run(screen: Screen, cni_path: str) -> int:
    """Show it all with the programs in `cni_path`; return 0.

    Raises CniError with the reason when something is not as it should be.
    """
    # the namespaces end with us in any case; so does the program that works for us just then
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    Story(screen, Runtime(cni_path), _conflist()).tell()
    return 0


def _stop(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _conflist() -> Path:
    """Return the file beside the programs' folder, or in the source tree."""
    beside, source = settings.own_directory().parent, settings.source_tree()
    trees = [beside]
    if beside.name == "dist":  # as ./build.sh leaves it, in the source tree
        trees.append(beside.parent)
    if source is not None:
        trees.append(source)
    for tree in trees:
        if (tree / CONFLIST).is_file():
            return tree / CONFLIST
    msg = f"cannot find {CONFLIST}: looked in {', '.join(map(str, trees))}"
    raise CniError(Code.IO_FAILURE, msg, "run cnictl from the unpacked archive or the source tree")

"""What the agent says of itself in a file: whether this node can serve pods, and what it did.

Programs read it: STATUS of those that depend on the agent, and cnictl.  The file goes with a
reboot, and stays when the agent ends, since what it has made stays too.
"""

from typing import Any

from cni import document
from cni.config import Section
from cni.errors import CniError, Code

PATH = "/run/pycni/agent.json"


def read(path: str = PATH) -> Section | None:
    """Return what the agent said last; None when there is nothing to be read."""
    try:
        value = document.read(path, "state of the agent")
    except CniError:
        return None
    return Section(value, path) if isinstance(value, dict) else None


def write(value: Any, path: str = PATH) -> None:
    """Say it.  Raises OSError."""
    document.write(path, value)


def check(network: str, path: str = PATH) -> None:
    """Raise CniError code 50 when the agent keeps `network`, and is not ready."""
    state = read(path)
    if state and state.string("network") == network and not state.boolean("ready"):
        reasons = "; ".join(state.strings("reasons")) or "it is starting"
        msg = f"cannot serve pods of network {network} on this node yet"
        raise CniError(Code.UNAVAILABLE, msg, f"the node agent says: {reasons}")

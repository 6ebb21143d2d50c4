"""Forwarding of packets on the host (ip-sysctl: ip_forward, conf/all/forwarding).

What decides is each interface's own setting; a new one begins with that of `default`.  The kernel
sets them all when the common key changes, which goes wrong for IPv4 when several write at once, as
the first ADDs of a node do: one that finds the links busy takes its value back and tries again, but
not if another saw that value in between and put it there for good.  The key is 1 then, nobody
forwards, and to write 1 changes nothing.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from cni.errors import CniError, Code
from cni.kernel import sysctl

V4, V6 = "ipv4/ip_forward", "ipv6/conf/all/forwarding"
PATIENCE_S, PAUSE_S = 10, 0.001


def switch_on(versions: Iterable[int]) -> None:
    """Let the host forward packets of these IP versions.  Raises OSError, and CniError code 11."""
    for version in versions:
        if version == 4:
            _switch_on_v4()
        elif sysctl.read(V6) != "1":
            _keep_routers()
            sysctl.write(V6, "1")


def _switch_on_v4() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _forwards_v4():
        if time.monotonic() >= deadline:
            msg = f"cannot switch net.ipv4.ip_forward on: in {PATIENCE_S} s no interface forwards"
            raise CniError(Code.TRY_AGAIN, msg, "who else writes it?")
        sysctl.write(V4, "0")
        sysctl.write(V4, "1")
        time.sleep(PAUSE_S)


def _forwards_v4() -> bool:
    """Tell whether the key says so and is not alone: some interfaces may be kept from it."""
    if sysctl.read(V4) != "1":
        return False
    return _has("ipv4/conf/default/forwarding") or any(
        _has(f"ipv4/conf/{name}/forwarding")
        for name in set(os.listdir("/proc/sys/net/ipv4/conf")) - {"all", "default"}
    )


def _has(key: str) -> bool:
    with suppress(OSError):  # its interface may have gone
        return sysctl.read(key) == "1"
    return False


def _keep_routers() -> None:
    """Let interfaces go on to learn their routers: one that forwards needs accept_ra 2 for it.

    With 1 the kernel would forget the default routes that it has from routers, too.
    """
    for name in set(os.listdir("/proc/sys/net/ipv6/conf")) - {"all", "default", "lo"}:
        with suppress(OSError):  # it may have gone
            own = f"ipv6/conf/{name}"
            if (sysctl.read(f"{own}/accept_ra"), sysctl.read(f"{own}/forwarding")) == ("1", "0"):
                sysctl.write(f"{own}/accept_ra", "2")

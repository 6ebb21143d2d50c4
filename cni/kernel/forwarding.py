"""Forwarding of packets on the host (ip-sysctl: ip_forward, conf/all/forwarding).

What decides is each interface's own setting; a new one begins with that of `default`.  The kernel
sets them all when the common key changes, which goes wrong for IPv4 when several write at once, as
the first ADDs of a node do: one that finds the links busy takes its value back and tries again, but
not if another saw that value in between and put it there for good.  The key is 1 then, nobody
forwards, and to write 1 changes nothing.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

from cni.kernel import sysctl

V4, V6 = "ipv4/ip_forward", "ipv6/conf/all/forwarding"


def switch_on(versions: Iterable[int]) -> None:
    """Let the host forward packets of these IP versions.  Raises OSError."""
    for version in versions:
        if version == 4:
            if sysctl.read(V4) != "1" or not _has_effect():
                sysctl.write(V4, "1")
                _let_all_forward()
        elif sysctl.read(V6) != "1":
            _keep_routers()
            sysctl.write(V6, "1")


def _has_effect() -> bool:
    """Tell whether anybody forwards: an administrator may have kept the others from it."""
    return _forwards("default") or any(map(_forwards, _interfaces()))


def _forwards(name: str) -> bool:
    with suppress(OSError):  # it may have gone
        return sysctl.read(_own(name)) == "1"
    return False


def _let_all_forward() -> None:
    """Do what the common key should have done: here the value is the effect."""
    sysctl.write(_own("default"), "1")  # first: an interface that the list lacks has it from there
    for name in _interfaces():
        sysctl.write_if_there(_own(name), "1")


def _interfaces() -> set[str]:
    return set(os.listdir("/proc/sys/net/ipv4/conf")) - {"all", "default"}


def _own(name: str) -> str:
    return f"ipv4/conf/{name}/forwarding"


def _keep_routers() -> None:
    """Let interfaces go on to learn their routers: one that forwards needs accept_ra 2 for it.

    With 1 the kernel would forget the default routes that it has from routers, too.
    """
    for name in set(os.listdir("/proc/sys/net/ipv6/conf")) - {"all", "default", "lo"}:
        with suppress(OSError):  # it may have gone
            own = f"ipv6/conf/{name}"
            if (sysctl.read(f"{own}/accept_ra"), sysctl.read(f"{own}/forwarding")) == ("1", "0"):
                sysctl.write(f"{own}/accept_ra", "2")

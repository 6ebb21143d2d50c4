"""The one table of programs: what a conflist can name as a `type`.

The freezer, the installer, `--help`, the conformance tests and the README's list all read it.
A new plugin is one file, one line here, and its test, page and conflist.
"""

from typing import NamedTuple


class Program(NamedTuple):
    """One program of the suite: the module that holds its `PLUGIN` table, and what it does."""

    module: str
    kind: str  # "interface", "chained" or "ipam"
    summary: str


COMMANDS = {  # what a person or systemd calls
    "cnictl": "the operator's tool",
    "pycnid": "the node agent",
}
PROGRAMS = {
    "loopback": Program("plugins.loopback", "interface", "brings lo up"),
    "ptp": Program("plugins.ptp", "interface", "a routed veth pair, the host is the gateway"),
    "bridge": Program("plugins.bridge", "interface", "a veth pair to a Linux bridge"),
    "vxlan": Program("plugins.vxlan", "interface", "a routed veth pair, and VXLAN to other nodes"),
    "aws-vpc": Program("plugins.aws_vpc", "interface", "a pod with an address of the VPC"),
    "portmap": Program("plugins.portmap", "chained", "hostPort to pod, by nftables maps"),
    "host-local": Program("ipam.host_local", "ipam", "addresses from local ranges, leases on disk"),
    "aws-vpc-ipam": Program("ipam.aws_vpc_ipam", "ipam", "addresses of the VPC, from a warm pool"),
}
NAMES = (*PROGRAMS, *COMMANDS)  # of the one executable

"""Connections that the kernel tracks (man 8 conntrack)."""

import errno
import socket

from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg

from cni.errors import KernelError
from cni.kernel.netlink import NETFILTER, Netlink, Request, decode

GET, DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
UDP = socket.IPPROTO_UDP


def forget_udp(version: int, ports: frozenset[int]) -> None:
    """Drop the tracked UDP flows of IP `version` that were first sent to one of `ports`.

    A flow would go on being sent to the pod that had the port before.
    """
    with Netlink(NETFILTER) as netlink:
        message = nfct_msg()
        message["nfgen_family"] = FAMILY[version]
        payloads = list(netlink.dump(Request("list connections", GET, 0, message)))
        for payload in payloads:
            if UDP in payload:  # cheap: most are TCP, and decoding is not
                _forget(netlink, version, decode(nfct_msg, payload), ports)


def _forget(netlink: Netlink, version: int, flow: nfct_msg, ports: frozenset[int]) -> None:
    original = flow.get_attr("CTA_TUPLE_ORIG")
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    if protocol.get_attr("CTA_PROTO_NUM") != UDP:
        return
    if protocol.get_attr("CTA_PROTO_DST_PORT") not in ports:
        return
    message = nfct_msg()
    message["nfgen_family"] = FAMILY[version]
    message["attrs"] = [("CTA_TUPLE_ORIG", original), ("CTA_ID", flow.get_attr("CTA_ID"))]
    try:
        netlink.do(Request("forget a connection", DELETE, 0, message))
    except KernelError as error:
        if error.errno != errno.ENOENT:  # it ended by itself
            raise

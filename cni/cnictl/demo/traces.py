"""What pods leave on a node, to be compared before, with and after them."""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cni.cnictl import node
from cni.cnictl.demo import namespaces


@dataclass(frozen=True)
class Traces:
    """Lines of each kind, by what they are called on the screen."""

    lines: dict[str, list[str]]

    def beyond(self, before: "Traces") -> list[str]:
        """Return what is here and was not there before."""
        return [
            f"{kind}: {line}"
            for kind, lines in self.lines.items()
            for line in lines
            if line not in before.lines[kind]
        ]


def take(net_d: Path, words: Iterable[str]) -> Traces:
    """Return the node's traces; `words` are pods' names and addresses, looked for in nftables."""
    found = node.look(net_d)
    routes = "".join(namespaces.run(f"ip -{family} route show table all") for family in (4, 6))
    lines = {
        "links": [name for _, name in socket.if_nameindex()],
        # the kernel takes up to a second to see that a new cable has two ends
        "routes": [line.replace(" linkdown", "").strip() for line in routes.splitlines()],
        "leases": [f"{lease.address} of {lease.container_id}" for lease in found.leases],
        "cached results": [
            *(f"{one.network}/{one.container_id}" for one in found.attachments),
            *found.unreadable,
        ],
    }
    if namespaces.find("nft"):
        rules = namespaces.run("nft list ruleset").splitlines()
        wanted = re.compile("|".join(rf"(?<![\w.]){re.escape(word)}(?![\w.])" for word in words))
        lines["nftables entries"] = [line.strip() for line in rules if wanted.search(line)]
    return Traces(lines)

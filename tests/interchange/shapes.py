"""Firewall rules of newer reference plugins than Debian's: nf_tables tables of their own.

They are laid here as releases from 1.6 on lay them (backend and ipMasqBackend "nftables").
"""

from dataclasses import dataclass
from hashlib import sha512

from tests import lab

COMMENT_MAX = 128  # bytes: where the plugins cut a comment
SUBNETS = {"ip": "10.244.0.0/24", "ip6": "fd00:10:244::/64"}
MASQUERADE = """
table inet cni_plugins_masquerade {{
    chain masq_checks {{
        {rules}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
    }}
}}
flush chain inet cni_plugins_masquerade postrouting
add rule inet cni_plugins_masquerade postrouting ip daddr 224.0.0.0/4 return
add rule inet cni_plugins_masquerade postrouting ip6 daddr ff00::/8 return
add rule inet cni_plugins_masquerade postrouting goto masq_checks
"""
HOSTPORTS = """
table {family} cni_hostport {{
    chain hostports {{
        tcp dport {port} dnat to {target}:80 comment "{text}"
        udp dport {port} dnat to {target}:53 comment "{text}"
    }}
    chain hostip_hostports {{
        {family} daddr {host_ip} tcp dport {port} dnat to {target}:443 comment "{text}"
    }}
    chain hostports_all {{ }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
    }}
    chain masquerading {{
        type nat hook postrouting priority srcnat; policy accept;
        {family} saddr {address} {family} daddr {address} masquerade comment "{text}"
    }}
}}
flush chain {family} cni_hostport hostports_all
add rule {family} cni_hostport hostports_all jump hostip_hostports
add rule {family} cni_hostport hostports_all jump hostports
flush chain {family} cni_hostport prerouting
add rule {family} cni_hostport prerouting fib daddr type local jump hostports_all
flush chain {family} cni_hostport output
add rule {family} cni_hostport output fib daddr type local jump hostports_all
"""
HOST_IP = {"ip": "172.18.0.1", "ip6": "fd01::1"}


@dataclass(frozen=True)
class Attached:
    """An attachment of the newer plugins."""

    network: str
    container_id: str
    ifname: str = "eth0"
    number: int = 2  # of its addresses: 10.244.0.2, fd00:10:244::2

    @property
    def addresses(self) -> dict[str, str]:
        """Return its addresses, by the name of their family in nft."""
        return {"ip": f"10.244.0.{self.number}", "ip6": f"fd00:10:244::{self.number}"}

    @property
    def comment(self) -> str:
        """Return the comment of its masquerading rules."""
        names = (self.network, f"{self.ifname}:{self.container_id}")
        digests = "-".join(sha512(name.encode()).hexdigest()[:16] for name in names)
        words = f"net: {self.network}, if: {self.ifname}, id: {self.container_id}"
        return f"{digests}, {words}"[:COMMENT_MAX]

    def masquerade(self) -> None:
        """Lay its masquerading rules."""
        rules = [
            f"{family} saddr {address} {family} daddr != {SUBNETS[family]} masquerade"
            f' comment "{self.comment}"\n'
            for family, address in self.addresses.items()
        ]
        lab.run("nft -f -", stdin=MASQUERADE.format(rules="".join(rules)))

    def map_ports(self) -> None:
        """Lay the rules of its host ports; their comment is the container ID alone."""
        for family, address in self.addresses.items():
            text = HOSTPORTS.format(
                family=family,
                address=address,
                target=f"[{address}]" if family == "ip6" else address,
                host_ip=HOST_IP[family],
                port=8000 + self.number,
                text=self.container_id,
            )
            lab.run("nft -f -", stdin=text)


def rules_with(text: str) -> list[str]:
    """Return the rules of nf_tables that mention `text`."""
    return [line for line in lab.run("nft list ruleset").splitlines() if text in line]

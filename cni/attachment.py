"""The names of an attachment: all that we make for it can be found again from these three.

CNI SPEC 1.1.0 section 2: a container ID and an interface name are unique within a network.
"""

from dataclasses import dataclass
from hashlib import sha256

COMMENT_MAX = 127  # bytes nft(8) shows of an element's comment (NFTNL_UDATA_COMMENT_MAXLEN)


@dataclass(frozen=True)
class Attachment:
    """One interface of one container on one network."""

    network: str
    container_id: str
    ifname: str

    @property
    def owner(self) -> str:
        """Return `network/container/ifname`, as it stands in comments of the firewall.

        At most 119 bytes: a long network name or container ID ends in a digest of itself.
        """
        return f"{network_key(self.network)}/{_fit(self.container_id, 64)}/{self.ifname}"

    @property
    def digest(self) -> str:
        """Return 64 hex digits that stand for this attachment alone."""
        # NUL cannot be in any of the three, so no two attachments share the text
        text = f"{self.network}\0{self.container_id}\0{self.ifname}"
        return sha256(text.encode()).hexdigest()

    @property
    def host_ifname(self) -> str:
        """Return the name of the veth end on the host: `veth` and 11 hex digits (15 bytes)."""
        return f"veth{self.digest[:11]}"

    def mac(self, end: str) -> str:
        """Return the MAC of the `end` ("host" or "container"): locally administered, unicast."""
        octets = sha256(f"{self.digest}/{end}".encode()).digest()[:5]
        return f"0a:{octets.hex(':')}"


def network_key(network: str) -> str:
    """Return how `network` begins the owner text of its attachments."""
    return _fit(network, 38)


def _fit(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit - 17]}~{sha256(text.encode()).hexdigest()[:16]}"

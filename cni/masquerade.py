"""ipMasq, as the interface plugins have it: pods leave with the host's address.

Elements of our nf_tables table; nothing is loaded for a network that does not masquerade.
"""

from collections.abc import Collection, Container

from cni import pod
from cni.attachment import Attachment
from cni.config import IPInterface, Section
from cni.errors import CniError, Code


def is_wanted(config: Section) -> bool:
    """Return ipMasq.  Both backends of the reference are served by our nf_tables table."""
    backend = config.string("ipMasqBackend")
    if backend not in ("", "iptables", "nftables"):
        msg = f'unknown ipmasq backend "{backend[:50]}"'
        raise CniError(Code.UNSUPPORTED_FIELD, msg, "ipMasqBackend is iptables or nftables")
    return config.boolean("ipMasq")


def add(attachment: Attachment, addresses: Collection[IPInterface]) -> None:
    """Masquerade what `addresses` send, but within their own subnet and multicast."""
    from cni.kernel import firewall

    firewall.masquerade(attachment, addresses)


def delete(attachment: Attachment) -> None:
    """Remove our elements, and the rules that the reference plugins left."""
    from cni.kernel import firewall, leftovers

    firewall.remove(attachment, firewall.MASQUERADE)
    leftovers.delete_masquerade(attachment)


def check(attachment: Attachment, addresses: Collection[IPInterface]) -> None:
    """Raise CniError unless our elements, or the reference's rules, masquerade `addresses`."""
    from cni.kernel import firewall, leftovers

    missing = firewall.missing_masquerade(attachment, addresses)
    ips = [one.ip for one in addresses]
    if missing and not leftovers.has_masquerade(attachment, ips):
        raise pod.check_failed(f"masquerading is incomplete: {', '.join(missing)} is missing")


def collect(network: str, valid: Container[str]) -> None:
    """Remove the elements of `network` whose owner is not `valid`."""
    from cni.kernel import firewall

    firewall.collect(network, valid, firewall.MASQUERADE)

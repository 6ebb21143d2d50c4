"""macspoofchk: a pod on a bridge sends from its own MAC, or not at all.

Elements of our nf_tables table for bridges; nothing is loaded for a network that does not ask.
"""

from collections.abc import Container

from cni import pod
from cni.attachment import Attachment


def add(attachment: Attachment, mac: str) -> None:
    """Let the host's end of the pair take in what comes from `mac` only."""
    from cni.kernel import firewall

    firewall.check_mac(attachment, mac)


def delete(attachment: Attachment) -> None:
    """Remove our elements, and the rules that the reference plugin left."""
    from cni.kernel import firewall, leftovers

    firewall.remove(attachment, firewall.MACS)
    leftovers.delete_mac_check(attachment)


def check(attachment: Attachment, mac: str) -> None:
    """Raise CniError unless our elements, or the reference's rules, check the MAC."""
    from cni.kernel import firewall, leftovers

    missing = firewall.missing_mac_check(attachment, mac)
    if missing and not leftovers.has_mac_check(attachment):
        raise pod.check_failed(f"macspoofchk is incomplete: {', '.join(missing)} is missing")


def collect(network: str, valid: Container[str]) -> None:
    """Remove the elements of `network` whose owner is not `valid`."""
    from cni.kernel import firewall

    firewall.collect(network, valid, firewall.MACS)

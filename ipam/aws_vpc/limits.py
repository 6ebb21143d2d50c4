"""How many ENIs and addresses an instance may have.

EC2 tells by DescribeInstanceTypes; where it cannot be asked, ipam/aws_vpc/table.py knows the
common types.  All figures are of the default network card, the only one that pods use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cni.config import Section
from cni.errors import CniError, Code
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import PREFIX_SIZE
from ipam.aws_vpc.table import TABLE

ON_HOST_NETWORK = 2  # pods of every node that need no address: kube-proxy, and the node agent
# what EKS advises with prefixes, by virtual processors: below 30, and from 30 on
MAX_PODS_SMALL, MAX_PODS_LARGE, LARGE = 110, 250, 30
HYPERVISORS = ("nitro", "xen")


@dataclass(frozen=True)
class InstanceType:
    """What EC2 allows an instance of this type."""

    name: str
    enis: int
    addresses: int  # IPv4, of each ENI, its own included
    ipv6: int  # of each ENI
    vcpus: int
    hypervisor: str  # "nitro", "xen", or none on bare metal

    @property
    def takes_prefixes(self) -> bool:
        """Tell whether ENIs can have prefixes: on Nitro and on bare metal."""
        return self.hypervisor != "xen"

    def max_pods(self, *, prefixes: bool = False) -> int:
        """Return the number of pods that the kubelet should be told."""
        slots = self.enis * (self.addresses - 1)
        if prefixes and self.takes_prefixes:
            advised = MAX_PODS_SMALL if self.vcpus < LARGE else MAX_PODS_LARGE
            return min(slots * PREFIX_SIZE + ON_HOST_NETWORK, advised)
        return slots + ON_HOST_NETWORK


@dataclass(frozen=True)
class Limits:
    """What bounds the pool of one node."""

    enis: int
    slots: int  # blocks of each ENI, for pods
    prefixes: bool  # blocks are prefixes
    max_pods: int
    why: str = ""  # where `enis` comes from
    note: str = ""  # a setting that has no effect here


def limits_of(instance: InstanceType, settings: Settings, max_pods: int | None = None) -> Limits:
    """Return the limits of a node; `max_pods` is the kubelet's, None: what the type can have."""
    prefixes = settings.prefixes and instance.takes_prefixes
    enis, why = instance.enis, f"{instance.name} can have {instance.enis}"
    if 0 < settings.max_eni < enis:
        enis, why = settings.max_eni, f"MAX_ENI={settings.max_eni}"
    note = ""
    if settings.prefixes and not prefixes:
        note = f"ENABLE_PREFIX_DELEGATION has no effect: {instance.name} runs on Xen"
    pods = instance.max_pods(prefixes=prefixes) if max_pods is None else max_pods
    return Limits(enis, instance.addresses - 1, prefixes, pods, why, note)


def from_answer(answer: Mapping[str, Any], name: str) -> InstanceType | None:
    """Return what DescribeInstanceTypes says of the type; None: it does not speak of it.

    `answer` is the API's, as boto3 and `aws ec2 describe-instance-types` give it.
    Raises CniError code 7 when something is missing in it.
    """
    for one in Section(dict(answer)).sections("InstanceTypes"):
        if one.string("InstanceType") == name:
            return _described(one, name)
    return None


def _described(one: Section, name: str) -> InstanceType:
    network = one.section("NetworkInfo")
    default = network.integer("DefaultNetworkCardIndex")
    cards = {card.integer("NetworkCardIndex"): card for card in network.sections("NetworkCards")}
    card = cards.get(default, network)
    return InstanceType(
        name=name,
        enis=_positive(card, "MaximumNetworkInterfaces"),
        addresses=_positive(network, "Ipv4AddressesPerInterface"),
        ipv6=network.integer("Ipv6AddressesPerInterface"),
        vcpus=_positive(one.section("VCpuInfo"), "DefaultVCpus"),
        hypervisor="" if one.boolean("BareMetal") else one.string("Hypervisor"),
    )


def _positive(section: Section, key: str) -> int:
    number = section.integer(key)
    if number < 1:
        raise section.refuse(key, "a number from 1 on")
    return number


@cache
def table() -> dict[str, InstanceType]:
    """Return the types of the table by name."""
    found = {}
    for line in TABLE.strip().replace("\n  ", " ").splitlines():
        figures, names = line.split(": ")
        enis, addresses, ipv6, vcpus, kind = figures.split()
        hypervisor = kind if kind in HYPERVISORS else ""
        for name in names.split():
            found[name] = InstanceType(
                name, int(enis), int(addresses), int(ipv6), int(vcpus), hypervisor
            )
    return found


def find(name: str, answer: Mapping[str, Any] | None = None) -> InstanceType:
    """Return the type's limits: EC2's answer counts, the table where there is none.

    Raises CniError code 7 for a type that neither knows: there is no safe guess, since an ENI
    more than is allowed is made, refused and deleted over and over.
    """
    found = from_answer(answer, name) if answer is not None else None
    found = found or table().get(name)
    if found is None:
        msg = f"cannot tell how many addresses instance type {name[:100]!r} can have"
        hint = "let the node call ec2:DescribeInstanceTypes, or hand its answer over"
        raise CniError(Code.INVALID_CONFIG, msg, hint)
    return found

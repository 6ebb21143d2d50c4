"""EC2 through botocore, the AWS SDK below boto3.

Endpoints, credentials and region are found as by any program that uses the SDK (AWS_ENDPOINT_URL,
AWS_REGION, the instance's role …).  The SDK's own retries are off: one call is one request, and
all calls of a node share one back-off (ipam/aws_vpc/agent/patience.py).
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from cni import __version__
from ipam.aws_vpc import limits
from ipam.aws_vpc.cloud import Card, CloudError, Kind, Node, Order, Seen
from ipam.aws_vpc.cloud.imds import EC2 as IMDS
from ipam.aws_vpc.cloud.imds import Metadata
from ipam.aws_vpc.cloud.refusals import refusal
from ipam.aws_vpc.cloud.tags import CREATED, INSTANCE, Tagging, is_ours, usable
from ipam.aws_vpc.state import Subnet

MACS = "network/interfaces/macs"
PAGE = 1000  # the most that EC2 gives at once
LEAKED_AGE = 300.0  # seconds: an ENI that is younger may be on its way to a node
WAIT = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"total_max_attempts": 1, "mode": "standard"},
    user_agent_extra=f"pycni/{__version__}",
)
NOWHERE = IPv4Network("0.0.0.0/32")
Json = dict[str, Any]


def client(metadata: Metadata, environ: Mapping[str, str] = os.environ) -> Any:
    """Return the SDK's client for EC2 in the region of this instance.

    Raises CloudError, also while there are no credentials: a client that was made without any
    never asks for them again, and an instance may get its role after it has started.
    """
    logging.getLogger("botocore").setLevel(logging.WARNING)
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    with _translated():
        session = botocore.session.get_session()
        region = region or metadata.require("placement/region")
        if session.get_credentials() is None:
            raise CloudError(Kind.UNCERTAIN, "", "there are no credentials: has the node a role?")
        return session.create_client("ec2", region_name=region, config=WAIT)


def metadata_of(environ: Mapping[str, str] = os.environ) -> Metadata:
    """Return the metadata service, where the SDK's variable says."""
    return Metadata(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or IMDS)


class Ec2:
    """The pool's view of EC2; `client` is the SDK's, made when first needed."""

    fixed = False

    def __init__(self, metadata: Metadata, tagging: Tagging, client: Any = None) -> None:
        self._metadata, self._tagging, self._made = metadata, tagging, client
        self.tally: Counter[tuple[str, str]] = Counter()
        self._id = self._vpc = self._zone = ""
        self._own_subnet = ""  # the primary's
        self._groups: list[str] = []  # the primary's
        self._cidrs: dict[str, IPv4Network] = {}  # of subnets

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = client(self._metadata)
        return self._made

    def node(self) -> Node:
        """Return what we run on."""
        read = self._metadata.require
        self._id, self._zone = read("instance-id"), read("placement/availability-zone")
        own = f"{MACS}/{read('mac')}"
        self._vpc, self._own_subnet = read(f"{own}/vpc-id"), read(f"{own}/subnet-id")
        self._groups = list(self._metadata.lines(f"{own}/security-group-ids"))
        return Node(self._id, self._type(read("instance-type")), self._vpc, self.vpc_cidrs())

    def vpc_cidrs(self) -> tuple[str, ...]:
        """Return the networks of the VPC, as the metadata service has them."""
        mac = self._metadata.require("mac")
        lines = self._metadata.lines(f"{MACS}/{mac}/vpc-ipv4-cidr-blocks")
        return tuple(str(IPv4Network(one)) for one in lines)

    def _type(self, name: str) -> limits.InstanceType:
        try:
            answer = self._call("describe_instance_types", InstanceTypes=[name])
        except CloudError:
            return limits.find(name)
        return limits.find(name, answer)

    def cards(self) -> tuple[Card, ...]:
        """Return all ENIs of this node's default network card, which the limits are of."""
        filters = {"attachment.instance-id": self._id}
        pages = self._pages("network_interfaces", "NetworkInterfaces", filters)
        found = [one for one in pages if not _attachment(one).get("NetworkCardIndex")]
        for one in found:
            if _attachment(one).get("DeviceIndex") == 0:
                self._groups = [group["GroupId"] for group in one.get("Groups", ())]
        return tuple(self._card(one) for one in found)

    def card(self, name: str) -> Card | None:
        """Return one ENI."""
        try:
            answer = self._call("describe_network_interfaces", NetworkInterfaceIds=[name])
        except CloudError as error:
            if error.kind is Kind.GONE:
                return None
            raise
        return self._card(answer["NetworkInterfaces"][0])

    def _card(self, one: Json) -> Card:
        attachment = _attachment(one)
        device = attachment.get("DeviceIndex", -1)
        own = one.get("PrivateIpAddress")  # not in an IPv6 subnet, nor of an EFA without IP
        singles = (each["PrivateIpAddress"] for each in one.get("PrivateIpAddresses", ()))
        blocks = [IPv4Network(each) for each in singles if each != own]
        blocks += [IPv4Network(each["Ipv4Prefix"]) for each in one.get("Ipv4Prefixes", ())]
        return Card(
            name=one["NetworkInterfaceId"],
            mac=one["MacAddress"].lower(),
            subnet=one["SubnetId"],
            cidr=self._cidr(one["SubnetId"]) if own else NOWHERE,
            address=IPv4Address(own or 0),
            blocks=tuple(blocks),
            ipv6=tuple(IPv6Network(each["Ipv6Prefix"]) for each in one.get("Ipv6Prefixes", ())),
            device=device,
            status=attachment.get("Status", ""),
            attachment=attachment.get("AttachmentId", ""),
            managed=bool(own) and (device == 0 or is_ours(_tags(one, "TagSet"))),
        )

    def _cidr(self, subnet: str) -> IPv4Network:
        if subnet not in self._cidrs:
            (one,) = self._call("describe_subnets", SubnetIds=[subnet])["Subnets"]
            self._cidrs[subnet] = IPv4Network(one["CidrBlock"])
        return self._cidrs[subnet]

    def seen(self) -> tuple[Seen, ...]:
        """Return what the metadata service says of our ENIs."""
        found = []
        for mac in self._metadata.lines(f"{MACS}/"):
            path = f"{MACS}/{mac.strip('/')}"
            name = self._metadata.text(f"{path}/interface-id")
            other = self._metadata.text(f"{path}/network-card") or "0"
            if name and other == "0":
                blocks = self._metadata.lines(f"{path}/local-ipv4s")[1:]  # the first is its own
                prefixes = self._metadata.lines(f"{path}/ipv4-prefix")
                found.append(Seen(name, frozenset(map(IPv4Network, (*blocks, *prefixes)))))
        return tuple(found)

    def subnets(self) -> tuple[Subnet, ...]:
        """Return the subnets of our zone that the primary is in, or that are tagged for pods."""
        filters = {"vpc-id": self._vpc, "availability-zone": self._zone}
        pages, own = self._pages("subnets", "Subnets", filters), self._own_subnet
        found = [one for one in pages if one.get("CidrBlock")]  # the others are for IPv6 alone
        self._cidrs |= {one["SubnetId"]: IPv4Network(one["CidrBlock"]) for one in found}
        return tuple(
            Subnet(one["SubnetId"], one["AvailableIpAddressCount"])
            for one in found
            if usable(_tags(one, "Tags"), self._tagging.cluster, own=one["SubnetId"] == own)
        )

    def create(self, order: Order) -> Card:
        """Make an ENI with the primary's security groups and our tags."""
        kind = "Ipv4PrefixCount" if order.prefixes else "SecondaryPrivateIpAddressCount"
        created = datetime.fromtimestamp(int(order.at), UTC).isoformat()
        tags = self._tagging.tags({INSTANCE: self._id, CREATED: created})
        answer = self._call(
            "create_network_interface",
            prefixes=order.prefixes,
            SubnetId=order.subnet,
            Description=f"pycni: pods of {self._id}",
            ClientToken=order.token,
            TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}],
            **({"Groups": self._groups} if self._groups else {}),
            **({kind: order.count} if order.count else {}),
        )
        return self._card(answer["NetworkInterface"])

    def attach(self, name: str, device: int) -> str:
        """Attach an ENI to this node."""
        answer = self._call(
            "attach_network_interface",
            NetworkInterfaceId=name,
            InstanceId=self._id,
            DeviceIndex=device,
        )
        return str(answer["AttachmentId"])

    def bind(self, name: str, attachment: str) -> None:
        """Let the ENI go with the node."""
        change = {"AttachmentId": attachment, "DeleteOnTermination": True}
        self._call("modify_network_interface_attribute", NetworkInterfaceId=name, Attachment=change)

    def detach(self, attachment: str) -> None:
        """Detach an ENI."""
        self._call("detach_network_interface", AttachmentId=attachment)

    def delete(self, name: str) -> None:
        """Delete an ENI."""
        self._call("delete_network_interface", NetworkInterfaceId=name)

    def assign(self, name: str, count: int, *, prefixes: bool) -> tuple[IPv4Network, ...]:
        """Put so many blocks on an ENI."""
        kind = "Ipv4PrefixCount" if prefixes else "SecondaryPrivateIpAddressCount"
        answer = self._call(
            "assign_private_ip_addresses",
            prefixes=prefixes,
            NetworkInterfaceId=name,
            **{kind: count},
        )
        singles = (one["PrivateIpAddress"] for one in answer.get("AssignedPrivateIpAddresses", ()))
        slices = (one["Ipv4Prefix"] for one in answer.get("AssignedIpv4Prefixes", ()))
        return tuple(map(IPv4Network, (*singles, *slices)))

    def unassign(self, name: str, blocks: tuple[IPv4Network, ...]) -> None:
        """Take blocks from an ENI."""
        singles = [str(one.network_address) for one in blocks if one.prefixlen == 32]
        slices = [str(one) for one in blocks if one.prefixlen != 32]
        given: Json = {"PrivateIpAddresses": singles} if singles else {}
        given |= {"Ipv4Prefixes": slices} if slices else {}
        self._call("unassign_private_ip_addresses", NetworkInterfaceId=name, **given)

    def leaked(self) -> tuple[str, ...]:
        """Return what nodes of our cluster, without one: this node, have made and left."""
        filters = {"status": "available", "vpc-id": self._vpc, **self._tagging.filters(self._id)}
        found = self._pages("network_interfaces", "NetworkInterfaces", filters)
        return tuple(
            one["NetworkInterfaceId"]
            for one in found
            if _age(_tags(one, "TagSet").get(CREATED, "")) >= LEAKED_AGE
        )

    def _pages(self, what: str, key: str, filters: Mapping[str, str]) -> list[Json]:
        """Return all of what EC2 describes, page by page."""
        given = [{"Name": name, "Values": [value]} for name, value in filters.items()]
        found: list[Json] = []
        token: Json = {}
        while True:
            answer = self._call(f"describe_{what}", Filters=given, MaxResults=PAGE, **token)
            found += answer[key]
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    def _call(self, name: str, *, prefixes: bool = False, **arguments: Any) -> Json:
        try:
            with _translated(prefixes=prefixes):
                answer: Json = getattr(self._client, name)(**arguments)
        except CloudError as error:
            self.tally[name, error.kind.value] += 1
            raise
        self.tally[name, ""] += 1
        return answer


@contextmanager
def _translated(*, prefixes: bool = False) -> Iterator[None]:
    """Make a CloudError of whatever the SDK raises."""
    try:
        yield
    except ClientError as error:
        raise refusal(error.response, prefixes=prefixes) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise CloudError(Kind.UNCERTAIN, "", str(error)) from error


def _attachment(one: Json) -> Json:
    found: Json = one.get("Attachment") or {}
    return found


def _tags(one: Json, key: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one.get(key, ())}


def _age(text: str) -> float:
    """Return the seconds since then; of what is no time, none: it is left alone."""
    try:
        return time.time() - datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0

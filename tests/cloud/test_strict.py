"""The test cloud keeps the rules that EC2 keeps and moto does not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import lab
from tests.cloud.cloud import Cloud, running
from tests.cloud.faults import Bucket
from tests.cloud.node import client

Made = dict[str, Any]


class Account:
    """A cloud with a subnet of 11 addresses and an instance of 3 ENIs with 4 addresses each."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.url = cloud.listen()
        self.ec2 = client(self.url)
        self.subnet = cloud.subnet("10.0.1.0/28")
        self.instance = cloud.instance(self.subnet, "t3.small")

    def create(self, **given: Any) -> Made:
        """Make an ENI."""
        answer = self.ec2.create_network_interface(SubnetId=self.subnet, **given)
        return dict(answer["NetworkInterface"])

    def attach(self, eni: Made, device: int) -> str:
        """Attach one."""
        return str(
            self.ec2.attach_network_interface(
                NetworkInterfaceId=eni["NetworkInterfaceId"],
                InstanceId=self.instance,
                DeviceIndex=device,
            )["AttachmentId"]
        )

    def assign(self, eni: Made, count: int) -> list[str]:
        """Put addresses on one."""
        answer = self.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=eni["NetworkInterfaceId"], SecondaryPrivateIpAddressCount=count
        )
        return [one["PrivateIpAddress"] for one in answer["AssignedPrivateIpAddresses"]]


@pytest.fixture
def account() -> Iterator[Account]:
    """Have an account."""
    with running() as cloud:
        yield Account(cloud)


def refused(call: Callable[[], object]) -> str:
    """Return the code that a call is refused with."""
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


def test_addresses_are_unique_and_run_out(account: Account) -> None:
    eni = account.create(SecondaryPrivateIpAddressCount=4)
    own = [one["PrivateIpAddress"] for one in eni["PrivateIpAddresses"]]
    more = account.assign(eni, 5)

    assert len({*own, *more}) == 10
    assert not {"10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.15"} & {*own, *more}
    code = "InsufficientFreeAddressesInSubnet"
    assert refused(lambda: account.assign(eni, 1)) == code
    assert refused(account.create) == code
    (subnet,) = account.ec2.describe_subnets(SubnetIds=[account.subnet])["Subnets"]
    assert subnet["AvailableIpAddressCount"] == 0


def test_an_instance_has_so_many_enis_and_each_so_many_addresses(account: Account) -> None:
    first, second = account.create(), account.create()
    account.attach(first, 1)

    assert refused(lambda: account.attach(second, 1)) == "InvalidParameterValue"
    assert refused(lambda: account.attach(first, 2)) == "InvalidNetworkInterface.InUse"
    account.attach(second, 2)
    assert refused(lambda: account.attach(account.create(), 3)) == "AttachmentLimitExceeded"
    account.assign(first, 3)
    assert refused(lambda: account.assign(first, 1)) == "PrivateIpAddressLimitExceeded"


def test_a_token_makes_one_eni(account: Account) -> None:
    first = account.create(ClientToken="once")

    assert account.create(ClientToken="once")["NetworkInterfaceId"] == first["NetworkInterfaceId"]
    other = refused(lambda: account.create(ClientToken="once", Description="another"))
    assert other == "IdempotentParameterMismatch"


def test_what_is_in_use_is_not_deleted_and_the_primary_stays(account: Account) -> None:
    eni = account.create()
    name = eni["NetworkInterfaceId"]
    attachment = account.attach(eni, 1)
    ec2 = account.ec2
    (primary,) = (one for one in account.cloud.enis().values() if one.device_index == 0)

    assert refused(lambda: ec2.delete_network_interface(NetworkInterfaceId=name)) == (
        "InvalidParameterValue"
    )
    assert refused(lambda: ec2.detach_network_interface(AttachmentId=primary.attachment_id)) == (
        "OperationNotPermitted"
    )
    own = primary.private_ip_address
    taken = refused(
        lambda: ec2.unassign_private_ip_addresses(
            NetworkInterfaceId=primary.id, PrivateIpAddresses=[own]
        )
    )
    assert taken == "InvalidParameterValue"
    ec2.detach_network_interface(AttachmentId=attachment)
    ec2.delete_network_interface(NetworkInterfaceId=name)
    assert refused(lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[name])) == (
        "InvalidNetworkInterfaceID.NotFound"
    )


def test_things_take_their_time(account: Account) -> None:
    now = [0.0]
    account.cloud.clock = lambda: now[0]
    account.cloud.delays.visible, account.cloud.delays.attach = 2.0, 5.0
    eni = account.create()

    def status() -> str:
        found = account.ec2.describe_network_interfaces(
            NetworkInterfaceIds=[eni["NetworkInterfaceId"]]
        )
        return str(found["NetworkInterfaces"][0]["Attachment"]["Status"])

    assert refused(lambda: account.attach(eni, 1)) == "InvalidNetworkInterfaceID.NotFound"
    now[0] = 3.0
    account.attach(eni, 1)
    assert status() == "attaching"
    now[0] = 9.0
    assert status() == "attached"


@pytest.mark.parametrize("bound", [True, False])
def test_what_is_bound_to_an_instance_goes_with_it(account: Account, bound: bool) -> None:  # noqa: FBT001
    eni = account.create()
    name = eni["NetworkInterfaceId"]
    attachment = account.attach(eni, 1)
    change = {"AttachmentId": attachment, "DeleteOnTermination": bound}
    account.ec2.modify_network_interface_attribute(NetworkInterfaceId=name, Attachment=change)

    account.ec2.terminate_instances(InstanceIds=[account.instance])

    assert set(account.cloud.enis()) == (set() if bound else {name})


def test_prefixes_are_aligned_and_whole(account: Account) -> None:
    subnet = account.cloud.subnet("10.0.2.0/26")
    answer = account.ec2.create_network_interface(SubnetId=subnet, Ipv4PrefixCount=2)
    found = [one["Ipv4Prefix"] for one in answer["NetworkInterface"]["Ipv4Prefixes"]]

    assert found == ["10.0.2.16/28", "10.0.2.32/28"]
    again = refused(
        lambda: account.ec2.create_network_interface(SubnetId=subnet, Ipv4PrefixCount=1)
    )
    assert again == "InsufficientCidrBlocks"


def test_answers_come_in_pages_and_too_many_calls_are_throttled(account: Account) -> None:
    for _ in range(3):
        account.create()
    account.cloud.page = 3
    first = account.ec2.describe_network_interfaces()
    account.cloud.faults.buckets["DescribeSubnets"] = Bucket(1, 0)

    assert len(first["NetworkInterfaces"]) == 3
    rest = account.ec2.describe_network_interfaces(NextToken=first["NextToken"])
    assert len(rest["NetworkInterfaces"]) == 1
    account.ec2.describe_subnets()
    assert refused(account.ec2.describe_subnets) == "RequestLimitExceeded"


def test_the_metadata_service_wants_its_token(account: Account) -> None:
    url = f"{account.url}/{account.instance}/latest"

    def curl(words: str) -> str:
        return lab.run(f"curl -s -o /dev/null -w %{{http_code}} {words}")

    assert curl(f"{url}/meta-data/mac") == "401"
    assert curl(f"-X PUT {url}/api/token") == "400"
    ttl = "X-aws-ec2-metadata-token-ttl-seconds"
    assert curl(f"-X PUT -H '{ttl}: 21601' {url}/api/token") == "400"
    token = lab.run(f"curl -s -X PUT -H '{ttl}: 60' {url}/api/token")
    assert curl(f"-H 'X-aws-ec2-metadata-token: {token}' {url}/meta-data/mac") == "200"
    assert curl(f"-H 'X-aws-ec2-metadata-token: {token}' {url}/meta-data/ipv6") == "404"

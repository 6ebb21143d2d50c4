"""What instance types may have."""

from typing import Any

import pytest

from cni.errors import CniError, Code
from ipam.aws_vpc.limits import InstanceType, find, limits_of, table
from ipam.aws_vpc.settings import Settings

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("names", "enis", "addresses", "max_pods"),
    [
        ("t2.micro t3.nano t3.micro", 2, 2, 4),
        ("t3a.small a1.medium c6g.medium m7g.medium m1.small", 2, 4, 8),
        ("t3.small t4g.small", 3, 4, 11),
        ("t2.medium t3.medium t4g.medium", 3, 6, 17),
        ("m5.large m6i.large m7g.large m8g.large m7i-flex.large c5.large", 3, 10, 29),
        ("c4.large r5.large i3.large g4dn.xlarge", 3, 10, 29),
        ("t3.large", 3, 12, 35),
        ("inf1.xlarge", 4, 10, 38),
        ("t3.xlarge t3.2xlarge m5.xlarge m5.2xlarge m6i.xlarge m7i.xlarge c5.xlarge", 4, 15, 58),
        ("c6i.2xlarge c7g.xlarge r5.xlarge r6i.2xlarge p3.2xlarge g5.xlarge", 4, 15, 58),
        ("m4.4xlarge m5.4xlarge m5.8xlarge m5.12xlarge m6i.4xlarge c5.4xlarge", 8, 30, 234),
        ("m5.24xlarge m5.metal m6i.32xlarge c5.18xlarge c5n.18xlarge", 15, 50, 737),
        ("p4d.24xlarge", 15, 50, 737),
        ("p5.48xlarge", 2, 50, 100),
    ],
)
def test_the_table(names: str, enis: int, addresses: int, max_pods: int) -> None:
    for name in names.split():
        found = find(name)
        assert (found.enis, found.addresses, found.max_pods()) == (enis, addresses, max_pods)


@pytest.mark.parametrize(
    ("name", "max_pods"),
    [
        ("t3.nano", 2 * 1 * 16 + 2),
        ("m5.large", 110),
        ("m5.8xlarge", 250),  # 32 processors
        ("m5.metal", 250),
        ("m4.4xlarge", 234),  # Xen has no prefixes
    ],
)
def test_with_prefixes_a_node_runs_as_many_pods_as_eks_advises(name: str, max_pods: int) -> None:
    assert find(name).max_pods(prefixes=True) == max_pods


def test_every_line_of_the_table_makes_sense() -> None:
    assert len(table()) > 250
    for name, one in table().items():
        assert one.name == name and "." in name
        assert 2 <= one.enis <= 15 and 2 <= one.addresses <= 50
        assert one.ipv6 in (0, one.addresses)
        assert (one.hypervisor == "") is ("metal" in name)


def described(**keys: Any) -> Json:
    """Return an answer with one type of two cards; `keys` replace what it says of the network."""
    cards = [
        {"NetworkCardIndex": 0, "MaximumNetworkInterfaces": 7},
        {"NetworkCardIndex": 1, "MaximumNetworkInterfaces": 9},
    ]
    network = {
        "MaximumNetworkInterfaces": 16,
        "Ipv4AddressesPerInterface": 20,
        "Ipv6AddressesPerInterface": 20,
        "DefaultNetworkCardIndex": 0,
        "NetworkCards": cards,
    }
    one = {
        "InstanceType": "x9.large",
        "Hypervisor": "nitro",
        "BareMetal": False,
        "VCpuInfo": {"DefaultVCpus": 2},
        "NetworkInfo": network | keys,
    }
    return {"InstanceTypes": [one], "ResponseMetadata": {"HTTPStatusCode": 200}}


def test_ec2s_answer_is_of_the_default_card() -> None:
    expected = InstanceType("x9.large", 7, 20, 20, 2, "nitro")

    assert find("x9.large", described()) == expected
    assert find("x9.large", described(DefaultNetworkCardIndex=1)).enis == 9
    assert find("x9.large", described(NetworkCards=[])).enis == 16


def test_ec2s_answer_counts_more_than_the_table() -> None:
    answer = described()
    answer["InstanceTypes"][0]["InstanceType"] = "m5.large"

    assert (find("m5.large").enis, find("m5.large", answer).enis) == (3, 7)


def test_the_table_helps_when_the_answer_does_not_speak_of_the_type() -> None:
    assert find("m5.large", {"InstanceTypes": []}) == find("m5.large")


def test_bare_metal_has_no_hypervisor_and_takes_prefixes() -> None:
    answer = described()
    answer["InstanceTypes"][0] |= {"BareMetal": True, "Hypervisor": None}

    assert find("x9.large", answer).takes_prefixes


def test_an_unknown_type_is_refused_and_the_way_out_told() -> None:
    with pytest.raises(CniError, match=r"'x9.large'") as refused:
        find("x9.large")

    assert refused.value.code == Code.INVALID_CONFIG
    assert "DescribeInstanceTypes" in refused.value.details


@pytest.mark.parametrize(
    "answer",
    [
        described(Ipv4AddressesPerInterface=None),
        described(Ipv4AddressesPerInterface="many"),
        described(NetworkCards=[{"NetworkCardIndex": 0}]),
        {"InstanceTypes": "none"},
        {"InstanceTypes": [{"InstanceType": "x9.large"}]},
    ],
)
def test_half_an_answer_is_an_error_not_a_guess(answer: Json) -> None:
    with pytest.raises(CniError, match="cannot use"):
        find("x9.large", answer)


@pytest.mark.parametrize(
    ("max_eni", "enis", "why"),
    [(0, 3, "m5.large can have 3"), (2, 2, "MAX_ENI=2"), (9, 3, "m5.large can have 3")],
)
def test_the_lower_limit_of_enis_counts(max_eni: int, enis: int, why: str) -> None:
    limits = limits_of(find("m5.large"), Settings(max_eni=max_eni))

    assert (limits.enis, limits.why) == (enis, why)
    assert (limits.slots, limits.max_pods) == (9, 29)
    assert limits_of(find("m5.large"), Settings(), 20).max_pods == 20

"""The agent's settings for how pods leave the VPC."""

from dataclasses import replace
from ipaddress import IPv4Interface, ip_network

import pytest

from cni.errors import CniError, Code
from cni.vpc import plan
from cni.vpc.plan import Eni, VpcHost
from cni.vpc.policy import NAMES, Policy, read

PRIMARY = Eni("eni-0", "02:00:00:00:00:10", 0, IPv4Interface("10.0.1.10/24"))
SECOND = Eni("eni-1", "02:00:00:00:00:20", 1, IPv4Interface("10.0.3.20/20"))
HOST = VpcHost(PRIMARY, (SECOND,), (ip_network("10.0.0.0/16"),))


def test_nothing_said_is_what_the_amazon_vpc_cni_does() -> None:
    assert read({}) == Policy() == read(dict.fromkeys(NAMES, ""))
    assert Policy().mark == 0x80
    assert Policy().mtu_of_pods == 9001


def test_every_variable_is_read() -> None:
    env = {
        "AWS_VPC_K8S_CNI_EXTERNALSNAT": "true",
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "172.31.0.0/16, 192.168.0.0/20",
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT": "hashrandom",
        "AWS_VPC_CNI_NODE_PORT_SUPPORT": "false",
        "AWS_VPC_K8S_CNI_CONNMARK": "0x100",
        "AWS_VPC_ENI_MTU": "1500",
        "POD_MTU": "1400",
    }

    policy = read(env)

    excluded = ip_network("172.31.0.0/16"), ip_network("192.168.0.0/20")
    assert policy == Policy(
        external_snat=True,
        excluded=excluded,
        random="hashrandom",
        node_ports=False,
        mark=0x100,
        mtu=1500,
        pod_mtu=1400,
    )
    assert set(env) == set(NAMES)
    assert policy.mtu_of_pods == 1400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "perhaps"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/33"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/8;11.0.0.0/8"),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "yes"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "2"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x100000000"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "mark"),
        ("AWS_VPC_ENI_MTU", "9002"),
        ("POD_MTU", "575"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(CniError, match=name) as refused:
        read({name: text})

    assert refused.value.code == Code.INVALID_ENVIRONMENT


def test_the_gateway_and_the_table_of_an_eni_follow_from_what_it_is() -> None:
    assert (PRIMARY.table, SECOND.table) == (254, 2)
    assert str(SECOND.gateway) == "10.0.0.1"
    assert [str(one.dst) for one in plan.routes(SECOND, 7)] == ["10.0.0.1/32", "0.0.0.0/0"]


@pytest.mark.parametrize(
    ("policy", "marks"),
    [
        (Policy(), 1),
        (Policy(external_snat=True), 1),
        (Policy(node_ports=False), 1),
        (Policy(external_snat=True, node_ports=False), 0),
    ],
)
def test_marks_have_a_rule_while_somebody_sets_them(policy: Policy, marks: int) -> None:
    found = plan.rules(replace(HOST, policy=policy))

    assert [rule.priority for rule in found] == [1024] * marks + [32765]

"""cnictl plan: how many addresses nodes and their subnet take."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cni import cnictl
from cni.cnictl.plan import Question, answer, subnet_length
from cni.errors import CniError

Json = dict[str, Any]
W1 = "WARM_IP_TARGET=1"
PD = "ENABLE_PREFIX_DELEGATION=true"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cnictl", "plan", *words])
    return cnictl.main()


@pytest.mark.parametrize(
    ("question", "pods", "rest", "worst", "needs", "prefix"),
    [
        (Question(10, instance_type="m5.large"), 27, 10, 30, 335, 23),
        (Question(10, 0, "m5.large"), 27, 10, 30, 305, 23),
        (Question(1, 0, "t3.nano"), 2, 2, 4, 9, 28),
        (Question(5, 0, "t3.small", variables=("MAX_ENI=2",)), 6, 4, 8, 45, 26),
        # a pod that is replaced takes a second address until the first has cooled down
        (
            Question(1, 0, "m5.xlarge", max_pods=20, variables=(W1,)),
            20,
            2,
            43,
            48,
            26,
        ),
        (
            Question(1, 0, "m5.xlarge", 20, variables=(W1, "IP_COOLDOWN_PERIOD=0")),
            *(20, 2, 22, 27, 27),
        ),
        (Question(10, instance_type="m5.large", variables=(PD,)), 110, 17, 226, 2496, 20),
        (Question(1, 0, "m4.4xlarge", variables=(PD,)), 232, 30, 240, 245, 24),
        (Question(300, 0, "m5.4xlarge"), 232, 30, 240, 72005, None),
        # Azure: https://github.com/Azure/AKS/issues/456
        (Question(10, 0, max_pods=30), 30, 31, 31, 315, 23),
        (Question(10, max_pods=30), 30, 31, 31, 346, 23),
        (Question(1, 0, max_pods=10), 10, 11, 11, 16, 28),
    ],
    ids=str,
)
def test_what_is_needed(
    question: Question, pods: int, rest: int, worst: int, needs: int, prefix: int | None
) -> None:
    found = answer(question)

    assert found.pods_per_node == pods
    assert (found.node_at_rest, found.node_at_worst) == (rest, worst)
    assert (found.subnet_needs, found.subnet_prefix) == (needs, prefix)


@pytest.mark.parametrize(
    ("question", "fit"),
    [
        (Question(8, 0, "m5.large", subnet=24), 8),
        (Question(8, 1, "m5.large", subnet=24), 8),
        (Question(1, 0, "m5.large", subnet=28), 0),
        (Question(10, 0, max_pods=30, subnet=24), 8),
        (Question(1, 0, "m5.large", 29, 24, variables=(PD,)), 3),
        (Question(1, 0, "m5.large", 29, 27, variables=(PD,)), 0),
    ],
    ids=str,
)
def test_how_many_nodes_fit(question: Question, fit: int) -> None:
    found = answer(question)

    assert found.nodes_that_fit == fit
    enough = "enough" in found.sums[-1].sum
    assert enough is (fit >= found.nodes)


def test_the_subnet_is_large_enough_and_half_of_it_is_not() -> None:
    for nodes in (1, 7, 16, 50):
        for variables in ((), (PD,), ("WARM_IP_TARGET=3",)):
            question = Question(nodes, instance_type="m5.large", variables=variables)
            length = answer(question).subnet_prefix
            assert length is not None
            for one, enough in ((length, True), (length + 1, False)):
                found = answer(Question(nodes, 1, "m5.large", None, one, variables=variables))
                assert ((found.nodes_that_fit or 0) >= found.nodes) is enough


def test_limits_come_from_ec2s_answer_when_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"MaximumNetworkInterfaces": 2, "Ipv4AddressesPerInterface": 3}
    one = {"InstanceType": "x9.nano", "NetworkInfo": network, "VCpuInfo": {"DefaultVCpus": 2}}
    file = tmp_path / "answer.json"
    file.write_text(json.dumps({"InstanceTypes": [one]}))

    words = ("--nodes", "1", "--instance-type", "x9.nano", "--limits", str(file), "--json")
    assert run(monkeypatch, *words) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["pods_per_node"], said["node_at_worst"]) == (4, 6)
    assert said["sums"][0] == {"what": "pods of a node", "sum": "2 ENIs x (3 - 1)", "result": "4"}


def test_more_pods_than_addresses_are_told_of() -> None:
    (line,) = (one for one in answer(Question(1, 0, "m5.large", 50)).sums if "maxPods" in one.what)

    assert line.result == "29"
    assert "50 is more than can have an address" in line.sum


@pytest.mark.parametrize(
    ("text", "length"), [("10.0.0.0/22", 22), ("/22", 22), ("22", 22), ("10.0.0.7/16", 16)]
)
def test_subnets_are_written_in_two_ways(text: str, length: int) -> None:
    assert subnet_length(text) == length


@pytest.mark.parametrize("text", ["", "/", "10.0.0.0", "/30", "/7", "fd00::/64", "10.0.0/24", "-1"])
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(CniError, match="cannot use subnet"):
        subnet_length(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nodes", "3"), "Missing option '--instance-type' (AWS) or '--max-pods' (Azure)"),
        (("--instance-type", "m5.large"), "Missing option '--nodes'"),
        (("--nodes", "0", "--max-pods", "30"), "0 is not in the range"),
        (("--nodes", "3", "--max-pods", "300"), "cannot plan nodes of 300 pods"),
        (("--nodes", "3", "--max-pods", "30", "MAX_ENI=2"), "without an instance type"),
        (("--nodes", "3", "--instance-type", "x9.nano"), "instance type 'x9.nano'"),
        (
            ("--nodes", "3", "--instance-type", "m5.large", "MAX_PODS=3"),
            "known are WARM_ENI_TARGET",
        ),
        (("--nodes", "3", "--instance-type", "m5.large", "MAX_ENI=x"), "cannot use MAX_ENI=x"),
        (
            ("--nodes", "3", "--instance-type", "m5.large", "--limits", "/nowhere"),
            "cannot read limits /nowhere: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, *words) == 1

    out, error = capsys.readouterr()
    assert out == ""
    assert said in error
    assert len(error.splitlines()) == 1

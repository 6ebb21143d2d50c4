"""The role vpc as processes, on a host with a cloud."""

import itertools
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.vpc.client import SOCKET
from tests import lab
from tests.cloud.agent import RECORD, WAIT, Agent, add, ask, on_host, raw
from tests.cloud.faults import ERROR, Refusal

READY = "http://127.0.0.1:9474/readyz"


@pytest.fixture
def agent(host: None, source_bin: Path) -> Iterator[Agent]:  # noqa: ARG001
    """Have a host in a cloud, with an agent that is to be started."""
    with on_host(source_bin) as agent:
        yield agent


@pytest.fixture
def served(agent: Agent) -> Agent:
    """Have an agent that serves."""
    agent.start()
    agent.wait_ready()
    return agent


def test_a_pod_gets_an_address_and_gives_it_back(served: Agent) -> None:
    answer = ask("ADD", "pod-1")

    assert ask("ADD", "pod-1") == answer
    assert ask("CHECK", "pod-1") == answer
    assert served.cloud.holder(answer["address"]) == answer["eni"]["id"]
    assert ask("DEL", "pod-1") == {}
    assert ask("DEL", "pod-1") == {}
    assert ask("CHECK", "pod-1")["code"] == 102


def test_pages_and_figures_tell_of_the_pool(served: Agent) -> None:
    ask("ADD", "pod-1")

    def page(path: str) -> str:
        return lab.run(f"curl -s -w %{{http_code}} http://127.0.0.1:9474{path}")

    assert page("/healthz") == "ok\n200"
    assert lab.wait_until(lambda: page("/readyz") == "ok\n200")
    figures = page("/metrics")
    assert 'pycni_vpc_addresses{state="total"} 9' in figures
    assert 'pycni_vpc_addresses{state="assigned"} 1' in figures
    assert 'pycni_vpc_calls_total{call="assign_private_ip_addresses",refused=""} 1' in figures
    assert served.process


def test_figures_tell_what_was_mended(served: Agent) -> None:
    assert lab.wait_until(lambda: "pycni-vpc" in lab.run("nft list tables"))
    lab.run("nft delete table inet pycni-vpc")
    lab.run("sysctl -q net.ipv4.conf.eth0.rp_filter=1")

    def mended(kind: str) -> bool:
        figures = lab.run("curl -s http://127.0.0.1:9474/metrics")
        return f'pycni_repairs_total{{role="vpc",kind="{kind}"}} ' in figures

    for kind in ("rule", "sysctl"):
        assert lab.wait_until(lambda: mended(kind), 30), served.log.read_text()  # noqa: B023


def test_pages_come_when_their_port_is_free_at_last(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 9474)):
        agent.start()
        agent.wait_ready()
        assert lab.wait_until(lambda: "cannot listen at 127.0.0.1:9474" in agent.log.read_text())

    assert lab.wait_until(lambda: lab.run(f"curl -s {READY}", check=False) == "ok\n")
    assert agent.log.read_text().count("cannot listen") == 1


def test_cnictl_shows_the_pool(served: Agent) -> None:
    ask("ADD", "pod-1")

    def pool(*words: str) -> lab.Reply:
        command = [str(served.bin_dir / "cnictl"), "pool", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return lab.Reply(done.returncode, done.stdout, done.stderr)

    def assigned() -> bool:
        return bool(pool("--json").json["enis"][0]["assigned"] == 1)

    assert lab.wait_until(assigned)
    lines = [line.split() for line in pool().ok().stdout.splitlines()]
    name = next(iter(served.cloud.enis()))
    assert lines[0][0] == "ENI"
    assert lines[1][0] == name
    assert lines[1][-5:] == ["9", "9", "1", "0", "8"]
    assert any(line[:1] == ["WARM_ENI_TARGET=1"] for line in lines)


def test_cnictl_says_when_no_pool_is_here(host: None, source_bin: Path) -> None:  # noqa: ARG001
    command = [str(source_bin / "cnictl"), "pool"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "role vpc" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_killed_agent_leaves_pods_their_addresses(served: Agent) -> None:
    before = ask("ADD", "pod-1")

    served.stop(signal.SIGKILL)
    assert ask("CHECK", "pod-1") == {"code": 0}
    served.start()

    assert lab.wait_until(lambda: ask("CHECK", "pod-1") == before, 30)
    served.wait_ready()
    assert ask("ADD", "pod-2")["address"] != before["address"]


def test_a_restart_without_the_link_of_one_eni_serves_the_others(
    host: None,  # noqa: ARG001
    source_bin: Path,
) -> None:
    with on_host(source_bin, kind="t3.small") as agent:
        agent.variables["WARM_IP_TARGET"] = "1"
        agent.start()
        agent.wait_ready()
        first = [add(f"pod-{number}") for number in range(3)]
        assert lab.wait_until(lambda: len(agent.cloud.blocks(agent.instance)) == 2, 30)
        second = list(agent.cloud.enis().values())[1]
        lab.run(f"ip link add eth1 address {second.mac_address} type veth peer name eth1-cloud")
        assert lab.wait_until(lambda: "address" in ask("ADD", "pod-3"), 30)
        agent.stop()
        lab.run("ip link del eth1")
        agent.variables["IP_COOLDOWN_PERIOD"] = "0"

        agent.start()
        assert lab.wait_until(lambda: ask("DEL", "pod-0") == {}, 30)

        assert ask("ADD", "pod-4")["address"] == first[0]
        assert f"{second.id} has no interface" in agent.log.read_text()


def test_a_role_that_is_killed_is_there_again(served: Agent) -> None:
    before = ask("ADD", "pod-1")

    os.kill(served.role(), signal.SIGKILL)

    assert lab.wait_until(lambda: ask("CHECK", "pod-1") == before, 30)


def test_a_second_agent_is_refused(served: Agent) -> None:
    other = Agent(served.bin_dir, served.cloud, served.instance, served.url)
    other.log = Path("/run/other.log")

    other.start()

    assert other.process
    assert other.process.wait(30) == 1
    assert "another agent keeps this node" in other.log.read_text()
    assert ask("STATUS") == {}


def test_sigterm_ends_it_and_its_socket(served: Agent) -> None:
    served.stop(signal.SIGTERM)

    assert not Path(SOCKET).exists()
    assert RECORD.exists()


def test_nobody_cleans_up_before_the_last_turn_is_over(served: Agent) -> None:
    """It would make anew what is cleaned up."""
    called, over = threading.Event(), threading.Event()

    def hold(call: str) -> None:
        if call == "CreateNetworkInterface":
            called.set()
            over.wait(WAIT)

    served.cloud.faults.before = hold
    ask("ADD", "pod-1")
    assert called.wait(WAIT)

    assert served.process
    served.process.terminate()
    command = [str(served.bin_dir / "cnictl"), "cleanup", "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    running = served.process.poll() is None
    over.set()

    assert running
    assert done.returncode == 1
    assert "another agent keeps this node" in done.stderr
    assert served.process.wait(30) == 0
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert "pycni-vpc" not in lab.run("nft list tables")


def test_no_handler_of_a_signal_can_wait_for_a_lock_of_the_keeper(served: Agent) -> None:
    """It would run in the keeper's thread, which may hold that lock."""
    status = Path(f"/proc/{served.role()}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))

    assert not int(caught, 16) >> (signal.SIGTERM - 1) & 1
    os.kill(served.role(), signal.SIGTERM)
    assert lab.wait_until(lambda: "the vpc role ended with status 0" in served.log.read_text())


@pytest.mark.usefixtures("served")
def test_the_socket_is_for_root_alone() -> None:
    assert stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o600
    Path(SOCKET).chmod(0o666)

    os.seteuid(65534)
    try:
        said = raw(b'{"verb": "STATUS"}\n')
    finally:
        os.seteuid(0)

    assert json.loads(said)["msg"] == "cannot serve this user"
    assert ask("STATUS") == {}


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b'{"verb": "FLY"}\n',
        b'{"verb": "ADD", "network": "vpc"}\n',
        b'{"verb": "ADD", "network": 3, "containerID": "a", "ifname": "b"}\n',
        b'{"verb": "GC", "network": "vpc"}\n',
        b'{"verb": "GC", "network": "vpc", "valid": [3]}\n',
        b'{"verb": "ADD", "network": "vpc", "containerID": "a", "ifname": "b", "address": "x"}\n',
        b"\xff\xfe\n",
    ],
    ids=range(10),
)
def test_a_request_that_is_none_is_refused(served: Agent, request_: bytes) -> None:
    answer = json.loads(raw(request_))

    assert answer["code"] in (6, 7)
    assert answer["msg"]
    assert "Traceback" not in served.log.read_text()
    assert ask("STATUS") == {}


def test_a_record_that_cannot_be_read_gives_no_address(agent: Agent) -> None:
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text('{"version": 1, "enis": [')

    agent.start()

    assert lab.wait_until(lambda: "the pool's record" in agent.log.read_text(), 30)
    assert ask("STATUS") == {"code": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WARM_IP_TARGET", "-3"),
        ("IP_COOLDOWN_PERIOD", "soon"),
        ("ADDITIONAL_ENI_TAGS", "[]"),
        ("DISABLE_LEAKED_ENI_CLEANUP", "perhaps"),
    ],
)
def test_a_variable_that_is_wrong_is_named_at_the_start(
    agent: Agent, name: str, value: str
) -> None:
    agent.variables[name] = value

    agent.start()

    assert agent.process
    assert agent.process.wait(30) == 1
    assert f"cannot use {name}={value}" in agent.log.read_text()


def test_variables_stand_in_the_settings_file_too(agent: Agent) -> None:
    agent.settings(vpc={"variables": {"WARM_IP_TARGET": 2}, "listen": "", "maxPods": 20})

    agent.start()
    agent.wait_ready()

    assert len(next(iter(agent.cloud.blocks(agent.instance).values()))) == 2


def test_the_conflist_comes_when_the_pool_can_serve(agent: Agent, tmp_path: Path) -> None:
    template, conflist = tmp_path / "template", tmp_path / "10-vpc.conflist"
    plugin = '{"type": "aws-vpc", "mtu": "{{MTU}}", "ipam": {"type": "aws-vpc-ipam"}}'
    template.write_text(f'{{"cniVersion": "1.1.0", "name": "vpc", "plugins": [{plugin}]}}')
    agent.cloud.wishes.refuse["/"] = 503
    agent.start("--template", str(template), "--conflist", str(conflist))
    assert lab.wait_until(lambda: ask("STATUS").get("code") == 50, 30)
    assert not conflist.exists()

    agent.cloud.wishes.refuse.clear()

    assert lab.wait_until(conflist.exists, 90), agent.log.read_text()
    assert json.loads(conflist.read_text())["plugins"][0]["mtu"] == 9001
    conflist.unlink()
    assert lab.wait_until(conflist.exists, 30), agent.log.read_text()


def test_why_the_node_is_not_ready_is_told_once(agent: Agent) -> None:
    numbers = itertools.count()

    class Denied(Refusal):
        """What EC2 says when the role lacks a permission."""

        @property
        def body(self) -> str:
            encoded = f"Encoded authorization failure message: {next(numbers)}abc"
            text = f"You are not authorized to perform this operation. {encoded}"
            return ERROR.format(code=self.code, text=text)

    with agent.cloud.faults.always("*", Denied("UnauthorizedOperation")):
        agent.start()
        said = re.compile(r"\d+ s ago: UnauthorizedOperation")
        assert lab.wait_until(lambda: bool(said.search(agent.log.read_text())), 30)
        for _ in range(5):
            time.sleep(1)
            assert ask("DEL", "nobody") == {}  # the keeper takes a turn

    lines = agent.log.read_text().splitlines()
    assert len({re.sub(r"\d+ s ago|Encoded.*", "", one) for one in lines}) == len(lines)


def test_a_role_that_the_node_gets_after_its_start_is_used(agent: Agent) -> None:
    agent.cloud.wishes.refuse["/latest/meta-data/iam"] = 404
    agent.start()
    assert lab.wait_until(lambda: "no credentials" in agent.log.read_text(), 30)

    agent.cloud.wishes.refuse.clear()

    agent.wait_ready()
    assert "address" in ask("ADD", "pod-1")


@pytest.mark.usefixtures("served")
def test_what_a_program_got_that_is_gone_is_taken_back() -> None:
    """Its DEL may have come before its ADD was served; an ADD before it stays."""
    kept = ask("ADD", "pod-1")

    for pod in ("pod-1", "pod-2"):
        with socket.socket(socket.AF_UNIX) as program:
            program.connect(SOCKET)
            request = {"verb": "ADD", "network": "vpc", "containerID": pod, "ifname": "eth0"}
            program.sendall(json.dumps(request).encode() + b"\n")

    assert lab.wait_until(lambda: ask("CHECK", "pod-2").get("code") == 102)
    assert ask("CHECK", "pod-1") == kept


def test_the_frozen_agent_speaks_to_ec2(host: None, frozen_bin: Path) -> None:  # noqa: ARG001
    with on_host(frozen_bin) as agent:
        agent.start()
        agent.wait_ready()

        assert "address" in ask("ADD", "pod-1")


def test_a_build_without_the_sdk_says_what_is_missing(
    host: None,  # noqa: ARG001
    frozen_bin: Path,
    tmp_path: Path,
) -> None:
    lab.run(f"cp -r {frozen_bin} {tmp_path}/bin")
    (sdk,) = tmp_path.glob("bin/_pycni-*/aws")
    lab.run(f"rm -r {sdk}")
    with on_host(tmp_path / "bin") as agent:
        agent.start()

        assert lab.wait_until(lambda: "cannot load the AWS SDK" in agent.log.read_text(), 30)

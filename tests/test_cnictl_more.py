"""What cnictl does beside cnitool's commands: `ls` and `install`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cni.attachment import Attachment
from cni.runtime.cache import Cache, Entry
from tests import lab

pytestmark = pytest.mark.usefixtures("host")
RESULT = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.2.3/24"}]}


class Cnictl:
    """cnictl on a node with no networks but those in `net_d`."""

    def __init__(self, program: Path, net_d: Path) -> None:
        self.program, self.net_d = program, net_d

    def __call__(self, *words: str) -> lab.Reply:
        done = subprocess.run(
            [self.program, *words],
            env={"PATH": os.environ["PATH"], "NETCONFPATH": str(self.net_d)},
            capture_output=True,
            text=True,
            check=False,
        )
        return lab.Reply(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cnictl(source_bin: Path, tmp_path: Path) -> Cnictl:
    """Return cnictl with an empty directory of networks."""
    return Cnictl(source_bin / "cnictl", tmp_path)


def conflist(data_dir: str = "") -> bytes:
    """Return a list that leases from `data_dir`."""
    ipam = {"type": "host-local"} | ({"dataDir": data_dir} if data_dir else {})
    return json.dumps({"name": "net", "plugins": [{"type": "ptp", "ipam": ipam}]}).encode()


def attach(
    container_id: str, netns: str, result: Any = RESULT, config: bytes = b"{}", ifname: str = "eth0"
) -> None:
    """Let some runtime have cached an attachment."""
    attachment = Attachment("net", container_id, ifname)
    Cache().save(Entry(attachment, netns, config, result=result))


def lease(address: str, content: str, data_dir: str = "/var/lib/cni/networks") -> None:
    """Let host-local have given an address away on the network `net`."""
    path = Path(data_dir, "net", address)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, newline="")


# ls


def test_node_with_nothing_says_so(cnictl: Cnictl) -> None:
    assert cnictl("ls").ok().stdout.split("\n") == ["no attachments", "", "no leases", ""]
    nothing: Any = {"attachments": [], "leases": [], "unreadable": []}
    assert cnictl("ls", "--json").ok().json == nothing


def test_attachments_and_leases_are_listed_side_by_side(cnictl: Cnictl) -> None:
    netns = lab.add_netns("web")
    attach("pod-1", netns)
    lease("10.1.2.3", "pod-1\r\neth0")

    said = cnictl("ls").ok()

    assert [line.split() for line in said.stdout.splitlines()] == [
        ["NETWORK", "CONTAINER", "IFNAME", "ADDRESSES", "NETNS", "STATE"],
        ["net", "pod-1", "eth0", "10.1.2.3/24", netns, "ok"],
        [],
        ["NETWORK", "LEASE", "CONTAINER", "IFNAME", "DATA", "DIR", "STATE"],
        ["net", "10.1.2.3", "pod-1", "eth0", "/var/lib/cni/networks", "attached"],
    ]
    assert cnictl("ls", "--json").ok().json == {
        "attachments": [
            {
                "network": "net",
                "container_id": "pod-1",
                "ifname": "eth0",
                "addresses": ["10.1.2.3/24"],
                "netns": netns,
                "state": "ok",
            }
        ],
        "leases": [
            {
                "network": "net",
                "address": "10.1.2.3",
                "container_id": "pod-1",
                "ifname": "eth0",
                "data_dir": "/var/lib/cni/networks",
                "state": "attached",
            }
        ],
        "unreadable": [],
    }


def states(said: lab.Reply, kind: str, key: str) -> dict[str, str]:
    """Return the state of each attachment or lease by what `key` says of it."""
    return {one[key]: one["state"] for one in said.ok().json[kind]}


def test_attachment_whose_netns_is_gone_is_shown_as_such(cnictl: Cnictl) -> None:
    """libcni before 1.2 does not cache the netns; some results tell of it."""
    there = lab.add_netns("there")
    Path("/run/netns/file").touch()
    sandboxes = {"interfaces": [{"name": "veth0"}, {"name": "eth0", "sandbox": there}]}
    attach("there", there)
    attach("gone", "/run/netns/gone")
    attach("file", "/run/netns/file")
    attach("old", "", RESULT | sandboxes)
    attach("unknown", "")

    said = cnictl("ls", "--json")

    assert states(said, "attachments", "container_id") == {
        "there": "ok",
        "gone": "netns is gone",
        "file": "netns is gone",
        "old": "ok",
        "unknown": "netns unknown",
    }


def test_lease_whose_owner_is_not_attached_is_shown_as_such(cnictl: Cnictl) -> None:
    """The oldest leases name no interface: they hold for any."""
    attach("pod-1", "/run/netns/pod")
    lease("10.1.2.3", "pod-1\r\neth0")
    lease("10.1.2.4", "pod-1\r\nnet1")
    lease("10.1.2.5", "pod-2\r\neth0")
    lease("10.1.2.6", "pod-1")
    lease("10.1.2.7", "pod-2\n")
    lease("fd00::3", "pod-1\neth0\n")

    said = cnictl("ls", "--json")

    assert states(said, "leases", "address") == {
        "10.1.2.3": "attached",
        "10.1.2.4": "no attachment",
        "10.1.2.5": "no attachment",
        "10.1.2.6": "attached",
        "10.1.2.7": "no attachment",
        "fd00::3": "attached",
    }


def test_files_that_are_no_leases_are_passed_over(cnictl: Cnictl) -> None:
    lease("lock", "")
    lease("last_reserved_ip.0", "10.1.2.3")
    lease("10.1.2.9", "")

    assert cnictl("ls", "--json").ok().json["leases"] == []


def test_leases_are_found_wherever_a_network_keeps_them(cnictl: Cnictl) -> None:
    attach("pod-1", "", config=conflist("/run/cached"))
    (cnictl.net_d / "10.conflist").write_bytes(conflist("/run/configured"))
    (cnictl.net_d / "20.conflist").write_bytes(conflist())
    (cnictl.net_d / "30.conflist").write_text("{")
    places = ["/var/lib/cni/networks", "/run/cached", "/run/configured"]
    for number, place in enumerate(places):
        lease(f"10.1.2.{number}", "pod-1\r\neth0", place)

    said = cnictl("ls", "--json").ok()

    assert [one["data_dir"] for one in said.json["leases"]] == places


def test_addresses_of_every_version_of_results_are_shown(cnictl: Cnictl) -> None:
    attach("new", "", {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]})
    attach("old", "", {"cniVersion": "0.2.0", "ip4": {"ip": "10.1.2.4/24"}})
    attach("none", "", {"cniVersion": "1.0.0"})
    attach("strange", "", {"ips": 1})

    shown = {
        one["container_id"]: one["addresses"] for one in cnictl("ls", "--json").json["attachments"]
    }

    assert shown == {"new": ["10.1.2.3/24"], "old": ["10.1.2.4/24"], "none": [], "strange": []}


def test_file_of_the_cache_that_is_no_entry_is_named(cnictl: Cnictl) -> None:
    attach("pod-1", "")
    Path("/var/lib/cni/results/net-pod-2-eth0").write_text("{")

    assert cnictl("ls").ok().stdout.splitlines()[-1].endswith("/var/lib/cni/results/net-pod-2-eth0")
    assert len(cnictl("ls", "--json").ok().json["attachments"]) == 1


def test_long_names_stay_on_one_line_in_a_pipe(cnictl: Cnictl) -> None:
    attach("c" * 64, f"/run/netns/{'n' * 60}")

    said = cnictl("ls").ok()

    assert len(said.stdout.splitlines()) == 4


# install


def test_install_needs_the_frozen_suite(cnictl: Cnictl) -> None:
    said = cnictl("install")

    assert (said.exit, said.stdout) == (1, "")
    assert "cannot install from the source tree" in said.stderr


def test_install_puts_the_frozen_suite_in_place(frozen_bin: Path, tmp_path: Path) -> None:
    words = [str(frozen_bin / "cnictl"), "install", "--bin-dir", str(tmp_path / "bin")]

    done = subprocess.run(words, capture_output=True, text=True, check=True)

    assert f"{tmp_path}/bin/ptp" in done.stdout.splitlines()
    lab.run(f"{tmp_path}/bin/cnictl --version")

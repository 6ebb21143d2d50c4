"""One runtime with two sets of plugins: ours and the reference's, each of which is a `Side`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tests import lab, networks
from tests.networks import Json

SBIN = Path("/usr/sbin")
FAMILIES = ("iptables", "ip6tables")
EXECUTED = Path("/run/executed")  # a line for each firewall program that our side has executed
RECORDER = """#!/bin/sh
echo "${{0##*/}} $*" >> {executed}
exec {program} "$@"
"""


@dataclass(frozen=True)
class Network:
    """A conflist: a plugin that makes the interface and, when there are `mappings`, portmap."""

    interface: Json
    mappings: tuple[Json, ...] = ()

    def links(self, result: Json | None, *, forget: bool = False) -> list[tuple[str, Json]]:
        """Return (program, configuration) of each link of the chain, with the result of ADD.

        `forget`: with nothing that the runtime must remember since ADD.
        """
        known = {} if result is None or forget else {"prevResult": result}
        chain = [(self.interface["type"], self.interface | known)]
        if self.mappings:
            mappings = () if forget else self.mappings
            common = {key: self.interface[key] for key in ("cniVersion", "name")}
            chain.append(("portmap", networks.portmap(None, *mappings) | known | common))
        return chain


class Side:
    """The plugins of one side, called as a runtime calls them; `path` is their PATH."""

    def __init__(self, suite: lab.Suite, path: str) -> None:
        self.suite, self.path = suite, path

    def call(self, program: str, verb: str, conf: Json, pod: str, **given: str) -> lab.Reply:
        """Run one program for `pod`, whose name is its container ID and that of its netns."""
        given = {"netns": lab.netns_path(pod), "containerid": pod} | given
        environment = self.suite.environment(verb, **given) | {"PATH": self.path}
        return self.suite.invoke(program, environment, json.dumps(conf).encode())

    def add(self, network: Network, pod: str, **given: str) -> Json:
        """Attach the pod; return the result."""
        result = None
        for number in range(len(network.links(None))):
            program, conf = network.links(result)[number]
            result = self.call(program, "ADD", conf, pod, **given).ok().json
        assert isinstance(result, dict)
        return result

    def check(self, network: Network, pod: str, result: Json) -> list[str]:
        """CHECK the whole chain; return what each link that is not content says."""
        replies = [self.call(name, "CHECK", conf, pod) for name, conf in network.links(result)]
        return [reply.json["msg"] for reply in replies if reply.exit]

    def delete(
        self,
        network: Network,
        pod: str,
        result: Json | None = None,
        *,
        forget: bool = False,
        **given: str,
    ) -> list[str]:
        """DEL the chain backwards; return what went wrong."""
        links = reversed(network.links(result, forget=forget))
        replies = [self.call(name, "DEL", conf, pod, **given) for name, conf in links]
        return [reply.json["msg"] for reply in replies if reply.exit]


def iptables_path(kind: str) -> str:
    """Return a PATH on which iptables is the kind "nft" or "legacy", as Debian's alternatives."""
    directory = Path("/run", f"alternatives-{kind}")
    directory.mkdir()
    for family in FAMILIES:
        for name in (family, f"{family}-save", f"{family}-restore"):
            (directory / name).symlink_to(SBIN / f"xtables-{kind}-multi")
    (directory / "nft").symlink_to(SBIN / "nft")
    return f"{directory}:{os.defpath}"


def recorded_path() -> str:
    """Return a PATH with nothing but firewall programs, each of which says that it was executed."""
    directory = Path("/run/recorders")
    directory.mkdir()
    for name in ("nft", *(f"{family}{kind}" for family in FAMILIES for kind in ("", "-legacy"))):
        (directory / name).write_text(RECORDER.format(executed=EXECUTED, program=SBIN / name))
        (directory / name).chmod(0o755)
    return str(directory)


def executed() -> set[str]:
    """Return the names of the firewall programs that our side has executed."""
    if not EXECUTED.exists():
        return set()
    return {line.split()[0] for line in EXECUTED.read_text().splitlines()}

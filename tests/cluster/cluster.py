"""A cluster as the tests see it: kubectl, commands on its nodes, pods, and who provides it."""

import json
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests import lab
from tests.cluster import pods
from tests.cluster.pods import Json, Pod
from tests.runtimes.leftovers import wait_for

PATIENCE = 300  # seconds for what takes a few, on a machine that does other things too


class Provider(Protocol):
    """A cluster of one control plane, which takes no pods of the tests, and three workers."""

    @property
    def outside(self) -> str:
        """The address of a machine beside the nodes, that is none of them."""

    @property
    def control_plane(self) -> str:
        """The name of the first node."""

    @property
    def workers(self) -> list[str]:
        """The names of the others, as they are now."""

    @property
    def kubectl(self) -> list[str]:
        """What stands before the arguments of kubectl."""

    def words(self, place: str, *words: str) -> list[str]:
        """Return a command that runs `words` on a node, or on the machine `outside`."""

    def load(self, archive: Path) -> None:
        """Give every node the image in `archive`, those to come too."""

    def reboot(self, name: str) -> None:
        """Restart a node: what runs on it and its /run are lost, its disk is kept."""

    def replace(self, name: str) -> str:
        """Put a new machine in the place of a worker, its disk empty; return its name."""


@dataclass(frozen=True)
class Cluster:
    """The cluster under test; `network` is the name of its conflist.

    `before` are the conditions Ready of its nodes when there was no network yet.
    """

    provider: Provider
    network: str
    before: dict[str, Json] = field(default_factory=dict)

    def kubectl(self, arguments: str, *, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; return what it prints."""
        return self._run([*self.provider.kubectl, *shlex.split(arguments)], stdin, check=check)

    def run(self, place: str, command: str, *, check: bool = True) -> str:
        """Run a command on a node, or on the machine `outside`; return what it prints."""
        return self._run(self.provider.words(place, *shlex.split(command)), None, check=check)

    def start(self, place: str, *words: str) -> "subprocess.Popen[str]":
        """Start a command there; its output is a pipe."""
        return subprocess.Popen(
            self.provider.words(place, *words), stdout=subprocess.PIPE, text=True
        )

    def _run(self, words: list[str], stdin: str | None, *, check: bool) -> str:
        return lab.run(shlex.join(words), stdin=stdin, check=check)

    def get(self, what: str) -> Any:
        """Return an object, or a list of them, as `kubectl get` finds it."""
        found = json.loads(self.kubectl(f"get --output=json {what}"))
        return found.get("items", found)

    def apply(self, *objects: Json) -> None:
        """Make these objects, or make them so."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply --filename=-", stdin=json.dumps(whole))

    @property
    def nodes(self) -> list[str]:
        """Return the names of all nodes."""
        return [self.provider.control_plane, *self.provider.workers]

    def node(self, name: str) -> "NodeView":
        """Return what the API says of a node now."""
        return NodeView(name, self.get(f"node {name}"))

    def pods(self, *names: str) -> list[Pod]:
        """Return these pods, in this order, once all of them run and have an address."""
        found: dict[str, Pod] = {}

        def all_run() -> bool:
            seen = [one for one in map(pods.read, self.get("pods")) if one]
            found.update({one.name: one for one in seen if one.name in names})
            return len(found) == len(names)

        wait_for(all_run, f"pods {names} to run", PATIENCE)
        return [found[name] for name in names]

    def run_pods(self, *wanted: Json) -> list[Pod]:
        """Make these pods; return them, in this order, once they run."""
        self.apply(*wanted)
        return self.pods(*(one["metadata"]["name"] for one in wanted))

    def delete(self, *objects: Json, wait: bool = True) -> None:
        """Delete objects; `wait` until the API has forgotten them."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        words = f"delete --ignore-not-found --wait={str(wait).lower()} --timeout={PATIENCE}s"
        words += " --filename=-"
        self.kubectl(words, stdin=json.dumps(whole))

    def inside(self, pod: Pod, command: str, *, check: bool = True) -> str:
        """Run a command of busybox in a pod; return what it prints."""
        return self.kubectl(f"exec {pod.name} -- busybox {command}", check=check)


@dataclass(frozen=True)
class NodeView:
    """A node as the API tells of it."""

    name: str
    said: Json

    @property
    def address(self) -> str:
        """Return the node's InternalIP."""
        (found,) = (one for one in self.said["status"]["addresses"] if one["type"] == "InternalIP")
        return str(found["address"])

    @property
    def pod_cidr(self) -> str:
        """Return the range of the node's pods; empty when it has none yet."""
        return str(self.said["spec"].get("podCIDR", ""))

    @property
    def is_ready(self) -> bool:
        """Tell whether the node's condition Ready is true."""
        return bool(self.condition["status"] == "True")

    @property
    def condition(self) -> Json:
        """Return the node's condition Ready."""
        (found,) = (one for one in self.said["status"]["conditions"] if one["type"] == "Ready")
        return dict(found)

"""What the node agent was told, and which nodes it knows: whether it runs or not."""

import os
from dataclasses import dataclass

from cni.agent import settings, state
from cni.agent.nodes import cache
from cni.agent.settings import Settings
from cni.cluster import Cluster, cluster, read_nodes
from cni.config import Section


@dataclass(frozen=True)
class Agent:
    """Its settings, and its state as it said it last; None when it has said nothing."""

    settings: Settings
    state: Section | None

    def cluster(self) -> Cluster:
        """Return the nodes that it knows.  Raises CniError."""
        path = self.settings.nodes_file or cache.PATH
        return cluster(read_nodes(path), self.settings.node_name)


def look(config: str) -> Agent:
    """Return what the agent said last; before it said anything, what the file `config` says."""
    said = state.read()
    if said:
        return Agent(settings.read(said.section("settings")), said)
    return Agent(settings.load(config if os.path.exists(config) else "", {}), None)

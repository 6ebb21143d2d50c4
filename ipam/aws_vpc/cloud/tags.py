"""The tags of ENIs and subnets, under the keys that the Amazon VPC CNI uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INSTANCE = "node.k8s.amazonaws.com/instance_id"
CREATED = "node.k8s.amazonaws.com/createdAt"
UNMANAGED = "node.k8s.amazonaws.com/no_manage"
CLUSTER = "cluster.k8s.amazonaws.com/name"
FOR_PODS = "kubernetes.io/role/cni"
FOR_CLUSTER = "cni.networking.k8s.aws/cluster/"
RESERVED = "k8s.amazonaws.com"  # further tags must not look like these


@dataclass(frozen=True)
class Tagging:
    """The cluster's name, empty: none is known; and further tags for ENIs."""

    cluster: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def tags(self, own: Mapping[str, str]) -> list[dict[str, str]]:
        """Return all tags of an ENI, as the API takes them."""
        found = {key: value for key, value in self.more.items() if RESERVED not in key}
        found |= own
        if self.cluster:
            found[CLUSTER] = self.cluster
        return [{"Key": key, "Value": value} for key, value in found.items()]

    def filters(self, instance: str) -> dict[str, str]:
        """Return the filters for ENIs that may have leaked: what is not known to be ours, is not.

        Without a cluster's name, that is what this instance has made.
        """
        if self.cluster:
            return {"tag-key": INSTANCE, f"tag:{CLUSTER}": self.cluster}
        return {f"tag:{INSTANCE}": instance}


def is_ours(tags: Mapping[str, str]) -> bool:
    """Tell whether an ENI is the pool's to use."""
    return INSTANCE in tags and tags.get(UNMANAGED, "") != "true"


def usable(tags: Mapping[str, Any], cluster: str, *, own: bool) -> bool:
    """Tell whether ENIs may be made in a subnet; `own`: the primary is in it."""
    marked = tags.get(FOR_PODS)
    if marked == "0" or (marked is None and not own):
        return False
    clusters = [key.removeprefix(FOR_CLUSTER) for key in tags if key.startswith(FOR_CLUSTER)]
    return not clusters or cluster in clusters

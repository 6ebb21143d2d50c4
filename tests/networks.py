"""Network configurations that several tests use, as values to change."""

from typing import Any

Json = dict[str, Any]
DATA_DIR = "/run/cni-ipam-state"


def ipam(*subnets: str, **keys: Any) -> Json:
    """Return a host-local section with one range set for each subnet, and default routes."""
    subnets = subnets or ("10.244.0.0/24",)
    versions = {6 if ":" in subnet else 4 for subnet in subnets}
    routes = [{"dst": "0.0.0.0/0"}] * (4 in versions) + [{"dst": "::/0"}] * (6 in versions)
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    return {"type": "host-local", "dataDir": DATA_DIR, "ranges": ranges, "routes": routes} | keys


def ptp(*subnets: str, **keys: Any) -> Json:
    """Return a ptp network called kindnet."""
    network = {"cniVersion": "1.1.0", "name": "kindnet", "type": "ptp", "ipam": ipam(*subnets)}
    return network | keys


def bridge(*subnets: str, **keys: Any) -> Json:
    """Return a bridge network called kindnet; without IPAM when there are no `subnets`."""
    network: Json = {"cniVersion": "1.1.0", "name": "kindnet", "type": "bridge"}
    return network | ({"ipam": ipam(*subnets)} if subnets else {}) | keys


def portmap(prev_result: Json | None, *mappings: Json, **keys: Any) -> Json:
    """Return a portmap link of the chain behind `ptp`."""
    network: Json = {"cniVersion": "1.1.0", "name": "kindnet", "type": "portmap"}
    if mappings:
        network["runtimeConfig"] = {"portMappings": list(mappings)}
    if prev_result is not None:
        network["prevResult"] = prev_result
    return network | keys


def mapping(host_port: int, container_port: int = 80, protocol: str = "tcp", **keys: Any) -> Json:
    """Return one port mapping."""
    return {"hostPort": host_port, "containerPort": container_port, "protocol": protocol} | keys


def gc(network: Json, *valid: tuple[str, str]) -> Json:
    """Return `network` as GC gets it: only `valid` (container ID, ifname) are in use."""
    pairs = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in valid]
    return network | {"cniVersion": "1.1.0", "cni.dev/valid-attachments": pairs}

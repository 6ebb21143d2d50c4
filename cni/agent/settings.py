"""What the node agent is told: a settings file, JSON or YAML, and options, which win over it.

Both fill one object, and that is read: `warm.workers` is the option --workers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cni import document
from cni.config import IPNetwork, Section
from cni.errors import CniError, invalid_config
from cni.handover import SOCKET
from cni.names import IDENTIFIER
from cni.overlay import settings as overlay

PATH = "/etc/pycni/agent.yaml"
WARM, ROUTES, VXLAN, MASQ, VPC = "warm", "routes", "vxlan", "masq", "vpc"
ROLES = (WARM, ROUTES, VXLAN, MASQ, VPC)
CONFLIST = "/etc/cni/net.d/10-pycni.conflist"
WORKERS, LIMIT = 16, 240.0  # as cni.agent.warm has them, which loads much
LISTEN, VPC_LISTEN = "127.0.0.1:9473", "127.0.0.1:9474"
EC2, AZURE = "ec2", "azure"  # clouds
KEYS = {  # of the object, and of those in it
    "": "roles nodeName nodes clusterCIDRs serviceCIDR overlay masquerade conflist listen warm vpc",
    "nodes": "file kubeconfig apiServer",
    "overlay": "mode vni port device mtu",
    "masquerade": "exclude fullyRandom",
    "conflist": "template file",
    "warm": "socket workers limit",
    "vpc": "cloud variables maxPods listen",
}


@dataclass(frozen=True)
class Vpc:
    """Of the role vpc.  `variables` win over the environment; `max_pods` None: not said."""

    cloud: str
    variables: Mapping[str, str]
    max_pods: int | None
    listen: tuple[str, int] | None


@dataclass(frozen=True)
class Settings:
    """All of it.  Empty paths and addresses mean: none.

    `values` is the object that was read, for programs that want to know the same.
    """

    roles: tuple[str, ...]
    node_name: str
    nodes_file: str
    kubeconfig: str
    api_server: str
    cluster_cidrs: tuple[IPNetwork, ...]
    service_cidr: IPNetwork | None
    overlay: overlay.Settings
    excluded: tuple[IPNetwork, ...]
    fully_random: bool
    template: str
    conflist: str
    listen: tuple[str, int] | None
    socket: str
    workers: int
    limit: float
    vpc: Vpc
    values: Mapping[str, Any]

    @property
    def needs_nodes(self) -> bool:
        """Tell whether anything depends on the nodes of the cluster.

        The conflist does not with the role vpc: a pool has no pod CIDR.
        """
        by_vpc = not self.template or VPC in self.roles
        return not by_vpc or bool(set(self.roles) - {WARM, VPC})


def load(path: str, options: Mapping[str, Any]) -> Settings:
    """Return the settings in the file at `path`, empty: none, with `options` over them.

    The keys of `options` are paths into the object ("warm.workers").  Raises CniError.
    """
    values = document.read(path, "settings file") if path else {}
    try:
        if not isinstance(values, dict):
            raise invalid_config("it is no object")
        for name, value in options.items():
            _put(values, name, value)
        return read(Section(values))
    except CniError as error:
        if not path:
            raise
        msg = f"cannot use settings file {path}: {error.msg}"
        raise CniError(error.code, msg, error.details) from error


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set `name` in place of what the file says, which may be nonsense."""
    first, _, rest = name.partition(".")
    for key in [one for one in values if one.casefold() == first.casefold() and one != first]:
        values[first] = values.pop(key)
    if not rest:
        values[first] = value
    elif isinstance(values.setdefault(first, {}), dict):
        _put(values[first], rest, value)


def read(section: Section) -> Settings:
    """Return the settings in `section`; every key has a default."""
    _refuse_unknown(section)
    nodes, masquerade = section.section("nodes"), section.section("masquerade")
    conflist, warm = section.section("conflist"), section.section("warm")
    roles = _roles(section)
    tunnel = overlay.read_settings(section.section("overlay"))
    if ROUTES in roles:
        tunnel = replace(tunnel, mode=overlay.DIRECT)
    return Settings(
        roles=roles,
        node_name=_node_name(section),
        nodes_file=nodes.string("file"),
        kubeconfig=nodes.string("kubeconfig"),
        api_server=nodes.string("apiServer"),
        cluster_cidrs=section.networks("clusterCIDRs"),
        service_cidr=section.network("serviceCIDR") if section.get("serviceCIDR") else None,
        overlay=tunnel,
        excluded=masquerade.networks("exclude"),
        fully_random=masquerade.boolean("fullyRandom", default=True),
        template=conflist.string("template"),
        conflist=conflist.string("file", CONFLIST),
        listen=_listen(section),
        socket=warm.string("socket", SOCKET),
        workers=_workers(warm),
        limit=_limit(warm),
        vpc=_vpc(section.section("vpc"), roles),
        values=section.values,
    )


def _refuse_unknown(section: Section) -> None:
    """Refuse keys that mean nothing: they are misspelt."""
    for name, keys in KEYS.items():
        one = section.section(name) if name else section
        known = keys.casefold().split()
        for key in one.values:
            if key.casefold() not in known:
                details = f"keys there are {', '.join(keys.split())}"
                raise invalid_config(f"cannot use {one.path(key)}", details)


def _roles(section: Section) -> tuple[str, ...]:
    roles = tuple(dict.fromkeys(section.strings("roles"))) or (WARM,)
    if set(roles) - set(ROLES):
        raise section.refuse("roles", f"a list of {', '.join(ROLES)}")
    if ROUTES in roles and VXLAN in roles:
        raise section.refuse("roles", "without routes or without vxlan: both say where pods are")
    return roles


def _node_name(section: Section) -> str:
    """Return the node's name: by default NODE_NAME, then the host's name as kubelet takes it."""
    default = os.environ.get("NODE_NAME") or os.uname().nodename.strip().lower()
    name = section.string("nodeName", default)
    if not IDENTIFIER.fullmatch(name):
        raise invalid_config(f"cannot use nodeName {name!r}", "it must be the name of a node")
    return name


def _vpc(section: Section, roles: tuple[str, ...]) -> Vpc:
    """Return what is said of the role vpc; its variables are looked at when it is wanted."""
    from cni.vpc import policy
    from ipam.aws_vpc import settings as pool
    from ipam.aws_vpc.cloud import variables

    names = (*pool.NAMES, *variables.NAMES, *policy.NAMES)
    cloud = section.string("cloud", EC2)
    if cloud not in (EC2, AZURE):
        raise section.refuse("cloud", f"{EC2} or {AZURE}")
    said = section.section("variables")
    given = {key: _text(said, key) for key in said.values}
    for key in given:
        if key not in names:
            known = ", ".join(dict.fromkeys(names))
            raise invalid_config(f"cannot use {said.path(key)}", f"variables are {known}")
    most = section.integer_or_none("maxPods")
    if most is not None and most < 1:
        raise section.refuse("maxPods", "1 or more")
    if VPC in roles:
        pool.read({**os.environ, **given})
        variables.read({**os.environ, **given})
        policy.read({**os.environ, **given})
    return Vpc(cloud, given, most, _listen(section, VPC_LISTEN))


def _text(section: Section, key: str) -> str:
    """Return a value as an environment has it."""
    value = section.get(key)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int):
        raise section.refuse(key, "a text or a number")
    return str(value)


def _listen(section: Section, default: str = LISTEN) -> tuple[str, int] | None:
    text = section.string("listen", default)
    host, _, port = text.rpartition(":")
    if not text:
        return None
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise section.refuse("listen", "address:port, or empty")
    return host.strip("[]"), int(port)


def _workers(section: Section) -> int:
    workers = section.integer("workers", WORKERS)
    if not 1 <= workers <= 1000:
        raise section.refuse("workers", "1 to 1000")
    return workers


def _limit(section: Section) -> float:
    seconds = section.get("limit")
    if seconds is None:
        return LIMIT
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise section.refuse("limit", "a number of seconds")
    return seconds

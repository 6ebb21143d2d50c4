"""How pods leave a VPC: environment variables of the agent, as the Amazon VPC CNI names them.

docs/plugins/aws-vpc.md shows what each of them does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from cni.config import IPNetwork
from cni.errors import CniError, Code
from cni.kernel.vpcrules import RANDOM

NAMES = (
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_ENI_MTU",
    "POD_MTU",
)
TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
MTU_MIN, MTU_MAX = 576, 9001  # RFC 791; the largest that EC2 carries


@dataclass(frozen=True)
class Policy:
    """What pods may count on; MTUs in bytes, 0: as it is.

    `random` is a key of RANDOM, `mark` the bits of packet marks that say "by the primary".
    """

    external_snat: bool = False  # something outside the node translates what leaves the VPC
    excluded: tuple[IPNetwork, ...] = ()  # reached as themselves, like the VPC
    random: str = "prng"
    node_ports: bool = True
    mark: int = 0x80
    mtu: int = 9001  # of the ENIs
    pod_mtu: int = 0  # 0: that of the ENIs

    @property
    def mtu_of_pods(self) -> int:
        """Return the MTU of pods, in bytes."""
        return self.pod_mtu or self.mtu


def read(env: Mapping[str, str]) -> Policy:
    """Return the policy in `env`; an empty variable is an unset one.

    Raises CniError code 4, naming the variable.
    """
    default = Policy()
    return Policy(
        external_snat=_truth(env, "AWS_VPC_K8S_CNI_EXTERNALSNAT", default.external_snat),
        excluded=_networks(env, "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
        random=_choice(env, "AWS_VPC_K8S_CNI_RANDOMIZESNAT", default.random),
        node_ports=_truth(env, "AWS_VPC_CNI_NODE_PORT_SUPPORT", default.node_ports),
        mark=_number(env, "AWS_VPC_K8S_CNI_CONNMARK", default.mark, 1, 0xFFFFFFFF),
        mtu=_number(env, "AWS_VPC_ENI_MTU", default.mtu, MTU_MIN, MTU_MAX),
        pod_mtu=_number(env, "POD_MTU", default.pod_mtu, MTU_MIN, MTU_MAX),
    )


def _refuse(env: Mapping[str, str], name: str, wanted: str) -> CniError:
    msg = f"cannot use {name}={env.get(name, '')[:200]}"
    return CniError(Code.INVALID_ENVIRONMENT, msg, f"it must be {wanted}")


def _truth(env: Mapping[str, str], name: str, default: bool) -> bool:  # noqa: FBT001  # private
    text = env.get(name, "").strip().casefold()
    if text and text not in TRUTHS:
        raise _refuse(env, name, "true or false")
    return TRUTHS.get(text, default)


def _choice(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, "").strip().casefold() or default
    if text not in RANDOM:
        raise _refuse(env, name, f"one of {', '.join(RANDOM)}")
    return text


def _number(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = env.get(name, "").strip()
    try:
        number = int(text, 0) if text else default
    except ValueError:
        number = -1
    if text and not least <= number <= most:
        raise _refuse(env, name, f"a number of {least} to {most}")
    return number


def _networks(env: Mapping[str, str], name: str) -> tuple[IPNetwork, ...]:
    words = [word.strip() for word in env.get(name, "").split(",")]
    try:
        return tuple(ip_network(word, strict=False) for word in words if word)
    except ValueError as error:
        raise _refuse(env, name, "networks with commas between, 10.1.0.0/16,10.2.0.0/16") from error

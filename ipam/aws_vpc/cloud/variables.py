"""What the user says of the cloud: environment variables, named as the Amazon VPC CNI does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cni.errors import CniError, Code
from ipam.aws_vpc.cloud.tags import Tagging

NAMES = ("CLUSTER_NAME", "ADDITIONAL_ENI_TAGS", "AWS_VPC_ENI_MTU", "DISABLE_LEAKED_ENI_CLEANUP")
MTU, MTU_MIN, MTU_MAX = 9001, 576, 9001  # bytes; what EC2 carries within a VPC


@dataclass(frozen=True)
class Variables:
    """`sweeps`: look for ENIs that nodes have lost."""

    tagging: Tagging = field(default_factory=Tagging)
    mtu: int = MTU
    sweeps: bool = True


def read(env: Mapping[str, str]) -> Variables:
    """Return what is in `env`.  Raises CniError code 4, naming the variable."""
    given = {name: env.get(name, "").strip() for name in NAMES}
    mtu = given["AWS_VPC_ENI_MTU"] or str(MTU)
    if not mtu.isascii() or not mtu.isdigit() or not MTU_MIN <= int(mtu) <= MTU_MAX:
        raise _refuse("AWS_VPC_ENI_MTU", mtu, f"it must be {MTU_MIN} to {MTU_MAX}")
    off = given["DISABLE_LEAKED_ENI_CLEANUP"].casefold()
    if off not in ("", "true", "false"):
        raise _refuse("DISABLE_LEAKED_ENI_CLEANUP", off, "it must be true or false")
    tagging = Tagging(given["CLUSTER_NAME"], _tags(given["ADDITIONAL_ENI_TAGS"]))
    return Variables(tagging, int(mtu), off != "true")


def _tags(text: str) -> dict[str, str]:
    try:
        tags = json.loads(text or "{}")
    except ValueError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(one, str) for one in tags.values()):
        raise _refuse("ADDITIONAL_ENI_TAGS", text, 'it must be like {"team": "network"}')
    return tags


def _refuse(name: str, text: str, wanted: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"cannot use {name}={text[:200]}", wanted)

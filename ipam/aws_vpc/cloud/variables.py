"""What the user says of the cloud: environment variables, named as the Amazon VPC CNI does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cni.errors import CniError, Code
from ipam.aws_vpc.cloud.tags import Tagging

NAMES = ("CLUSTER_NAME", "ADDITIONAL_ENI_TAGS", "DISABLE_LEAKED_ENI_CLEANUP")


@dataclass(frozen=True)
class Variables:
    """`sweeps`: look for ENIs that nodes have lost."""

    tagging: Tagging = field(default_factory=Tagging)
    sweeps: bool = True


def read(env: Mapping[str, str]) -> Variables:
    """Return what is in `env`.  Raises CniError code 4, naming the variable."""
    given = {name: env.get(name, "").strip() for name in NAMES}
    off = given["DISABLE_LEAKED_ENI_CLEANUP"].casefold()
    if off not in ("", "true", "false"):
        raise _refuse("DISABLE_LEAKED_ENI_CLEANUP", off, "it must be true or false")
    tagging = Tagging(given["CLUSTER_NAME"], _tags(given["ADDITIONAL_ENI_TAGS"]))
    return Variables(tagging, off != "true")


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

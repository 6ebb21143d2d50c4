"""The instance metadata services: IMDSv2, which wants its token, and Azure's, which its header.

What they say is what moto's EC2 has, unless a test freezes it: then it is late.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LATEST = "/latest/meta-data/"
Answer = tuple[int, str]
Leaves = dict[str, str]  # texts by path


@dataclass
class Wishes:
    """What a test wants of it: an answer for each path that begins so, and how long it takes."""

    refuse: dict[str, int] = field(default_factory=dict)
    delay: float = 0.0
    frozen: Leaves | None = None
    tokens: dict[str, float] = field(default_factory=dict)


def leaves(instance: Any) -> Leaves:
    """Return all that IMDS has to say of an instance of moto's."""
    primary = instance.nics[0]
    zone = primary.subnet.availability_zone
    found = {
        "instance-id": instance.id,
        "instance-type": instance.instance_type,
        "local-ipv4": primary.private_ip_address,
        "mac": primary.mac_address,
        "placement/availability-zone": zone,
        "placement/region": zone[:-1],
        "iam/security-credentials/": "node-role",
    }
    for eni in instance.nics.values():
        for key, text in _interface(eni).items():
            found[f"network/interfaces/macs/{eni.mac_address}/{key}"] = text
    macs = "\n".join(f"{eni.mac_address}/" for eni in instance.nics.values())
    return {**found, "network/interfaces/macs/": macs}


def _interface(eni: Any) -> Mapping[str, str]:
    own = eni.private_ip_address
    others = [one["PrivateIpAddress"] for one in eni.private_ip_addresses]
    found = {
        "interface-id": eni.id,
        "device-number": str(eni.device_index),
        "subnet-id": eni.subnet.id,
        "vpc-id": eni.subnet.vpc_id,
        "security-group-ids": "\n".join(group.id for group in eni.group_set),
        "local-ipv4s": "\n".join([own, *(one for one in others if one != own)]),
        "subnet-ipv4-cidr-block": eni.subnet.cidr_block,
        "vpc-ipv4-cidr-blocks": eni.ec2_backend.get_vpc(eni.subnet.vpc_id).cidr_block,
    }
    prefixes = [one["Ipv4Prefix"] for one in getattr(eni, "ipv4_prefixes", ())]
    return found | ({"ipv4-prefix": "\n".join(prefixes)} if prefixes else {})


CREDENTIALS = """{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAEXAMPLE0EXAMPLE0",
"SecretAccessKey": "secret", "Token": "token", "LastUpdated": "2026-01-01T00:00:00Z",
"Expiration": "2099-01-01T00:00:00Z"}"""


def answer(
    wishes: Wishes, look: Callable[[], Leaves], method: str, path: str, headers: Mapping[str, str]
) -> Answer:
    """Return status and text of IMDSv2's answer."""
    time.sleep(wishes.delay)
    for begin, status in wishes.refuse.items():
        if path.startswith(begin):
            return status, "as the test wishes"
    if path == "/latest/api/token":
        return _token(wishes, method, headers.get("X-aws-ec2-metadata-token-ttl-seconds", ""))
    if wishes.tokens.get(headers.get("X-aws-ec2-metadata-token", ""), 0.0) < time.monotonic():
        return 401, "Unauthorized"
    if path == f"{LATEST}iam/security-credentials/node-role":
        return 200, CREDENTIALS
    said = wishes.frozen if wishes.frozen is not None else look()
    text = said.get(path.removeprefix(LATEST)) if path.startswith(LATEST) else None
    return (404, "Not Found") if text is None else (200, text)


def _token(wishes: Wishes, method: str, seconds: str) -> Answer:
    if method != "PUT":
        return 405, "Method Not Allowed"
    if not seconds.isdecimal() or not 1 <= int(seconds) <= 21600:
        return 400, "Bad Request"
    token = secrets.token_urlsafe()
    wishes.tokens[token] = time.monotonic() + int(seconds)
    return 200, token

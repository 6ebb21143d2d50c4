"""What the names of an attachment may look like (CNI SPEC 1.1.0, sections 1 and 2).

Programs refuse others in their environment, and the runtime refuses them before it runs any.
"""

import os
import re

from cni.errors import CniError, Code, invalid_config

NAME_MAX = 255  # bytes; network names and container IDs become file names
IFNAME_MAX = 15  # bytes; IFNAMSIZ less the NUL
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def check_network(name: str) -> None:
    """Refuse what cannot name a network (code 7)."""
    if not name:
        raise invalid_config("missing network name", "the configuration needs the key name")
    if not IDENTIFIER.fullmatch(name):
        raise invalid_config("invalid characters found in network name", name[:NAME_MAX])
    if len(name) > NAME_MAX:
        raise invalid_config(f"network name is too long: {name[:40]}…", f"at most {NAME_MAX}")


def check_container_id(value: str) -> None:
    """Refuse what cannot be a container ID (code 4)."""
    if not IDENTIFIER.fullmatch(value):
        msg = "invalid characters in containerID"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, value[:NAME_MAX])
    if len(value) > NAME_MAX:
        msg = f"containerID is too long: {value[:40]}…"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, f"at most {NAME_MAX} bytes")


def check_ifname(value: str) -> None:
    """Refuse what cannot name an interface (code 4)."""
    if not value:
        raise CniError(Code.INVALID_ENVIRONMENT, "interface name is empty")
    if len(os.fsencode(value)) > IFNAME_MAX:
        details = f"interface name should be less than {IFNAME_MAX + 1} characters"
        raise CniError(Code.INVALID_ENVIRONMENT, "interface name is too long", details)
    if value in (".", ".."):
        raise CniError(Code.INVALID_ENVIRONMENT, "interface name is . or ..", value)
    if re.search(r"[/:\s]", value):
        msg = "interface name contains / or : or whitespace characters"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, value)
    if "%" in value:  # the kernel makes eth0, eth1 … of eth%d
        raise CniError(Code.INVALID_ENVIRONMENT, "interface name contains %", value)
    if any("\udc80" <= character <= "\udcff" for character in value):  # os.fsdecode's
        msg = "interface name is not UTF-8"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, ascii(value))

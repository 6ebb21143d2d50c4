"""What a request is about: the attachment, and the address that it may ask for."""

from dataclasses import replace
from ipaddress import IPv4Address

from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError, Code
from ipam.aws_vpc.state import Assignment, Eni, State


def owner_of(request: Section) -> Attachment:
    """Return the attachment that the request is about.  Raises CniError code 7."""
    names = [request.string(key) for key in ("network", "containerID", "ifname")]
    for key, name in zip(("network", "containerID", "ifname"), names, strict=True):
        if not name:
            raise request.refuse(key, "a name")
    return Attachment(*names)


def holder(state: State, address: IPv4Address) -> Eni | None:
    """Return the ENI that has an address."""
    found = (eni for eni in state.enis if any(address in block for block in eni.blocks))
    return next(found, None)


def given_address(state: State, owner: Attachment, address: IPv4Address, now: float) -> State:
    """Give a pod the address that it asks for.  Raises CniError."""
    taken = {one.address: one.owner for one in state.assignments}
    if address in taken:
        msg = f"address {address} is that of container {taken[address].container_id}"
        raise CniError(Code.ALREADY_ATTACHED, msg, "DEL that one first, or ask for another")
    eni = holder(state, address)
    leaving = any(
        eni
        and one.eni == eni.name
        and any(address in block for block in getattr(one, "blocks", eni.blocks))
        for one in state.releasing
    )
    if eni is None or not eni.managed or leaving:
        msg = f"address {address} is not in the pool of this node"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, "ask for none, or for one that it has")
    if any(one.address == address and one.until > now for one in state.cooling):
        raise CniError(Code.TRY_AGAIN, f"address {address} cools down", "a pod just had it")
    return replace(state, assignments=(*state.assignments, Assignment(owner, address)))

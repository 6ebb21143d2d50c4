"""moto's EC2 with the rules that the real one keeps and moto does not.

Every call is still moto's: it reads the request, keeps the objects, filters and writes the answer.
Here stands what comes before (a refusal, or addresses chosen so that they are unique and free)
and what moto has no notion of: prefixes, limits of instance types, time that things take.
moto runs in this process, so its objects can be looked at, and bear what is new in attributes.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses import EC2Response

if TYPE_CHECKING:
    from tests.cloud.cloud import Cloud

RESERVED = 4  # addresses at the beginning of a subnet; the last one is too
NOT_FOUND = "InvalidNetworkInterfaceID.NotFound"


def refuse(code: str, text: str) -> EC2ClientError:
    """Return what to raise."""
    return EC2ClientError(code, text)


class StrictEc2(EC2Response):  # type: ignore[misc]  # moto has no types
    """One call; `cloud` is set by a subclass for each cloud."""

    cloud: "Cloud"

    def get_current_account(self) -> str:
        """Every cloud is an account of its own."""
        return self.cloud.account

    def call_action(self) -> Any:
        """Let time have passed, then do the call."""
        for eni in list(self.ec2_backend.enis.values()):
            if getattr(eni, "leaves_at", float("inf")) <= self.cloud.clock():
                self.ec2_backend.detach_network_interface(eni.attachment_id)
                del eni.leaves_at
        return super().call_action()

    # -- ENIs -------------------------------------------------------------------------------

    def create_network_interface(self) -> Any:
        """Make an ENI with addresses that nobody has; the same token makes it once."""
        token = self.params.pop("ClientToken", "")
        asked = repr(sorted(self.params.items(), key=repr))
        if token in self.cloud.tokens:
            before, eni = self.cloud.tokens[token]
            if before != asked:
                raise refuse("IdempotentParameterMismatch", f"token {token} made something else")
            return ActionResult({"NetworkInterface": eni})
        self._check_groups()
        subnet = self.ec2_backend.get_subnet(self.params.get("SubnetId"))
        singles = int(self.params.pop("SecondaryPrivateIpAddressCount", 0))
        prefixes = int(self.params.pop("Ipv4PrefixCount", 0))
        own, *more = self._free(subnet, singles + 1)
        slices = self._free_prefixes(subnet, prefixes, {own, *more})
        self.params["PrivateIpAddresses"] = [
            {"PrivateIpAddress": one, "Primary": one == own} for one in (own, *more)
        ]
        result = super().create_network_interface()
        eni = result.result["NetworkInterface"]
        eni.visible_at = self.cloud.clock() + self.cloud.delays.visible
        eni.ipv4_prefixes = []
        self._add_prefixes(eni, slices)
        if token:
            self.cloud.tokens[token] = asked, eni
        return result

    def _check_groups(self) -> None:
        known = self.ec2_backend.groups.values()
        for group in self.params.get("Groups", ()):
            if not any(group in groups for groups in known):
                raise refuse("InvalidGroup.NotFound", f"The security group '{group}' is unknown")

    def attach_network_interface(self) -> Any:
        """Attach within the limits of the type."""
        eni = self._eni()
        instance = self.ec2_backend.get_instance(self.params["InstanceId"])
        device = int(self.params["DeviceIndex"])
        if instance.state != "running":
            raise refuse("IncorrectInstanceState", f"{instance.id} is {instance.state}")
        if eni.attachment_id:
            raise refuse("InvalidNetworkInterface.InUse", f"Interface {eni.id} in use")
        if device in instance.nics:
            text = f"Instance '{instance.id}' already has an interface attached at {device}"
            raise refuse("InvalidParameterValue", text)
        enis, addresses = limits(instance.instance_type)
        if len(instance.nics) >= enis:
            text = f"Interface count {enis + 1} exceeds the limit for {instance.instance_type}"
            raise refuse("AttachmentLimitExceeded", text)
        self._check_room(eni, addresses, 0)
        eni.attached_at = self.cloud.clock() + self.cloud.delays.attach
        return super().attach_network_interface()

    def modify_network_interface_attribute(self) -> Any:
        """Do what moto does, and remember whether the ENI goes with the instance."""
        eni = self._eni()
        change = self.params.get("Attachment")
        if change and change.get("AttachmentId") != eni.attachment_id:
            raise refuse("InvalidAttachmentID.NotFound", f"{change} is not of {eni.id}")
        if change:
            eni.delete_on_termination = str(change["DeleteOnTermination"]).lower() == "true"
        return super().modify_network_interface_attribute()

    def detach_network_interface(self) -> Any:
        """Detach, in a while."""
        name = self.params["AttachmentId"]
        for eni in self.ec2_backend.enis.values():
            if eni.attachment_id == name:
                break
        else:
            raise refuse("InvalidAttachmentID.NotFound", f"Attachment '{name}' does not exist")
        if eni.device_index == 0:
            raise refuse("OperationNotPermitted", "The primary network interface stays")
        if not self.cloud.delays.detach:
            return super().detach_network_interface()
        eni.leaves_at = self.cloud.clock() + self.cloud.delays.detach
        return EmptyResult()

    def delete_network_interface(self) -> Any:
        """Delete what is attached to nothing."""
        eni = self._eni()
        if eni.attachment_id:
            text = f"Network interface '{eni.id}' is currently in use."
            raise refuse("InvalidParameterValue", text)
        self._remove_prefixes(eni, list(_prefixes(eni)))
        return super().delete_network_interface()

    def describe_network_interfaces(self) -> Any:
        """Describe what can be seen yet, page by page."""
        now = self.cloud.clock()
        hidden = {
            one.id for one in self.ec2_backend.enis.values() if _since(one, "visible_at") > now
        }
        for name in self.params.get("NetworkInterfaceIds", ()):
            if name in hidden:
                raise refuse(NOT_FOUND, f"The networkInterface ID '{name}' does not exist")
        wanted = self._pop_filter("attachment.status")
        found = super().describe_network_interfaces().result["NetworkInterfaces"]
        views = [View(eni, now) for eni in found if eni.id not in hidden]
        if wanted:
            views = [one for one in views if one.attachment and one.attachment["Status"] in wanted]
        return self._paged("NetworkInterfaces", views)

    def _pop_filter(self, name: str) -> list[str]:
        """Take a filter out that moto fails at; return its values."""
        filters = self.params.get("Filters", [])
        values = [value for one in filters if one["Name"] == name for value in one["Values"]]
        self.params["Filters"] = [one for one in filters if one["Name"] != name]
        return values

    def _paged(self, key: str, found: list[Any]) -> ActionResult:
        begin = int(self.params.get("NextToken") or 0)
        size = min(int(self.params.get("MaxResults") or 1000), self.cloud.page)
        page: dict[str, Any] = {key: found[begin : begin + size]}
        if begin + size < len(found):
            page["NextToken"] = str(begin + size)
        return ActionResult(page)

    # -- addresses --------------------------------------------------------------------------

    def assign_private_ip_addresses(self) -> Any:
        """Put addresses on an ENI; answer only the new ones."""
        eni = self._eni()
        singles = int(self.params.pop("SecondaryPrivateIpAddressCount", 0))
        prefixes = int(self.params.pop("Ipv4PrefixCount", 0))
        asked = list(self.params.get("PrivateIpAddresses", ()))
        if eni.attachment_id:
            _, addresses = limits(eni.instance.instance_type)
            self._check_room(eni, addresses, singles + prefixes + len(asked))
        for one in asked:
            if one not in self._free(eni.subnet, 0, every=True):
                raise refuse("InvalidParameterValue", f"Address {one} is not free in the subnet")
        new = [*asked, *self._free(eni.subnet, singles)]
        slices = self._free_prefixes(eni.subnet, prefixes, set(new))
        if new:
            self.ec2_backend.assign_private_ip_addresses(eni.id, new, 0)
        self._add_prefixes(eni, slices)
        return ActionResult(
            {
                "NetworkInterfaceId": eni.id,
                "AssignedPrivateIpAddresses": [{"PrivateIpAddress": one} for one in new],
                "AssignedIpv4Prefixes": [{"Ipv4Prefix": one} for one in slices],
            }
        )

    def unassign_private_ip_addresses(self) -> Any:
        """Take secondary addresses and prefixes that are there."""
        eni = self._eni()
        prefixes = list(self.params.get("Ipv4Prefixes", ()))
        there = {one["PrivateIpAddress"] for one in eni.private_ip_addresses}
        there -= {eni.private_ip_address}
        there |= {one["Ipv4Prefix"] for one in _prefixes(eni)}
        for one in (*self.params.get("PrivateIpAddresses", ()), *prefixes):
            if one not in there:
                text = f"Some of the specified addresses are not assigned to interface {eni.id}"
                raise refuse("InvalidParameterValue", text)
        self._remove_prefixes(eni, [one for one in _prefixes(eni) if one["Ipv4Prefix"] in prefixes])
        return super().unassign_private_ip_addresses()

    def _eni(self) -> Any:
        """Return the ENI that the call is about, if it can be seen yet."""
        eni = self.ec2_backend.get_network_interface(self.params["NetworkInterfaceId"])
        if _since(eni, "visible_at") > self.cloud.clock():
            raise refuse(NOT_FOUND, f"The networkInterface ID '{eni.id}' does not exist")
        return eni

    @staticmethod
    def _check_room(eni: Any, limit: int, more: int) -> None:
        if len(eni.private_ip_addresses) + len(_prefixes(eni)) + more > limit:
            text = f"The number of private addresses exceeds the limit of {limit} of {eni.id}"
            raise refuse("PrivateIpAddressLimitExceeded", text)

    def _taken(self, subnet: Any) -> tuple[set[IPv4Address], list[IPv4Network]]:
        enis = [one for one in self.ec2_backend.enis.values() if one.subnet.id == subnet.id]
        taken = {
            IPv4Address(a["PrivateIpAddress"]) for one in enis for a in one.private_ip_addresses
        }
        return taken, [IPv4Network(p["Ipv4Prefix"]) for one in enis for p in _prefixes(one)]

    def _free(self, subnet: Any, count: int, *, every: bool = False) -> list[str]:
        """Return the lowest addresses that nobody has."""
        taken, prefixes = self._taken(subnet)
        network = IPv4Network(subnet.cidr_block)
        every_one = list(network)[RESERVED:-1]
        found = [
            str(one)
            for one in every_one
            if one not in taken and not any(one in prefix for prefix in prefixes)
        ]
        if len(found) < count:
            text = f"The specified subnet does not have enough free addresses for {count}"
            raise refuse("InsufficientFreeAddressesInSubnet", text)
        return found if every else found[:count]

    def _free_prefixes(self, subnet: Any, count: int, besides: set[str]) -> list[str]:
        """Return /28s that nobody has an address of."""
        if not count:
            return []
        taken, prefixes = self._taken(subnet)
        taken |= {IPv4Address(one) for one in besides}
        network = IPv4Network(subnet.cidr_block)
        first, *_ = blocks = list(network.subnets(new_prefix=28))
        found = [
            str(one)
            for one in blocks
            if one not in prefixes and one not in (first, blocks[-1]) and not taken & set(one)
        ]
        if len(found) < count:
            raise refuse(*self.cloud.no_prefix)
        return found[:count]

    @staticmethod
    def _add_prefixes(eni: Any, slices: list[str]) -> None:
        eni.ipv4_prefixes = [*_prefixes(eni), *({"Ipv4Prefix": one} for one in slices)]
        eni.subnet._available_ip_addresses -= 16 * len(slices)

    @staticmethod
    def _remove_prefixes(eni: Any, gone: list[Any]) -> None:
        eni.ipv4_prefixes = [one for one in _prefixes(eni) if one not in gone]
        eni.subnet._available_ip_addresses += 16 * len(gone)

    # -- the rest ---------------------------------------------------------------------------

    def describe_subnets(self) -> Any:
        """Describe page by page."""
        result = super().describe_subnets().result
        return self._paged("Subnets", list(result["Subnets"]))

    def create_tags(self) -> Any:
        """Tag what there is."""
        for name in self.params.get("Resources", ()):
            if name.startswith("eni-") and name not in self.ec2_backend.enis:
                raise refuse(NOT_FOUND, f"The networkInterface ID '{name}' does not exist")
        return super().create_tags()

    def terminate_instances(self) -> Any:
        """Let go what goes with an instance, and set the other ENIs free."""
        nics = [
            eni
            for name in self.params.get("InstanceIds", ())
            for eni in self.ec2_backend.get_instance(name).nics.values()
        ]
        result = super().terminate_instances()
        for eni in nics:
            if eni.delete_on_termination or eni.device_index == 0:
                self._remove_prefixes(eni, list(_prefixes(eni)))
                self.ec2_backend.enis.pop(eni.id, None)
            elif eni.attachment_id:
                eni.instance.detach_eni(eni)
        return result


def _prefixes(eni: Any) -> list[Any]:
    found: list[Any] = getattr(eni, "ipv4_prefixes", [])
    return found


def _since(eni: Any, name: str) -> float:
    found: float = getattr(eni, name, 0.0)
    return found


def limits(instance_type: str) -> tuple[int, int]:
    """Return how many ENIs an instance can have, and how many addresses each."""
    network = INSTANCE_TYPES[instance_type]["NetworkInfo"]
    return network["MaximumNetworkInterfaces"], network["Ipv4AddressesPerInterface"]


class View:
    """An ENI as it is described: attached only after a while."""

    def __init__(self, eni: Any, now: float) -> None:
        self._eni, self._now = eni, now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._eni, name)

    @property
    def attachment(self) -> Any:
        eni = self._eni
        if not eni.attachment_id:
            return None
        status = "attached" if _since(eni, "attached_at") <= self._now else "attaching"
        return {
            "AttachmentId": eni.attachment_id,
            "DeleteOnTermination": bool(eni.delete_on_termination),
            "DeviceIndex": eni.device_index,
            "NetworkCardIndex": 0,
            "InstanceId": eni.instance.id,
            "Status": "detaching" if hasattr(eni, "leaves_at") else status,
        }

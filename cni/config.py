"""Reading JSON as the runtimes write it: keys in any case, values of the right type or refused.

Runtimes written in Go match keys without regard to case and send `HostPort` for `hostPort`
(containerd's capability arguments), so every look-up here does the same.
"""

import json
from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, NoReturn

from cni.errors import CniError, Code, invalid_config

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


def decode(text: bytes, what: str = "the network configuration") -> dict[str, Any]:
    """Return the JSON object in `text`; `what` names it in errors.  Raises CniError, code 6."""
    try:
        # given bytes, it would guess the encoding
        value = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        msg = f"cannot decode {what}: {error}"
        raise CniError(Code.DECODING_FAILURE, msg, "it must be one JSON object") from error
    if not isinstance(value, dict):
        msg = f"cannot decode {what}: it is a {type(value).__name__}"
        raise CniError(Code.DECODING_FAILURE, msg, "it must be one JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_text(value: str) -> bool:
    """Tell whether `value` can be written at all; JSON can say half of a surrogate pair."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


class Section:
    """One object of the configuration; `where` names it in errors ("ipam.ranges[0][1]")."""

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self.values, self.where = values, where

    def get(self, key: str) -> Any:
        """Return the raw value: the key as written, else in any case, else None."""
        if key in self.values:
            return self.values[key]
        folded = key.casefold()
        for other, value in self.values.items():
            if other.casefold() == folded:
                return value
        return None

    def path(self, key: str) -> str:
        """Return how errors name `key` of this object."""
        return f"{self.where}.{key}" if self.where else key

    def refuse(self, key: str, wanted: str) -> CniError:
        """Return the error that says what `key` must be; for values of the wrong kind."""
        try:
            shown = json.dumps(self.get(key))
        except RecursionError:
            shown = "nested too deeply"
        return invalid_config(f"cannot use {self.path(key)} {shown[:200]}", f"it must be {wanted}")

    def string(self, key: str, default: str = "") -> str:
        """Return a string; `default` when absent or null."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not _is_text(value):
            raise self.refuse(key, "a string")
        return value

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """Return a bool; "true" and "false" are taken too, as libcni does for its own flags."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, str) and value.casefold() in ("true", "false"):
            return value.casefold() == "true"
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def integer(self, key: str, default: int = 0) -> int:
        """Return an int; 1.0 is taken too, since Go runtimes pass numbers through floats."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(key, "a whole number")
        return value

    def integer_or_none(self, key: str) -> int | None:
        """Return an int, or None when absent: where 0 says something else than nothing."""
        return None if self.get(key) is None else self.integer(key)

    def unsigned(self, key: str, bits: int = 32) -> int:
        """Return an int that the kernel can hold in `bits` bits; 0 when absent."""
        value = self.integer(key)
        if not 0 <= value < 1 << bits:
            raise self.refuse(key, f"0 to {(1 << bits) - 1}")
        return value

    def unsigned_or_none(self, key: str, bits: int = 32) -> int | None:
        """Return the same, or None when absent: where 0 says something else than nothing."""
        return None if self.get(key) is None else self.unsigned(key, bits)

    def array(self, key: str) -> list[Any]:
        """Return a list, empty when absent or null."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(key, "a list")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.array(key)
        if not all(isinstance(value, str) and _is_text(value) for value in values):
            raise self.refuse(key, "a list of strings")
        return tuple(values)

    def section(self, key: str) -> "Section":
        """Return an object, empty when absent or null."""
        value = self.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.refuse(key, "an object")
        return Section(value, self.path(key))

    def sections(self, key: str) -> list["Section"]:
        """Return a list of objects."""
        values = self.array(key)
        if not all(isinstance(value, dict) for value in values):
            raise self.refuse(key, "a list of objects")
        return [Section(value, f"{self.path(key)}[{i}]") for i, value in enumerate(values)]

    def address(self, key: str) -> IPAddress | None:
        """Return an IP address, None when absent or empty."""
        text = self.string(key)
        try:
            return ip_address(_without_zone(text)) if text else None
        except ValueError as error:
            raise self.refuse(key, "an IP address") from error

    def addresses(self, key: str) -> tuple[IPAddress, ...]:
        """Return a list of IP addresses."""
        found = []
        for one, name in self._elements(key):
            address = one.address(name)
            if address is None:
                raise one.refuse(name, "an IP address")
            found.append(address)
        return tuple(found)

    def networks(self, key: str) -> tuple[IPNetwork, ...]:
        """Return a list of networks."""
        return tuple(one.network(name) for one, name in self._elements(key))

    def _elements(self, key: str) -> Iterator[tuple["Section", str]]:
        """Yield each value of a list as a section of one key, and that key."""
        for i, value in enumerate(self.array(key)):
            yield Section({f"{key}[{i}]": value}, self.where), f"{key}[{i}]"

    def interface(self, key: str) -> IPInterface:
        """Return an address with its prefix length; the prefix must be written."""
        try:
            return ip_interface(_cidr(self.string(key)))
        except ValueError as error:
            raise self.refuse(key, "an IP address with its prefix length") from error

    def network(self, key: str) -> IPNetwork:
        """Return a network; host bits are dropped, as `ip route` does not but Go's parser does."""
        try:
            return ip_network(_cidr(self.string(key)), strict=False)
        except ValueError as error:
            raise self.refuse(key, "a network in CIDR notation") from error


def _without_zone(text: str) -> str:
    """Return `text`.  Raises ValueError for `fe80::1%eth0`: a zone means nothing to others."""
    if "%" in text:
        message = "an address with a zone"
        raise ValueError(message)
    return text


def _cidr(text: str) -> str:
    """Return `text`.  Raises ValueError unless it ends in a prefix length in digits."""
    if not text.rpartition("/")[2].isdigit() or "/" not in text:
        message = "no prefix length"
        raise ValueError(message)
    return _without_zone(text)


def cni_args(text: str, known: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the known pairs of CNI_ARGS (`K=V;K=V`, SPEC 1.1.0 "Parameters").

    Unknown keys are an error unless IgnoreUnknown is true, as in the reference library.
    """
    pairs: dict[str, str] = {}
    for pair in text.split(";") if text else []:
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            msg = f"cannot read CNI_ARGS: invalid pair {pair[:200]!r}"
            raise CniError(Code.INVALID_ENVIRONMENT, msg, "write K=V;K=V")
        pairs[key] = value
    lenient = _truth(pairs.pop("IgnoreUnknown", "0"))
    unknown = [key for key in pairs if key not in known]
    if unknown and not lenient:
        msg = f"cannot use CNI_ARGS: unknown keys {', '.join(unknown)[:200]}"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, "remove them, or add IgnoreUnknown=1")
    return {key: value for key, value in pairs.items() if key in known}


def _truth(text: str) -> bool:
    if text.casefold() not in ("0", "1", "true", "false"):
        msg = f"cannot use CNI_ARGS: IgnoreUnknown={text[:200]}"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, "it must be 1, true, 0 or false")
    return text.casefold() in ("1", "true")

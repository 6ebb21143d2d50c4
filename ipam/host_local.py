"""host-local: addresses from local ranges, leased on disk as the reference plugin does.

ADD, DEL and GC hold one lock over the whole call.  ADD gives one address of every range set,
round robin; DEL needs the names of the attachment and the directory, and nothing else.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_interface
from itertools import islice

from cni.config import IPAddress, Section
from cni.errors import CniError, Code, invalid_config
from cni.leases.index import Owner
from cni.leases.ranges import RangeSet, read_range_sets, read_requested
from cni.leases.store import Store
from cni.request import Request
from cni.result import DNS, IP, Result, Route, read_route
from cni.rollback import rollback
from cni.skel import Plugin

DATA_DIR = "/var/lib/cni/networks"
PROBES = 8  # addresses to try before the whole directory is read: mostly the first one is free
RESOLV_CONF_MAX = 1 << 20  # bytes
ON_DUPLICATE = ("", "refuse", "reuse")


@dataclass(frozen=True)
class Settings:
    """The `ipam` section, with what the runtime adds; see docs/plugins/host-local.md."""

    sets: tuple[RangeSet, ...]
    requested: tuple[IPAddress | None, ...]  # for each set
    routes: tuple[Route, ...]
    dns: DNS
    reuse: bool  # an attachment that ADDs again gets its addresses back


def add(request: Request) -> Result:
    """Lease an address of every range set."""
    settings, store = _settings(request), _store(request)
    with store.locked():
        addresses = _lease(store, settings, _owner(request))
    return Result(
        ips=tuple(map(_ip, addresses, settings.sets)), routes=settings.routes, dns=settings.dns
    )


def delete(request: Request) -> None:
    """Release all that the attachment holds, whatever else the configuration says by now."""
    store = _store(request)
    if store.exists():
        with store.locked():
            store.release_all(_owner(request))


def check(request: Request) -> None:
    """Raise CniError unless the attachment holds a lease, and those that prevResult names."""
    settings, store, owner = _settings(request), _store(request), _owner(request)
    result = request.prev_result()
    ips = [ip.address.ip for ip in result.ips] if result else []
    named = [address for address in ips if any(address in one for one in settings.sets)]
    lost = [address for address in named if store.holder(address) not in (owner, owner.legacy)]
    if lost or not (named or store.search(owner)):
        msg = f"host-local: Failed to find address added by container {owner.container_id}"
        which = f" {', '.join(map(str, lost))}" if lost else ""
        details = f"{owner.ifname} has no lease{which} in {store.path}: DEL and ADD it again"
        raise CniError(Code.CHECK_FAILED, msg, details)


def status(request: Request) -> None:
    """Raise CniError code 50 unless ADD can be served; no lease is made.

    Only when there seems to be no address left, the lock is taken: leases of an earlier boot
    go then, and torn files are found, as ADD would do.
    """
    try:
        settings, store = _settings(request), _store(request)
        store.require_writable()
        if any(_is_full(store, one) for one in settings.sets):
            with store.locked():
                for number, one in enumerate(settings.sets):
                    if next(_free(store, one, number), None) is None:
                        raise _exhausted(store, one, number)
    except CniError as error:
        raise CniError(Code.UNAVAILABLE, error.msg, error.details) from error


def gc(request: Request) -> None:
    """Release what no valid attachment holds in this network."""
    store, valid = _store(request), request.valid_attachments()
    if valid is None or not store.exists():
        return
    containers = {container_id for container_id, _ in valid}
    with store.locked():
        for address, owner in store.leases():
            known = owner in valid if owner.ifname else owner.container_id in containers
            if not known:
                store.release(address)
        store.sweep()


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)


def _owner(request: Request) -> Owner:
    return Owner(request.attachment.container_id, request.attachment.ifname)


def _store(request: Request) -> Store:
    """Return the network's leases; for this much, any configuration is good enough."""
    ipam = request.config.get("ipam")
    section = Section(ipam if isinstance(ipam, dict) else {}, "ipam")
    directory = section.string("dataDir") or DATA_DIR
    if "\0" in directory:
        raise section.refuse("dataDir", "a path")
    return Store(directory, request.attachment.network)


# allocation


def _lease(store: Store, settings: Settings, owner: Owner) -> list[IPAddress]:
    """Return the leased addresses, one of each set.  Raises CniError; then none is leased."""
    held, new = store.held(owner), {}
    addresses: list[IPAddress] = []
    with rollback() as undo:
        for number, one in enumerate(settings.sets):
            own = [address for address in held if address in one]
            requested = settings.requested[number]
            if not own:
                address = new[number] = _take(store, one, requested, owner, number)
                undo(partial(store.release, address))
            elif settings.reuse and requested in (None, *own):
                address = requested or own[0]
            else:
                raise _duplicate(own[0], owner, number)
            addresses.append(address)
        for number, address in new.items():
            store.set_last_reserved(number, address)
    return addresses


def _take(
    store: Store, one: RangeSet, requested: IPAddress | None, owner: Owner, number: int
) -> IPAddress:
    """Return the address of set `number` that is leased to `owner` now."""
    if requested is None:
        for address in _free(store, one, number):
            if store.take(address, owner):
                return address
        raise _exhausted(store, one, number)
    if not store.take(requested, owner):
        msg = f"failed to allocate for range {number}: requested IP address {requested}"
        msg += f" is not available in range set {one}"
        details = f"{store.path}/{requested} says who holds it"
        raise CniError(Code.ALREADY_ATTACHED, msg, details)
    return requested


def _free(store: Store, one: RangeSet, number: int) -> Iterator[IPAddress]:
    """Yield the free addresses of set `number`, round robin; those with a torn file last."""
    last = store.last_reserved(number)
    for address in islice(one.walk(last), PROBES):
        if store.holder(address) is None:
            yield address
    yield from one.walk(last, store.taken(one.version))
    yield from filter(one.offers, store.torn())


def _is_full(store: Store, one: RangeSet) -> bool:
    """Tell whether every address of the set has a file."""
    if len(store.names()) < one.size:
        return False
    return next(one.walk(taken=store.taken(one.version)), None) is None


def _exhausted(store: Store, one: RangeSet, number: int) -> CniError:
    msg = f"failed to allocate for range {number}: no IP addresses available in range set: {one}"
    details = "DEL what is gone, let the runtime run GC, or widen ipam.ranges;"
    return CniError(Code.EXHAUSTED, msg, f"{details} the leases are in {store.path}")


def _duplicate(address: IPAddress, owner: Owner, number: int) -> CniError:
    msg = f"failed to allocate for range {number}: {address} has been allocated to"
    msg += f" {owner.container_id}, duplicate allocation is not allowed"
    details = 'DEL it first, or set ipam.onDuplicate to "reuse"'
    return CniError(Code.ALREADY_ATTACHED, msg, details)


def _ip(address: IPAddress, one: RangeSet) -> IP:
    taken_from = one.range_of(address)
    interface = ip_interface(f"{address}/{taken_from.subnet.prefixlen}")
    return IP(interface, taken_from.gateway)


# configuration


def _settings(request: Request) -> Settings:
    """Return the whole configuration.  Raises CniError, code 7 mostly."""
    if request.config.get("ipam") is None:
        msg = "IPAM config missing 'ipam' key"
        raise invalid_config(msg, 'add "ipam": {"type": "host-local", "ranges": [[{"subnet": …}]]}')
    ipam = request.config.section("ipam")
    sets = read_range_sets(
        [
            *_nested(request.runtime_config, "ipRanges"),
            *([[ipam]] if ipam.get("subnet") is not None else []),
            *_nested(ipam, "ranges"),
        ],
        request.cni_version,
    )
    on_duplicate = ipam.string("onDuplicate")
    if on_duplicate not in ON_DUPLICATE:
        msg = f"cannot use ipam.onDuplicate {on_duplicate[:50]!r}"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, 'it must be "refuse" or "reuse"')
    return Settings(
        sets=sets,
        requested=_by_set(_requested(request), sets),
        routes=tuple(read_route(route) for route in ipam.sections("routes")),
        dns=_read_resolv_conf(ipam.string("resolvConf")),
        reuse=on_duplicate == "reuse",
    )


def _nested(section: Section, key: str) -> list[list[Section]]:
    """Return the lists of objects in the list `key`."""
    named = {f"{key}[{i}]": values for i, values in enumerate(section.array(key))}
    return [Section(named, section.where).sections(name) for name in named]


def _requested(request: Request) -> list[IPAddress]:
    """Return the addresses that the runtime or the user asks for, each once."""
    texts = [("CNI_ARGS IP", text) for text in request.arguments("IP").values()]
    cni = request.config.section("args").section("cni")
    for section in (cni, request.runtime_config):
        texts += [(section.path("ips"), text) for text in section.strings("ips")]
    return list(dict.fromkeys(read_requested(where, text) for where, text in texts))


def _by_set(requested: list[IPAddress], sets: tuple[RangeSet, ...]) -> tuple[IPAddress | None, ...]:
    """Return which of `requested` each set is to give.  Raises CniError for the others, code 2."""
    chosen: list[IPAddress | None] = []
    for number, one in enumerate(sets):
        address = next((address for address in requested if address in one), None)
        if address is not None and not one.offers(address):
            msg = f"failed to allocate for range {number}: requested ip {address}"
            raise CniError(Code.UNSUPPORTED_FIELD, f"{msg} is subnet's gateway", "ask for another")
        chosen.append(address)
    if left := [str(address) for address in requested if address not in chosen]:
        msg = f"failed to allocate all requested IPs: {' '.join(left)}"
        details = f"a range set gives one address, of {'; '.join(map(str, sets))}"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, details)
    return tuple(chosen)


def _read_resolv_conf(path: str) -> DNS:
    """Return what the file says (man 5 resolv.conf); nothing for no path."""
    found: dict[str, list[str]] = {"nameserver": [], "domain": [], "search": [], "options": []}
    for line in _lines(path) if path else ():
        key, *words = line.split() or [""]
        if key in found:
            found[key] += words if key in ("search", "options") else words[:1]
    return DNS(
        nameservers=tuple(found["nameserver"]),
        domain="".join(found["domain"][-1:]),
        search=tuple(found["search"]),
        options=tuple(found["options"]),
    )


def _lines(path: str) -> list[str]:
    try:
        # without O_NONBLOCK a FIFO would keep us for ever; with it, it is empty
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, errors="replace") as file:
            return file.read(RESOLV_CONF_MAX).splitlines()
    except (OSError, ValueError) as error:
        msg = f"cannot read ipam.resolvConf {path!r}: {error}"
        raise CniError(Code.IO_FAILURE, msg, "make the file, or remove the key") from error

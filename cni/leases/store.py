"""The leases of one network on disk: the reference plugin's files, and beside them who holds what.

    <dataDir>/<network>/<ip>                a lease: container ID CR LF interface name, mode 0600
    <dataDir>/<network>/last_reserved_ip.N  the address that range set N gave out last
    <dataDir>/<network>/lock                flock(2), held over a whole operation
    <dataDir>/.pycni/<network>/             the index by owner (see cni/leases/index.py)

The reference plugin may work in the same directory at the same time: it takes the same lock.
A lease appears by link(2), whole and on disk; a file that is empty or torn is no lease.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address

from cni.config import IPAddress
from cni.errors import CniError, Code, invalid_config
from cni.leases import lock
from cni.leases.index import Index, Owner, make_directory, write_all, write_new
from cni.leases.reboot import Boot
from cni.rollback import try_all

LOCK_WAIT = 30.0  # seconds; the reference waits for ever
CONTENT_MAX = 4096  # bytes; a container ID has at most 255, an interface name 15
NOBODY = Owner("", "")  # holds what cannot be read, such as a directory
# what a file system without hard links says, or two file systems
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


class Store:
    """The leases of `network` in `data_dir`.  What changes them needs `with store.locked():`."""

    def __init__(
        self, data_dir: str, network: str, *, boot: Boot | None = None, lock_wait: float = LOCK_WAIT
    ) -> None:
        if not network or network[0] == "." or {"/", "\0"} & {*network} or "\0" in data_dir:
            msg = f"cannot keep leases of network {network[:100]!r} in {data_dir[:200]!r}"
            raise invalid_config(msg, "the network's name must be one of a directory")
        self.path = os.path.join(data_dir, network)
        self.index = Index(os.path.join(data_dir, ".pycni", network), self.path, network)
        self._network, self._boot, self._lock_wait = network, boot or Boot.current(), lock_wait
        self._mark: int | None = None
        self._complete = False

    # reading, with the lock or without

    def exists(self) -> bool:
        """Tell whether there may be leases."""
        return os.path.lexists(f"{self.path}/lock") or bool(self.names())

    def require_writable(self) -> None:
        """Raise CniError code 5 when no lease can be written; nothing is tried."""
        for place in (self.path, self.index.path):
            above = place
            while not os.path.lexists(above):
                above = os.path.dirname(above) or "."
            if not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
                raise self._refused(above, "not a directory that can be written")
            room = os.statvfs(above)
            if (room.f_blocks and not room.f_bfree) or (room.f_files and not room.f_ffree):
                raise self._refused(above, "the file system is full")

    def _refused(self, place: object, cause: object) -> CniError:
        msg = f"cannot keep leases in {self.path}: {place}: {cause}"
        details = "make it writable and make room, or set ipam.dataDir to another directory"
        return CniError(Code.IO_FAILURE, msg, details)

    def names(self) -> list[str]:
        """Return the names of all files: leases, lock and others."""
        try:
            return os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def taken(self, version: int) -> set[int]:
        """Return the addresses of IP `version` that have a file, as numbers."""
        from socket import AF_INET, AF_INET6, inet_pton

        family = AF_INET if version == 4 else AF_INET6
        numbers = set()
        for name in self.names():
            with suppress(OSError):  # not an address of this family
                numbers.add(int.from_bytes(inet_pton(family, name), "big"))
        return numbers

    def holder(self, address: IPAddress) -> Owner | None:
        """Return who holds `address`; None: it is free, or its file is empty or torn."""
        return self._holder(str(address))

    def _holder(self, name: str) -> Owner | None:
        try:
            return Owner.decode(self._read(name))
        except FileNotFoundError:
            return None
        except OSError:
            return NOBODY

    def _read(self, name: str) -> bytes:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(f"{self.path}/{name}", flags)
        try:
            return os.read(fd, CONTENT_MAX)
        finally:
            os.close(fd)

    def leases(self) -> Iterator[tuple[IPAddress, Owner]]:
        """Yield all leases.  Every file is read."""
        for name in self.names():
            address = _address(name)
            owner = self._holder(name) if address else None
            if address and owner and owner != NOBODY:
                yield address, owner

    def search(self, owner: Owner) -> list[IPAddress]:
        """Return what `owner` holds, in the oldest format only if nothing in today's.

        Every file is read.
        """
        found: dict[Owner, list[IPAddress]] = {owner: [], owner.legacy: []}
        for name in self.names():
            holder = self._holder(name)
            if holder in found and (address := _address(name)):
                found[holder].append(address)
        return found[owner] or found[owner.legacy]

    def last_reserved(self, number: int) -> IPAddress | None:
        """Return the address that range set `number` gave out last, None when unknown."""
        try:
            return _address(os.fsdecode(self._read(f"last_reserved_ip.{number}").strip()))
        except OSError:
            return None

    # with the lock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be alone in the directory, and make it if it is missing.

        Raises CniError: code 11 when another program keeps the lock, code 5 when the file
        system refuses anything in the block.
        """
        try:
            make_directory(self.path, 0o755)
            with lock.exclusive(f"{self.path}/lock", self._lock_wait):
                self._begin()
                try:
                    yield
                finally:
                    self._end()
        except OSError as error:
            place = error.filename2 or error.filename or self.path
            raise self._refused(place, error.strerror) from error

    def _begin(self) -> None:
        """See whether the index is complete: nobody changed the directory since we marked it."""
        self._mark = self.index.marked(self._boot.name)
        self._complete = self._mark == os.stat(self.path).st_mtime_ns
        if self._mark is None:
            with suppress(OSError):  # the operation itself will meet it
                self._reclaim()
                self._mark = 0

    def _end(self) -> None:
        """Mark the directory as indexed, or as not.

        The kernel's time stamps are coarse: a change right after ours would get the time of
        ours.  So the directory is given a finer one than any change gives it.
        """
        with suppress(OSError):
            changed = os.stat(self.path).st_mtime_ns if self._complete else 0
            if self._mark in (None, changed):
                return
            if self._complete:
                now = time.time_ns()
                with suppress(PermissionError):  # it is not ours
                    os.utime(self.path, ns=(now, now))
                changed = os.stat(self.path).st_mtime_ns
            self.index.mark(self._boot.name, changed)

    def held(self, owner: Owner) -> list[IPAddress]:
        """Return what `owner` holds, in the oldest format only if nothing in today's."""
        loose = {} if self._complete else self._adopt()
        for one in (owner, owner.legacy):
            if names := {*self.index.names(one), *loose.get(one, ())}:
                return [address for name in sorted(names) if (address := _address(name))]
        return []

    def _adopt(self) -> dict[Owner, list[str]]:
        """Index the leases that others made; return those that cannot be linked."""
        loose: dict[Owner, list[str]] = {}
        for name in self._foreign():
            owner = self._holder(name) if _address(name) else None
            if owner and owner != NOBODY:
                try:
                    self.index.adopt(name, owner)
                except OSError:
                    loose.setdefault(owner, []).append(name)
        self._complete = not loose
        return loose

    def _foreign(self) -> Iterator[str]:
        """Yield the names of files that are not linked to the index."""
        with os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_nlink == 1:
                        yield entry.name

    def torn(self) -> Iterator[IPAddress]:
        """Yield the addresses whose file is empty or torn: they are free."""
        for name in self._foreign():
            address = _address(name)
            if address and self._holder(name) is None:
                yield address

    def take(self, address: IPAddress, owner: Owner) -> bool:
        """Lease `address` to `owner`; False: it is taken.  Nothing is left after an error."""
        if self.holder(address) is not None:
            return False
        try:
            return self._publish(self.index.write(str(address), owner), address, owner)
        except BaseException:
            if self.holder(address) == owner:
                self.release(address)
            self.index.drop(str(address), owner)
            raise

    def _publish(self, entry: str, address: IPAddress, owner: Owner) -> bool:
        lease = f"{self.path}/{address}"
        try:
            os.link(entry, lease)
        except FileExistsError:
            if self.holder(address) is not None:  # by a program that takes no lock
                self.index.drop(str(address), owner)
                return False
            os.unlink(lease)  # empty or torn
            return self._publish(entry, address, owner)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._complete = False  # and whoever looks for the lease reads them all
            self.index.drop(str(address), owner)
            write_new(lease, owner.encode())
        return True

    def release(self, address: IPAddress) -> None:
        """Free `address`; it may be free."""
        owner = self.holder(address)
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path}/{address}")
        if owner is not None:
            self.index.drop(str(address), owner)

    def set_last_reserved(self, number: int, address: IPAddress) -> None:
        """Remember where the round robin of range set `number` is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(f"{self.path}/last_reserved_ip.{number}", flags, 0o600)
        try:
            write_all(fd, str(address).encode())
        finally:
            os.close(fd)

    def release_all(self, owner: Owner) -> None:
        """Free all that `owner` holds; it may hold nothing."""
        found = self.held(owner) or self.search(owner)
        try_all(partial(self.release, address) for address in found)
        self.index.forget(owner)

    def sweep(self) -> None:
        """Tidy the index."""
        self.index.sweep(self._boot.name)

    def _reclaim(self) -> None:
        """Free what an earlier boot left, once in a boot."""
        for name in self.names():
            if self._boot.is_earlier(f"{self.path}/{name}") and (address := _address(name)):
                owner = self._holder(name)
                if owner and owner != NOBODY and not self._boot.lives(self._network, *owner):
                    self.release(address)
        self.sweep()
        self.index.mark(self._boot.name, 0)


def _address(name: str) -> IPAddress | None:
    """Return the address that a lease is called after, None for any other name."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return address if str(address) == name else None

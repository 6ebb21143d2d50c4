"""Who holds which leases, without reading them all: second hard links of the leases, by owner.

    <dataDir>/.pycni/<network>/<3 digits>/<digest of the attachment>-<ip>
    <dataDir>/.pycni/<network>/boot-<boot id>   a mark; see Index.marked

An entry counts only while the lease of its name is the same inode, so whatever the reference
plugin does to the leases, the index never claims what is not there.  It is written before the
lease, which is made by a link to it: no lease of ours is ever without its entry.
No network's name begins with a dot, so the directory is in nobody's way.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from cni.attachment import Attachment


class Owner(NamedTuple):
    """The attachment that holds a lease, within its network."""

    container_id: str
    ifname: str  # empty in leases of the oldest format: they hold for any interface

    @property
    def legacy(self) -> "Owner":
        """Return how the oldest format names this owner."""
        return Owner(self.container_id, "")

    def encode(self) -> bytes:
        """Return what a lease says, byte for byte as the reference plugin writes it."""
        return os.fsencode("\r\n".join(self) if self.ifname else self.container_id)

    @classmethod
    def decode(cls, content: bytes) -> "Owner | None":
        """Return the owner in a lease; None when it is empty or torn.

        White space around is passed over.  A crash leaves files without bytes, or with zeros.
        """
        words = [os.fsdecode(word) for word in content.split()]
        if b"\0" in content or not 1 <= len(words) <= 2:
            return None
        return cls(words[0], "".join(words[1:]))


class Index:
    """The index at `path` for the leases of `network` in the directory `leases`."""

    def __init__(self, path: str, leases: str, network: str) -> None:
        self.path, self._leases, self._network = path, leases, network

    def _key(self, owner: Owner) -> str:
        """Return how the entries of `owner` begin; of a full /16, a bucket holds about 16."""
        digest = Attachment(self._network, *owner).digest
        return f"{self.path}/{digest[:3]}/{digest}-"

    def names(self, owner: Owner) -> list[str]:
        """Return the names of the leases of `owner`."""
        return [name for name in self._entries(owner) if self._is_valid(self._key(owner), name)]

    def _entries(self, owner: Owner) -> list[str]:
        bucket, _, prefix = self._key(owner).rpartition("/")
        return [name[len(prefix) :] for name in _list(bucket) if name.startswith(prefix)]

    def _is_valid(self, key: str, name: str) -> bool:
        try:
            return os.path.samestat(os.lstat(key + name), os.lstat(f"{self._leases}/{name}"))
        except FileNotFoundError:
            return False

    def write(self, name: str, owner: Owner) -> str:
        """Write the entry of a lease to be, whole and on disk; return its path.

        Raises OSError; then nothing is left of it.
        """
        entry = self._key(owner) + name
        _make(entry, lambda: write_new(entry, owner.encode()))
        return entry

    def adopt(self, name: str, owner: Owner) -> None:
        """Link a lease that another program made.  Raises OSError."""
        entry = self._key(owner) + name
        _make(entry, lambda: os.link(f"{self._leases}/{name}", entry))

    def drop(self, name: str, owner: Owner) -> None:
        """Remove one entry.  One that cannot be removed does no harm: it is not valid."""
        entry = self._key(owner) + name
        with suppress(OSError):
            os.unlink(entry)
        with suppress(OSError):  # a bucket that is not empty
            os.rmdir(os.path.dirname(entry))

    def forget(self, owner: Owner) -> None:
        """Remove what is not valid of `owner`, as a killed ADD leaves it."""
        for name in self._entries(owner):
            if not self._is_valid(self._key(owner), name):
                self.drop(name, owner)

    def sweep(self, boot: str) -> None:
        """Remove all that is not valid, and the marks but for that of `boot`."""
        for child in _list(self.path):
            path = f"{self.path}/{child}"
            for entry in _list(path):
                digest, _, name = entry.partition("-")
                if not self._is_valid(f"{path}/{digest}-", name):
                    with suppress(OSError):
                        os.unlink(f"{path}/{entry}")
            with suppress(OSError):
                os.rmdir(path)
            if child.startswith("boot-") and child != f"boot-{boot}":
                with suppress(OSError):
                    os.unlink(path)

    def marked(self, boot: str) -> int | None:
        """Return the time (st_mtime_ns) that the lease directory had when all was indexed.

        None: no program of this suite was here since `boot` began.
        """
        try:
            return os.lstat(f"{self.path}/boot-{boot}").st_mtime_ns
        except FileNotFoundError:
            return None

    def mark(self, boot: str, changed: int) -> None:
        """Remember that all leases were indexed when the directory had changed at `changed`.

        Without the mark all leases are looked through once more: a full disk must not stop DEL.
        """
        mark = f"{self.path}/boot-{boot}"
        with suppress(OSError):
            if self.marked(boot) is not None:
                os.utime(mark, ns=(changed, changed))
                return
            make_directory(self.path, 0o700)
            os.close(os.open(f"{mark}.new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.utime(f"{mark}.new", ns=(changed, changed))
            os.rename(f"{mark}.new", mark)


def _make(entry: str, make: Callable[[], object]) -> None:
    """Make `entry`; if its bucket is missing, or an ADD that was killed left it, once more."""
    try:
        make()
        return
    except FileNotFoundError:
        make_directory(os.path.dirname(entry), 0o700)
    except FileExistsError:
        os.unlink(entry)
    make()


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_directory(path: str, mode: int) -> None:
    """Make `path` and what is missing above it, all with `mode` (os.makedirs gives 0777)."""
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        if os.path.dirname(path) in ("", path):
            raise
        make_directory(os.path.dirname(path), mode)
        make_directory(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def write_new(path: str, content: bytes) -> None:
    """Make the file `path`, whole and on disk.  Raises OSError; then it is not there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content)
        os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """Write all of `content`; a full disk may take a part of it without a word."""
    while content:
        content = content[os.write(fd, content) :]

"""What a reboot leaves: files of attachments whose containers are gone, and no DEL will come."""

import os
import time
from dataclasses import dataclass

from cni.config import Section, decode
from cni.errors import CniError
from cni.kernel import netns

RESULTS = "/var/lib/cni/results"  # where libcni remembers the attachments of its runtime
CLOCK_MARGIN = 60 * 10**9  # nanoseconds by which the clock may have been corrected since


@dataclass(frozen=True)
class Boot:
    """One run of the machine: its `name`, and when it `began` (nanoseconds since 1970)."""

    name: str
    began: int
    results: str = RESULTS

    @classmethod
    def current(cls) -> "Boot":
        """Return the boot that we run in (man 4 random, boot_id)."""
        try:
            fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
            try:
                name = os.read(fd, 64).decode().strip()
            finally:
                os.close(fd)
        except OSError:
            name = "unknown"
        return cls(name, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def is_earlier(self, path: str) -> bool:
        """Tell whether the file `path` was last written before this boot."""
        return os.lstat(path).st_mtime_ns < self.began - CLOCK_MARGIN

    def lives(self, network: str, container_id: str, ifname: str) -> bool:
        """Tell whether a runtime remembers a namespace of the attachment, and it exists.

        A clock that was wrong makes files of this boot look old; this keeps them.  With an
        empty `ifname` any interface of the container counts.
        """
        prefix = f"{network}-{container_id}-"
        names = [prefix + ifname] if ifname else self._names(prefix)
        paths = [f"{self.results}/{name}" for name in names if "/" not in name]
        return any(netns.exists(one) for path in paths for one in _namespaces(path))

    def _names(self, prefix: str) -> list[str]:
        try:
            return [name for name in os.listdir(self.results) if name.startswith(prefix)]
        except OSError:
            return []


def _namespaces(path: str) -> list[str]:
    """Return the namespaces in an entry of libcni's cache; old versions write no `netns`."""
    try:
        with open(path, "rb") as file:
            cached = Section(decode(file.read()))
        interfaces = cached.section("result").sections("interfaces")
        return [cached.string("netns"), *(one.string("sandbox") for one in interfaces)]
    except (OSError, CniError):
        return []

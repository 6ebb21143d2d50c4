"""What programs gave back while the node agent was away: files that it takes from a directory.

A file is a JSON object: {"network", "containerID", "ifname"}, or {"network", "valid": [...]} of a
GC.  The agent does what `pending` says before it serves its next request, and calls `Release.done`
after its own record is on disk: a file that is worked on twice does no harm, but one that is worked
on after a later ADD of the same attachment would.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from cni import document
from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError
from cni.vpc.client import names

DIRECTORY = "/var/lib/pycni/vpc/released"


@dataclass(frozen=True)
class Release:
    """A file: what it gives back, of `network`.

    An attachment; or, with `attachment` None, all but the `valid` (container ID, ifname).
    """

    path: str
    file: os.stat_result
    network: str
    attachment: Attachment | None
    valid: frozenset[tuple[str, str]] = frozenset()

    def done(self) -> None:
        """Remove the file; not one that a program has written in its place."""
        document.remove(self.path, self.file)


def add(attachment: Attachment) -> None:
    """Leave word that the attachment is gone.  Raises OSError."""
    document.write(f"{DIRECTORY}/{attachment.digest}.json", names(attachment))


def add_gc(network: str, valid: Iterable[tuple[str, str]]) -> None:
    """Leave word that all but `valid` are gone, in place of an earlier one.  Raises OSError."""
    pairs = [{"containerID": one, "ifname": ifname} for one, ifname in sorted(valid)]
    name = f"gc-{sha256(network.encode()).hexdigest()[:16]}.json"
    document.write(f"{DIRECTORY}/{name}", {"network": network, "valid": pairs})


def pending() -> Iterator[Release]:
    """Yield what was left, in any order.  A file that says nothing of use is removed."""
    try:
        found = sorted(os.listdir(DIRECTORY))
    except FileNotFoundError:
        return
    for name in found:
        if name.endswith(".json"):
            path = f"{DIRECTORY}/{name}"
            file = os.stat(path)  # before it is read: what comes later is another file
            release = _read(path, file)
            if release is None:
                document.remove(path, file)
            else:
                yield release


def _read(path: str, file: os.stat_result) -> Release | None:
    try:
        values = document.read(path, "release")
        section = Section(values if isinstance(values, dict) else {})
        network, container = section.string("network"), section.string("containerID")
        pairs = [(one.string("containerID"), one.string("ifname")) for one in _valid(section)]
    except CniError:
        return None
    if container:
        attachment = Attachment(network, container, section.string("ifname"))
        return Release(path, file, network, attachment)
    if section.get("valid") is None:
        return None
    return Release(path, file, network, None, frozenset(pairs))


def _valid(section: Section) -> list[Section]:
    return section.sections("valid")

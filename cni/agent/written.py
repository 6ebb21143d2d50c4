"""Which conflists the agent has put in place, on disk.

They are ours to take away, also when the settings that led to them are gone.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

from cni import document
from cni.agent import conflist
from cni.config import Section
from cni.errors import CniError

PATH = "/var/lib/pycni/conflists.json"  # path of a conflist -> digests of what we wrote there


def put(path: str, text: str) -> bool:
    """Put the conflist in place as `conflist.write` does, noted before.  Raises OSError."""
    noted, new, there = _noted(), _digest(text.encode()), _digest_of(path)
    # that which is there is ours until the new one is: we may be stopped between
    digests = [new, *(one for one in noted.get(path, ()) if one == there != new)]
    if noted.get(path) != digests:
        document.write(PATH, {**noted, path: digests})
    return conflist.write(path, text)


def ours() -> Iterator[str]:
    """Yield the paths of conflists that are as we wrote them: others may have replaced them."""
    for path, digests in _noted().items():
        if _digest_of(path) in digests:
            yield path


def _noted() -> dict[str, list[str]]:
    with suppress(CniError):
        value = document.read(PATH, "note of conflists")
        section = Section(value if isinstance(value, dict) else {})
        return {path: list(section.strings(path)) for path in section.values}
    return {}


def _digest_of(path: str) -> str:
    """Return the digest of a file; empty when there is none."""
    with suppress(OSError), open(path, "rb") as file:
        return _digest(file.read())
    return ""


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()

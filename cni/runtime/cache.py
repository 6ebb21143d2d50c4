"""What a runtime remembers of an attachment: libcni's cache of results, in its format.

One file an attachment, /var/lib/cni/results/<network>-<container ID>-<ifname>; runtimes over
libcni (containerd, CRI-O, podman, cnitool) and this one read each other's.
"""

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cni.attachment import Attachment
from cni.config import Section, decode
from cni.errors import CniError, Code
from cni.names import NAME_MAX

Json = dict[str, Any]
DIRECTORY = Path("/var/lib/cni/results")
KIND = "cniCacheV1"
Args = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """An attachment as it was added; `config` is the list's file, `result` what ADD returned.

    `netns` is empty when libcni before 1.2 wrote the entry; `args` are the pairs of CNI_ARGS.
    """

    attachment: Attachment
    netns: str
    config: bytes
    args: Args = ()
    capability_args: Json = field(default_factory=dict)
    result: Json = field(default_factory=dict)


class Cache:
    """The entries in one directory."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.directory = directory

    def path(self, attachment: Attachment) -> Path:
        """Return the file of `attachment`.  Raises CniError code 4 when its name is too long."""
        names = (attachment.network, attachment.container_id, attachment.ifname)
        name = "-".join(names)
        if len(os.fsencode(name)) > NAME_MAX:
            msg = f"network name and container ID are too long together: {name[:80]}…"
            details = f"the file of the cache is called after them, at most {NAME_MAX} bytes"
            raise CniError(Code.INVALID_ENVIRONMENT, msg, details)
        return self.directory / name

    def save(self, entry: Entry) -> None:
        """Write `entry` in one step: a reader sees the old file or the new one."""
        path = self.path(entry.attachment)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # libcni skips what it cannot read, so a leftover of ours does no harm
            number, temporary = tempfile.mkstemp(prefix=".new-", dir=self.directory)  # mode 0600
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(_encode(entry))
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            msg = f"cannot remember the result of ADD in {path}: {error.strerror}"
            raise CniError(Code.IO_FAILURE, msg, "DEL the attachment") from error

    def load(self, attachment: Attachment) -> Entry | None:
        """Return the entry of `attachment`, None when there is none.

        Raises CniError code 6 for a file that is not one.
        """
        path = self.path(attachment)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise CniError(Code.IO_FAILURE, msg) from error
        entry = _decode(text, path)
        if entry is not None:
            return entry
        # what libcni before 0.7 wrote: the result alone
        return Entry(attachment, "", b"", result=decode(text))

    def forget(self, attachment: Attachment) -> None:
        """Remove the entry of `attachment`; it may be gone."""
        path = self.path(attachment)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            msg = f"cannot forget the detached {attachment.owner}: {path}: {error.strerror}"
            raise CniError(Code.IO_FAILURE, msg) from error

    def entries(self) -> Iterator[Entry]:
        """Yield all entries by file name; what is none is passed over."""
        for path in self._files():
            try:
                entry = _decode(path.read_bytes(), path)
            except (CniError, OSError):
                continue
            if entry is not None and entry.attachment.network and entry.attachment.ifname:
                yield entry

    def unreadable(self) -> list[Path]:
        """Return the files that look like entries and are none."""
        readable = {self.path(entry.attachment).name for entry in self.entries()}
        return [path for path in self._files() if path.name not in readable]

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.directory.iterdir() if path.name[0] != ".")
        except (FileNotFoundError, NotADirectoryError):
            return []


def _encode(entry: Entry) -> bytes:
    fields: Json = {
        "kind": KIND,
        "containerId": entry.attachment.container_id,
        "config": base64.b64encode(entry.config).decode(),
        "ifName": entry.attachment.ifname,
        "networkName": entry.attachment.network,
    }
    more = {
        "netns": entry.netns,
        "cniArgs": entry.args,
        "capabilityArgs": entry.capability_args,
        "result": entry.result,
    }
    fields |= {key: value for key, value in more.items() if value}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _decode(text: bytes, path: Path) -> Entry | None:
    """Return the entry in `text`, None when it is JSON of another kind."""
    try:
        section = Section(decode(text))
        if section.string("kind") != KIND:
            return None
        return Entry(
            attachment=Attachment(
                section.string("networkName"),
                section.string("containerId"),
                section.string("ifName"),
            ),
            netns=section.string("netns"),
            config=base64.b64decode(section.string("config"), validate=True),
            args=tuple((str(key), str(value)) for key, value in section.array("cniArgs")),
            capability_args=section.section("capabilityArgs").values,
            result=section.section("result").values,
        )
    except (CniError, binascii.Error, ValueError, TypeError) as error:
        cause = error.msg if isinstance(error, CniError) else error
        msg = f"cannot use the cached result {path}: {cause}"
        details = "remove the file if the attachment is gone"
        raise CniError(Code.DECODING_FAILURE, msg[:500], details) from error

"""Network configuration lists on disk (CNI SPEC 1.1.0, section 1).

Found as libcni finds them: `*.conflist` by the list's name, then one plugin in `*.conf` or
`*.json`, each kind in the order of file names.  A file that cannot be read stops the search,
since it may be the one that was meant.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cni import versions
from cni.config import Section, decode
from cni.errors import CniError, Code, invalid_config
from cni.names import check_network

Json = dict[str, Any]


@dataclass(frozen=True)
class ConfList:
    """One network: its plugins in the order of ADD; `text` is the file as the cache keeps it."""

    name: str
    cni_version: str
    plugins: tuple[Json, ...]
    disable_check: bool
    disable_gc: bool
    text: bytes

    def has(self, since: str) -> bool:
        """Tell whether this list may use what came with version `since`.  Raises code 6."""
        try:
            return versions.at_least(self.cni_version, since)
        except ValueError as error:
            msg = f"cannot read cniVersion of network {self.name!r}: {error}"
            raise CniError(Code.DECODING_FAILURE, msg[:300]) from error


def load(directory: Path, name: str) -> ConfList:
    """Return the network `name` in `directory`.  Raises CniError code 7 when there is none."""
    check_network(name)
    for file in _files(directory, ".conflist"):
        with _naming(file):
            text = file.read_bytes()
            values = decode(text)
            if Section(values).string("name") == name:
                return _with_dropins(values, text, directory / name)
    for file in _files(directory, ".conf", ".json"):
        with _naming(file):
            values = _read_plugin(file)
            if Section(values).string("name") == name:
                return from_plugin(values)
    msg = f'no net configuration with name "{name}" in {directory}'
    raise invalid_config(msg, "NETCONFPATH names the directory to look in")


def load_all(directory: Path) -> Iterator[ConfList]:
    """Yield every network in `directory` that can be read, and only those."""
    for file in _files(directory, ".conflist", ".conf", ".json"):
        try:
            if file.suffix == ".conflist":
                text = file.read_bytes()
                values = decode(text)
                yield _with_dropins(values, text, directory / Section(values).string("name"))
            else:
                yield from_plugin(_read_plugin(file))
        except (CniError, OSError):
            continue


def from_text(text: bytes) -> ConfList:
    """Return the list in `text`, without what a drop-in directory may add.  Raises CniError."""
    conflist, _ = _parse(decode(text), text)
    if not conflist.plugins:
        raise invalid_config(f"cannot use network {conflist.name!r}: it has no plugins")
    return conflist


def from_plugin(values: Json) -> ConfList:
    """Return the list of one plugin, as for a file `*.conf`."""
    section = Section(values)
    values = {
        "cniVersion": section.string("cniVersion"),
        "name": section.string("name"),
        "plugins": [values],
    }
    return from_text(json.dumps(values, separators=(",", ":")).encode())


def _with_dropins(values: Json, text: bytes, directory: Path) -> ConfList:
    conflist, only_inlined = _parse(values, text)
    if not only_inlined:
        dropins = tuple(_read_plugin(file) for file in _files(directory, ".conf"))
        conflist = replace(conflist, plugins=conflist.plugins + dropins)
    if not conflist.plugins:
        msg = f"cannot use network {conflist.name!r}: it has no plugins"
        raise invalid_config(msg, f"list them under plugins, or put them into {directory}")
    return conflist


def _parse(values: Json, text: bytes) -> tuple[ConfList, bool]:
    """Return the list as written, and whether that is the whole of it."""
    section = Section(values)
    name = section.string("name")
    check_network(name)
    only_inlined = section.boolean("loadOnlyInlinedPlugins")
    plugins = tuple(_checked_plugin(plugin) for plugin in section.sections("plugins"))
    if not plugins and (only_inlined or section.get("plugins") is not None):
        raise invalid_config(f"cannot use network {name!r}: no plugins in the list")
    conflist = ConfList(
        name=name,
        cni_version=_version(section),
        plugins=plugins,
        disable_check=section.boolean("disableCheck"),
        disable_gc=section.boolean("disableGC"),
        text=text,
    )
    return conflist, only_inlined


def _version(section: Section) -> str:
    """Return the newest version on offer that we know, or else what cniVersion says."""
    version = section.string("cniVersion")
    if section.get("cniVersions") is None:
        return version or versions.DEFAULT
    offered = section.strings("cniVersions") + ((version,) if version else ())
    try:
        known = [one for one in offered if versions.at_least(versions.NEWEST, one)]
    except ValueError as error:
        raise invalid_config(f"cannot use cniVersions: {error}") from error
    return max(known, key=versions.parse) if known else version or versions.DEFAULT


def _checked_plugin(section: Section) -> Json:
    if not section.string("type"):
        raise invalid_config(f"cannot use {section.path('type')}: it is missing")
    section.section("capabilities")
    return section.values


def _read_plugin(file: Path) -> Json:
    with _naming(file):
        return _checked_plugin(Section(decode(file.read_bytes())))


def _files(directory: Path, *suffixes: str) -> list[Path]:
    """Return the files of these kinds, sorted; none where there is no directory."""
    try:
        found = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [file for file in found if file.suffix in suffixes and not file.is_dir()]


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Let errors within the block say which file they come from."""
    try:
        yield
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
        raise CniError(Code.IO_FAILURE, msg) from error
    except CniError as error:
        msg = f"cannot use {file}: {error.msg}"
        raise CniError(error.code, msg, error.details or "mend it or move it away") from error

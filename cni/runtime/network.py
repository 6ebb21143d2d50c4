"""The five verbs over a list of plugins (CNI SPEC 1.1.0, section 3), as libcni does them.

ADD goes forwards, each plugin given the result of the one before; DEL goes backwards.  What ADD
returned is cached: CHECK and DEL hand it to every plugin.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cni import invoke
from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError, Code
from cni.names import check_container_id, check_ifname, check_network
from cni.result import read_result, render
from cni.runtime.cache import Args, Cache, Entry
from cni.runtime.conflist import ConfList

Json = dict[str, Any]
WITH_CHECK = "0.4.0"  # the first version with CHECK, and with prevResult on DEL
WITH_GC = "1.1.0"  # and STATUS


@dataclass(frozen=True)
class Container:
    """What is attached: its ID, its namespace and the name of its new interface.

    `capability_args` hold data by capability ("portMappings"); a plugin is given what it
    declares.  `args` are the pairs of CNI_ARGS.
    """

    container_id: str
    netns: str
    ifname: str = "eth0"
    args: Args = ()
    capability_args: Json = field(default_factory=dict)


class Runtime:
    """Runs lists of plugins found in `path`, directories with `:` between."""

    def __init__(self, path: str, cache: Cache | None = None) -> None:
        self.path, self.cache = path, cache or Cache()

    def add(self, conflist: ConfList, container: Container) -> Json:
        """Attach `container`, remember and return the result in the list's version.

        Raises CniError: the first plugin's that fails; the others are not asked and nothing
        is remembered.  What was made until then is left for DEL.
        """
        attachment = self._attachment(conflist, container)
        result: Json | None = None
        for plugin in conflist.plugins:
            with _naming(plugin, conflist, "add"):
                said = self._call("ADD", plugin, conflist, container, prevResult=result)
                result = _result(invoke.printed_result(said), conflist.cni_version)
        if result is None:
            raise CniError(Code.INVALID_CONFIG, f"network {conflist.name!r} has no plugins")
        self.cache.save(
            Entry(
                attachment,
                container.netns,
                conflist.text,
                container.args,
                container.capability_args,
                result,
            )
        )
        return result

    def delete(self, conflist: ConfList, container: Container) -> None:
        """Detach `container`; it may be gone.  Raises CniError: the first plugin's that fails."""
        attachment = self._attachment(conflist, container)
        result = self._result_for_del(conflist, attachment)
        for plugin in reversed(conflist.plugins):
            with _naming(plugin, conflist, "delete"):
                self._call("DEL", plugin, conflist, container, prevResult=result)
        self.cache.forget(attachment)

    def check(self, conflist: ConfList, container: Container) -> None:
        """Raise CniError unless `container` is attached as its cached result says."""
        attachment = self._attachment(conflist, container)
        if not conflist.has(WITH_CHECK):
            msg = f"cannot check network {conflist.name!r} of version {conflist.cni_version}"
            raise CniError(Code.INCOMPATIBLE_VERSION, msg, f"CHECK came with {WITH_CHECK}")
        if conflist.disable_check:
            return
        entry = self.cache.load(attachment)
        if entry is None:
            msg = f"cannot check {attachment.owner}: no result of ADD is cached"
            raise CniError(Code.UNKNOWN_CONTAINER, msg, f"ADD it; looked in {self.cache.directory}")
        result = _convert(entry.result, conflist.cni_version)
        for plugin in conflist.plugins:
            with _naming(plugin, conflist, "check"):
                self._call("CHECK", plugin, conflist, container, prevResult=result)

    def gc(self, conflist: ConfList, valid: Iterable[tuple[str, str]] | None = None) -> None:
        """Delete what the cache holds of this network beside `valid`, then GC every plugin.

        `valid` are pairs of container ID and ifname.  None is what `cnitool gc` does: every
        cached attachment goes, and the plugins are told of none.  Raises CniError after all
        was tried.
        """
        if conflist.disable_gc:
            return
        pairs = None if valid is None else sorted(set(valid))
        errors = [*self._delete_stale(conflist, pairs or ())]
        if conflist.has(WITH_GC):
            errors += self._gc_plugins(conflist, pairs)
        if errors:
            raise CniError(errors[0].code, "; ".join(str(error) for error in errors))

    def status(self, conflist: ConfList) -> None:
        """Raise CniError unless every plugin can serve ADD; before 1.1.0 nobody can tell."""
        if not conflist.has(WITH_GC):
            return
        for plugin in conflist.plugins:
            with _naming(plugin, conflist, "status"):
                self._call("STATUS", plugin, conflist, Container("", "", ""))

    def _attachment(self, conflist: ConfList, container: Container) -> Attachment:
        """Return what is attached.  Raises CniError code 4 or 7 before anything is run."""
        check_container_id(container.container_id)
        check_network(conflist.name)
        check_ifname(container.ifname)
        attachment = Attachment(conflist.name, container.container_id, container.ifname)
        self.cache.path(attachment)
        return attachment

    def _delete_stale(
        self, conflist: ConfList, valid: Iterable[tuple[str, str]]
    ) -> Iterator[CniError]:
        keep = set(valid)
        for entry in list(self.cache.entries()):
            one = entry.attachment
            if one.network != conflist.name or (one.container_id, one.ifname) in keep:
                continue
            container = Container(
                one.container_id, entry.netns, one.ifname, entry.args, entry.capability_args
            )
            try:
                self.delete(conflist, container)
            except CniError as error:
                msg = f"cannot delete the stale attachment {one.owner}: {error.msg}"
                yield CniError(error.code, msg, error.details)

    def _gc_plugins(
        self, conflist: ConfList, valid: list[tuple[str, str]] | None
    ) -> Iterator[CniError]:
        keys: Json = {}
        if valid is not None:
            attachments = [{"containerID": one, "ifname": ifname} for one, ifname in valid]
            # the second is what the SPEC called it by mistake; some plugins read that
            keys = {"cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments}
        for plugin in conflist.plugins:
            try:
                with _naming(plugin, conflist, "gc"):
                    self._call("GC", plugin, conflist, Container("", "", ""), **keys)
            except CniError as error:
                yield error

    def _result_for_del(self, conflist: ConfList, attachment: Attachment) -> Json | None:
        """Return the cached result; None when there is none, or none that can be read."""
        try:
            entry = self.cache.load(attachment) if conflist.has(WITH_CHECK) else None
            return _convert(entry.result, conflist.cni_version) if entry else None
        except CniError:
            return None

    def _call(
        self, verb: str, plugin: Json, conflist: ConfList, container: Container, **keys: Any
    ) -> Json | None:
        """Run one plugin; `keys` are added to its configuration unless they are None."""
        section = Section(plugin)
        program = invoke.find(section.string("type"), self.path)
        stdin = plugin | {"cniVersion": conflist.cni_version, "name": conflist.name}
        stdin |= {key: value for key, value in keys.items() if value is not None}
        runtime_config = _runtime_config(section.section("capabilities"), container)
        if runtime_config:
            stdin["runtimeConfig"] = runtime_config
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container.container_id,
            "CNI_NETNS": container.netns,
            "CNI_IFNAME": container.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in container.args),
            "CNI_PATH": self.path,
        }
        return invoke.execute(program, env, json.dumps(stdin).encode())


def _runtime_config(capabilities: Section, container: Container) -> Json:
    """Return the data for what is declared: a capability that is false or unfed is left out."""
    return {
        name: container.capability_args[name]
        for name in capabilities.values
        if capabilities.boolean(name) and name in container.capability_args
    }


def _result(said: Json, version: str) -> Json:
    """Return what ADD printed, in the list's `version`.  Raises CniError when it is no result."""
    read_result(said, version)
    return _convert(said, version)


def _convert(values: Json, version: str) -> Json:
    """Return a result in `version`: as it is, with keys that we do not know, where it can be."""
    if (Section(values).string("cniVersion") or version) == version:
        return values | {"cniVersion": version}
    return render(read_result(values, version), version)


@contextmanager
def _naming(plugin: Json, conflist: ConfList, verb: str) -> Iterator[None]:
    """Let errors within the block say which plugin they come from, in libcni's words."""
    try:
        yield
    except CniError as error:
        kind = Section(plugin).string("type")
        msg = f'plugin type="{kind}" name="{conflist.name}" failed ({verb}): {error.msg}'
        raise CniError(error.code, msg, error.details) from error

"""Nodes from the Kubernetes API: listed once, then watched; what was missed is listed again."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

from cni.agent.nodes import Changed, SourceHealth, objects
from cni.agent.nodes.access import Access
from cni.agent.nodes.api import Api, ApiError, Patience
from cni.agent.nodes.cache import Cache
from cni.cluster import Node
from cni.config import Section
from cni.errors import CniError

log = logging.getLogger(__name__)
THREAD = "nodes-api"


@dataclass(frozen=True)
class Pace:
    """Seconds.  How soon after a failure to try again, and how often to tell what changed.

    The pause after a failure doubles from `first` to `longest`, each up to twice as long so that
    the nodes of a cluster do not come all at once; `healthy` without a failure, and it starts
    from `first`.  A watch that ends within `brief` is a failure too.  Changes are told at once,
    but with `gap` between two; the nodes on disk, when the API has not answered after `grace`.
    `look` is how long it may take to see that it is time to stop.
    """

    first: float = 0.8
    longest: float = 30.0
    healthy: float = 120.0
    brief: float = 1.0
    gap: float = 0.1
    grace: float = 2.0
    look: float = 0.5
    patience: Patience = field(default_factory=Patience)


class KubernetesNodes:
    """The nodes of the API that `access` leads to; what it returns is asked for each connection."""

    def __init__(
        self, access: Callable[[], Access], cache: Cache | None = None, pace: Pace | None = None
    ) -> None:
        self._access, self._cache, self._pace = access, cache or Cache(), pace or Pace()
        self._health = SourceHealth()
        self._entries: dict[str, objects.Entry] = {}
        self._version = ""  # that we have seen everything up to; empty: list
        self._news = threading.Event()
        self._api: Api | None = None
        self._refused: dict[str, str] = {}  # nodes that are none, and why
        self._told: set[str] = set()  # since the API answered last
        self._pause, self._failed = self._pace.first, 0.0

    def health(self) -> SourceHealth:
        """Tell how it goes; the API says something each minute or so, and every ten at least."""
        return self._health

    def run(self, changed: Changed, stop: threading.Event) -> None:
        """Call `changed` with all nodes by name after each change, until `stop`."""
        reader = threading.Thread(target=self._follow, args=(stop,), name=THREAD, daemon=True)
        reader.start()
        known = self._cache.load()
        if known and not self._news.wait(self._pace.grace) and not stop.is_set():
            log.warning(
                "the Kubernetes API does not answer: serving %d nodes as last seen", len(known)
            )
            changed(known)
        while not stop.is_set():
            if self._news.wait(self._pace.look):
                self._news.clear()
                known = self._nodes()
                changed(known)
                stop.wait(self._pace.gap)
            self._cache.save(known)
        self._cache.save(known, now=True)
        self._end(reader)

    def _end(self, reader: threading.Thread) -> None:
        if self._api:
            self._api.interrupt()
        reader.join(2)  # it may be connecting: then it ends with the process

    def _nodes(self) -> Mapping[str, Node]:
        entries = list(self._entries.values())  # at once: the other thread goes on
        entries.sort(key=lambda entry: entry.rank)
        return {entry.node.name: entry.node for entry in entries}

    def _follow(self, stop: threading.Event) -> None:
        """Keep up with the API, until `stop`."""
        while not stop.is_set():
            try:
                self._connect(stop)
            except (ApiError, CniError) as error:
                if not stop.is_set():
                    self._fail(str(error))
                if isinstance(error, ApiError) and error.relist:
                    self._version = ""
            except Exception:
                log.exception("cannot follow the Kubernetes API")
                self._version = ""
            else:
                continue
            stop.wait(self._next_pause())

    def _connect(self, stop: threading.Event) -> None:
        """List, unless we need not; then watch until the API ends it."""
        with closing(Api(self._access(), self._pace.patience, stop)) as api:
            self._api = api
            try:
                if not self._version:
                    self._list(api)
                self._watch(api)
            except CniError as error:
                text = f"cannot follow nodes of {api.server}: it answers garbage: {error}"
                raise ApiError(text, relist=True) from error

    def _list(self, api: Api) -> None:
        """Take all nodes; those that are not there any more are gone."""
        entries: dict[str, objects.Entry] = {}
        version = ""
        for page in api.pages():
            self._health = replace(self._health, last_contact=time.monotonic())
            version = objects.version(page)
            for item in page.sections("items"):
                self._read(item, entries)
        log.info("%d nodes in the Kubernetes API", len(entries))
        if entries != self._entries or not self._health.synced:
            self._entries = entries
            self._news.set()
        self._health = replace(self._health, synced=True)
        self._version = version

    def _watch(self, api: Api) -> None:
        began, silent = time.monotonic(), True
        for event in api.watch(self._version):
            self._health = SourceHealth(synced=True, last_contact=time.monotonic())
            if event:
                silent = False
                self._take(event)
                self._recovered()
        lasted = time.monotonic() - began
        if lasted < self._pace.brief:
            raise ApiError(f"cannot watch nodes of {api.server}: it ends each watch at once")
        self._recovered()
        if silent and lasted >= self._pace.patience.watch:
            # no bookmark either: of a version that is ahead of its own, when etcd has been
            # restored from a backup, the API says nothing until it has come as far
            self._version = ""

    def _take(self, event: Section) -> None:
        kind, item = event.string("type"), event.section("object")
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            name = objects.name(item)
            before = self._entries.get(name)
            if kind == "DELETED":
                self._entries.pop(name, None)
            else:
                self._read(item, self._entries)
            if self._entries.get(name) != before:
                self._news.set()
        elif kind != "BOOKMARK":
            raise event.refuse("type", "that of an event")
        self._version = objects.version(item)

    def _read(self, item: Section, entries: dict[str, objects.Entry]) -> None:
        """Put the node into `entries`; when it cannot be read, as it was before."""
        name = objects.name(item)
        try:
            entries[name] = objects.entry(Section(item.values))
            self._refused.pop(name, None)
        except CniError as error:
            if self._refused.get(name) != str(error):
                log.error("cannot read node %s: %s", name, error)  # noqa: TRY400  # is enough
            self._refused[name] = str(error)
            if name in self._entries:
                entries[name] = self._entries[name]

    def _recovered(self) -> None:
        if self._told:
            log.info("the Kubernetes API answers again")
            self._told.clear()

    def _fail(self, text: str) -> None:
        if text not in self._told:
            log.error("%s; the nodes that are known remain", text)
        self._told.add(text)
        self._health = replace(self._health, last_error=text)

    def _next_pause(self) -> float:
        now, pace = time.monotonic(), self._pace
        if now - self._failed > pace.healthy:
            self._pause = pace.first
        pause, self._failed = self._pause, now
        self._pause = min(2 * pause, pace.longest)
        return pause * (1 + random.random())  # noqa: S311  # to spread the load

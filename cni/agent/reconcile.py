"""The loop of the agent: any change -> what ought to be -> what is -> the difference is mended.

Level-triggered: a lost event only means that a pass comes later.  Passes run in one thread, so
they never overlap.
"""

import logging
import os
import select
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cni.agent.duty import Duty
from cni.agent.news import News
from cni.cluster import Cluster, Node, cluster
from cni.errors import CniError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Seconds: from one full pass to the next, at most; from news to a pass; after a failure.

    With `tick` and the pass itself, what is broken is whole again within ten.  The pause after a
    failure doubles up to `tick`.  News start no pass before `rest` times as long as the last one
    took has gone by: a flood of them can take a tenth of a processor.
    """

    tick: float = 9.0
    debounce: float = 0.1
    retry: float = 0.5
    rest: float = 9.0


@dataclass
class _Plan:
    """When a duty has its next full pass, how long it pauses after a failure, what is asked."""

    due: float = 0.0
    retry: float = 0.0
    quick: bool = False


class Loop:
    """Runs `duties` for the node `own_name`; calls `told` after each round.

    `waiting` says why there is nothing to do yet; `beat` is when the loop last turned, in
    monotonic seconds.
    """

    def __init__(
        self,
        own_name: str,
        duties: Iterable[Duty],
        news: News | None,
        told: Callable[[], object],
        pace: Pace | None = None,
    ) -> None:
        self.duties = tuple(duties)
        self.cluster: Cluster | None = None
        self.waiting = "no nodes are known yet"
        self.beat = time.monotonic()
        self._own_name, self._news, self._told = own_name, news, told
        self._pace = pace or Pace()
        self._plans = {duty.name: _Plan(retry=self._pace.retry) for duty in self.duties}
        self._nodes: Mapping[str, Node] = {}
        self._seen: Mapping[str, Node] = self._nodes
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._news_due: float | None = None
        self._rested = 0.0
        self._stopping = False

    def changed(self, nodes: Mapping[str, Node]) -> None:
        """Take the nodes of the cluster, from any thread."""
        self._nodes = nodes
        os.eventfd_write(self._wake, 1)

    def stop(self, *_: object) -> None:
        """End the loop; fit to be a signal's handler."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Run until `stop`."""
        while not self._stopping:
            self.beat = time.monotonic()
            self._look_at_nodes()
            if self.cluster:
                self._pass(self.cluster)
            self._told()
            self._wait()

    def _look_at_nodes(self) -> None:
        nodes = self._nodes
        if nodes is self._seen:
            return
        self._seen = nodes
        try:
            found = cluster(nodes.values(), self._own_name)
        except CniError as error:
            if self.waiting != str(error):
                log.warning("%s", error)
            self.waiting = str(error)
            return
        self.waiting = ""
        if found != self.cluster:
            if self.cluster is None or len(found.peers) != len(self.cluster.peers):
                log.info("%d peers", len(found.peers))
            self.cluster = found
            for plan in self._plans.values():
                plan.quick = True

    def _pass(self, known: Cluster) -> None:
        """Do the passes that are due."""
        now = time.monotonic()
        heard = self._news_due is not None and self._news_due <= now
        if heard and self._news:
            self._news_due = None
            self._news.read()  # this pass sees what they tell of
        for duty in self.duties:
            plan = self._plans[duty.name]
            full = plan.due <= now or (heard and duty.hears)
            if full or plan.quick:
                self._run(duty, plan, known, full=full)

    def _run(self, duty: Duty, plan: _Plan, known: Cluster, *, full: bool) -> None:
        took = duty.run(known, full=full)
        end = time.monotonic()
        plan.quick = False
        if not duty.good:
            plan.due, plan.retry = end + plan.retry, min(2 * plan.retry, self._pace.tick)
            return
        plan.retry = self._pace.retry
        if full:
            plan.due, self._rested = end - took + self._pace.tick, end + took * self._pace.rest
        elif duty.hears and self._news and self._news_due is None:
            self._news.read()  # our own changes; what else there was has its turn at the tick

    def _wait(self) -> None:
        """Sleep until something is due, or heard of."""
        now = time.monotonic()
        dues = [now + self._pace.tick]
        if self.cluster:
            dues += [plan.due for plan in self._plans.values()]
        if self._news_due is not None:
            dues.append(self._news_due)
        waiting = select.poll()
        waiting.register(self._wake, select.POLLIN)
        if self._news and self._news_due is None:
            waiting.register(self._news, select.POLLIN)
        ready = {file for file, _ in waiting.poll(max(0.0, min(dues) - now) * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._news and self._news.fileno() in ready and self._news.read():
            self._news_due = max(time.monotonic() + self._pace.debounce, self._rested)

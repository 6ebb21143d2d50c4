"""The process of all roles that depend on the nodes of the cluster."""

import logging
import signal
import threading
import time
from collections.abc import Iterator

from cni.agent import metrics
from cni.agent.duty import Duty
from cni.agent.nodes import Source
from cni.agent.readiness import Readiness
from cni.agent.reconcile import Loop
from cni.agent.settings import MASQ, ROUTES, VXLAN, Settings
from cni.agent.supervisor import SIGNALS
from cni.agent.web import Answer, Service

log = logging.getLogger(__name__)
STUCK = 60.0  # seconds without a turn of the loop: it hangs


class Node:
    """The roles of `settings` at work.  What they make in the kernel stays when they end."""

    def __init__(self, settings: Settings) -> None:
        duties = tuple(_duties(settings))
        news = None
        if any(duty.hears for duty in duties):
            from cni.agent.news import News
            from cni.overlay.settings import PROTOCOL

            news = News([settings.overlay.name(version) for version in (4, 6)], PROTOCOL)
        self._source = _source(settings)
        self._loop = Loop(settings.node_name, duties, news, self._turned)
        self._readiness = Readiness(settings, self._loop)
        pages = {"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics}
        self._service = Service(settings.listen, pages)

    def run(self) -> None:
        """Run until SIGTERM; signals are blocked before."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._loop.stop)
        stop = threading.Event()
        arguments = (self._loop.changed, stop)
        source = threading.Thread(target=self._source.run, args=arguments, daemon=True)
        source.start()
        self._service.ensure()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._loop.run()
        stop.set()
        source.join(1)

    def _turned(self) -> None:
        """Say how it is, after each turn of the loop."""
        self._readiness.update()
        self._service.ensure()

    def _health(self) -> Answer:
        silent = time.monotonic() - self._loop.beat
        return (200, "ok\n") if silent < STUCK else (503, f"no turn for {silent:.0f} s\n")

    def _ready(self) -> Answer:
        one = self._readiness
        return (200, "ok\n") if one.ready else (503, "".join(f"{why}\n" for why in one.reasons))

    def _metrics(self) -> Answer:
        return 200, metrics.text(self._loop, self._readiness, self._source)


def _duties(settings: Settings) -> Iterator[Duty]:
    """Yield the roles in the order of their passes, each with what it needs loaded."""
    for name in (ROUTES, VXLAN):
        if name in settings.roles:
            from cni.overlay.apply import Overlay

            yield Duty(name, Overlay(settings.overlay), hears=True)
    if MASQ in settings.roles:
        from cni.agent.masq import Masquerade

        yield Duty(MASQ, Masquerade(settings))


def _source(settings: Settings) -> Source:
    if settings.nodes_file:
        from cni.agent.nodes.file import FileNodes

        return FileNodes(settings.nodes_file)
    from cni.agent.nodes.access import reach
    from cni.agent.nodes.kubernetes import KubernetesNodes

    return KubernetesNodes(reach(settings.kubeconfig, settings.api_server))

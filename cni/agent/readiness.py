"""Whether this node can serve pods: said in the state file, and by the conflist itself.

The conflist comes last, when every role has had a good pass.  It stays whatever happens then,
since what the roles have made stays too.
"""

import logging
from collections.abc import Iterator
from typing import Any

from cni.agent import conflist, state, written
from cni.agent.duty import Duty
from cni.agent.reconcile import Loop
from cni.agent.settings import VPC, Settings
from cni.cluster import Cluster
from cni.errors import CniError
from cni.runtime.conflist import from_text

log = logging.getLogger(__name__)


class Readiness:
    """The answer as `update` found it last; `reasons` tell why not."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self.ready = False
        self.reasons: tuple[str, ...] = ("it is starting",)
        self._settings, self._loop = settings, loop
        self._network = ""
        self._said: Any = None
        self._told = ""

    def update(self) -> None:
        """Look at all roles; write the conflist when they are good, then say how it is."""
        reasons = tuple(self._lacks())
        cluster = self._loop.cluster
        by_us = self._settings.template and VPC not in self._settings.roles  # which has a writer
        if not reasons and cluster and by_us:
            reasons = tuple(self._write_conflist(cluster))
        if (not reasons, reasons) != (self.ready, self.reasons):
            log.info("%s", f"not ready: {'; '.join(reasons)}" if reasons else "ready")
        self.ready, self.reasons = not reasons, reasons
        self._say()

    def _lacks(self) -> Iterator[str]:
        if self._loop.waiting:
            yield self._loop.waiting
        for duty in self._loop.duties if self._loop.cluster else ():
            if not duty.good:
                yield f"{duty.name}: {duty.error or 'its first pass is under way'}"

    def _write_conflist(self, cluster: Cluster) -> Iterator[str]:
        """Render the template and put it in place; yield why that cannot be."""
        settings = self._settings
        mtu = max(getattr(duty.report, "mtu", 0) for duty in self._loop.duties)
        values = conflist.fields(cluster.own, settings.cluster_cidrs, settings.service_cidr, mtu)
        try:
            with open(settings.template, encoding="utf-8") as file:
                text = conflist.render(file.read(), values)
            if written.put(settings.conflist, text):
                log.info("wrote %s", settings.conflist)
            self._network = from_text(text.encode()).name
        except CniError as error:
            yield f"cannot use template {settings.template}: {error}"
        except (OSError, ValueError) as error:
            yield f"cannot make {settings.conflist} of {settings.template}: {error}"

    def _say(self) -> None:
        """Write the state file, if there is anything new in it."""
        said = {
            "ready": self.ready,
            "reasons": list(self.reasons),
            "network": self._network,
            "settings": {**self._settings.values, "nodeName": self._settings.node_name},
            "roles": {duty.name: _describe(duty) for duty in self._loop.duties},
        }
        if said == self._said:
            return
        try:
            state.write(said)
            self._said = said
        except OSError as error:
            if self._told != str(error):
                log.error("cannot write %s: %s", state.PATH, error.strerror)  # noqa: TRY400
            self._told = str(error)


def _describe(duty: Duty) -> dict[str, Any]:
    repair = duty.last_repair
    return {
        "error": duty.error,
        "wanted": duty.report.wanted if duty.report else 0,
        "alarms": list(duty.report.alarms) if duty.report else [],
        "repairs": dict(duty.repairs),
        "lastRepair": {"at": repair.at, "kinds": dict(repair.kinds)} if repair else None,
    }

"""The process of the role vpc: the keeper in its main thread, programs and probes in others."""

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cni import document
from cni.agent import conflist, written
from cni.agent.settings import AZURE, Settings
from cni.agent.supervisor import ENDS, SIGNALS
from cni.agent.vpc import PATH, figures
from cni.agent.vpc.kernel import Kernel
from cni.agent.web import Answer, Service
from cni.cluster import Node
from cni.errors import CniError, invalid_config
from cni.vpc import policy
from ipam.aws_vpc import settings as pool_settings
from ipam.aws_vpc.agent.answers import Answers
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.keeper import Keeper, Pace
from ipam.aws_vpc.agent.ledger import Ledger
from ipam.aws_vpc.agent.listener import Listener
from ipam.aws_vpc.agent.patience import Patience
from ipam.aws_vpc.cloud import Cloud, variables

log = logging.getLogger(__name__)
SDK = "aws"  # the folder of the build's libraries that has it (pycni.spec)
STUCK = 120.0  # seconds without a turn: every call of the cloud ends in 15
AGE = re.compile(r"\d+ s (ago|more)")  # what no two turns say alike


class Role:
    """The pool of this node at work, as `settings` and the environment say."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        given = {**environ, **settings.vpc.variables}
        named = variables.read(given)
        ledger = Ledger(pool_settings.read(given))
        cloud = _cloud(settings.vpc.cloud, named)
        how = _policy(settings.vpc.cloud, given)
        self._kernel = Kernel(how)
        self._desk = Desk(cloud, ledger, self._kernel, Patience(), time.monotonic)
        self._answers = Answers(self._desk, how.mtu_of_pods)
        pace = Pace() if named.sweeps else Pace(sweep=float("inf"))
        self._keeper = Keeper(self._desk, settings.vpc.max_pods, pace)
        self._settings, self._mtu = settings, how.mtu_of_pods
        pages = {"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics}
        self._service = Service(settings.vpc.listen, pages)
        self._stop = threading.Event()
        self.reasons: tuple[str, ...] = ("it is starting",)
        self._said: Any = None

    def run(self) -> None:
        """Run until SIGTERM; signals are blocked before."""
        listener = Listener(self._answers)
        listener.start()
        self._service.ensure()
        # a thread may take the locks that a handler of the main thread's signals may not
        threading.Thread(target=self._end, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS - ENDS)
        try:
            self._keeper.run(self._stop, self._turned)
        finally:
            listener.stop()

    def _end(self) -> None:
        signal.sigwait(ENDS)
        self._stop.set()
        self._desk.ledger.wake()

    def _turned(self) -> None:
        """Say how it is, after each turn of the keeper."""
        try:
            self._answers.take_released()
        except OSError as error:
            log.error("cannot take what was released: %s", error)  # noqa: TRY400
        self._kernel.mend()
        before, self.reasons = self.reasons, tuple(self._lacks())
        if _ageless(self.reasons) != _ageless(before):
            text = f"not ready: {'; '.join(self.reasons)}" if self.reasons else "ready"
            log.info("%s", text)
        self._say()
        self._service.ensure()

    def _lacks(self) -> Iterator[str]:
        """Yield why this node cannot serve pods; that all addresses are pods' is no reason."""
        lack = self._answers.lack()
        if lack and not self._desk.ledger.book.state.assignments:
            yield lack
        elif not lack and self._settings.template:
            yield from self._write_conflist()

    def _write_conflist(self) -> Iterator[str]:
        """Render the template and put it in place; yield why that cannot be."""
        settings = self._settings
        addresses = [one.address for one in self._desk.ledger.book.state.enis if one.primary]
        own = Node(settings.node_name, tuple(addresses), ())
        values = conflist.fields(own, settings.cluster_cidrs, settings.service_cidr, self._mtu)
        try:
            with open(settings.template, encoding="utf-8") as file:
                text = conflist.render(file.read(), values)
            if written.put(settings.conflist, text):
                log.info("wrote %s", settings.conflist)
        except CniError as error:
            yield f"cannot use template {settings.template}: {error}"
        except (OSError, ValueError) as error:
            yield f"cannot make {settings.conflist} of {settings.template}: {error}"

    def _say(self) -> None:
        """Write the state file, if there is anything new in it."""
        said = figures.describe(self._keeper, self._answers, self.reasons)
        if said == self._said:
            return
        try:
            document.write(PATH, said)
            self._said = said
        except OSError as error:
            log.error("cannot write %s: %s", PATH, error.strerror)  # noqa: TRY400

    def _health(self) -> Answer:
        silent = time.monotonic() - self._keeper.beat
        return (200, "ok\n") if silent < STUCK else (503, f"no turn for {silent:.0f} s\n")

    def _ready(self) -> Answer:
        reasons = self.reasons
        return (503, "".join(f"{why}\n" for why in reasons)) if reasons else (200, "ok\n")

    def _metrics(self) -> Answer:
        repairs = dict(self._kernel.repairs)  # another thread counts on
        return 200, figures.text(self._keeper, self._answers, repairs, ready=not self.reasons)


def _ageless(reasons: Iterable[str]) -> list[str]:
    """Return the reasons without how long ago something was, or will be."""
    return [AGE.sub("", one) for one in reasons]


def _cloud(name: str, named: variables.Variables) -> Cloud:
    """Return the cloud; the SDK of AWS is loaded only for it."""
    if name == AZURE:
        from ipam.aws_vpc.cloud import azure

        return azure.Azure(azure.metadata_of())
    if getattr(sys, "frozen", False):
        sys.path.insert(0, f"{sys.path[-1]}/{SDK}")
    try:
        from ipam.aws_vpc.cloud import ec2
    except ImportError as error:
        msg = f"cannot load the AWS SDK: {error}"
        raise invalid_config(msg, f"install the folder {SDK} of this build too") from error

    return ec2.Ec2(ec2.metadata_of(), named.tagging)


def _policy(cloud: str, environ: Mapping[str, str]) -> policy.Policy:
    """Return how pods leave the VPC; Azure's network card has the MTU that Azure gives it."""
    found = policy.read(environ)
    if cloud == AZURE and not environ.get("AWS_VPC_ENI_MTU"):
        found = replace(found, mtu=0)
    return found

"""The command line of `pycnid`, and the settings that it leads to."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from cni import __version__
from cni.agent import settings
from cni.agent.settings import LISTEN, ROLES, WARM, Settings
from cni.errors import CniError
from cni.handover import SOCKET

Command = Callable[..., Settings]
KEYS = {  # of the settings, by the name of the option
    "roles": "roles",
    "node_name": "nodeName",
    "nodes_file": "nodes.file",
    "kubeconfig": "nodes.kubeconfig",
    "api_server": "nodes.apiServer",
    "cluster_cidrs": "clusterCIDRs",
    "template": "conflist.template",
    "conflist": "conflist.file",
    "listen": "listen",
    "socket": "warm.socket",
    "workers": "warm.workers",
    "limit": "warm.limit",
}


def _option(flag: str, text: str, default: object = "", **how: Any) -> Callable[[Command], Command]:
    """Return an option that wins over the settings file when it is given."""
    return click.option(*flag.split(), help=text, show_default=str(default) or False, **how)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pycnid")
@_option("--config", "Settings file; options win over it.", settings.PATH)
@_option(
    "--role roles", "What to do; more than once.", WARM, multiple=True, type=click.Choice(ROLES)
)
@_option("--node-name", "What the cluster calls this node.", "NODE_NAME, else the host's name")
@_option("--nodes-file", "Where the nodes are; without one the Kubernetes API tells.")
@_option("--kubeconfig", "How to reach the Kubernetes API; without one, as a pod does.")
@_option("--api-server", "URL of the Kubernetes API, in place of the one found.")
@_option("--cluster-cidr cluster_cidrs", "Networks of all pods; more than once.", multiple=True)
@_option("--template", "Conflist with {{fields}}; without one none is written.")
@_option("--conflist", "Where the conflist is written.", settings.CONFLIST)
@_option("--listen", "Address and port of /readyz and /metrics; empty: none.", LISTEN)
@_option("--socket", "Where programs find the agent.", SOCKET)
@_option(
    "--workers",
    "Invocations served at once; others wait.",
    settings.WORKERS,
    type=click.IntRange(1, 1000),
)
@_option(
    "--limit",
    "Seconds after which an invocation is stopped.",
    f"{settings.LIMIT:g}",
    type=click.FloatRange(min=0, min_open=True),
)
def pycnid(config: str | None, **options: Any) -> Settings:
    """Keep the CNI programs of this directory loaded, so that they start at once.

    With more roles: routes to the other nodes' pods (routes, vxlan), masquerading (masq), and the
    conflist of this node.  Runs in the foreground; SIGTERM lets invocations that run come to their
    end.
    """
    if config is None:
        config = settings.PATH if os.path.exists(settings.PATH) else ""
    given = {
        KEYS[name]: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value not in (None, ())
    }
    return settings.load(config, given)


def read() -> tuple[int, Settings | None]:
    """Return the settings, or none and the exit status: what is to be said has been said."""
    try:
        found = pycnid.main(prog_name="pycnid", standalone_mode=False)
    except click.ClickException as error:
        said = error.format_message().rstrip(".")
        sys.stderr.write(f"pycnid: {said}; see pycnid --help\n")
        return error.exit_code, None
    except click.Abort:
        return 130, None
    except CniError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # the text says it all
        return 1, None
    return (0, found) if isinstance(found, Settings) else (0, None)

"""The commands of cnictl.  The first five are cnitool's, to the letter."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cni import __version__
from cni.agent.settings import PATH
from cni.cnictl import settings
from cni.errors import CniError, Code
from cni.result import dump
from cni.rollback import try_all

Command = Callable[..., Any]
# \b: click leaves the lines of that paragraph as they are
ABOUT = """Attach containers to networks, and look at what a node has.

\b
Environment:
  CNI_PATH     where programs are (default: beside cnictl, then /opt/cni/bin)
  NETCONFPATH  where networks are (default: /etc/cni/net.d)
  CAP_ARGS     data for capabilities, as JSON: {"portMappings": [...]}
  CNI_ARGS     K=V;K=V
  CNI_IFNAME   name of the interface in the container (default: eth0)
"""


@click.group(
    help=ABOUT,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="cnictl %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Show what there is when no command is named."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(1)


def _attachment(command: Command) -> Command:
    """Give `command` cnitool's arguments."""
    for decorate in (
        click.option("-i", "--ifname", default="", help="Interface name (CNI_IFNAME, or eth0)."),
        click.argument("netns"),
        click.argument("network"),
    ):
        command = decorate(command)
    return command


def _config(command: Command) -> Command:
    """Give `command` the agent's settings file, for what the agent has not said itself."""
    decorate = click.option(
        "--config",
        default=PATH,
        show_default=True,
        help="Settings file of an agent that never ran.",
    )
    return decorate(command)


@cli.command()
@_attachment
def add(network: str, netns: str, ifname: str) -> None:
    """Attach the namespace at path NETNS to NETWORK; print the result."""
    one = settings.read(network, netns, ifname, os.environ)
    result = one.runtime.add(one.conflist, one.container)
    sys.stdout.buffer.write(dump(result).encode(errors="replace"))
    sys.stdout.buffer.flush()


@cli.command()
@_attachment
def check(network: str, netns: str, ifname: str) -> None:
    """Fail unless the attachment is as ADD made it.

    Lists older than 0.4.0 cannot say.
    """
    one = settings.read(network, netns, ifname, os.environ)
    one.runtime.check(one.conflist, one.container)


@cli.command(name="del")
@_attachment
def delete(network: str, netns: str, ifname: str) -> None:
    """Detach the namespace; it may be gone."""
    one = settings.read(network, netns, ifname, os.environ)
    one.runtime.delete(one.conflist, one.container)


@cli.command()
@_attachment
def gc(network: str, netns: str, ifname: str) -> None:
    """Detach all of NETWORK that is cached.

    NETNS must be there, as for cnitool, and does not matter.
    """
    one = settings.read(network, netns, ifname, os.environ)
    one.runtime.gc(one.conflist)


@cli.command()
@_attachment
def status(network: str, netns: str, ifname: str) -> None:
    """Fail unless NETWORK can take containers.

    Lists older than 1.1.0 cannot say.  NETNS must be there, as for cnitool, and does not matter.
    """
    one = settings.read(network, netns, ifname, os.environ)
    one.runtime.status(one.conflist)


@cli.command()
@click.option("--bin-dir", default=settings.INSTALLED, show_default=True, help="Where to.")
def install(bin_dir: str) -> None:
    """Put the programs into a directory.

    Programs that run, and others of the same names, are replaced in one step each.
    """
    from cni.install import install as put

    if not settings.is_frozen():
        msg = "cannot install from the source tree"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, "freeze it: ./build.sh install DIR")
    for path in put(settings.own_directory(), Path(bin_dir)):
        click.echo(path)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ls(*, as_json: bool) -> None:
    """List attachments, and the leases of host-local."""
    from cni.cnictl import node

    found = node.look(settings.net_d(os.environ))
    if as_json:
        click.echo(dump(found.json()))
        return
    from cni.cnictl.screen import Screen

    node.show(Screen(), found)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_config
def peers(config: str, *, as_json: bool) -> int:
    """List the other nodes: what is wanted for each, and what the kernel lacks.

    Status 1 when something is not as it should be.
    """
    from cni.cnictl import agent, peers

    found = peers.look(agent.look(config))
    if as_json:
        click.echo(dump(found.json()))
    else:
        from cni.cnictl.screen import Screen

        peers.show(Screen(), found)
    return int(not found.whole)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def pool(*, as_json: bool) -> int:
    """Show the node's pool of VPC addresses: each ENI, and why there are as many.

    Status 1 when the next pod would get no address.
    """
    from cni.cnictl import pool

    found = pool.look()
    if as_json:
        click.echo(dump(found.json()))
    else:
        from cni.cnictl.screen import Screen

        pool.show(Screen(), found)
    return int(bool(found.lack))


@cli.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--leases", is_flag=True, help="The leases of host-local too.")
@click.option("--programs", is_flag=True, help="The programs too; what they replaced comes back.")
@click.option("--bin-dir", default=settings.INSTALLED, show_default=True, help="Where they are.")
@_config
def cleanup(config: str, bin_dir: str, *, yes: bool, leases: bool, programs: bool) -> None:
    """Remove all of ours from this node: pods lose their network.

    Bridges that others have made, or have a port on, stay.
    """
    from cni.cnictl import agent
    from cni.cnictl import cleanup as cleaning

    told = agent.look(config).settings
    with cleaning.alone(told):
        place = Path(bin_dir) if programs else None
        items = list(cleaning.find(told, settings.net_d(os.environ), place, leases=leases))
        for item in items:
            click.echo(item.text)
        if not items:
            click.echo("nothing of ours is here")
        elif yes or click.confirm("Remove all of this?", abort=True):
            try_all(item.remove for item in items)


@cli.command()
@click.argument("variables", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--nodes", type=click.IntRange(1), required=True, help="How many.")
@click.option("--surge", type=click.IntRange(0), default=1, show_default=True, help="More of them.")
@click.option("--instance-type", default="", help="Of EC2; without one the nodes are Azure's.")
@click.option("--max-pods", type=click.IntRange(1), help="The kubelet's maxPods.")
@click.option("--subnet", help="Look whether it is large enough: 10.0.0.0/22, or /22.")
@click.option("--limits", default="", help="A file with EC2's answer to DescribeInstanceTypes.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(*, subnet: str | None, as_json: bool, **asked: Any) -> None:
    """Tell how many addresses nodes take, and how large their subnet must be.

    The sums are shown line by line.  NAME=VALUE are settings of the pool, such as
    WARM_IP_TARGET=5 or ENABLE_PREFIX_DELEGATION=true.  While an upgrade replaces nodes, there are
    more of them, by --surge.
    """
    from cni.cnictl import plan as planning

    if not asked["instance_type"] and asked["max_pods"] is None:
        raise click.UsageError("Missing option '--instance-type' (AWS) or '--max-pods' (Azure).")
    length = None if subnet is None else planning.subnet_length(subnet)
    found = planning.answer(planning.Question(subnet=length, **asked))
    if as_json:
        click.echo(dump(found.json()))
        return
    from cni.cnictl.screen import Screen

    planning.show(Screen(), found)


@cli.command()
def demo() -> Any:
    """See pods get their network.

    On a node of its own, made of namespaces that end with this command.
    """
    from cni.cnictl.demo import run
    from cni.cnictl.screen import Screen

    return run(Screen(), settings.cni_path(os.environ))

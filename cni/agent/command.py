"""The command `pycnid`: reads the command line, supervises the roles."""

import logging
import signal
import sys
from collections.abc import Callable
from functools import partial

import click

from cni import __version__
from cni.agent import warm
from cni.agent.listener import Listener, build_id
from cni.agent.supervisor import SIGNALS, Child, Supervisor, notify
from cni.agent.warm import Limits, Zygote
from cni.handover import SOCKET

LIMITS = Limits()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pycnid")
@click.option("--socket", default=SOCKET, show_default=True, help="Where programs find the agent.")
@click.option(
    "--workers",
    default=LIMITS.workers,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Invocations served at once; others wait.",
)
@click.option(
    "--limit",
    default=LIMITS.seconds,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which an invocation is stopped.",
)
@click.pass_context
def pycnid(context: click.Context, socket: str, workers: int, limit: float) -> None:
    """Keep the CNI programs of this directory loaded, so that they start at once.

    Runs in the foreground; SIGTERM lets invocations that run come to their end.
    """
    listener = Listener(socket)
    child = Child("the warm role", partial(_warm, listener, Limits(workers, limit), context.obj))
    context.exit(Supervisor([child], [listener]).run())


def _warm(listener: Listener, limits: Limits, program: Callable[[], int]) -> None:
    """Be the zygote."""
    warm.load()
    zygote = Zygote(listener.socket, build_id(), limits, program)
    zygote.take_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    notify("READY=1")
    zygote.run()


def main(program: Callable[[], int]) -> int:
    """Run the agent; return its exit status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="pycnid: %(levelname)s: %(message)s"
    )
    try:
        status = pycnid(obj=program, standalone_mode=False)
    except click.ClickException as error:
        said = error.format_message().rstrip(".")
        sys.stderr.write(f"pycnid: {said}; see pycnid --help\n")
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # the text says it all
        return 1
    return status if isinstance(status, int) else 0

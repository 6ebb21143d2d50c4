"""The operator's tool: all that cnitool does, the node at a glance, a demonstration.

click and rich are imported only in this folder.
"""

import logging
import os
import sys

import click

from cni.errors import CniError

log = logging.getLogger(__name__)
STOPPED = 130  # what a shell reports of a program that Ctrl-C ended


def main() -> int:
    """Be `cnictl`: return its exit status, 0 or 1 as cnitool's.  Errors are one line on stderr."""
    from cni.cnictl.commands import cli

    status, said = 1, ""
    try:
        # a command that has something to say of its status returns it
        status = cli.main(prog_name="cnictl", standalone_mode=False) or 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "cnictl"
        said = f"{error.format_message().rstrip('.')}; see {where} --help"
    except click.Abort:
        status, said = STOPPED, "stopped"
    except BrokenPipeError:  # `cnictl ls | head -1`; Python would complain when it flushes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except CniError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except Exception as error:
        log.debug("unexpected", exc_info=True)
        said = f"{type(error).__name__}: {error}"
    if said:
        click.echo(f"cnictl: {said}", err=True)
    return status

"""`./build.sh bench [CASE…] [--runs N]`: measure, show, and keep the results."""

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bench import (
    chains,
    cluster,
    day,
    footprint,
    leases,
    machine,
    nodes,
    overlay,
    packets,
    pool,
    refill,
)
from bench.hosts import ROOT
from bench.report import Section, save, show
from bench.stats import Row

RUNS = 30
WIDTH = 110  # columns of a table; a narrower screen wraps its lines


@dataclass(frozen=True)
class Case:
    """What is measured, how, and by what."""

    title: str
    notes: str
    measure: Callable[[int], list[Row]]


CASES = {
    "a": Case(
        "kindnet's conflist, no ports",
        "ptp + host-local + portmap, one pod after the other; the namespace is there already.",
        chains.plain,
    ),
    "b": Case("ptp with ipMasq", "The same conflist with `ipMasq: true`.", chains.masquerade),
    "c": Case(
        "ptp with ipMasq, one hostPort",
        "As (b), and the runtime hands one port mapping to portmap.",
        chains.host_port,
    ),
    "d": Case(
        f"burst of {chains.PODS} pods, {chains.AT_ONCE} at a time",
        "The chain of (c), each pod with a hostPort of its own; the cost of the whole burst.",
        chains.burst,
    ),
    "e": Case(
        "host-local alone, in a /16",
        "Leases are made in the reference's format, on tmpfs.  The first call in such a directory"
        " adopts them, once: it is measured on its own (the last row), not in the others.",
        leases.measure,
    ),
    "f": Case(
        "new TCP connections through the host",
        "Every registered pod has ipMasq and a hostPort.  One pod is real, made by the programs;"
        " the others stand in the firewall alone: ours by the function that the programs call,"
        " the reference's by iptables-restore of its own rules for the real pod under other names,"
        " half of them before it and half behind.  Client and server are one thread,"
        f" {packets.CONNECTIONS} connections a sample, closed by RST.",
        packets.measure,
    ),
    "g": Case(
        "memory of the idle agent",
        "Roles warm and routes, with nodes from a file; from /proc/PID/smaps_rollup: RSS counts the"
        " pages that its five processes share five times, PSS once.  The"
        f" {footprint.INVOCATIONS:,} invocations are ADD and DEL of host-local by"
        f" the frozen programs, {footprint.AT_ONCE} at a time.",
        footprint.memory,
    ),
    "h": Case(
        "size of the bundle",
        "What `./build.sh freeze` makes; a file that has many names (hard links) counts once.",
        footprint.sizes,
    ),
    "i": Case(
        "the ways to many nodes",
        "A pass of the node agent's role `vxlan`, without the agent: from the list of nodes to the"
        " kernel, where each peer is a neighbour, an FDB entry and a route.  With no change"
        " a pass reads and compares them all; a new process finds what the old one left.",
        overlay.scale,
    ),
    "j": Case(
        "through a VXLAN device",
        "iperf3 between pods of two nodes (network namespaces), one second a sample, in turn with a"
        " device that was made by hand with the same attributes (the column of the reference).",
        overlay.throughput,
    ),
    "k": Case(
        "the agent in a large cluster",
        "The frozen agent with roles warm, vxlan and masq, and a Kubernetes API of the tests' over"
        f" TLS on the same machine, in Python, with nodes of {nodes.BYTES:,} bytes: the start"
        " holds its time too.  A pass is all that the agent does in the 9 s from one to the next."
        "  RSS is that of the process with the roles.",
        nodes.measure,
    ),
    "l": Case(
        f"VPC addresses: a simulated day of {pool.NODES:,} nodes",
        f"Nothing is measured and no network asked: {pool.TYPE} nodes that start within a minute,"
        " pods by one seeded trace for both sides, and one EC2 with a token bucket for each action"
        f" ({day.BUCKET:.0f} calls, {day.REFILL:.0f} a second; those of the actions on ENIs are"
        " not published).  Ours is the code of the pool.  The reference is no program here but the"
        " formulas of the Amazon VPC CNI 1.23 and the order of its steps (bench/original.py).  Idle"
        " addresses are those that the subnet has lost and no pod has, ENIs' own included."
        f"  A refused ADD is tried again after {pool.RETRY[0]:.0f}-{pool.RETRY[1]:.0f} s.",
        pool.measure,
    ),
    "m": Case(
        "pods on a node of a cluster",
        "A real Kubernetes of four nodes (tests/cluster) with deploy/kind's network.  On one of"
        " them, whose kubelet has ended, containerd gets a kubelet's calls (by curl, which is"
        " some 10 ms of each); the conflist is the same for both sides, and so is all but the"
        " programs that it names.  Most of a pod's time is containerd's and runc's."
        f"  {cluster.AT_ONCE} at once share the machine's processors with the cluster.",
        cluster.measure,
    ),
    "v": Case(
        "VPC addresses: an ADD on an empty pool",
        "The pool in this process, as the agent runs it, against the tests' EC2 (moto, made strict)"
        f" over HTTP, where every call takes {refill.ROUND_TRIP * 1000:.0f} ms."
        "  MINIMUM_IP_TARGET=1 keeps none to spare, so each new pod waits for its own address.",
        refill.measure,
    ),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[CASE]...", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--runs", default=RUNS, show_default=True, type=click.IntRange(3), help="Samples.")
@click.option(
    "--output",
    default=ROOT / "bench/results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where results are kept; those of other cases stay.  [default: bench/results]",
)
def bench(names: tuple[str, ...], runs: int, output: Path) -> None:
    """Measure pycni beside the reference plugins, in turn on the same machine."""
    output = output.absolute()
    os.chdir("/")  # every host has mounts of its own
    console = Console()
    console.width = max(console.width, WIDTH)
    about = machine.describe()
    console.print("; ".join(f"{key}: {value}" for key, value in about.items()), highlight=False)
    sections = []
    for name in names or CASES:
        case = CASES[name]
        date = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        command = f"./build.sh bench {name} --runs {runs}"
        company = machine.Company()
        rows = case.measure(runs)
        here = about | company.describe()
        sections.append(Section(name, case.title, case.notes, command, date, here, rows))
        show(sections[-1], console)
    every = save(sections, output)
    from bench import plot  # its libraries start threads, and a thread of many enters no host

    plot.draw(every, output / "bench.png")
    console.print(f"kept in {output}: bench.md, bench.json, bench.png")


# \b: lines that click leaves as they are
bench.help = f"{bench.help}\n\n\b\nCASE is one of these; without any, all are run:\n" + "\n".join(
    f"  {name}  {case.title}" for name, case in CASES.items()
)

if __name__ == "__main__":
    bench(prog_name="./build.sh bench")

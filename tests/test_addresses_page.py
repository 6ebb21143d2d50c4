"""docs/aws-vpc-addresses.md: every example of the page is what the code does."""

import shlex
import sys
from itertools import zip_longest

import pytest

from cni import cnictl
from ipam.aws_vpc.imagined import Ec2
from ipam.aws_vpc.limits import find, limits_of
from ipam.aws_vpc.plan import QUIET
from ipam.aws_vpc.settings import NAMES, read
from ipam.aws_vpc.shrink import ENI_AGE
from ipam.aws_vpc.sizing import taken
from ipam.aws_vpc.state import HOLD
from tests.conftest import ROOT
from tests.ipam.aws_vpc.nodes import limits, with_pods
from tests.pages import SPAN, blocks, rows, section

PAGE = ROOT / "docs/aws-vpc-addresses.md"
TEXT = PAGE.read_text()


@pytest.mark.parametrize("cells", rows(section(PAGE, "What a node can have")), ids="".join)
def test_what_a_node_can_have(cells: list[str]) -> None:
    name, *figures = (cell.strip(" `") for cell in cells)

    one = find(name)
    told = (one.enis, one.addresses, one.enis * (one.addresses - 1), one.max_pods())
    assert told == tuple(map(int, figures))


def test_the_settings_and_their_defaults() -> None:
    table = rows(section(PAGE, "Settings"))
    told = {cells[0].strip(" `"): cells[1].strip() for cells in table}

    assert set(told) == set(NAMES)
    assert read(told) == read({})
    assert QUIET == 600 and "ten minutes after addresses last came or went" in TEXT
    assert ENI_AGE == 60 and "a minute old" in TEXT
    assert HOLD == 120 and "not asked again for two minutes" in TEXT


@pytest.mark.parametrize("cells", rows(section(PAGE, "Worked examples")), ids="".join)
def test_worked_examples(cells: list[str]) -> None:
    name, pods, *figures = (cells[n].strip(" `") for n in (0, 2, 3, 4, 5))
    settings = read(dict(pair.split("=") for pair in SPAN.findall(cells[1])))
    ec2 = Ec2()

    found = taken(with_pods(ec2, ec2.node(), int(pods), settings, limits(settings, name)))

    told = [found.enis, found.addresses - found.enis, found.addresses]
    assert told == list(map(int, figures))


@pytest.mark.parametrize("block", blocks("", TEXT), ids=lambda block: block.splitlines()[0])
def test_commands_say_what_is_shown(
    block: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, *shown = block.splitlines()
    monkeypatch.setattr(sys, "argv", shlex.split(command.removeprefix("$ ")))

    assert cnictl.main() == 0

    said = capsys.readouterr().out.splitlines()
    for line, wanted in zip_longest(said, shown):
        assert " ".join(line.split()) == " ".join(wanted.split())


def test_the_advice_holds() -> None:
    """Below the minimum, a pod that comes changes nothing."""
    settings = read({"WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "10"})
    ec2 = Ec2()
    bounds = limits_of(find("m5.large"), settings)

    sizes = {taken(with_pods(ec2, ec2.node(), pods, settings, bounds)) for pods in range(9)}

    assert len(sizes) == 1

"""The role vpc as docs/aws-vpc-agent.md tells it."""

import re

from cni.agent.vpc import PATH, figures
from ipam.aws_vpc.agent import record
from ipam.aws_vpc.agent.intents import Stage
from ipam.aws_vpc.cloud import variables
from tests.cloud.node import Node
from tests.conftest import ROOT
from tests.pages import SPAN, rows, section

PAGE = ROOT / "docs/aws-vpc-agent.md"


def test_variables_are_told() -> None:
    table = rows(section(PAGE, "Settings"))

    assert tuple(cells[0].strip(" `") for cells in table) == variables.NAMES


def test_calls_that_the_node_needs_are_told(small: Node) -> None:
    small.settle()
    small.add_all(4)
    for number in range(4):
        small.delete(f"pod-{number}")
    small.pass_time(1500)
    small.settle()

    told = set(SPAN.findall(section(PAGE, "Settings")))
    assert set(small.cloud.faults.calls) <= told


def test_files_stages_and_figures_are_told(small: Node) -> None:
    small.settle()
    spans = set(SPAN.findall(PAGE.read_text()))

    assert {record.PATH, PATH} <= spans
    assert {stage.value for stage in Stage} <= spans
    text = figures.text(small.keeper, small.answers, {}, ready=True)
    told = {span for span in spans if span.startswith("pycni_")}
    assert set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE)) == told

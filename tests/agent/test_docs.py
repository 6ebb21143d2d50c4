"""The agent's settings, roles and figures as docs/operating.md tells them."""

import re
from ipaddress import ip_address
from pathlib import Path

import click

from cni.agent import conflist, metrics, settings
from cni.agent.command import KEYS, pycnid
from cni.agent.duty import Duty
from cni.agent.masq import Masquerade
from cni.agent.nodes.file import FileNodes
from cni.agent.readiness import Readiness
from cni.agent.reconcile import Loop
from cni.cluster import Node
from cni.config import Section
from tests.conftest import ROOT
from tests.pages import SPAN, rows, section


def test_the_agents_settings_are_those_of_the_page() -> None:
    table = [
        [cell.strip(" `") for cell in cells] for cells in rows(operating("Settings of the agent"))
    ]
    params = {one.name: one for one in pycnid.params if isinstance(one, click.Option)}
    keys = {
        f"{name}.{key}".lstrip(".")
        for name, keys in settings.KEYS.items()
        for key in keys.split()
        if key not in settings.KEYS
    }

    assert {key for cells in table for key in cells[0].split("`, `") if key} == keys
    for key, option, default, _ in table:
        if not option:
            continue
        (name,) = [name for name, one in params.items() if option in one.opts]
        assert str(name) == "config" or KEYS[str(name)] == key
        shown = str(params[name].show_default or "").removesuffix("False")
        assert default.replace("`", "") == shown
    told = {cells[1] for cells in table if cells[1]}
    assert told | {"--version"} == {one.opts[0] for one in params.values()}


def operating(title: str) -> str:
    return section(ROOT / "docs/operating.md", title)


def test_every_role_field_and_figure_of_the_agent_is_told() -> None:
    roles = operating("Roles of the agent")
    node = Node("n1", (ip_address("172.18.0.2"),), ())
    spans = set(SPAN.findall(roles))

    assert [cells[0].strip(" `") for cells in rows(roles)[: len(settings.ROLES)]] == list(
        settings.ROLES
    )
    assert {f"{{{{{name}}}}}" for name in conflist.fields(node, (), None, 0)} <= spans
    loop = Loop("n1", [Duty("x", Masquerade(settings.read(Section({}))))], None, bool)
    told = metrics.text(loop, Readiness(settings.read(Section({})), loop), FileNodes(""))
    figures = set(re.findall(r"^# HELP (\w+)", told, re.MULTILINE))
    assert figures == {span for span in spans if span.startswith("pycni_")}


def test_the_agents_example_is_read() -> None:
    found = settings.load(str(ROOT / "deploy/agent.yaml"), {})

    assert found.roles == ("warm", "vxlan", "masq")
    assert (ROOT / "conflists/templates" / Path(found.template).name).exists()

"""The shape of the project: who may import whom, how long things are, what must be told."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni import __version__
from cni.programs import PROGRAMS
from tests.conftest import ROOT

FILE_MAX = 300  # lines
TEST_FILE_MAX = 400  # lines: tables take room
FUNCTION_MAX = 50  # lines, from `def` to the end

# From the top down: a module imports from its own floor or from those below it.
FLOORS = (
    {"cni.boot", "cni.__main__"},
    {"plugins", "ipam"},
    {"cni.cnictl", "cni.agent"},
    {"cni.runtime", "cni.leases", "cni.install", "cni.overlay", "cni.vpc", "ipam.aws_vpc"},
    {"cni.kernel", "cni.invoke", "cni.skel", "cni.rollback", "cni.garbage", "cni.pod", "cni.veth"}
    | {"cni.masquerade", "cni.routed", "cni.bridge", "cni.gateways", "cni.vlan", "cni.macspoof"},
    {"cni.result", "cni.config", "cni.errors", "cni.request", "cni.attachment", "cni.versions"}
    | {"cni.names", "cni.programs", "cni.handover", "cni.cluster", "cni.document"}
    | {"cni.utf8", "cni.threads"},
    {"cni"},
)

SOURCES = sorted(path for top in ("cni", "plugins", "ipam") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of all that the file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: say the full name of what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """Return those of our own modules that the file imports: `a.b` when `a.b.c` is no module."""
    found = set()
    for name in imports(path):
        module = name if name in MODULES else name.rpartition(".")[0]
        if module in MODULES:
            found.add(module)
    return found


def floor(module: str) -> int:
    """Return the number of the module's floor, counted from the top."""
    name = module
    while name:
        for number, modules in enumerate(FLOORS):
            if name in modules and (name != "cni" or module == "cni"):
                return number
        name = name.rpartition(".")[0]
    raise AssertionError(f"{module} has no place in FLOORS: give it one")


def program_of(module: str) -> str:
    """Return the program that the module belongs to, `plugins.ptp`; empty when to none.

    What stands lower than programs is there for others too, wherever its files are.
    """
    return ".".join(module.split(".")[:2]) if floor(module) == floor("ipam") else ""


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    for other in imported_modules(MODULES[module]):
        assert floor(other) >= floor(module), f"{module} imports {other}, which stands above it"


@pytest.mark.parametrize("module", MODULES)
def test_programs_do_not_import_each_other(module: str) -> None:
    program = program_of(module)

    for other in imported_modules(MODULES[module]):
        assert program_of(other) in ("", program), f"{module} imports {other}: delegate by name"


def test_no_module_imports_itself_in_a_circle() -> None:
    left = {name: imported_modules(path) - {name} for name, path in MODULES.items()}
    while ends := {name for name, others in left.items() if not others}:
        left = {name: others - ends for name, others in left.items() if name not in ends}

    assert not left, f"a circle among {sorted(left)}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_kernel_layer_imports_pyroute2(module: str) -> None:
    if module.startswith("cni.kernel"):
        return

    assert not [name for name in imports(MODULES[module]) if name.startswith("pyroute2")]


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=module_name)
def test_files_and_functions_fit_their_limits(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) <= (TEST_FILE_MAX if path in TESTS else FILE_MAX)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_a_module_a_page_and_a_place_in_the_readme(name: str) -> None:
    assert PROGRAMS[name].module in MODULES
    assert f"# {name}" in (ROOT / f"docs/plugins/{name}.md").read_text()
    assert f"`{name}`" in (ROOT / "README.md").read_text()


def test_every_page_is_of_a_program() -> None:
    assert {path.stem for path in (ROOT / "docs/plugins").glob("*.md")} == set(PROGRAMS)


def test_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings
    assert __version__ in headings or headings[0] == "Unreleased"
    assert [name for name in headings if name != "Unreleased"][:1] in ([], [__version__])


@pytest.mark.parametrize(
    ("imported", "forbidden"),
    [
        ("cni.__main__", {"cni.skel", "cni.cnictl", "json", "logging"}),
        ("cni.skel", {"pyroute2.netlink", "asyncio", "click", "rich", "subprocess", "socket"}),
        ("plugins.portmap", {"pyroute2.netlink", "asyncio", "click", "rich", "pathlib"}),
        ("cni.kernel.link", {"asyncio", "click", "rich"}),
        ("cni.cluster", {"yaml", "urllib3", "ssl", "http", "logging"}),
        ("cni.agent.nodes.file", {"yaml", "urllib3", "ssl", "http"}),
    ],
)
def test_import_budget(imported: str, forbidden: set[str]) -> None:
    code = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert not forbidden & set(done.stdout.split())

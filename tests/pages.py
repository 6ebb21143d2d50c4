"""The documents, taken apart: parts, tables and blocks of code."""

import re
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


def prose(page: Path) -> str:
    """Return the text of `page` without its blocks of code."""
    return FENCE.sub("", page.read_text())


def titles(page: Path) -> list[str]:
    """Return the headings of the parts of `page`, in their order."""
    return re.findall(r"^## (.+)$", prose(page), re.MULTILINE)


def section(page: Path, title: str) -> str:
    """Return what stands under the heading `title`."""
    parts = re.split(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in `text`, but for their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {n - 1 for n, line in enumerate(lines) if line.startswith("|---")}
    body = [line for n, line in enumerate(lines) if n not in heads and not line.startswith("|---")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in body]


def blocks(kind: str, text: str) -> list[str]:
    """Return the blocks of code of one kind in `text`: `sh`, `json` …"""
    return [block for name, block in FENCE.findall(text) if name == kind]


def packets_told(page: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of a part's first table: the packet, and the addresses it arrives from."""
    table = re.split(r"^\*\*When", section(page, name), flags=re.MULTILINE)[0]
    for packet, _, seen in rows(table):
        yield packet.strip(), [one.strip() for one in seen.split(",")]

"""The figures as a table on the terminal, as Markdown and as JSON; every one with its command."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.stats import Row, Summary

HEADINGS = ("", "unit", "reference", "p90", "pycni", "p90", "runs", "target", "", "ratio")
RIGHT = {2, 3, 4, 5, 6, 7, 9}  # columns of numbers


@dataclass(frozen=True)
class Section:
    """A case as it was run: what was done, by which command, where, and what came out."""

    case: str
    title: str
    notes: str
    command: str
    date: str
    machine: dict[str, str]
    rows: list[Row]


def show(section: Section, console: Console) -> None:
    """Print a section."""
    title = f"({section.case}) {section.title}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        justify: Literal["left", "right"] = "right" if number in RIGHT else "left"
        table.add_column(heading, justify=justify, no_wrap=number > 0)
    for row in section.rows:
        met = {True: "green", False: "red", None: ""}[row.met]
        table.add_row(*_cells(row), style=met)
    console.print(table)
    console.print(_machine(section, ("load before", "others' share of the processors")))
    console.print(f"$ {section.command}\n")


def save(sections: list[Section], directory: Path) -> list[Section]:
    """Put `sections` in the place of older ones of the same cases; return all that are there."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "bench.json"
    kept = {section.case: section for section in _load(file)}
    kept |= {section.case: section for section in sections}
    every = [kept[case] for case in sorted(kept)]
    file.write_text(
        json.dumps([_as_json(one) for one in every], indent=1, ensure_ascii=False) + "\n"
    )
    (directory / "bench.md").write_text(markdown(every))
    return every


def _as_json(section: Section) -> dict[str, object]:
    rows = [dataclasses.asdict(row) | {"ratio": row.ratio, "met": row.met} for row in section.rows]
    return dataclasses.asdict(section) | {"rows": rows}


def _load(file: Path) -> list[Section]:
    if not file.exists():
        return []
    sections = json.loads(file.read_text())
    for section in sections:
        section["rows"] = [_row(row) for row in section["rows"]]
    return [Section(**section) for section in sections]


def _row(fields: dict[str, object]) -> Row:
    known = {field.name: fields[field.name] for field in dataclasses.fields(Row)}
    for key in ("ours", "reference"):
        if isinstance(summary := known[key], dict):
            known[key] = Summary(**summary)
    return Row(**known)  # type: ignore[arg-type]  # as it was written


def markdown(sections: list[Section]) -> str:
    """Return the page of results."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `./build.sh bench`.  Both sides are measured in the same run, in turn.",
        "Times are medians with the 90th percentile beside them; `wall` is by the clock, `cpu`",
        "is processor time of all processes that had a part, the agent's workers too.",
        "`ratio` is pycni to the reference, by medians; a target is an upper bound of the ratio,",
        "or of the figure where the reference has none.",
        "",
        "![](bench.png)",
    ]
    for section in sections:
        lines += ["", f"## ({section.case}) {section.title}", "", section.notes, ""]
        lines += [
            f"    {section.command}",
            "",
            f"{section.date}; {_machine(section, section.machine)}",
            "",
        ]
        lines.append("|" + "|".join(f" {heading} " for heading in HEADINGS) + "|")
        lines.append(
            "|" + "|".join("---:" if n in RIGHT else "---" for n in range(len(HEADINGS))) + "|"
        )
        lines += ["|" + "|".join(f" {cell} " for cell in _cells(row)) + "|" for row in section.rows]
    return "\n".join([*lines, ""])


def _machine(section: Section, keys: Iterable[str]) -> str:
    return "; ".join(f"{key}: {section.machine[key]}" for key in keys)


def _cells(row: Row) -> tuple[str, ...]:
    what = row.what if row.side == "warm" else f"{row.side} {row.what}"
    met = {True: "met", False: "not met", None: ""}[row.met]
    runs = str(row.ours.samples) if row.ours.samples > 1 else ""
    target = "" if row.target is None else f"≤ {row.target:g}"
    ratio = "" if row.ratio is None or row.unit == "%" else f"{row.ratio:.2f}"
    figures = (*_figures(row.reference), *_figures(row.ours))
    return (what, row.unit, *figures, runs, target, met, ratio)


def _figures(summary: Summary | None) -> tuple[str, str]:
    if summary is None:
        return "", ""
    digits = 0 if summary.median >= 1000 else 1
    p90 = f"{summary.p90:,.{digits}f}" if summary.samples > 1 else ""
    return f"{summary.median:,.{digits}f}", p90

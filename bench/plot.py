"""The figures as a picture: a panel for each case that has a reference."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.report import Section
from bench.stats import Row

COLOURS = {"reference": "#999999", "warm": "#2a6fb0", "cold": "#e08a2e"}
LOGARITHMIC = 50  # from this ratio on, short bars could not be seen otherwise
LABELS = {"reference": "reference", "warm": "pycni, warm", "cold": "pycni, cold"}


def draw(sections: list[Section], file: Path) -> None:
    """Write the picture of `sections` as PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [(one, rows) for one in sections if (rows := _rows(one))]
    if not panels:
        return
    high = (len(panels) + 1) // 2
    figure, axes = plt.subplots(high, 2, figsize=(13, 3.2 * high), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (section, rows) in zip(axes.flat, panels, strict=False):
        _panel(axis, section, rows)
    last = panels[-1][0]
    about = ", ".join(last.machine[key] for key in ("CPU", "kernel"))
    title = "pycni beside the reference plugins: medians, whiskers to the 90th percentile\n"
    figure.suptitle(f"{title}{about}, {last.machine['cores']} cores; {last.date}", fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _rows(section: Section) -> list[Row]:
    rows = [row for row in section.rows if row.reference and row.unit != "%"]
    return [row for row in rows if row.unit == rows[0].unit]  # a panel has one axis


def _panel(axis: Any, section: Section, rows: list[Row]) -> None:
    whats = list(dict.fromkeys(row.what for row in rows))
    sides = ["reference", *dict.fromkeys(row.side for row in rows)]
    width = 0.8 / len(sides)
    for number, side in enumerate(sides):
        own = {row.what: row for row in rows if side in ("reference", row.side)}
        found = [own[what].reference if side == "reference" else own[what].ours for what in whats]
        medians = [one.median if one else 0 for one in found]
        spread = [abs(one.p90 - one.median) if one else 0 for one in found]
        lower = rows[0].unit == "conn/s"
        places = [place + (number - (len(sides) - 1) / 2) * width for place in range(len(whats))]
        none = [0] * len(spread)
        axis.barh(
            places,
            medians,
            width,
            xerr=[spread, none] if lower else [none, spread],
            color=COLOURS[side],
            label=LABELS[side],
            error_kw={"elinewidth": 0.8},
        )
    medians = [summary.median for row in rows for summary in (row.ours, row.reference) if summary]
    if max(medians) > LOGARITHMIC * min(medians):
        axis.set_xscale("log")
        axis.set_xlim(left=1)  # a bar of no length is 1, in every such panel
    axis.set_yticks(range(len(whats)), whats, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(rows[0].unit, fontsize=8)
    axis.set_title(f"({section.case}) {section.title}", fontsize=9, loc="left")
    axis.legend(fontsize=7, loc="lower right", framealpha=0.9)

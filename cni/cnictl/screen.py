"""What the operator sees: colours and tables on a terminal, plain columns in a pipe or a file."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 56  # columns up to the outcome of a step
TITLE, GOOD, BAD, FAINT = "bold cyan", "green", "bold red", "dim"


class Outcome:
    """What a step has to add when it is done."""

    text = ""


class Screen:
    """Standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line as it is; it is never folded."""
        self._console.print(Text(text, style), soft_wrap=True)

    def title(self, text: str) -> None:
        """Begin a part."""
        self.line()
        self.line(text, TITLE)

    def table(self, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """Print `rows` under `columns`."""
        rows = list(rows)
        if not self._console.is_terminal:
            widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
            for row in (columns, *rows):
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                self.line("  ".join(cells).rstrip())
            return
        table = Table(header_style="bold", box=box.SIMPLE_HEAD)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    @contextmanager
    def step(self, text: str) -> Iterator[Outcome]:
        """Print `text`, and after the block how it ended and how long it took."""
        outcome = Outcome()
        self._print_on(f"   {text} ".ljust(WIDTH, "."), "")
        begin = time.perf_counter()
        try:
            yield outcome
        except KeyboardInterrupt:
            self.line(" stopped")
            raise
        except BaseException:
            self.line(" FAILED", BAD)
            raise
        self._print_on(" ok", GOOD)
        self._print_on(f"  {_duration(time.perf_counter() - begin)}", FAINT)
        self.line(f"  {outcome.text}" if outcome.text else "")

    def _print_on(self, text: str, style: str) -> None:
        self._console.print(Text(text, style), soft_wrap=True, end="")
        self._console.file.flush()


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:6.1f} ms" if seconds < 1 else f"{seconds:6.2f} s "

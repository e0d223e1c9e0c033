"""A report as tables, as Rich draws them."""

import io
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnxpath.cli.output import Report, plain


class _Page(io.StringIO):
    """Where a table is drawn before it is printed; its encoding decides whether lines are drawn in ASCII."""

    @property
    def encoding(self) -> str:
        return getattr(sys.stdout, "encoding", None) or "utf-8"


def table(report: Report) -> str:
    """The report for a terminal: as wide as it needs when stdout is not one."""
    page, terminal = _Page(), sys.stdout is not None and sys.stdout.isatty()
    console = Console(
        file=page, force_terminal=terminal or None, highlight=False, width=None if terminal else 1 << 16
    )
    console.print(Text(plain(report.title), "bold", overflow="fold"))
    facts = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    facts.add_column(overflow="fold")
    facts.add_column(overflow="fold")
    for key, value in report.facts:
        facts.add_row(Text(plain(key)), Text(plain(value)))
    console.print(facts)
    for part in report.tables:
        if part.title:
            console.print(Text(f"\n{plain(part.title)}", "italic", overflow="fold"))
        rich = Table(header_style="bold")
        for k, header in enumerate(part.headers):
            rich.add_column(
                Text(plain(header)), justify="left" if k < part.left else "right", overflow="fold"
            )
        for row in part.rows:
            rich.add_row(*(Text(plain(cell)) for cell in row))
        console.print(rich)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"

"""Results as tables, markdown and JSON, on stdout and in files. A report is a title, facts, tables and notes."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.errors import UsageError


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; `left` counts the leading columns that are left-aligned."""

    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int = 1
    title: str = ""


@dataclass(frozen=True)
class Report:
    """What a person reads."""

    title: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = field(default=())


def number(value: Scaled, digits: int = 5) -> str:
    """A magnitude for people: plain while it is short, otherwise mantissa and power of ten, beyond float64 too."""
    log10 = value.log10
    if log10 is None:
        return "0"
    if -4 <= log10 < 6 and value.value is not None:
        return f"{value.value:.{digits}g}"
    exponent = int(log10 // 1)
    return f"{10 ** (log10 - exponent):.{digits - 1}f}e{exponent:+03d}"


def percent(value: float) -> str:
    return f"{100 * value:.2f} %" if value >= 1e-4 or value == 0 else f"{100 * value:.1e} %"


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200, emoji=False)
    console.print(f"[bold]{escape(report.title)}[/bold]")
    grid = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in report.facts:
        grid.add_row(f"  {escape(key)}", escape(value))
    console.print(grid)
    for table in report.tables:
        rich = RichTable(title=escape(table.title) or None, title_justify="left", header_style="bold")
        for k, header in enumerate(table.headers):
            rich.add_column(escape(header), justify="left" if k < table.left else "right", overflow="fold")
        for row in table.rows:
            rich.add_row(*(escape(cell) for cell in row))
        console.print(rich)


def markdown(report: Report) -> str:
    """The report as markdown, for a pull-request comment."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [f"### {report.title}", "", "| | |", "|---|---|", *(f"| {cell(k)} | {cell(v)} |" for k, v in report.facts)]
    for table in report.tables:
        lines += ["", f"**{table.title}**", ""] if table.title else [""]
        lines.append("| " + " | ".join(cell(h) for h in table.headers) + " |")
        lines.append("|" + "|".join("---" if k < table.left else "---:" for k in range(len(table.headers))) + "|")
        lines += ["| " + " | ".join(cell(c) for c in row) + " |" for row in table.rows]
    if report.notes:
        lines += ["", *(f"- {cell(note)}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_file(path: str, text: str) -> None:
    """Write a file whole or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".onnxpath-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def emit(document: dict[str, Any], report: Report, output_format: str, files: Sequence[tuple[str, str]], quiet: bool) -> None:
    """Print the result and write the requested files; notes go to stderr unless they are part of the output."""
    for kind, path in files:
        write_file(path, as_json(document) if kind == "json" else markdown(report))
    if output_format == "json":
        sys.stdout.write(as_json(document))
    elif output_format == "markdown":
        sys.stdout.write(markdown(report))
    else:
        _print_table(report)
        if not quiet:
            for note in report.notes:
                print(f"note: {note}", file=sys.stderr)

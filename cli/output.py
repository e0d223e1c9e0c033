"""Results as tables, markdown and JSON, on stdout and in files. A report is a title, facts, tables and notes.

Numbers for people keep few digits: a certified upper end is rounded up and a lower end down, so that what is
    printed is
still certified. Names come from files: whatever they hold (markup, control characters, bytes that are not
text) is shown, never interpreted.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Literal

from onnxpath.engine.scalar import Scaled
from onnxpath.errors import UsageError
from onnxpath.files.writing import COMMENT

Toward = Literal["nearest", "up", "down"]
_ROUNDING = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}
# Beyond this log10 a magnitude is written as its logarithm: the mantissa would be noise.
_BEYOND = 1e8
# What markdown would take for markup inside a cell.
_MARKUP = re.compile(r"[\\`*|~\[\]&]|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_])")


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


def _scientific(rounded: Decimal, digits: int) -> str:
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent):+03d}"


def number(value: Scaled, digits: int = 5, toward: Toward = "nearest") -> str:
    """A magnitude for people: plain while it is short, otherwise mantissa and power of ten, beyond float64
    too."""
    log10, rounding = value.log10, _ROUNDING[toward]
    if value.unbounded:
        return "unbounded"
    if log10 is None:
        return "0"
    if abs(log10) > _BEYOND:
        return f"10^({Context(10, rounding).plus(Decimal(log10))})"
    wide, few = (Context(precision, rounding, MIN_EMIN, MAX_EMAX) for precision in (60, digits))
    short = few.plus(wide.multiply(Decimal(value.mantissa), wide.power(2, int(value.exponent))))
    return f"{short:f}" if -4 <= short.adjusted() < digits else _scientific(short, digits)


def percent(value: float, toward: Toward = "nearest") -> str:
    """A ratio for people, with two decimals, or a power of ten when it is below 0.01 % or beyond a
    million."""
    if value == 0:
        return "0 %"
    rounding = _ROUNDING[toward]
    # a share that is shown rounded down, 19 of 20, is the decimal number that it is written as, not the float
    # below it
    exact = Context(60, rounding).multiply(
        Decimal(repr(value)) if toward == "down" else Decimal(value), Decimal(100)
    )
    if Decimal("0.01") <= exact < 10**6:
        return f"{exact.quantize(Decimal('0.01'), rounding):f} %"
    return f"{_scientific(Context(2, rounding).plus(exact), 2)} %"


def plain(text: str) -> str:
    """Text from a file as one printable line: line ends, control characters and undecodable bytes are shown
    as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """A line on stderr, if anybody reads it."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def markdown(report: Report) -> str:
    """The report as markdown, for a pull-request comment."""

    def cell(text: str) -> str:
        return _MARKUP.sub(r"\\\g<0>", plain(text))

    facts = [f"| {cell(key)} | {cell(value)} |" for key, value in report.facts]
    lines = [f"### {cell(report.title)}", "", "| | |", "|---|---|", *facts]
    for part in report.tables:
        lines += ["", f"**{cell(part.title)}**", ""] if part.title else [""]
        lines.append("| " + " | ".join(cell(header) for header in part.headers) + " |")
        lines.append(
            "|" + "|".join("---" if k < part.left else "---:" for k in range(len(part.headers))) + "|"
        )
        lines += ["| " + " | ".join(cell(c) for c in row) + " |" for row in part.rows]
    if report.notes:
        lines += ["", *(f"- {cell(note)}" for note in report.notes)]
    lines += ["", COMMENT]
    return "\n".join(lines) + "\n"


def as_json(document: dict[str, Any]) -> str:
    """One JSON document, in ASCII: the same bytes whatever the terminal's encoding."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def check_writable(path: str) -> str | None:
    """Why a file could not be written, as far as it can be told beforehand; None when nothing speaks against
    it."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        return f"cannot write {path}: it is a directory"
    if not os.path.isdir(folder):
        return f"cannot write {path}: there is no directory {folder}"
    return (
        None
        if os.access(folder, os.W_OK) or os.path.exists(path)
        else f"cannot write {path}: {folder} is read-only"
    )


def stdout_failed(error: OSError) -> bool:
    """Let nothing that is still buffered for stdout fail again at exit. Whether its reader left early (`|
    head`)."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        sys.stdout = None
    # Windows says EINVAL for a pipe that was closed
    return error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL)


def to_stdout(text: str) -> None:
    """Print; a reader that left early is no failure and does not change the exit code."""
    if sys.stdout is None:
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        if not stdout_failed(error):
            raise UsageError(f"cannot write to stdout: {error.strerror or error}") from error

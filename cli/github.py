"""GitHub Actions: annotations, and the table in the summary of the step.

An annotation is a line `::error title=...::message` of the step's log (stderr here: stdout is for results).
In it `%` and line ends are percent-encoded, in properties `:` and `,` too; a step shows at most ten. The
summary is a file to append to.
"""

import os
from collections.abc import Sequence

from onnxpath.cli.output import plain, say

MOST = 10


def active() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _encoded(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def annotate(errors: Sequence[tuple[str, str]]) -> None:
    """Show errors, (title, message) each; when there are too many, the last line says how many more there
    are."""
    shown = list(errors[:MOST])
    if len(errors) > MOST:
        shown[-1] = ("onnxpath check", f"{len(errors) - MOST + 1} more; the summary of this step lists all")
    for title, message in shown:
        say(f"::error title={_encoded(plain(title), ':,')}::{_encoded(plain(message))}")


def summarize(markdown: str) -> None:
    """Append to the summary of the step, if there is one; a summary that cannot be written does not change
    the outcome."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{markdown}\n")
        except OSError as error:
            say(f"onnxpath: cannot write the step summary {path}: {error.strerror or error}")

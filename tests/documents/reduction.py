"""What of a document is stored: nothing that varies between machines, of long lists the beginning."""

import re
from typing import Any

# Lists longer than this are stored as their first entries, their sum and their largest entry.
LONGEST = 24
FIRST = 12

VERSIONS = ("version", "onnx", "onnxruntime")
# Rounding errors of the runtime alone, for which processors give other numbers.
ROUNDING = ("deviation", "unequal", "batch")
VARIES = "<varies>"

# Notes repeat numbers of the document with few digits, which are rounded up or down by what is beyond them.
_NUMBER = re.compile(r"\d\.\d+e[-+]\d+")


def reduced(value: Any, key: str = "") -> Any:
    """A document, or the part of it that `key` leads to."""
    if isinstance(value, dict):
        kept = ((name, entry, _varies(value, name, key)) for name, entry in value.items())
        return {name: VARIES if varies else reduced(entry, name) for name, entry, varies in kept}
    if isinstance(value, list):
        entries = [reduced(entry, key) for entry in value]
        return entries if len(entries) <= LONGEST else _summary(entries)
    if isinstance(value, str) and key == "notes":
        return _NUMBER.sub("#", value)
    return value


def _varies(parent: dict, name: str, key: str) -> bool:
    """`parent` is what `key` leads to; whether its entry `name` may be different elsewhere."""
    if key == "tool":
        return name in VERSIONS
    if name == "sha256":
        # of a file that a call wrote: a weight may be rounded in another way
        return str(parent.get("path")).startswith(("made/", "out/"))
    if name == "where":
        # of the largest rounding error; beside "absolute", of the largest difference of two outputs
        return "absolute" not in parent
    return name in ROUNDING and parent[name] is not None


def _summary(entries: list) -> dict[str, Any]:
    summary = {"length": len(entries), "first": entries[:FIRST]}
    numbers = [entry.get("value") if isinstance(entry, dict) else entry for entry in entries]
    if all(isinstance(number, float) for number in numbers):
        summary |= {"sum": sum(numbers), "maximum": max(numbers)}
    return summary

"""The tables of docs/json.md and the files of docs/schemas, from the layouts and types of the records.

`python -m onnxpath.records.reference docs` writes them anew; in the page between the marks that it holds:

    <!-- onnxpath.metric/1 -->      of a document; <!-- shared --> of what several documents hold
    <!-- end -->
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change, Port
from onnxpath.records import BoundSide, FileSide, FilesSeen, Injection, Interval, Layer, Side, Tool
from onnxpath.records.document import Entry
from onnxpath.records.schema import classes, documents, parts_of, schema, type_of

SHARED = (Tool, BoundSide, Side, Interval, Layer, Injection, FilesSeen, FileSide, Change, Port)
_MARKS = re.compile(r"(<!-- (onnxpath\.[\w-]+/\d+|shared) -->\n).*?(<!-- end -->)", re.S)
_WORDS = {str: "string", bool: "boolean", int: "integer", float: "float"}
_TITLES = {
    Tool: "`tool`: what produced a result", BoundSide: "a file", Side: "a file and its path-norm",
    Interval: "a path-metric", Layer: "a layer", Injection: "a layer, or a quantizer",
    FilesSeen: "`files`: both files as they run", FileSide: "one of them",
    Change: "`interface`: what changes for the program that runs the files", Port: "an input or output",
}  # fmt: skip


def word(annotation: Any, mark: str = "") -> str:
    """A type for people."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        left = " or ".join(word(part, mark) for part in parts if part is not NoneType)
        return f"{left} or null" if NoneType in parts else left
    if annotation is Scaled or mark == "#":
        return "N"
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin in (tuple, list):
        one = word(parts[0])
        return f"{one}s" if one in ("string", "integer", "float", "object", "boolean") else f"list of {one}"
    if annotation in SHARED:
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return "object"


def rows(cls: type, entries: tuple[Entry, ...], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, type, meaning) of every entry, and of those of the records in it."""
    for entry in entries:
        meaning = ("where there is one; " * entry.optional + entry.meaning).replace("|", "\\|")
        key = f"{prefix}{entry.key}"
        if entry.parts:
            yield key, "object", meaning
            yield from rows(cls, entry.parts, f"{key}.")
            continue
        annotation = type_of(cls, entry.name)
        inner = [found for found in classes(annotation) if found not in SHARED]
        if entry.mark == "*" and annotation is Scaled:
            yield f"{prefix}value`, `{prefix}log10", "N, inline", meaning
        elif entry.mark == "*" and classes(annotation):
            yield from _inline(annotation, prefix, meaning)
        else:
            yield key, word(annotation, entry.mark), meaning
            if inner:
                many = get_origin(annotation) in (tuple, list)
                yield from rows(inner[0], parts_of(inner[0]), f"{key}[]." if many else f"{key}.")


def _inline(annotation: Any, prefix: str, meaning: str) -> Iterator[tuple[str, str, str]]:
    for found in classes(annotation):
        for key, kind, own in rows(found, parts_of(found), prefix):
            yield key, kind, own or meaning
            meaning = ""


def table(cls: type) -> str:
    lines = ["| key | type | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {kind} | {meaning} |" for key, kind, meaning in rows(cls, parts_of(cls))]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with all its tables written anew. Raises KeyError for a mark of no document."""
    known = documents()

    def made(found: re.Match) -> str:
        if found[2] == "shared":
            parts = [
                f'<a id="{cls.__name__.lower()}"></a>**{cls.__name__}**, {_TITLES[cls]}\n\n{table(cls)}'
                for cls in SHARED
            ]
            return found[1] + "\n".join(parts) + found[3]
        return found[1] + table(known[found[2]]) + found[3]

    return _MARKS.sub(made, text)


def files(folder: Path) -> dict[Path, str]:
    """What the page and the schemas in this folder are to hold."""
    text = folder / "json.md"
    found = {text: page(text.read_text(encoding="utf-8"))}
    for name, record in documents().items():
        target = folder / "schemas" / f"{name.replace('/', '-')}.json"
        found[target] = json.dumps(schema(record), indent=1, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    for target, text in files(Path(sys.argv[1])).items():
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")

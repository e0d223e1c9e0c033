"""One serializer for all records: what a document holds is said by the record's `LAYOUT`, one entry a line.
Every line says what it means, so that documents, their JSON schemas and docs/json.md come from one place.

    name                     the field or property of that name
    key=name                 under another key
    #name                    a float as a magnitude {value, log10}
    *name                    the entries of that value's own document, in this place
    key{ENTRY ENTRY}         an object of its own
    ENTRY?                   left out where it is None or empty

A description stands two spaces behind the entry, and goes on in lines that are indented. Without a layout, a
record's document holds its fields in order. Magnitudes are {"value", "log10"}; what is not finite is null.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, cast

import numpy as np

from onnxpath.engine.scaled import Scaled

_ENTRY = re.compile(r"(?P<mark>[*#]?)(?P<key>\w+)(?:=(?P<name>\w+))?(?P<open>\{)?|(?P<close>\})|(?P<may>\?)")


@dataclass(frozen=True)
class Entry:
    """A line of a layout. parts: of an object of its own, whose `name` is no field."""

    key: str
    name: str
    mark: str = ""
    optional: bool = False
    parts: tuple["Entry", ...] = ()
    meaning: str = ""


def _entries(text: str, meaning: str) -> list[Entry]:
    """The entries of one line; only the first one outside of braces has the meaning."""
    stack: list[tuple[re.Match | None, list[Entry]]] = [(None, [])]
    for found in _ENTRY.finditer(text):
        if found["may"]:
            last = stack[-1][1].pop()
            stack[-1][1].append(Entry(last.key, last.name, last.mark, True, last.parts, last.meaning))
        elif found["close"]:
            opened, parts = stack.pop()
            assert opened is not None
            stack[-1][1].append(Entry(opened["key"], "", "", False, tuple(parts), meaning))
        elif found["open"]:
            stack.append((found, []))
        else:
            said = meaning if len(stack) == 1 else ""
            stack[-1][1].append(
                Entry(found["key"], found["name"] or found["key"], found["mark"], False, (), said)
            )
    return stack[0][1]


def number(value: Scaled) -> dict[str, float | None]:
    """A magnitude: `value` is null beyond float64, `log10` is null for 0, both for what is unbounded."""
    return {"value": value.value, "log10": value.log10}


def finite(value: float) -> float | None:
    """A float for JSON: null when it is not finite."""
    return value if abs(value) < float("inf") else None


def plain(value: Any) -> Any:
    """A value of a record as JSON has it."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Scaled):
        return number(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, float | np.floating):
        return finite(float(value))
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value]


def _absent(value: Any) -> bool:
    """Whether an optional entry is left out."""
    return value is None or (isinstance(value, tuple | dict) and not value)


class Record:
    """What all records have: `to_dict()`. SCHEMA: of a whole document, such as "onnxpath.metric/1"."""

    LAYOUT: ClassVar[str] = ""
    SCHEMA: ClassVar[str] = ""

    @classmethod
    @cache
    def layout(cls) -> tuple[Entry, ...]:
        """The entries of the document, in order."""
        if not cls.LAYOUT:
            return tuple(Entry(field.name, field.name) for field in fields(cast(Any, cls)))
        found: list[Entry] = []
        lines = re.sub(r"\n {5,}", " ", cls.LAYOUT).strip().splitlines()
        for text, _, meaning in (re.sub(r"^ +", "", line).partition("  ") for line in lines):
            found += _entries(text, " ".join(meaning.split()))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """The document of this record, ready for `json.dumps`."""
        start = {"schema": self.SCHEMA} if self.SCHEMA else {}
        return start | dict(self._items(self.layout()))

    def _items(self, entries: tuple[Entry, ...]) -> Iterator[tuple[str, Any]]:
        for entry in entries:
            if entry.parts:
                yield entry.key, dict(self._items(entry.parts))
                continue
            value = getattr(self, entry.name)
            if entry.optional and _absent(value):
                continue
            if entry.mark == "*":
                yield from plain(value).items()
            elif entry.mark == "#" and value is not None:
                yield entry.key, number(Scaled(value))
            else:
                yield entry.key, plain(value)

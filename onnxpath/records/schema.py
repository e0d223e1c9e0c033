"""JSON schemas (draft 2020-12) of all documents, from the types and the layouts of the records.

    Scaled                  {"value": number or null, "log10": number or null}
    float                   number or null: null is what is not finite
    tuple[X, ...], list     array of X
    tuple[X, Y]             array of two
    Mapping                 object
    X | None                X or null
    a record                a reference to its own schema

Objects may hold more keys than a schema names: adding some is no change of the schema's number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from onnxpath import records
from onnxpath.engine.scaled import Scaled
from onnxpath.records.document import Entry, Record

_MAGNITUDE = {"$ref": "#/$defs/Magnitude"}
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: ["number", "null"]}
_NUMBER = {"type": ["number", "null"]}


def documents() -> dict[str, type[Record]]:
    """The record of every document, by the document's schema, sorted."""
    found = (getattr(records, name) for name in records.__all__)
    return {
        cls.SCHEMA: cls
        for cls in sorted((c for c in found if getattr(c, "SCHEMA", "")), key=lambda cls: cls.SCHEMA)
    }


def type_of(cls: type, name: str) -> Any:
    """The type of a field or property, as written."""
    hints = get_type_hints(cls)
    if name in hints:
        return hints[name]
    return get_type_hints(getattr(cls, name).fget)["return"]


def parts_of(cls: type) -> tuple[Entry, ...]:
    """The entries of a record's layout, or the fields of another dataclass (a port, a change)."""
    if issubclass(cls, Record):
        return cls.layout()
    return tuple(Entry(field.name, field.name) for field in fields(cls))


def classes(annotation: Any) -> Iterator[type]:
    """The dataclasses in a type, but for magnitudes."""
    if isinstance(annotation, type) and is_dataclass(annotation) and annotation is not Scaled:
        yield annotation
    for part in get_args(annotation):
        yield from classes(part)


def schema(document: type[Record]) -> dict[str, Any]:
    """The schema of a whole document."""
    definitions: dict[str, Any] = {
        "Magnitude": {
            "type": "object", "properties": {"value": _NUMBER, "log10": _NUMBER},
            "required": ["value", "log10"],
        }
    }  # fmt: skip
    body = _object(document, document.layout(), definitions)
    body["properties"] = {"schema": {"const": document.SCHEMA}} | body["properties"]
    body["required"] = ["schema", *body["required"]]
    start = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": document.SCHEMA}
    return start | body | {"$defs": dict(sorted(definitions.items()))}


def _object(cls: type, entries: tuple[Entry, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for entry in entries:
        if entry.mark == "*":
            own = _inline(type_of(cls, entry.name), definitions)
            properties |= own
            required += list(own)
            continue
        found = (
            _object(cls, entry.parts, definitions)
            if entry.parts
            else _typed(type_of(cls, entry.name), definitions, entry.mark)
        )
        properties[entry.key] = found | ({"description": entry.meaning} if entry.meaning else {})
        required += [] if entry.optional else [entry.key]
    return {"type": "object", "properties": properties, "required": required}


def _inline(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The properties of a value whose entries stand in the place of its name."""
    if annotation is Scaled:
        return {"value": _NUMBER, "log10": _NUMBER}
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return _object(annotation, annotation.layout(), definitions)["properties"]
    return {}


def _typed(annotation: Any, definitions: dict[str, Any], mark: str = "") -> dict[str, Any]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        left = [_typed(part, definitions, mark) for part in parts if part is not NoneType]
        options = left + ([{"type": "null"}] if NoneType in parts else [])
        return options[0] if len(options) == 1 or left == [_NUMBER] else {"anyOf": options}
    if annotation is Scaled or mark == "#":
        return dict(_MAGNITUDE)
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin in (tuple, list):
        items = parts[:1] if origin is list or parts[-1] is Ellipsis else parts[:1] * len(parts)
        return {"type": "array", "items": _typed(items[0], definitions)}
    if origin in (dict, Mapping) or annotation is Any:
        return {"type": "object"} if origin else {}
    if isinstance(annotation, type) and is_dataclass(annotation):
        name = annotation.__name__ if issubclass(annotation, Record) else f"Interface{annotation.__name__}"
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(annotation, parts_of(annotation), definitions)
        return {"$ref": f"#/$defs/{name}"}
    raise TypeError(f"no JSON type is known for {annotation}")

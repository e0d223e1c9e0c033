"""What a configuration may hold, as a table: key, type, and what a person is told it must be.

From it come the check of what was written (msgspec), errors that name file, table and key, and the JSON
schema for editors, docs/onnxpath.schema.json:

    python -m onnxpath.analyses.check.entries > docs/onnxpath.schema.json

In onnxpath.toml, `#:schema PATH-OR-URL` in the first line lets editors complete and check keys. msgspec is
imported with this file, when a configuration is read.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxpath.analyses.check.budgets import QUANTITIES
from onnxpath.analyses.check.gates import CONFIDENCE, NORMS, SETTINGS, TOLERANCE
from onnxpath.errors import UsageError
from onnxpath.model.interface import KINDS

Number = int | float | str
Amount = float | str | Annotated[list[float], Meta(min_length=1)]
Text = Annotated[str, Meta(min_length=1)]
_RATIO = 'a number such as 0.1 or a percentage such as "10%"'
_AMOUNT = "a number, a list of one number per channel, or the name of an .npz file"
_NAMES = "a name or a list of names"
_TEXT = "text that is not empty"


class Key(NamedTuple):
    """kind: its type. form: what a value must be. about: what it is. extra: more for the schema."""

    kind: Any
    form: str
    about: str
    extra: dict[str, Any] | None = None


KEYS: Mapping[str, Key] = {
    "name": Key(str, "text", "Of the entry in reports; b, where it is not given."),
    "a": Key(Text, "the name of an ONNX file or a glob", "The network that is to be replaced, or a glob."),
    "b": Key(Text, "the name of an ONNX file or a glob", "The new network, or a glob."),
    **{
        quantity.budget: Key(Number, _RATIO if quantity.ratio else "a number", f"Limit: {quantity.meaning}.")
        for quantity in QUANTITIES.values()
    },
    "radius": Key(Amount, _AMOUNT, "Domain: all inputs with |x_i| <= radius."),
    "low": Key(Amount, _AMOUNT, "Domain: inputs with x_i >= low."),
    "high": Key(Amount, _AMOUNT, "Domain: inputs with x_i <= high."),
    "inputs": Key(Text, _TEXT, "An .npz file with arrays [n, ...] by input."),
    "epsilon": Key(Amount, _AMOUNT, "Domain: a box of this half-width around each input."),
    "norm": Key(
        int | str, f"one of {', '.join(NORMS)}", "Of max-bound.", {"enum": [1, 2, *NORMS], "default": "inf"}
    ),
    "confidence": Key(Number, _RATIO, "Of the upper limit of the flip rate.", {"default": CONFIDENCE}),
    "baseline": Key(Text, _TEXT, "A file of earlier values, which must not be exceeded."),
    "tolerance": Key(Number, _RATIO, "By how much a value may exceed its baseline.", {"default": TOLERANCE}),
    "shape": Key(
        dict[str, str | list[int]],
        'a table such as { x = "1x3x224x224" }',
        "Shapes of inputs with symbolic dimensions, batch included.",
    ),
    "output-name": Key(Text | list[Text], _NAMES, "Keep only these outputs."),
    "keep-batchnorm": Key(bool, "true or false", "Keep BatchNormalization as its own layer."),
    "allow-interface-change": Key(
        Text | list[Text],
        _NAMES,
        f"Kinds of changes of inputs and outputs that do not fail: {', '.join(KINDS)}.",
    ),
    "allow-unfaithful": Key(
        bool, "true or false", "A file that computes something else than its weights say does not fail."
    ),
    "file-provider": Key(Text, _TEXT, "Provider of ONNX Runtime that the files are run on."),
    "file-option": Key(Text | list[Text], _NAMES, "Session options for running the files, KEY=VALUE."),
}
assert set(KEYS) == {"name", "a", "b", *SETTINGS}


def _field(name: str, key: Key) -> tuple:
    python = name.replace("-", "_")
    if name in ("a", "b"):
        return python, Annotated[key.kind, Meta(description=key.about)]
    kind = key.kind | UnsetType
    return python, Annotated[kind, Meta(description=key.about, extra_json_schema=key.extra)], UNSET


Entry = msgspec.defstruct(
    "Entry",
    [_field(name, key) for name, key in KEYS.items()],
    rename="kebab",
    forbid_unknown_fields=True,
    kw_only=True,
)
Configuration = msgspec.defstruct("Configuration", [("check", list[Entry])], forbid_unknown_fields=True)


def unknown(key: str, known: tuple[str, ...], where: str) -> UsageError:
    close = get_close_matches(key.replace("_", "-"), known, 1, 0.5)
    meant = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
    return UsageError(f"{where}: unknown key '{key}'; {meant}")


def checked(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An entry with its keys in the spelling of `KEYS` and values of their types. Raises UsageError."""
    written: dict[str, str] = {}
    for key in entry:
        known = key.replace("_", "-")
        if known in written:
            raise UsageError(f"{where}: '{known}' is given twice, once with '_' and once with '-'")
        written[known] = key
    settings = {known: entry[key] for known, key in written.items()}
    try:
        return msgspec.to_builtins(msgspec.convert(settings, Entry))
    except msgspec.ValidationError as error:
        raise _explained(str(error), settings, written, where) from None


def _explained(error: str, settings: dict[str, Any], written: dict[str, str], where: str) -> UsageError:
    """What msgspec says, "Expected `bool`, got `int` - at `$.KEY`", with what was written."""
    found = re.search(r"unknown field `(.*?)`", error, re.DOTALL)
    if found is not None:
        return unknown(written[found[1]], tuple(KEYS), where)
    found = re.search(r"required field `(.*?)`|`\$\.([\w-]+)", error)
    assert found is not None, error
    key = found[1] or found[2]
    value = repr(settings[key]) if key in settings else "missing"
    return UsageError(f"{where}: '{key}' must be {KEYS[key].form}, not {value}")


def schema() -> dict[str, Any]:
    """The JSON schema of onnxpath.toml, and of [tool.onnxpath] in pyproject.toml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "onnxpath check",
        "description": "Pairs of networks and their budgets (docs/check.md).",
        **msgspec.json.schema(Configuration),
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))

"""Errors a caller can act on.

Every error that a file, a call or a machine can cause derives from `OnnxPathError`; the command line prints
its one line on stderr and exits 2. Anything else that escapes is a bug (exit 101).

A message is at most `LONGEST` characters, whatever a file calls its nodes: what is longer loses the middle of
its longest words first (names), then the middle of what is left, so that the file at its beginning and the
advice at its end stay.
"""

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 380  # with the name of the program before it, a line of 400
_WORD = 48


def shortened(text: str, longest: int = LONGEST) -> str:
    """A message of at most `longest` characters."""
    if len(text) <= longest:
        return text
    if len(text) > 64 * longest:  # not worth looking at all of it
        text = _middle_out(text, 64 * longest)
    for word in sorted(dict.fromkeys(re.findall(r"\S+", text)), key=len, reverse=True):
        if len(text) <= longest or len(word) <= _WORD:
            break
        text = text.replace(word, _middle_out(word, _WORD))
    return _middle_out(text, longest)


def _middle_out(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    head = (2 * longest) // 3
    return f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"


class OnnxPathError(Exception):
    """Base class: the call, a file or this machine is at fault, and the message says what to do."""

    def __init__(self, message: object = ""):
        super().__init__(shortened(str(message)))


class ModelError(OnnxPathError):
    """A file cannot be read as an ONNX model, or holds something that is not valid."""


class UnsupportedError(ModelError):
    """A valid model holds an operator, or a use of one, that is outside the supported networks."""


class MissingFactError(UnsupportedError):
    """An analysis needs a fact about a canonical operator that its record (onnxpath/ops) does not state:
    nothing is assumed in its place."""

    def __init__(self, operator: str, fact: str):
        super().__init__(
            f"operator {operator}: nobody wrote down {fact}, which this analysis needs; state it in the"
            " operator's record (docs/operators.md)"
        )


class MismatchError(OnnxPathError):
    """Two networks do not have the same structure; the message names the first difference on both sides."""


class ProviderError(OnnxPathError):
    """The requested execution provider or precision is not available on this machine."""


class ViolationError(Exception):
    """A difference was found above a certified bound: a bug of this package, not of the call. inputs: where,
    [1, ...] by name."""

    def __init__(self, message: str, inputs: Mapping[str, Any]):
        super().__init__(message)
        self.inputs = inputs


class UsageError(OnnxPathError):
    """An argument has a value that cannot be used."""

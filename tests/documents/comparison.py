"""Where a document differs from the stored one.

Structure, strings, booleans, nulls and integers must be equal; keys that are new are no difference. Floats:

- What is computed from weights is a sum of products without much cancellation. Processors sum in another
  order, in float32, which moves such a number by some 1e-6 of it. RELATIVE is above that, and far below what
  another method changes. ABSOLUTE only lets an exact 0 be a rounding error.
- The logarithm of such a number moves by RELATIVE / ln 10, whatever its size: LOGARITHM.
- Differences of large numbers keep the rounding errors of these: what is seen of the outputs of files, which
  are float32 and up to some 50 here, margins of class scores, and the growth of a path-norm. CANCELLED is for
  them, and their logarithms say no more.
- What is certified from above must never be larger than the stored number by more than RELATIVE of it,
  however small that is.
"""

import re
from collections.abc import Iterator
from typing import Any

RELATIVE = 2e-5
ABSOLUTE = 1e-9
LOGARITHM = 1e-5
CANCELLED = 1e-4

_CERTIFIED_KEYS = (
    "upper", "certified", "bound", "bounds", "domain_bound", "metric", "input_lipschitz", "compare", "gaps",
    "changes", "upper_limit", "whole_kernel_norm", "removed_cost", "left", "alone", "relative_error",
)  # fmt: skip
CERTIFIED = re.compile(rf"\.({'|'.join(_CERTIFIED_KEYS)})\b")
# `.files` without an index: those of `prune` have certificates.
_SEEN_BELOW = ("files", "as_run", "absolute", "relative")
_SEEN = (
    "files", "difference", "largest", "largest_output", "found", "mean", "found_left", "found_alone", "size",
)  # fmt: skip
SEEN = re.compile(rf"\.({'|'.join(_SEEN_BELOW)})\.|\.({'|'.join(_SEEN)})$|\.outputs\.relative$")
MARGINS = re.compile(r"\.(margins|margin_a|margin_b)\b")


def differences(stored: Any, found: Any, path: str = "", cancelled: bool = False) -> Iterator[str]:
    """A line for each place where `found` is not what was stored. `cancelled`: all here are differences."""
    if isinstance(stored, dict) and isinstance(found, dict):
        yield from _of_objects(stored, found, path, cancelled)
    elif isinstance(stored, list) and isinstance(found, list):
        yield from _of_lists(stored, found, path, cancelled)
    else:
        problem = _problem(stored, found, path, cancelled)
        if problem:
            yield f"{path} {problem}: {_short(found)}; stored: {_short(stored)}"


def _of_objects(stored: dict, found: dict, path: str, cancelled: bool) -> Iterator[str]:
    cancelled = cancelled or _is_cancelled_budget(stored)
    for key, value in stored.items():
        below = f"{path}.{key}"
        if key in found:
            yield from differences(value, found[key], below, cancelled)
        else:
            yield f"{below} is missing; stored: {_short(value)}"


def _of_lists(stored: list, found: list, path: str, cancelled: bool) -> Iterator[str]:
    if len(stored) != len(found):
        yield f"{path} has {len(found)} entries: {_short(found)}; stored: {len(stored)}, {_short(stored)}"
    for index, (one, other) in enumerate(zip(stored, found, strict=False)):
        yield from differences(one, other, f"{path}[{index}]", cancelled)


def _is_cancelled_budget(stored: dict) -> bool:
    """A budget of `check` that is about what was seen, or about the growth of a path-norm."""
    return stored.get("certainty") == "observed" or str(stored.get("name")).endswith("path-norm-increase")


def _problem(stored: Any, found: Any, path: str, cancelled: bool) -> str:
    if type(stored) is not type(found):
        return "is of another kind"
    if not isinstance(stored, float):
        return "" if stored == found else "differs"
    return _problem_of_floats(stored, found, path, cancelled or _cancels(path))


def _problem_of_floats(stored: float, found: float, path: str, cancelled: bool) -> str:
    if path.endswith(".log10"):
        return "" if cancelled or abs(found - stored) <= LOGARITHM else "differs"
    room = RELATIVE * abs(stored)
    if found - stored > room and not cancelled and CERTIFIED.search(path):
        return "is certified, and looser"
    return "" if abs(found - stored) <= room + (CANCELLED if cancelled else ABSOLUTE) else "differs"


def _cancels(path: str) -> bool:
    """Whether the number at this path is a difference of large ones."""
    return bool(SEEN.search(path) or MARGINS.search(path))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."

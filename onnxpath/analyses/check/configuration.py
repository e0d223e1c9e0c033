"""The configuration of `onnxpath check`: [[tool.onnxpath.check]] in pyproject.toml, or [[check]] in
onnxpath.toml.

Paths are relative to the file. `a` and `b` may be globs (`*`, `?`, `[...]`, and `**` for any number of
folders):

    both globs       pairs of equal names below the part without wildcards; a name on one side only is an
                     error
    one glob         every match with the one file of the other side
    no match         an error

Keys are the options of the command line, `_` or `-` between the words; an unknown key is an error
(entries.py).
"""

import glob
import os
import tomllib
from pathlib import PurePath
from typing import Any

from onnxpath.analyses.check import entries as allowed
from onnxpath.analyses.check.gates import Files, Gate, gate
from onnxpath.errors import UsageError

OWN, SHARED = "onnxpath.toml", "pyproject.toml"


def find(start: str = "") -> str:
    """The configuration of the current directory or the nearest one above it; UsageError when there is none,
    or two in one."""
    folder = os.path.abspath(start)
    while True:
        found = [
            os.path.join(folder, name) for name in (OWN, SHARED) if os.path.isfile(os.path.join(folder, name))
        ]
        found = [path for path in found if os.path.basename(path) == OWN or _table(path) is not None]
        if len(found) > 1:
            raise UsageError(
                f"both {OWN} and [tool.onnxpath] in {SHARED} configure onnxpath in {folder}; keep one of them"
            )
        if found:
            return os.path.relpath(found[0], start or os.curdir)
        above = os.path.dirname(folder)
        if above == folder:
            raise UsageError(
                f"nothing to check: give A and B, or write [[check]] entries into {OWN} or"
                f" [[tool.onnxpath.check]] ones into {SHARED} (neither was found in"
                f" {os.path.abspath(start)} or above)"
            )
        folder = above


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error


def _table(path: str) -> Any:
    """What configures onnxpath in a file: all of it, or [tool.onnxpath] of a pyproject.toml (None when it has
    none)."""
    document = _document(path)
    if os.path.basename(path) != SHARED:
        return document
    tools = document.get("tool", {})
    return tools.get("onnxpath") if isinstance(tools, dict) else None


def load(path: str) -> list[Gate]:
    """All gates of a configuration file, in its order. Raises UsageError, naming the file, the entry and the
    key."""
    table, shared = _table(path), os.path.basename(path) == SHARED
    header = "tool.onnxpath.check" if shared else "check"
    if not isinstance(table, dict):
        raise UsageError(f"{path}: there is no table [tool.onnxpath]")
    for key in table:
        if key != "check":
            raise allowed.unknown(key, ("check",), f"{path}, [tool.onnxpath]" if shared else path)
    entries = table.get("check", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: entries are written under [[{header}]], with two brackets")
    if not entries:
        raise UsageError(f"{path}: nothing to check: there is no [[{header}]] entry")
    files, gates, names = Files(os.path.dirname(path)), [], set()
    for k, entry in enumerate(entries, 1):
        where = f"{path}, [[{header}]] entry {k}"
        settings = allowed.checked(entry, where)
        try:
            found = _gates(settings, files)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        for one in found:
            if one.name in names:
                raise UsageError(f"{where}: there is another entry '{one.name}'; give each its own name")
            names.add(one.name)
        gates += found
    return gates


def _gates(settings: dict[str, Any], files: Files) -> list[Gate]:
    a, b, name = settings.pop("a"), settings.pop("b"), settings.pop("name", "")
    sides = [_matches(files, pattern) for pattern in (a, b)]
    if not any(glob.has_magic(pattern) for pattern in (a, b)):
        return [gate(name or b, sides[0][""], sides[1][""], settings, files)]
    keys = [set(side) for side in sides if "" not in side]
    alone = sorted(set.union(*keys) - set.intersection(*keys))
    if alone:
        side, other = (a, b) if alone[0] in sides[0] else (b, a)
        raise UsageError(f"'{alone[0]}' matches {side}, but {other} has no file of that name to pair it with")
    gates = []
    for key in sorted(set.union(*keys)):
        first, second = (side.get(key) or side[""] for side in sides)
        gates.append(
            gate(f"{name}: {key}" if name else sides[1].get(key, key), first, second, settings, files)
        )
    return gates


def _matches(files: Files, pattern: str) -> dict[str, str]:
    """The files of one side by the name they are paired by; by "" the one file when there is no wildcard."""
    if not glob.has_magic(pattern):
        return {"": files.path(pattern)}
    parts = PurePath(pattern).parts
    fixed = next(k for k, part in enumerate(parts) if glob.has_magic(part))
    found = [
        m
        for m in glob.glob(pattern, root_dir=files.folder or None, recursive=True)
        if os.path.isfile(files.path(m))
    ]
    if not found:
        raise UsageError(f"'{pattern}' matches no file")
    return {"/".join(PurePath(match).parts[fixed:]): files.path(match) for match in found}

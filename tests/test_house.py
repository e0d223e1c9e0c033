"""The rooms of the package (docs/architecture.md): what is below may not know what is above, not even for
types; functions are short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up. A file belongs to the longest prefix that it has; a floor knows itself and those below.
FLOORS = (
    ("errors",),
    ("files.writing", "files.npz"),
    ("engine",),
    ("model.network", "model.domain", "model.interface"),
    ("ops",),
    ("records",),
    ("rewrites.clamps", "rewrites.splitting", "rewrites.quantizers"),
    ("model",),
    ("rewrites",),
    ("importer",),
    ("evaluate",),
    ("boxes",),
    ("lanes",),
    ("files",),
    ("exporter",),
    ("analyses",),
    ("api",),
    ("cli",),
    ("testing", "pytest_plugin"),
)
LONGEST_FUNCTION = 60


def modules() -> dict[str, Path]:
    """Every file of the package and the command line, by the name of its module."""
    found = {}
    for folder, package in ((ROOT / "onnxpath", "onnxpath"), (ROOT / "cli", "onnxpath.cli")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports anywhere, for types or inside of functions, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{name}" if f"{module}.{name}" in MODULES else module for name in names]
        yield from (name for name in names if name in MODULES)


IMPORTS = {name: set(imported(path)) - {name} for name, path in MODULES.items()}


def floor(name: str) -> int:
    inside = name.removeprefix("onnxpath.")
    fits = [
        (prefix, k) for k, prefixes in enumerate(FLOORS) for prefix in prefixes if inside.startswith(prefix)
    ]
    return max(fits, key=lambda fit: len(fit[0]), default=("", len(FLOORS)))[1]


def test_no_two_files_need_each_other() -> None:
    """By taking away what needs nothing that is left, until nothing is left."""
    left = {name: set(needed) for name, needed in IMPORTS.items() if name != "onnxpath"}
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_looks_up(name: str) -> None:
    if name in ("onnxpath", "onnxpath.__main__"):
        return
    up = {needed for needed in IMPORTS[name] if floor(needed) > floor(name)} - {"onnxpath"}
    assert not up


def test_a_file_that_looks_up_is_found(tmp_path: Path) -> None:
    path = tmp_path / "low.py"
    path.write_text(
        "def f():\n    from onnxpath.analyses.metric.metric import path_metric\n", encoding="utf-8"
    )
    assert [floor(name) > floor("onnxpath.engine.graph") for name in imported(path)] == [True]


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {length} lines"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)

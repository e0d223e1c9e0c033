"""An operator is known in one room: outside `ops/`, `rewrites/` and `importer/` nobody asks for its name.

A question is a name of a canonical operator, or of an activation, where code decides by it: a comparison or a
`match`, a collection of names, the key of a table, a method of `node.op`. Writing ONNX is none: the names in
`g.op("Add", ...)`, in `Node(name, "Scale", ...)` and in loops over operators that are emitted. Neither is
`OPERATORS[node.op]`, which asks the record, or whether two nodes have the same operator.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
NAMES = {*OPERATORS, *FUNCTIONS}
KNOWN = ("ops", "rewrites", "importer")
# Rooms that still ask. It only ever gets shorter.
OPEN = ("boxes", "evaluate", "model", "lanes", "exporter", "files", "engine", "analyses")
# What writes ONNX: the operator's name is its first argument.
EMITTERS = {"op", "compare", "make_node", "replace", "Node", "Case"}


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


def _is_op(node: ast.AST) -> bool:
    """node.op, and getattr(node, "op")."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return any(isinstance(argument, ast.Constant) and argument.value == "op" for argument in node.args)
    return isinstance(node, ast.Attribute) and node.attr == "op"


def _collected(node: ast.AST) -> bool:
    """A tuple, list or set of text, with a name of an operator in it."""
    if not isinstance(node, (ast.Tuple, ast.List, ast.Set)) or not node.elts:
        return False
    texts = [x for x in node.elts if isinstance(x, ast.Constant) and isinstance(x.value, str)]
    return len(texts) == len(node.elts) and any(map(_is_name, texts))


def _emits(scope: ast.AST, variable: ast.AST) -> bool:
    """Whether a loop's variable is the operator that its body emits, and nothing else."""
    if not isinstance(variable, ast.Name):
        return False
    uses = [
        x
        for x in ast.walk(scope)
        if isinstance(x, ast.Name) and x.id == variable.id and isinstance(x.ctx, ast.Load)
    ]
    first = [
        call.args[0]
        for call in ast.walk(scope)
        if isinstance(call, ast.Call)
        and call.args
        and getattr(call.func, "attr", getattr(call.func, "id", "")) in EMITTERS
    ]
    return bool(uses) and all(any(x is argument for argument in first) for x in uses)


def _emitted(tree: ast.AST) -> set[ast.AST]:
    """Collections of operators that a loop emits, one after the other."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and _emits(node, node.target):
            found.add(node.iter)
        for loop in getattr(node, "generators", ()):
            if _emits(node, loop.target):
                found.add(loop.iter)
    return found


def questions(source: str) -> Iterator[int]:
    """The lines of a file that ask for an operator's name."""
    tree = ast.parse(source)
    emitted = _emitted(tree)
    for node in ast.walk(tree):
        asks = node not in emitted and _collected(node)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asks = any(map(_is_name, sides)) or (any(map(_is_op, sides)) and not all(map(_is_op, sides)))
        elif isinstance(node, ast.Dict):
            asks = any(key is not None and _is_name(key) for key in node.keys)
        elif isinstance(node, ast.Subscript):
            asks = _is_name(node.slice)
        elif isinstance(node, ast.Match):
            asks = _is_op(node.subject)
        elif isinstance(node, ast.MatchValue):
            asks = _is_name(node.value)
        elif isinstance(node, ast.Attribute):
            asks = _is_op(node.value)
        if asks:
            yield node.lineno if hasattr(node, "lineno") else 0


def _files() -> list[Path]:
    found = [*(ROOT / "onnxpath").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    return sorted(path for path in found if path.relative_to(ROOT).parts[1] not in (*KNOWN, *OPEN))


def test_nobody_else_asks_for_an_operator_by_name() -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in _files()
        for line in sorted(set(questions(path.read_text(encoding="utf-8"))))
    ]
    assert not hits, "ask the operator's record (docs/operators.md) at " + ", ".join(hits)


def test_open_rooms_still_ask() -> None:
    """A room that asks no more leaves the list."""
    for room in OPEN:
        files = (ROOT / "onnxpath" / room).rglob("*.py")
        assert any(any(questions(path.read_text(encoding="utf-8"))) for path in files), room


@pytest.mark.parametrize(
    "snippet",
    [
        'if node.op == "Add": pass',
        'if "Add" != x.node.op: pass',
        "if node.op in EXTENSIONS: pass",
        "if node.op not in self.known: pass",
        'if op(name) == "Quantizer": pass',
        'op = node.op\nif op in ("Conv", "Resize"): pass',
        'KNOWN = ("Conv", "MatMul")',
        'KNOWN = frozenset({"Tanh"})',
        'RULES = {"Conv": 1, **more}',
        'RULES["Conv"](node)',
        'if node.op.startswith("Reduce"): pass',
        'if getattr(node, "op") == kind: pass',
        'match node.op:\n    case "Add": pass',
        'match key:\n    case "Add" | "Max": pass',
        'if node.attributes["function"] == "Clip": pass',
        'for op in ("Add", "Max"):\n    if network.has(op): pass',
    ],
)
def test_questions_are_found(snippet: str) -> None:
    assert list(questions(snippet))


@pytest.mark.parametrize(
    "snippet",
    [
        'y = g.op("Add", [x, g.op("Relu", [z])])',
        'ends = [g.op(op, [x]) for op in ("ReduceMax", "ReduceMin")]',
        'for op in ("Add", "Mul"):\n    y = g.op(op, [x, z])',
        "operator = OPERATORS[node.op]",
        'nodes.append(Node(name, "Scale", (x,), y))',
        "same = x.op == y.op",
        'text = f"{node.name} ({node.op})"',
        'kind == "relu"',
        'cases = [("Add", wide + narrow)]',
    ],
)
def test_emission_is_no_question(snippet: str) -> None:
    assert not list(questions(snippet))

"""An operator is known in one room: outside `ops/`, `rewrites/` and `importer/` nobody asks for its name.

A question is a name of a canonical operator, or of an activation, where code decides by it: a comparison or a
`match`, a collection of names, the key of a table, a method of `node.op`. Writing ONNX is none: the names in
`g.op("Add", ...)`, in `Node(name, "Scale", ...)` and in loops over operators that are emitted. Neither is
`OPERATORS[node.op]`, which asks the record, or whether two nodes have the same operator.

`op_type` is another thing: the ONNX operator of a node of a file, or of a session. Those who edit documents,
or look at what a runtime made of a graph, may ask for it (`DOCUMENTS`).
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
DOCUMENTS = ("exporter", "engine")
# Functions of ONNX that kernels compute, some of which are called as activations are.
KERNELS = ROOT / "onnxpath" / "engine" / "primitives.py"
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


def _of_documents(tree: ast.AST) -> set[ast.AST]:
    """Comparisons of `op_type`, and collections that are for nothing else."""

    def about(node: ast.AST) -> list[ast.AST]:
        """What `op_type` is compared with."""
        if isinstance(node, ast.Compare) and getattr(node.left, "attr", "") == "op_type":
            return node.comparators
        method = node.func if isinstance(node, ast.Call) else None
        owner = method.value if isinstance(method, ast.Attribute) else None
        return node.args if getattr(owner, "attr", "") == "op_type" else []

    found = {node for node in ast.walk(tree) if isinstance(node, ast.Compare) and about(node)}
    asked = {x for node in ast.walk(tree) for x in about(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            loads = [x for x in ast.walk(tree) if isinstance(x, ast.Name) and x.id == name]
            if len(loads) > 1 and all(x in asked for x in loads if isinstance(x.ctx, ast.Load)):
                found.add(node.value)
    return found | asked


def questions(source: str, documents: bool = False) -> Iterator[int]:
    """The lines of a file that ask for an operator's name; documents: other than for `op_type`."""
    tree = ast.parse(source)
    passed = _emitted(tree) | (_of_documents(tree) if documents else set())
    for node in ast.walk(tree):
        if node in passed:
            continue
        asks = _collected(node)
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


def hits(path: Path) -> list[str]:
    place = path.relative_to(ROOT)
    lines = set(questions(path.read_text(encoding="utf-8"), documents=place.parts[1] in DOCUMENTS))
    return [f"{place}:{line}" for line in sorted(lines)]


def test_nobody_else_asks_for_an_operator_by_name() -> None:
    files = [*(ROOT / "onnxpath").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    assert len(files) > 200
    asking = [path for path in files if path.relative_to(ROOT).parts[1] not in KNOWN]
    asking.remove(KERNELS)
    found = [hit for path in sorted(asking) for hit in hits(path)]
    assert not found, "ask the operator's record (docs/operators.md) at " + ", ".join(found)


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
    assert list(questions(snippet, documents=True))


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


DOCUMENT = 'PLAIN = ("Relu", "Clip")\nif node.op_type in PLAIN or node.op_type == "Concat": pass\n'


def test_the_operators_of_a_file_are_for_those_who_edit_it() -> None:
    assert list(questions(DOCUMENT)) and not list(questions(DOCUMENT, documents=True))
    assert list(questions(DOCUMENT + "if node.op in PLAIN: pass", documents=True))

"""The antecedents of every operator, as a matrix, against the reference evaluation."""

import numpy as np
import pytest
import torch
from reference import OPERATIONS

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Site
from onnxpath.ops import OPERATORS
from ops.cases import ALL, CASES, EXTENSIONS

# Of these nothing asks for antecedents: they are outside the paper's model, or only in condensed networks.
OTHERS = (*EXTENSIONS, "Unfold")


@pytest.mark.parametrize("op", OTHERS)
def test_an_operator_without_neurons_has_no_antecedents(op: str) -> None:
    with pytest.raises(MissingFactError, match=f"{op}.*edges"):
        OPERATORS[op].edges(next(iter(CASES[op].values())), np.zeros(1, np.int64))


SUMS = {"MaxPool": "SumPool", "ReduceMax": "ReduceSum", "Max": "Add"}


def matrix(site: Site) -> np.ndarray:
    """The node without its bias, a column for every cell of its inputs; maxima as sums."""
    node, out = site.node, int(np.prod(site.output_shape))
    if node.op == "Relu":
        return np.eye(out)
    weight = None if node.weight is None else torch.tensor(np.asarray(node.weight.array(), np.float64))
    columns = []
    for k, shape in enumerate(site.input_shapes):
        for cell in range(int(np.prod(shape))):
            operands = [torch.zeros(s, dtype=torch.float64) for s in site.input_shapes]
            operands[k].view(-1)[cell] = 1
            columns.append(
                OPERATIONS[SUMS.get(node.op, node.op)](node, operands, weight, None, site.output_shape)
                .reshape(-1)
                .numpy()
            )
    return np.stack(columns, 1)


@pytest.mark.parametrize(("op", "label"), [case for case in ALL if case[0] not in OTHERS])
def test_edges_are_those_of_the_node(op: str, label: str) -> None:
    site = CASES[op][label]
    expected = matrix(site)
    v = np.random.default_rng(0).permutation(len(expected))
    u, w, valid = OPERATORS[op].edges(site, v)
    weights = (
        np.ones(u.shape) if w is None else np.asarray(site.node.weight.array(), np.float64).reshape(-1)[w]
    )
    found = np.zeros(expected.shape)
    np.add.at(found, (np.broadcast_to(v[:, None], u.shape), u), weights if valid is None else weights * valid)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)

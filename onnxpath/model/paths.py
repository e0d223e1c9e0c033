"""Where paths are defined: in networks of the paper's model, without other activations and without quantizers
(docs/theory.md, section 4)."""

from onnxpath.errors import UnsupportedError
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS


def _outside(network: Network) -> tuple[Node, ...]:
    return tuple(node for node in network.nodes if not OPERATORS[node.op].in_model)


def extensions(network: Network) -> tuple[str, ...]:
    """Names of the nodes whose activation is outside the paper's model, in order."""
    return tuple(dict.fromkeys(node.name for node in _outside(network)))


def require_paths(network: Network) -> None:
    """Raises UnsupportedError, naming the first extension: paths, and what is made of them, are not defined
    here."""
    node = next(iter(_outside(network)), None)
    if node is None:
        return
    if OPERATORS[node.op].kind == "quantizer":
        raise UnsupportedError(
            f"{network.path}: node '{node.name}' quantizes activations, which no path of weights"
            " describes: path-norms are those of the network without its quantizers; 'metric' and"
            " 'bound' compare it with its float twin"
        )
    what = node.attributes.get("function", node.op)
    raise UnsupportedError(
        f"{network.path}: node '{node.name}' ({what}): an activation other than ReLU: path-norm and"
        " path-metric are not defined there; only bounds on the outputs' difference are"
    )

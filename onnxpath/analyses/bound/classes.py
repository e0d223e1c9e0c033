"""Which output of a network holds the scores of classes."""

from onnxpath.errors import UsageError
from onnxpath.model.network import Network


def class_output(network: Network) -> str | None:
    """The output that holds one score per class, [batch, classes], where it is the only one."""
    classes = [
        name for name in network.outputs if len(network.shapes[name]) == 2 and network.shapes[name][1] > 1
    ]
    return classes[0] if classes and len(network.outputs) == 1 and network.batched else None


def scores(network: Network) -> str:
    """The output that holds one score per class; raises UsageError where there is none."""
    output = class_output(network)
    if output is None:
        found = ", ".join(
            f"{name} {list(network.shapes[t])}"
            for name, t in zip(network.output_names, network.outputs, strict=True)
        )
        raise UsageError(
            f"{network.path} has no single output of class scores [batch, classes] (it has {found}); choose"
            " one with --output-name"
        )
    return output

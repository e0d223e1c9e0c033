"""What can be quantized: tensors of a file that are weights and nothing else.

A layer here is one tensor of the file, with everything that reads it. Its cells become numbers of a grid in
the file's own tensor, so that a BatchNormalization that the network folds still multiplies them: the
canonical weight base · s becomes q(base) · s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.analyses.prune.prunable import Target, Use, changed, targets
from onnxpath.analyses.quantize import grids
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.exporter.placement import Placement, locate, origin_of
from onnxpath.model.network import Network
from onnxpath.rewrites.rescaling.equalization import output_axis


@dataclass(frozen=True, eq=False)
class Layer:
    """A tensor of the file that can be quantized: `array` as it is stored (halves as float32), `kind` its
    type in the file, `axis` of its output channels (None: one step for all), `targets` the cells that the
    network reads."""

    name: str
    tensor: str
    kind: str
    array: np.ndarray
    axis: int | None
    targets: tuple[Target, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the nodes that read it."""
        return tuple(use[0] for target in self.targets for use, _ in target.uses)

    def rounded(self, bits: int, rounding: str) -> np.ndarray:
        """The tensor on a grid, as the file will hold it."""
        return grids.rounded(self.array, bits, self.axis, rounding, self.kind)

    def bytes(self, bits: int | None) -> int:
        """Of the weights in the file: as they are (None), or as integers with their steps."""
        if bits is None:
            return self.array.size * {"float64": 8, "float32": 4}.get(self.kind, 2)
        return grids.stored_bytes(self.array.shape, grids.storage(bits), self.axis)


def layers(network: Network, kinds: Mapping[str, str], settings: Settings) -> tuple[list[Layer], list[str]]:
    """The layers to quantize, in the order of the network, and notes on weights that stay as they are.

    kinds: types of the file's tensors (`exporter.quantizing.stored_kinds`). Raises UsageError when a pattern
    matches nothing, or when nothing is left.
    """
    found, notes = targets(network, settings.include, settings.exclude, False, "quantized")
    by_tensor: dict[str, list[Target]] = {}
    for target in found:
        by_tensor.setdefault(target.tensor, []).append(target)
    readers = _readers(network)
    made = []
    for tensor, own in by_tensor.items():
        others = readers[tensor] - {use for target in own for use, _ in target.uses}
        if tensor not in kinds:
            notes.append(f"'{tensor}' is not quantized: it is no initializer and no Constant")
        elif others:
            node = network.producer[min(others)[0]]
            notes.append(f"'{tensor}' is not quantized: '{node.name}', which is not to be, reads it too")
        else:
            axis = None if settings.granularity == "tensor" else _axis(network, own)
            if axis is None and settings.granularity == "channel" and _channels(network, own) > 1:
                notes.append(
                    f"'{tensor}' has one step for all channels: no axis of it counts output channels"
                )
            made.append(
                Layer(
                    own[0].layer, tensor, kinds[tensor], origin_of(network).tensors[tensor], axis, tuple(own)
                )
            )
    if not made:
        raise UsageError(
            f"{network.path}: nothing can be quantized" + (f": {'; '.join(notes[:3])}" if notes else "")
        )
    return made, notes


def _readers(network: Network) -> dict[str, set[Use]]:
    found: dict[str, set[Use]] = {}
    for node in network.nodes:
        for kind in ("weight", "bias"):
            parameter = getattr(node, kind)
            if parameter is not None:
                try:
                    place = locate(network, parameter)
                except UnsupportedError:
                    continue
                found.setdefault(place.tensor, set()).add((node.output, kind))
    return found


def _channels(network: Network, own: Sequence[Target]) -> int:
    """The largest number of output channels of a use."""
    return max(
        place.shape[output_axis(network, network.producer[use[0]])]
        for target in own
        for use, place in target.uses
    )


def _axis(network: Network, own: Sequence[Target]) -> int | None:
    """The axis of the file's tensor along which every use has its output channels; None where there is
    none."""
    found = {
        _stored_axis(place, output_axis(network, network.producer[use[0]]))
        for target in own
        for use, place in target.uses
    }
    return found.pop() if len(found) == 1 else None


def _stored_axis(place: Placement, axis: int) -> int | None:
    step, length = place.strides[axis], place.shape[axis]
    for k, n in enumerate(place.stored):
        if n == length and n > 1 and int(np.prod(place.stored[k + 1 :], dtype=np.int64)) == step:
            return k
    return None


def quantized(
    network: Network, chosen: Mapping[str, int | None], found: Sequence[Layer], rounding: str
) -> Network:
    """The network with every layer on the grid of its bits (by tensor; None: as it is)."""
    edits = {
        layer.tensor: layer.rounded(bits, rounding)
        for layer in found
        if (bits := chosen.get(layer.tensor)) is not None
    }
    return changed(network, edits)

"""Where a parameter of a network is stored in its file.

A parameter's `base` is a view of an array as the importer read it: its address and strides, relative to that
array, say which cell of the file's tensor every coordinate is, whatever reshapes, transposes, slices and
broadcasts lie between:

    base[i_1, ..., i_n]  is cell  offset + Σ_k i_k stride_k  of the flattened tensor.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.errors import UnsupportedError
from onnxpath.model.network import Network, Origin, Parameter, Shape


@dataclass(frozen=True)
class Placement:
    """The cells of the file's tensor `tensor`, of shape `stored`, that a parameter of shape `shape` consists
    of.

    offset, strides: in elements of the flattened tensor. A stride of 0 repeats a cell (a broadcast, or a
    ConstantOfShape, whose tensor is its one cell).
    """

    tensor: str
    stored: Shape
    shape: Shape
    offset: int
    strides: tuple[int, ...]

    @property
    def repeats(self) -> bool:
        """Several coordinates share a cell: they can only be changed together."""
        return any(step == 0 and n > 1 for step, n in zip(self.strides, self.shape, strict=True))

    def view(self, array: np.ndarray) -> np.ndarray:
        """The parameter's coordinates in an array that holds the tensor (shape `stored`, C-contiguous): a
        view of shape `shape`, so that assigning to it changes the tensor. Any dtype."""
        if array.shape != self.stored or not array.flags.c_contiguous:
            raise ValueError(f"expected a C-contiguous array of shape {self.stored}, not {array.shape}")
        steps = tuple(step * array.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(array.reshape(-1)[self.offset :], self.shape, steps)

    def indices(self) -> np.ndarray:
        """The flat index in the tensor of every coordinate: int64, of shape `shape`."""
        return self.view(
            np.arange(int(np.prod(self.stored, dtype=np.int64)), dtype=np.int64).reshape(self.stored)
        )


def _inside(base: np.ndarray, root: np.ndarray) -> bool:
    if root.dtype != base.dtype or not root.size:
        return False
    first, end = np.lib.array_utils.byte_bounds(base)
    low, high = np.lib.array_utils.byte_bounds(root)
    return low <= first and end <= high


def origin_of(network: Network) -> Origin:
    """How the file spells the network; UnsupportedError for a network that was not read from a file."""
    if network.origin is None:
        raise UnsupportedError(
            f"{network.path}: the network was not read from a file, so there is none to write it to"
        )
    return network.origin


def locate(network: Network, parameter: Parameter) -> Placement:
    """Where the file stores `parameter.base` (of a node of the network; `parameter.scale` is not part of it).

    Raises UnsupportedError, saying why, when the file does not hold the value but computes it from others: a
    bias that a BatchNormalization was folded into, a divisor, a constant expression, integers, constants of a
    local function.
    """
    origin, base = origin_of(network), parameter.base
    for name in parameter.sources:
        root = origin.tensors.get(name)
        if root is not None and base.size and _inside(base, root):
            first = np.lib.array_utils.byte_bounds(root)[0]
            offset = (base.__array_interface__["data"][0] - first) // base.itemsize
            return Placement(
                name, root.shape, base.shape, offset, tuple(step // base.itemsize for step in base.strides)
            )
    what = f"{network.path}: the parameter '{parameter.name or 'without a name'}'"
    if parameter.fixed:
        raise UnsupportedError(f"{what} belongs to the operator, no tensor of the file holds it")
    held = [name for name in parameter.sources if name in origin.tensors]
    if not held:
        raise UnsupportedError(
            f"{what} is not stored as floating-point numbers in the file's graph (it comes from"
            f" {_listed(parameter)})"
        )
    raise UnsupportedError(
        f"{what} is computed from {_listed(parameter)}: no tensor of the file holds its value"
    )


def _listed(parameter: Parameter) -> str:
    names = [f"'{name}'" for name in parameter.sources]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

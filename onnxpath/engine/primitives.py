"""Functions of ONNX that no processor need round correctly: what a device's kernels make of them is probed
(engine/probe.py), and activations are made of these and of what is rounded correctly alone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf

import numpy as np


@dataclass(frozen=True)
class Primitive:
    """A function of ONNX that activations are made of and that devices round as they like: its value in
    float64, and whether it is for numbers > 0 only. Sums, products, maxima and roots are rounded
    correctly."""

    value: Callable[[np.ndarray], np.ndarray]
    positive: bool = False


PRIMITIVES = {
    "Exp": Primitive(np.exp),
    "Log": Primitive(np.log, positive=True),
    "Tanh": Primitive(np.tanh),
    "Sigmoid": Primitive(lambda x: 1 / (1 + np.exp(-x))),
    "Erf": Primitive(np.vectorize(erf)),
    "Atan": Primitive(np.arctan),
    "Sin": Primitive(np.sin),
    "Cos": Primitive(np.cos),
    "Reciprocal": Primitive(np.reciprocal, positive=True),
}

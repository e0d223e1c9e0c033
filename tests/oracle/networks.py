"""Random small networks, and pairs made from them.

`random_network(seed)` mixes every canonical operator that fits into one of three families: vectors (MatMul),
signals (1-D convolutions) and images (2-D convolutions), as sequences and as residual or concatenating
graphs, with dead channels, zero weights, missing biases, and (flavour "extreme") channels that differ by many
orders of magnitude.
"""

from dataclasses import replace

import numpy as np

from onnxpath.model.network import Network, Node, Parameter
from oracle.paths import count, edges
from oracle.sketch import Sketch

FLAVOURS = ("plain", "sparse", "extreme")
KINDS = (
    "identical",
    "monotone",
    "grown",
    "retrained",
    "flipped",
    "one layer",
    "rescaled",
    "pruned and rescaled",
    "other biases",
)


def random_network(seed: int, flavour: str = "plain", limit: int = 20_000) -> Network:
    """A network with at most `limit` paths (over all tensors)."""
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt, FLAVOURS.index(flavour)])
        network = _grow(rng, flavour, str(rng.choice(["vector", "signal", "image"])))
        if sum(float(n.sum()) for n in count(network, edges(network)).values()) <= limit:
            return network
    raise AssertionError("no small network was found")


def _values(rng: np.random.Generator, shape: tuple[int, ...], flavour: str, out_axis: int) -> np.ndarray:
    array = rng.standard_normal(shape)
    if flavour == "extreme":
        spread = [1] * len(shape)
        spread[out_axis] = shape[out_axis]
        array = array * 10.0 ** rng.uniform(-12, 12, spread)
    if flavour == "sparse" or rng.random() < 0.3:
        array = array * (rng.random(shape) > rng.choice([0.2, 0.5]))
    if rng.random() < 0.25:
        index = [slice(None)] * len(shape)
        index[out_axis] = rng.integers(shape[out_axis])
        array[tuple(index)] = 0
    return array.astype(np.float32)


class _Grower(Sketch):
    """A sketch that knows how to add random nodes."""

    def __init__(self, rng: np.random.Generator, flavour: str, shape: tuple[int, ...]):
        super().__init__(x=shape)
        self.rng, self.flavour = rng, flavour

    def bias(self, n: int, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
        return (
            None
            if self.rng.random() < 0.4
            else _values(self.rng, (n,), self.flavour, 0).reshape(shape or (n,))
        )

    def linear(self, x: str, out: int) -> str:
        """A MatMul or convolution to `out` channels that keeps the spatial shape."""
        rng, (_, n, *space) = self.rng, self.shapes[x]
        if not space:
            return self.matmul(x, _values(rng, (n, out), self.flavour, 1), self.bias(out))
        kernel = tuple(int(rng.integers(1, min(3, s) + 1)) for s in space)
        pads = tuple((k - 1) // 2 for k in kernel) + tuple(k // 2 for k in kernel)
        groups = [g for g in range(1, n + 1) if n % g == 0 and out % g == 0]
        group = int(rng.choice(groups)) if rng.random() < 0.3 else 1
        return self.conv(
            x,
            _values(rng, (out, n // group, *kernel), self.flavour, 0),
            self.bias(out),
            pads=pads,
            group=group,
        )

    def step(self, x: str) -> str:
        rng, (batch, n, *space) = self.rng, self.shapes[x]
        moves = ["linear", "linear", "linear", "residual", "concat", "scale", "max", "slice"]
        moves += ["pool", "upsample", "gather", "transposed"] if space else ["gather", "left"]
        move = str(rng.choice(moves))
        if move == "linear":
            y = self.linear(x, int(rng.integers(2, 4)))
            return self.relu(y) if rng.random() < 0.7 else y
        if move == "residual":
            inner = self.linear(self.relu(self.linear(x, 2)), n)
            return self.add(x, inner) if rng.random() < 0.5 else self.relu(self.add(inner, x))
        if move == "concat":
            return self.concat(x, self.relu(self.linear(x, 1)))
        if move == "max":
            return self.maximum(self.linear(x, 2), self.linear(x, 2))
        if move == "slice":
            return self.slice(x, (1,), (0,), (n,), (2,)) if n > 2 else self.relu(x)
        if move == "gather":
            return self.gather(x, 1, [int(k) for k in rng.integers(0, n, n)])
        if move == "left":
            wide = self.reshape(x, batch, n, 1)
            return self.reshape(
                self.matmul(wide, _values(rng, (2, n), self.flavour, 0), self.bias(2, (2, 1)), side="left"),
                batch,
                2,
            )
        if move == "scale":
            shape = (1, n, *(1,) * len(space))
            weight = _values(rng, shape, self.flavour, 1) if rng.random() < 0.8 else None
            return self.scale(
                x, weight, self.bias(n, shape) if weight is not None else _values(rng, shape, self.flavour, 1)
            )
        if move == "upsample":
            return self.gather(x, 2, [k // 2 for k in range(2 * space[0])]) if space[0] <= 2 else self.relu(x)
        if move == "transposed":
            if max(space) > 4:
                return self.relu(x)
            w = _values(rng, (n, 2, *(2,) * len(space)), self.flavour, 1)
            return self.relu(
                self.conv_transpose(x, w, self.bias(2), pads=(0,) * len(space) + (1,) * len(space))
            )
        kernel = tuple(min(2, s) for s in space)
        if rng.random() < 0.5:
            return self.max_pool(
                x,
                kernel,
                strides=(1,) * len(space),
                pads=tuple(int(k > 1 and rng.random() < 0.3) for k in kernel) * 2,
            )
        return self.average_pool(x, kernel)


def _grow(rng: np.random.Generator, flavour: str, family: str) -> Network:
    shape = {"vector": (1, 3), "signal": (1, 2, 4), "image": (1, 2, 3, 2)}[family]
    s = _Grower(rng, flavour, shape)
    x = s.relu(s.linear("x", int(rng.integers(2, 4))))
    for _ in range(int(rng.integers(1, 5))):
        x = s.step(x)
    if len(s.shapes[x]) > 2:
        x = s.flatten(
            x if rng.random() < 0.5 else s.reduce(str(rng.choice(["ReduceSum", "ReduceMax"])), x, (2,))
        )
    last = s.linear(s.relu(x), int(rng.integers(1, 4)))
    return s.network(last) if rng.random() < 0.7 else s.network(last, x)


# pairs


def perturb(network: Network, kind: str, rng: np.random.Generator) -> Network:
    """A second network of the same structure; see KINDS."""
    if kind == "rescaled":
        return rescale(network, rng)
    if kind == "pruned and rescaled":
        return rescale(perturb(network, "monotone", rng), rng, powers=True)
    learned = [node.output for node in network.nodes if any(not p.fixed for p in node.parameters())]
    chosen = rng.choice(learned)

    def change(value: np.ndarray) -> np.ndarray:
        if kind == "monotone":
            return value * rng.choice([0, 1, 1, 0.5], value.shape) * (1 - 1e-3 * rng.random(value.shape))
        if kind == "grown":
            return value * (1 + rng.choice([0, 1e-4, 1], value.shape))
        if kind == "flipped":
            return value * rng.choice([-1, 1, 1, 0.9], value.shape)
        if kind == "identical":
            return value
        spread = rng.choice([1e-5, 1e-2, 1])
        return (
            value * (1 + spread * rng.standard_normal(value.shape))
            + (spread == 1) * rng.standard_normal(value.shape) * np.abs(value).mean()
        )

    nodes = []
    for node in network.nodes:
        made = {}
        for key in ("weight", "bias"):
            p = getattr(node, key)
            if kind == "other biases" and key == "bias" and node.output in learned:
                made[key] = _other_bias(node, network.shapes[node.output], rng)
            elif (
                p is not None
                and not p.fixed
                and kind != "other biases"
                and (kind != "one layer" or node.output == chosen)
            ):
                made[key] = replace(p, base=change(p.base.astype(np.float64)).astype(p.base.dtype))
        nodes.append(replace(node, **made) if made else node)
    return replace(network, nodes=tuple(nodes), path=f"{network.path} {kind}")


def _other_bias(node: Node, shape: tuple[int, ...], rng: np.random.Generator) -> Parameter | None:
    """A bias where there was none, or none, or another one."""
    if node.bias is not None and rng.random() < 0.4 and node.weight is not None:
        return None
    if node.bias is not None:
        return replace(node.bias, base=rng.standard_normal(node.bias.shape).astype(np.float32))
    if node.op not in ("Conv", "ConvTranspose"):
        return None
    return Parameter(
        f"{node.name}.bias", rng.standard_normal(shape[1]).astype(np.float32), None, (f"{node.name}.bias",)
    )


_KEEPS_CHANNELS = ("Relu", "MaxPool", "SumPool")


def rescale(
    network: Network, rng: np.random.Generator, powers: bool | None = None, size: float = 0.0, dtype=None
) -> Network:
    """Neuron-wise rescaling between layers that directly follow each other: channel c times λ_c, undone by
    the next layer.

    powers: λ is a power of two (default: by chance); size: |log2 λ| at most (default: 6, or by chance 40);
        dtype: of the result.
    """
    powers = bool(rng.random() < 0.5) if powers is None else powers
    size = size or float(rng.choice([6.0, 40.0]))
    nodes = {node.output: node for node in network.nodes}
    for node in network.nodes:
        if not _by_channel(node):
            continue
        end, readers = node.output, network.consumers.get(node.output, ())
        while len(readers) == 1 and readers[0].op in _KEEPS_CHANNELS and end not in network.outputs:
            end, readers = readers[0].output, network.consumers.get(readers[0].output, ())
        if len(readers) != 1 or end in network.outputs or not _by_channel(readers[0]):
            continue
        channels = network.shapes[node.output][1]
        log2 = rng.uniform(-size, size, channels)
        factor = np.exp2(np.rint(log2) if powers else log2)
        this, after = nodes[node.output], nodes[readers[0].output]
        axis, axis_after = (0 if node.op == "Conv" else 1), (1 if after.op == "Conv" else 0)
        changed = {"weight": _times(this.weight, factor, axis, dtype)}
        if this.bias is not None:
            changed["bias"] = _times(this.bias, factor, 0, dtype)
        nodes[node.output] = replace(this, **changed)
        nodes[after.output] = replace(after, weight=_times(after.weight, 1 / factor, axis_after, dtype))
    return replace(
        network, nodes=tuple(nodes[node.output] for node in network.nodes), path=f"{network.path} rescaled"
    )


def _by_channel(node: Node) -> bool:
    """A learned Conv without groups or MatMul on vectors, with a bias per channel."""
    if node.weight is None or node.weight.fixed or (node.bias is not None and len(node.bias.shape) != 1):
        return False
    return (node.op == "Conv" and node.attributes["group"] == 1) or (
        node.op == "MatMul" and node.attributes["side"] == "right" and len(node.weight.shape) == 2
    )


def _times(parameter: Parameter, factor: np.ndarray, axis: int, dtype) -> Parameter:
    shape = [1] * len(parameter.shape)
    shape[axis] = -1
    value = parameter.array().astype(np.float64) * factor.reshape(shape)
    return replace(parameter, base=value.astype(dtype or parameter.base.dtype), scale=None)

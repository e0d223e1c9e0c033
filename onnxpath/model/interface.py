"""What a file promises to the program that runs it: inputs and outputs by name, order, type and shape, and
what stands at the very end.

Two networks are compared by what lies before their last Softmax, and batch sizes do not matter to them. To a
program they do matter:

    count     a different number of inputs or outputs
    names     another name
    order     the same names in another order
    types     another element type
    shapes    another rank, or another fixed size of an axis that is not the batch; an input of any size that
              became one of a fixed size
    tail      another function at the very end (Softmax along another axis, ArgMax instead of scores)

A leading axis that is fixed in one file and free in the other is listed as `batch`, which is no change by
itself: analyses take one sample.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpath.errors import shortened

KINDS = ("names", "order", "types", "shapes", "count", "tail")
BATCH = "batch"


@dataclass(frozen=True)
class Port:
    """An input or output. type: as "float32", "int64", or "sequence" for what is no tensor; "" where the file
    does not say. shape: sizes of its axes, a name or None for one that is free; None where the file does not
    say."""

    name: str
    type: str = ""
    shape: tuple[int | str | None, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type or None,
            "shape": None if self.shape is None else list(self.shape),
        }


@dataclass(frozen=True)
class Step:
    """A function at the end of a file that the network does without. axes: along which it works, from the
    front; None where it works on every number by itself. attributes: what else it depends on."""

    function: str
    axes: tuple[int, ...] | None = None
    attributes: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        parts = [] if self.axes is None else [f"axis {', '.join(map(str, self.axes))}"]
        parts += [f"{key} {value}" for key, value in self.attributes]
        return f"{self.function}({', '.join(parts)})" if parts else self.function


@dataclass(frozen=True)
class Interface:
    """Everything a program sees of a file. tails: by output, the steps behind the network's own output, in
    order; an output that the network computes itself has none. rounding: by output, the steps of quantizers
    behind it, added up."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tails: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    rounding: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One change of the interface. kind: see the module. text: for people, with both sides."""

    kind: str
    text: str


def changes(a: Interface, b: Interface) -> tuple[Change, ...]:
    """Everything that differs for a program that ran `a` and is given `b`."""
    found: list[Change] = []
    for what, ports_a, ports_b in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        found += _named(what, ports_a, ports_b)
        for x, y in paired(ports_a, ports_b):
            found += _port(what, x, y)
            before, after = a.tails.get(x.name, ()), b.tails.get(y.name, ())
            if what == "output" and before != after:
                found.append(
                    Change(
                        "tail",
                        f"output {_both(x, y)} ends with {_steps(before)}, and with {_steps(after)} in B",
                    )
                )
    return tuple(dict.fromkeys(Change(change.kind, shortened(change.text)) for change in found))


def paired(a: Iterable[Port], b: Iterable[Port]) -> list[tuple[Port, Port]]:
    """What corresponds: by name where all names of the shorter side are known to the other one, else by
    position."""
    a, b = list(a), list(b)
    names_a, names_b = {port.name: port for port in a}, {port.name: port for port in b}
    if names_a.keys() <= names_b.keys() or names_b.keys() <= names_a.keys():
        return [(port, names_b[port.name]) for port in a if port.name in names_b]
    return list(zip(a, b, strict=False))


def _both(x: Port, y: Port) -> str:
    return f"'{x.name}'" if x.name == y.name else f"'{x.name}' ('{y.name}' in B)"


def _steps(steps: tuple[Step, ...]) -> str:
    return ", ".join(map(str, steps)) or "nothing more"


def _named(what: str, a: tuple[Port, ...], b: tuple[Port, ...]) -> list[Change]:
    names_a, names_b = [port.name for port in a], [port.name for port in b]
    if names_a == names_b:
        return []
    if len(names_a) != len(names_b):
        lost, new = [x for x in names_a if x not in names_b], [y for y in names_b if y not in names_a]
        parts = [f"{len(names_a)} {what}(s) became {len(names_b)}"]
        parts += [f"{word}: {', '.join(names)}" for word, names in (("lost", lost), ("new", new)) if names]
        found = [Change("count", "; ".join(parts))]
        if (len(names_a) < len(names_b) and lost) or (len(names_a) > len(names_b) and new):
            found.append(Change("names", f"{what}s {', '.join(lost)} are gone, and {', '.join(new)} are new"))
        if any(names_b.index(name) != k for k, name in enumerate(names_a) if name in names_b):
            found.append(
                Change("order", f"the {what}s {', '.join(names_a)} are in the order {', '.join(names_b)}")
            )
        return found
    if sorted(names_a) == sorted(names_b):
        return [Change("order", f"the {what}s {', '.join(names_a)} are in the order {', '.join(names_b)}")]
    return [
        Change("names", f"{what} '{x}' is called '{y}'")
        for x, y in zip(names_a, names_b, strict=True)
        if x != y
    ]


def _port(what: str, x: Port, y: Port) -> list[Change]:
    found = []
    if x.type != y.type and x.type and y.type:
        found.append(Change("types", f"{what} {_both(x, y)} was {x.type} and is {y.type}"))
    if x.shape is None or y.shape is None:
        return found
    if len(x.shape) != len(y.shape):
        found.append(Change("shapes", f"{what} {_both(x, y)} had the shape {_shape(x)} and has {_shape(y)}"))
        return found
    for axis, (m, n) in enumerate(zip(x.shape, y.shape, strict=True)):
        fixed = isinstance(m, int), isinstance(n, int)
        narrowed = what == "input" and fixed == (False, True)
        if axis == 0 and len(x.shape) > 1 and m != n and any(fixed):
            found.append(
                Change(BATCH, f"{what} {_both(x, y)}: the leading axis was {_size(m)} and is {_size(n)}")
            )
        elif (all(fixed) and m != n) or narrowed:
            found.append(
                Change("shapes", f"{what} {_both(x, y)} had the shape {_shape(x)} and has {_shape(y)}")
            )
            break
    return found


def _size(n: int | str | None) -> str:
    return str(n) if isinstance(n, int) else "free"


def _shape(port: Port) -> str:
    return "[" + ", ".join("?" if n is None else str(n) for n in port.shape or ()) + "]"

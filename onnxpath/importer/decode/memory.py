"""How much memory an import may ask for, so that a file of a few bytes cannot demand terabytes.

Every import has one budget: half of what this process can still get, since a pair is two imports. It is
charged before memory is taken, for tensors that are read, constants that are computed and coefficients that
rules build; and at the end for what any pass over the network needs at least, with activations of 4 bytes and
L the largest sum of those that are alive at one time,

    4 L  + 64 per output entry (a magnitude with exponent and error, read twice) + 4 per entry of parameters
         that repeat one cell.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod

from onnxpath.errors import ModelError
from onnxpath.model.network import Node, Shape

try:
    import resource
except ImportError:  # Windows
    resource = None

_ACTIVATION, _OUTPUT = 4, 64
# Axes of one tensor: numpy 1 holds 32, and passes add some.
LARGEST_RANK = 24


class TooLargeError(ModelError):
    """What a file asks for is more than this machine has."""


def _number(path: str) -> int | None:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):  # "max" is no limit
        return None


def _machine() -> int:
    with suppress(OSError, ValueError, IndexError), open("/proc/meminfo") as file:
        found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in file}
        if "MemAvailable" in found:
            return found["MemAvailable"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 36


def _groups() -> list[tuple[str, str]]:
    """(limit, usage) files of the control groups that this process is in, of both versions, up to the
    root."""
    found = []
    with suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, kinds, path = line.rstrip("\n").split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            root, names = ("/sys/fs/cgroup", ("memory.max", "memory.current"))
            if kinds:
                root, names = ("/sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"))
            parts = [part for part in path.split("/") if part]
            for depth in range(len(parts) + 1):
                folder = os.path.join(root, *parts[:depth])
                found.append((os.path.join(folder, names[0]), os.path.join(folder, names[1])))
    return found


def _control_groups() -> list[int]:
    """What the control groups leave; memory that only caches files counts as free."""
    left = []
    for limit_file, usage_file in _groups():
        limit, usage = _number(limit_file), _number(usage_file)
        if limit is None or limit >= 1 << 60:
            continue
        cached = 0
        with (
            suppress(OSError, ValueError, IndexError),
            open(os.path.join(os.path.dirname(limit_file), "memory.stat")) as file,
        ):
            entries = dict(line.split()[:2] for line in file)
            cached = int(entries.get("total_inactive_file", entries.get("inactive_file", 0)))
        left.append(limit - max(0, (usage or 0) - cached))
    return left


def _process() -> list[int]:
    """What the limits of this process (ulimit -v, -d) leave."""
    if resource is None:
        return []
    sizes = [0, 0]
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm") as file:
        pages = [int(part) for part in file.read().split()]
        sizes = [pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()]
    left = []
    for kind, used in zip(("RLIMIT_AS", "RLIMIT_DATA"), sizes, strict=True):
        limit = (
            resource.getrlimit(getattr(resource, kind))[0]
            if hasattr(resource, kind)
            else resource.RLIM_INFINITY
        )
        if limit != resource.RLIM_INFINITY:
            left.append(limit - used)
    return left


def available_bytes() -> int:
    """Memory that this process can still get: of the machine, of its control groups, of its own limits."""
    return max(0, min(_machine(), *_control_groups(), *_process(), 1 << 60))


@dataclass(eq=False)
class Budget:
    """The memory of one import. limit: in bytes; held: what is charged by now."""

    limit: int = field(default_factory=lambda: available_bytes() // 2)
    held: int = 0

    def check(self, size: int, what: str) -> None:
        """TooLargeError when `size` bytes more are not to be had."""
        if self.held + size > self.limit:
            raise TooLargeError(
                f"{what} brings what this file asks for to {human(self.held + size)} of memory, more than the"
                f" {human(self.limit)} that this machine has for a model (half of what is free)"
            )

    def hold(self, size: int, what: str) -> None:
        """Charge bytes that stay."""
        self.check(size, what)
        self.held += size

    def check_tensor(self, shape: Sequence[int], what: str) -> None:
        """An activation, before anything computes it."""
        if len(shape) > LARGEST_RANK:
            raise ModelError(f"{what} has {len(shape)} axes; at most {LARGEST_RANK} are supported")
        self.check(_ACTIVATION * prod(shape), f"{what} of shape {list(shape)}")

    def check_network(
        self, path: str, nodes: Sequence[Node], outputs: Sequence[str], shapes: Mapping[str, Shape]
    ) -> None:
        """What every pass over a network needs at least."""
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        size, where = _alive(nodes, outputs, sizes)
        repeated = sum(
            p.size for node in nodes for p in node.parameters() if p.size > 1 and 0 in p.base.strides
        )
        size = _ACTIVATION * (size + repeated) + _OUTPUT * sum(sizes[name] for name in outputs)
        self.check(size, f"{path}: the network, at its largest near '{where}',")


def _alive(nodes: Sequence[Node], outputs: Sequence[str], sizes: Mapping[str, int]) -> tuple[int, str]:
    """The largest number of entries that are alive together, and at which node."""
    last = {name: k for k, node in enumerate(nodes) for name in node.inputs}
    last |= dict.fromkeys(outputs, len(nodes))
    alive: set[str] = set()
    now, most, where = 0, 0, nodes[0].name if nodes else ""
    for k, node in enumerate(nodes):
        for name in {*node.inputs, node.output} - alive:
            alive.add(name)
            now += sizes[name]
        if now > most:
            most, where = now, node.name
        for name in {*node.inputs, node.output}:
            if last.get(name, -1) <= k:
                alive.discard(name)
                now -= sizes[name]
    return max(most, sum(sizes[name] for name in outputs)), where


def human(size: int) -> str:
    """'3.2 GB'."""
    value, units = float(size), ["PB", "TB", "GB", "MB", "kB", "bytes"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    unit = units[-1]
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"

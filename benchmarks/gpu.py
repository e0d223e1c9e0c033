"""What a GPU is to show: that it ran, that it agrees with the CPU, and what it is worth.

    python benchmarks/gpu.py [--provider cuda] [--models resnet18 resnet50] [--boxes 64] [--minutes 6]
    [--rounds N] [--cache FOLDER]

Per model, with its general and monotone twins (see twins.py):

- *agreement*: path-norm, the exact path-metric of the monotone twin, and the sharp bound of the pair over
  |x_i| <= 1, on the provider and on the CPU. Both have certified errors, so that what they certify must
  overlap; and no certificate of a box may lie below the difference that plain inference of the two files
  finds at its centre.
- *ratios*: the passes, and certificates at effort 0 of so many boxes, per box, against one plain ONNX Runtime
  inference of the file *on the same provider*, batch 1; and against the same pass on the CPU.
- *memory*: the largest that was in use on the device (by everything that runs there), or by this process on
  the CPU.

A measurement that would start after the time is over is left out, and said to be. Where there is no CUDA the
table says why.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic

import architectures
import measure
import memory
import numpy as np
import onnxruntime
import twins

import onnxpath
from onnxpath.analyses.certify.certifier import Certifier, Options, cut
from onnxpath.engine import cuda, probe
from onnxpath.engine.plan import Plan
from onnxpath.engine.providers import CPU, CUDA
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, sharp
from onnxpath.model.domain import Domain
from onnxpath.model.matching import Pairing, match
from onnxpath.rewrites.condense import condense

MODELS = ("resnet18", "resnet50")
EPSILON = 1e-4
# Boxes that are certified on the CPU, too.
COMPARED = 2
NAMES = {"cuda": CUDA, "cpu": CPU}


@dataclass(frozen=True)
class Given:
    """What is measured: a pair, on a provider, until a time."""

    name: str
    paths: dict[str, str]
    provider: str
    boxes: int
    rounds: int
    until: float

    @property
    def files(self) -> tuple[str, str]:
        return self.paths["original"], self.paths["general"]

    @property
    def images(self) -> np.ndarray:
        return (
            np.random.default_rng(0)
            .random((self.boxes, *architectures.input_shape(self.name)[1:]))
            .astype(np.float32)
        )


def plain(provider: str, path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Plain ONNX Runtime inference of a file on the provider, with default options, and on nothing else."""
    name = NAMES[provider]
    session = onnxruntime.InferenceSession(path, providers=[name], enable_fallback=0)
    if session.get_providers()[0] != name:
        raise SystemExit(f"{path} runs on {session.get_providers()[0]}, not on {name}")
    (x,) = session.get_inputs()
    return lambda image: session.run(None, {x.name: image})[0]


def apart(what: str, found: tuple[Scaled, float], other: tuple[Scaled, float]) -> list[str]:
    """A row of the agreement: two values with the relative errors that are certified of them, which must
    overlap."""
    (a, rho), (b, sigma) = found, other
    difference, allowed = abs(a.over(b) - 1), (1 + rho) * (1 + sigma) - 1
    if not difference <= allowed:
        raise SystemExit(
            f"{what}: 10^{a.log10} and 10^{b.log10} on the CPU differ by {difference:.2g}, and"
            f" {allowed:.2g} is certified"
        )
    return [what, f"10^{b.log10:.6f}", f"{difference:.1e}", f"{allowed:.1e}", "yes"]


def agreement(given: Given, pairing: Pairing) -> list[list[str]]:
    """Numbers of the pair on the provider, against those of the CPU."""
    found: list[list[tuple[str, Scaled, float]]] = []
    for provider in (given.provider, "cpu"):
        norm = onnxpath.path_norm(given.files[0], 1.0, provider=provider)
        metric = onnxpath.path_metric(given.files[0], given.paths["monotone"], provider=provider)
        if {norm.tool.provider, metric.tool.provider} != {provider}:
            raise SystemExit(f"{given.name}: asked for {provider}, and {metric.tool.provider} is reported")
        readings = sharp_plan(pairing, Device(provider)).run(absolute.ones(pairing.a)).values()
        bound = max((reading.total() for reading in readings), key=lambda total: total.log2)
        interval = metric.path_metric
        found.append(
            [
                ("path-norm", norm.norms[0].value, norm.norms[0].relative_error),
                ("exact path-metric, monotone pair", interval.upper, interval.relative_error),
                (
                    "sharp bound on the outputs' difference, summed",
                    bound,
                    max(reading.rho for reading in readings),
                ),
            ]
        )
    return [apart(what, (a, rho), (b, sigma)) for (what, a, rho), (_, b, sigma) in zip(*found, strict=True)]


def sharp_plan(pairing: Pairing, device: Device) -> Plan:
    """The sharp difference pass for |x_i| <= 1."""
    tracer, lanes, _ = sharp.trace(pairing.a, pairing.twin, device, dict.fromkeys(pairing.a.inputs, 0.0))
    outputs = {
        name: absolute.read(tracer, bound)
        for name in pairing.a.outputs
        if (bound := lanes[name].d) is not None
    }
    return Plan(tracer.graph, tracer.graph_exponents, outputs, device)


def certificates(given: Given, pairing: Pairing, provider: str, count: int) -> Callable[[], list]:
    """Certificates at effort 0 of the first boxes, as many together as `certify` takes."""
    session = Certifier(pairing, Device(provider), Options(effort=0), None)
    region = Domain.around(given.images[:count], EPSILON, 0, 1).resolve(pairing.a)
    chunks = [np.arange(k, min(k + session.together, count)) for k in range(0, count, session.together)]
    return lambda: [item for index in chunks for item in session.run(cut(region, index), index, inf)]


def sound(given: Given, pairing: Pairing, made: list) -> list[list[str]]:
    """Certificates of boxes, against plain inference of the two files at the centres on the CPU, and against
    the CPU's."""
    runs = [plain("cpu", path) for path in given.files]
    ends = [
        np.concatenate([run(image[None]) for image in given.images])
        .astype(np.float64)
        .reshape(given.boxes, -1)
        for run in runs
    ]
    found, certified = np.abs(ends[1] - ends[0]).max(axis=1), np.array([item.certified for item in made])
    if not (
        found <= certified + 2.0**-16 * np.abs(ends[0]).max(axis=1)
    ).all():  # of plain inference in float32
        raise SystemExit(f"{given.name}: a certificate is below the difference that plain inference finds")
    few = np.array(
        [item.certified for item in certificates(given, pairing, "cpu", min(COMPARED, given.boxes))()]
    )
    worst = np.abs(certified[: len(few)] / few - 1).max()
    return [
        [
            f"certificates of {given.boxes} boxes, none below what is found",
            f"{few[0]:.4g}",
            f"{worst:.1e}",
            "",
            "yes",
        ]
    ]


def plans(given: Given, pairing: Pairing) -> dict[str, Callable[[], object]]:
    """The passes, sessions made."""
    found: dict[str, Callable[[], object]] = {}
    for provider in dict.fromkeys((given.provider, "cpu")):
        device = Device(provider)
        small, ones = condense(pairing.a), absolute.ones(pairing.a)
        norm, start = absolute.plan(small, device, 1.0), absolute.ones(small)
        bound = sharp_plan(pairing, device)
        found[f"norm pass on {provider}"] = lambda norm=norm, start=start: norm.run(start)
        found[f"sharp difference pass on {provider}"] = lambda bound=bound, ones=ones: bound.run(ones)
    return found


def ratios(given: Given, pairing: Pairing) -> list[measure.Row]:
    """Durations, as multiples of a plain inference on the same provider and of the same pass on the CPU."""
    run, image = plain(given.provider, given.files[0]), given.images[:1]
    own, cases = given.provider, plans(given, pairing)
    seconds = measure.interleaved({"plain": lambda: run(image)} | cases, given.rounds)
    rows = []
    for what in ("norm pass", "sharp difference pass"):
        rows.append(
            measure.Row(
                f"{what} / plain inference", measure.ratios(seconds[f"{what} on {own}"], seconds["plain"])
            )
        )
        if own != "cpu":
            rows.append(
                measure.Row(
                    f"{what} on the CPU / on {own}",
                    measure.ratios(seconds[f"{what} on cpu"], seconds[f"{what} on {own}"]),
                )
            )
    return rows


def boxes(given: Given, pairing: Pairing) -> tuple[list[list[str]], list[measure.Row]]:
    """Certificates of a batch: what they say, and what they take."""
    certify, run = (
        certificates(given, pairing, given.provider, given.boxes),
        plain(given.provider, given.files[0]),
    )
    rows = sound(given, pairing, certify())
    images = [image[None] for image in given.images]
    seconds = measure.interleaved(
        {"certify": certify, "plain": lambda: [run(image) for image in images]}, given.rounds
    )
    what = f"certificates of {given.boxes} boxes, effort 0 / as many plain inferences"
    return rows, [measure.Row(what, measure.ratios(seconds["certify"], seconds["plain"]))]


def report(given: Given) -> str:
    """The section of one model, as markdown."""
    pairing = match(*(onnxpath.load(path) for path in given.files), quantizers=True)
    agreed: list[list[str]] = []
    measured: list[measure.Row] = []
    late: list[str] = []

    def take_ratios() -> None:
        measured.extend(ratios(given, pairing))

    def take_boxes() -> None:
        rows, more = boxes(given, pairing)
        agreed.extend(rows)
        measured.extend(more)

    parts: dict[str, Callable[[], None]] = {
        "agreement": lambda: agreed.extend(agreement(given, pairing)), "ratios": take_ratios,
        "boxes": take_boxes,
    }  # fmt: skip
    held: list[str] = []
    for what, part in parts.items():
        if monotonic() > given.until:
            late.append(what)
            continue
        measure.say(f"{given.name}: {what}")
        with memory.peak(given.provider == "cuda") as largest:
            part()
        held += [f"{what} {largest[0]:.2f} GB"] if largest else []
        gc.collect()
    text = f"### {given.name}, on {given.provider}\n\n"
    text += (
        f"Peak memory{' of the device' if given.provider == 'cuda' else ''}:"
        f" {', '.join(held) or 'not told'}.\n\n"
    )
    text += measure.table(("", "on the CPU", "apart", "certified", "agrees"), agreed) + "\n" if agreed else ""
    text += measure.table(measure.HEADER, [row.cells() for row in measured]) if measured else ""
    return text + (f"\nNot measured, the time was over: {', '.join(late)}.\n" if late else "")


def device_line(provider: str) -> str:
    """What the provider is, and what the probe says of it."""
    if provider == "cpu":
        return "Measured on the CPU, where every ratio is that of the same device."
    import subprocess

    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        name = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        name = "a GPU of unknown name"
    wrong = probe.failing(probe.convolutions(), cuda.run)
    return (
        f"{name}. The probe of its products passed; convolutions of cuDNN, which the passes do not use, "
        f"{'are not' if wrong else 'are'} sums of IEEE float32 on the probe's shapes."
    )


def main(options: list[str] | None = None) -> None:
    start = monotonic()
    parser = measure.arguments(__doc__, 3)
    parser.add_argument("--models", nargs="+", choices=sorted(architectures.BUILDERS), default=list(MODELS))
    parser.add_argument("--provider", choices=sorted(NAMES), default="cuda")
    parser.add_argument(
        "--boxes", type=int, default=64, help="boxes of a batch of certificates (default %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="after which nothing more is started (default %(default)s)"
    )
    chosen = parser.parse_args(options)
    missing = cuda.cuda_missing() if chosen.provider == "cuda" else None
    if missing is not None:
        print(f"Not measured: {missing}.")
        return
    print(device_line(chosen.provider) + "\n", flush=True)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            paths = twins.files(name, Path(folder), ("general", "monotone"))
            print(
                report(
                    Given(
                        name, paths, chosen.provider, chosen.boxes, chosen.rounds, start + 60 * chosen.minutes
                    )
                ),
                flush=True,
            )
            gc.collect()


if __name__ == "__main__":
    main()

"""Speed of running and searching a pair, against plain ONNX Runtime inference of one network.

    python benchmarks/search.py [--models resnet18] [--rounds N] [--cache FOLDER]

Per model, with its general twin (see twins.py): both networks in one graph; the same with the gradient of
their difference; and a whole search of 20 steps in the box |x_i| <= 1, sessions and float64 evaluation
included, against 20 such gradients.

The numbers are checked: what the search found is what plain ONNX Runtime finds at that point on the files, to
    1e-3.
"""

import architectures
import measure
import numpy as np
import twins
from speed import DEVICE, INFERENCE, inference

import onnxpath
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.evaluate.gradient import Gradient
from onnxpath.evaluate.search import search
from onnxpath.files.pair import FilePair
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match

MODELS = ("resnet18",)
STEPS = 20


def report(paths: dict[str, str], name: str, rounds: int) -> str:
    """The section of one model, as markdown."""
    files = paths["original"], paths["general"]
    pairing = match(*(onnxpath.load(path) for path in files))
    network, networks = pairing.a, (pairing.a, counterpart(pairing))
    forward, gradient = Forward(networks, DEVICE), Gradient(networks, DEVICE, absolute=True)
    inputs, weights = (
        {key: np.ones(network.shapes[key], np.float32) for key in names}
        for names in (network.inputs, network.outputs)
    )
    region = Domain.radius(1.0).resolve(network)
    found = search(pairing, region, DEVICE, steps=STEPS, norm="inf", rows=1).boxes[0]
    checked = float(
        FilePair(files, (pairing.a, pairing.b), pairing=pairing).look(found.point).inner("inf")[0]
    )
    if found.value is None or not abs(checked / found.value - 1) <= 1e-3:
        raise SystemExit(f"{name}: found {found.value}, the files give {checked}")
    seconds = measure.interleaved(
        {
            INFERENCE: inference(files[0]),
            "forward": lambda: forward.run(inputs),
            "gradient": lambda: gradient.run(inputs, weights),
            "search": lambda: search(pairing, region, DEVICE, steps=STEPS, norm="inf", rows=1),
        },
        rounds,
    )
    steps = [STEPS * value for value in seconds["gradient"]]
    rows = [
        measure.Row(
            "both networks, forward / plain inference of one",
            measure.ratios(seconds["forward"], seconds[INFERENCE]),
        ),
        measure.Row(
            "both networks, forward and gradient / plain inference of one",
            measure.ratios(seconds["gradient"], seconds[INFERENCE]),
        ),
        measure.Row(
            f"search of {STEPS} steps / {STEPS} times forward and gradient",
            measure.ratios(seconds["search"], steps),
        ),
    ]
    note = f"Found {found.value:.4g} ({found.how}); {found.before:.4g} before the ascent."
    return f"### {name}\n\n{note}\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 3)
    parser.add_argument("--models", nargs="+", choices=sorted(architectures.BUILDERS), default=list(MODELS))
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            measure.say(f"{name}: search")
            print(report(twins.files(name, folder, ("general",)), name, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()

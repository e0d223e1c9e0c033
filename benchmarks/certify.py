"""Local certificates at effort 0 against plain ONNX Runtime inference of one network.

    python benchmarks/certify.py [--rounds N] [--cache FOLDER]

Certificates (intervals of every neuron of both networks and of their difference, verdicts, differences at the
given inputs) of as many boxes as run together, per box, as a multiple of one plain inference of A, batch 1;
beside it the same against plain inference in one batch. Sessions are created beforehand. The pairs: models/'s
digits networks, and ResNet-18 of benchmarks/architectures.py with its general twin at 224 x 224.
"""

from collections.abc import Callable
from pathlib import Path

import architectures
import measure
import numpy as np
import onnxruntime
import twins

import onnxpath
from onnxpath.analyses.certify.certifier import Certifier, Options
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match

MODELS = Path(__file__).resolve().parent.parent / "models"
DEVICE = Device("cpu")
DIGITS = {
    "digits_mlp": "digits_mlp_int8grid",
    "digits_maxpool_cnn": "digits_maxpool_cnn_int8grid",
    "digits_resnet": "digits_resnet_finetuned",
}


def rows(name: str, paths: tuple[str, str], images: np.ndarray, rounds: int) -> list[measure.Row]:
    a, b = (onnxpath.load(path, extended=True) for path in paths)
    pairing = match(a, b, quantizers=True)
    certifier = Certifier(pairing, DEVICE, Options(effort=0), None)
    count = min(certifier.together, len(images))
    region, index = Domain.around(images[:count], 0.001, 0, 1).resolve(pairing.a), np.arange(count)
    session = onnxruntime.InferenceSession(paths[0], providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    batched = not isinstance(given.shape[0], int)
    cases: dict[str, Callable[[], object]] = {
        "certify": lambda: certifier.run(region, index, np.inf),
        "one": lambda: [session.run(None, {given.name: images[k : k + 1]}) for k in range(count)],
    }
    if batched:
        cases["batch"] = lambda: session.run(None, {given.name: images[:count]})
    seconds = measure.interleaved(cases, rounds)
    made = [
        measure.Row(
            f"{name}, {count} boxes: certificate at effort 0 / plain inference",
            measure.ratios(seconds["certify"], seconds["one"]),
            ("<=", 30),
        )
    ]
    if batched:
        made.append(
            measure.Row(
                f"{name}: the same / plain inference in one batch",
                measure.ratios(seconds["certify"], seconds["batch"]),
            )
        )
    return made


def report(models: list[str], folder: Path, rounds: int) -> str:
    with np.load(MODELS / "digits_test.npz") as held:
        digits = held["x"].astype(np.float32)
    made: list[measure.Row] = []
    for name in models:
        measure.say(f"certify: {name}")
        if name in DIGITS:
            made += rows(
                name, (str(MODELS / f"{name}.onnx"), str(MODELS / f"{DIGITS[name]}.onnx")), digits, rounds
            )
            continue
        paths = twins.files(name, folder, ("general",))
        images = np.random.default_rng(0).random((4, *architectures.input_shape(name)[1:])).astype(np.float32)
        made += rows(name, (paths["original"], paths["general"]), images, max(1, rounds // 2))
    return measure.table(measure.HEADER, [row.cells() for row in made])


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 5)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=[*DIGITS, *sorted(architectures.BUILDERS)],
        default=[*DIGITS, "resnet18"],
    )
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        print(report(chosen.models, folder, chosen.rounds))


if __name__ == "__main__":
    main()

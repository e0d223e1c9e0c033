"""`certify`: on which boxes around given inputs do two networks provably predict the same class?
(docs/certify.md)

For every box, in stages of growing effort, until the box is decided: intervals (0), the backward pass from
the outputs (1), the same after tightening the intervals of unstable neurons (2), and of the candidates of
maxima (3). With i the class that A predicts for the given input, and certified lower bounds over the box of
A's margins y_i - y_j and of B's,

    agree       all margins of A and of B are positive; B's are at least A's less the certified change of y_i
                - y_j; and both files are faithful to their networks, and predict one class, wherever they
                were run
    disagree    an input of the box was found where ONNX Runtime, on both original files, gives different
                classes
    undecided   neither
"""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.certify.certifier import Certifier, Options, cut
from onnxpath.analyses.certify.progress import Journal, fingerprint
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.files.pair import FilePair
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.model.domain import Domain, Region
from onnxpath.model.interface import changes
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network
from onnxpath.model.paths import extensions
from onnxpath.records import BoundSide, Certificates, InputCertificate

Progress = Callable[[int, int], None]


def certify(
    a: Network, b: Network, domain: Domain, device: Device | None = None, options: Options | None = None,
    files: tuple[Any, Any] | None = None, progress: Progress | None = None, runtime: Runtime = DEFAULT,
) -> Certificates:  # fmt: skip
    """Certificates for the boxes of a domain around given inputs; see `onnxpath.certify`.

    files: where the networks came from, to run at every point that is tried, and how (runtime); None: nothing
    is run, so that no disagreement is found. progress(done, all) is called after every chunk. Raises
    MismatchError, UnsupportedError, UsageError, and ViolationError when more is found than certified.
    """
    device, options = device or Device(), options or Options()
    options.check()
    pairing = match(a, b, quantizers=True)
    if domain.inputs is None:
        raise UsageError(
            "certificates are for boxes around given inputs: name them with --inputs, and --epsilon"
        )
    region = domain.resolve(pairing.a)
    both = None if files is None else FilePair(files, (a, b), runtime, pairing)
    session = Certifier(pairing, device, options, both)
    done: dict[int, InputCertificate] = {}
    journal = _journal(pairing, region, options, device, both)
    if journal is not None:
        done, kept = journal.read(region.size)
        session.restore(kept)
    deadline = np.inf if options.time_limit is None else monotonic() + options.time_limit
    if progress is not None:
        progress(len(done), region.size)
    # the same boxes are worked on together whatever was finished before: their searches share random numbers
    for start in range(0, region.size, session.together):
        left = [k for k in range(start, min(start + session.together, region.size)) if k not in done]
        if not left:
            continue
        index = np.array(left)
        made = session.run(cut(region, index), index, deadline)
        finished = [item for item in made if item.finished]
        if journal is not None:
            journal.append(finished, session.kept())
        done |= {item.index: item for item in made}
        if progress is not None:
            progress(len(done), region.size)
    notes = [
        *(f"{side}: {note}" for side, network in (("A", a), ("B", b)) for note in network.notes),
        *session.notes(),
    ]
    items = tuple(done[k] for k in range(region.size))
    late = sum(not item.finished for item in items)
    if late:
        notes.append(f"the time limit passed before {late} of {len(items)} inputs were finished")
    sides = BoundSide(a.path, a.sha256), BoundSide(b.path, b.sha256)
    made = Certificates(
        *sides, dict(domain.describe), options.effort, items, tool.describe(device), extensions(pairing.a),
        tuple(notes),
        changes(a.interface, b.interface),
    )  # fmt: skip
    return _confirmed(made)


def _journal(
    pairing: Pairing, region: Region, options: Options, device: Device, both: FilePair | None
) -> Journal | None:
    """The journal of the run that is resumed, with everything that its results depend on."""
    if options.resume is None:
        return None
    settings = {
        "effort": options.effort,
        "search": options.steps,
        "seed": options.seed,
        "tighten": options.tighten,
        "precision": device.precision,
        "runtime": None if both is None else both.runtime.to_dict(),
        "version": tool.describe(device).version,
        "provider": device.resolve(),
    }
    return Journal(options.resume, fingerprint(pairing, region, settings), options.force)


def _confirmed(made: Certificates) -> Certificates:
    """No *agree* where one of the files does not do what its network says."""
    seen = made.files
    if seen is None:
        return made
    notes = [*made.notes, *seen.reasons]
    items = made.inputs
    if seen.unfaithful and made.count("agree"):
        notes.append(
            f"proved of the networks for {made.count('agree')} boxes, but of no file: these are undecided"
        )
        items = tuple(
            replace(item, verdict="undecided") if item.verdict == "agree" else item for item in items
        )
    return replace(made, inputs=items, notes=tuple(notes))

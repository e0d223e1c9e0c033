"""All kinds of wrong file, by name."""

from gate.editing import Kind
from gate.wrong_kinds import (
    convolutions,
    inputs,
    outputs,
    quantizers,
    shaping,
    storage,
    structure,
    tails,
    weights,
)

SUBJECTS = (tails, outputs, inputs, convolutions, shaping, weights, structure, quantizers, storage)
WRONG: dict[str, Kind] = {name: kind for subject in SUBJECTS for name, kind in subject.KINDS.items()}

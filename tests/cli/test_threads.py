"""The same bytes for any number of threads: matrix products of ONNX Runtime are split by it, so that small
work runs on one."""

from pathlib import Path

import numpy as np
import pytest

PAIR = ("digits_resnet.onnx", "digits_resnet_finetuned.onnx")


@pytest.mark.parametrize(
    "call",
    [
        ("norm", "--q", "0,1,2"), ("metric",),
        ("bound", "--inputs", "X", "--epsilon", "0.01", "--search", "3"),
        ("bound", "--low", "0", "--high", "1", "--search", "3"),
        ("certify", "--inputs", "X", "--epsilon", "0.01", "--effort", "1", "--search", "2"),
        ("check", "--inputs", "X", "--max-flip-rate", "50%", "--max-bound", "1"), ("lipschitz",),
        ("prune", "--sparsity", "0.5"),
    ],
    ids=lambda call: " ".join(call[:2]),
)  # fmt: skip
def test_threads_change_nothing(call: tuple[str, ...], program, models: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.load(models / "digits_test.npz")["x"][:12])
    command, *options = (str(tmp_path / "x.npz") if part == "X" else part for part in call)
    files = [models / name for name in PAIR][: 1 if command in ("norm", "prune") else 2]
    found = {
        program(command, *files, *options, "--threads", threads, "--format", "json", "-q").out
        for threads in (1, 8)
    }
    assert len(found) == 1 and found != {""}

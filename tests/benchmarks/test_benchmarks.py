"""The benchmarks run from start to end, on networks too small to time; their own checks of the numbers must pass."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]


def test_all_benchmarks_run_and_write_their_tables(tmp_path):
    output = tmp_path / "RESULTS.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--tiny", "--cache", str(tmp_path / "models"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    for expected in (
        "norm pass / plain inference",
        "sharp difference pass on an image, general pair",
        "peak memory: metric / baseline",
        "all costs / plain inference",
        "wall time: prune / load, one session, save",
        "without half of the channels",
        "| blocks |",
        "search of 20 steps",
        "difference passes, session ready",
        "certificates of 2 boxes, none below what is found",
    ):
        assert expected in text
    assert str(tmp_path) not in text

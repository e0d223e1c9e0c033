"""The benchmarks run from start to end, on networks too small to time; their own checks of the numbers must
pass."""

import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
SHOWN = {
    "speed": ("norm pass / plain inference", "sharp difference pass on an image, general pair"),
    "process": ("peak memory: metric / baseline",),
    "costs": ("all costs / plain inference", "wall time: prune / load, one session, save"),
    "channels": ("without half of the channels",),
    "depth": ("| blocks |",),
    "quantize": ("difference passes, session ready",),
    "certify": ("effort 0",),
    "search": ("search of 20 steps",),
    "gpu": ("certificates of 2 boxes, none below what is found",),
}

pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def benchmarks(monkeypatch):
    """The module run.py, imported as its scripts import each other; every case is called once, and every
    process launched once."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    measure, process = (importlib.import_module(name) for name in ("measure", "process"))
    monkeypatch.setattr(measure, "_BURST", 1e-9)
    launch, launched = process.launch, {}
    monkeypatch.setattr(
        process,
        "launch",
        lambda line: launched.get(tuple(line)) or launched.setdefault(tuple(line), launch(line)),
    )
    return importlib.import_module("run")


@pytest.mark.parametrize("script", SHOWN)
def test_every_benchmark_prints_its_tables(script, benchmarks, tmp_path, capsys):
    importlib.import_module(script).main(["--cache", str(tmp_path), *benchmarks.TINY[script]])
    text = capsys.readouterr().out
    assert all(expected in text for expected in SHOWN[script]), text
    assert str(tmp_path) not in text


def test_the_tables_are_written_to_one_file(benchmarks, tmp_path, monkeypatch):
    assert set(benchmarks.TITLES) == set(benchmarks.TINY) == set(SHOWN)
    monkeypatch.setattr(benchmarks, "TITLES", {"depth": benchmarks.TITLES["depth"]})
    output = tmp_path / "RESULTS.md"
    benchmarks.main(["--tiny", "--cache", str(tmp_path / "models"), "--output", str(output)])
    text = output.read_text(encoding="utf-8")
    assert (
        text.startswith("# Benchmark results")
        and "## Cost against depth" in text
        and SHOWN["depth"][0] in text
    )
    assert str(tmp_path) not in text

"""The paper's experiments at a tiny scale, by their command, since benchmarks/paper is run from the root of the repository."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("torch")
pytest.importorskip("matplotlib")

TINY = """
size = 32
network = "small"
width = 4
epochs = 3
rewind = 1
milestones = [2]
batch = 32
validation = 0.1
samples = 200
seeds = [0]
levels = [0.4, 0.8]
"""
WRITTEN = ("table1.csv", "table2.csv", "figure2.csv", "figure3.csv", "tables.md")


def command(settings: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.paper", "--settings", str(settings), "--out", str(out), *more]


def finish(line: list[str]) -> str:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_and_resumed_gives_the_same_result(tmp_path):
    pytest.importorskip("sklearn")
    settings = tmp_path / "tiny.toml"
    settings.write_text('data = "digits"' + TINY, encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    text = finish(command(settings, whole))
    assert "at every level and seed: Φ-LP, Φ-GP." in text  # and not MP: rescaling changes its masks
    first = subprocess.Popen(command(settings, killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(6000):  # until a pruned network is in training or has been trained
        if list(killed.glob("seed-0/mp-*")) or first.poll() is not None:
            break
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not (killed / "tables.md").exists()
    assert finish(command(settings, killed)) == text
    for name in WRITTEN:
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert (whole / "figure2.png").stat().st_size > 0


def test_an_epoch_is_resumed_from_its_checkpoint(tmp_path, monkeypatch):
    """A kill after the second of three epochs: what follows starts from the stored weights, optimizer and curve."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT))
    import torch

    from benchmarks.paper import configuration, images, networks, protocol

    path = tmp_path / "tiny.toml"
    path.write_text('data = "digits"' + TINY, encoding="utf-8")
    settings = configuration.read(path)
    data, device = images.load(settings, None), torch.device("cpu")

    def trained(name: str) -> dict:
        (tmp_path / name).mkdir(exist_ok=True)
        network = networks.build(settings, 1, 10, 0)
        protocol.train(network, data, settings, 0, tmp_path / name / "dense", {}, 0, device)
        return json.loads((tmp_path / name / "dense.json").read_text(encoding="utf-8"))

    whole = trained("whole")
    real, calls = protocol.atomic, []

    def stopping(target, write):
        real(target, write)
        calls.append(target.name)
        if calls.count("dense.pt") == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(protocol, "atomic", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained("killed")
    monkeypatch.setattr(protocol, "atomic", real)
    assert trained("killed") == whole


def test_images_of_a_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = random.integers(0, 128, (40 + k, 50, 3)) + 100 * label
                image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / name / f"{k}.png")
    settings = tmp_path / "tiny.toml"
    settings.write_text('data = "folder"' + TINY.replace("200", "0").replace("[0.4, 0.8]", "[0.4]"), encoding="utf-8")
    finish(command(settings, tmp_path / "out", "--data", str(tmp_path)))
    rows = (tmp_path / "out" / "table2.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 6  # three criteria, before and after rescaling
    (tmp_path / "val" / "dog" / "0.png").write_bytes(b"no image")
    bad = subprocess.run(command(settings, tmp_path / "bad", "--data", str(tmp_path)), cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode == 2
    assert "not a readable image" in bad.stderr

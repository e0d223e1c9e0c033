"""The paper's experiments at a tiny scale, most of it by their command, since benchmarks/paper is run from
the root of the repository."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

TINY = """
data = "digits"
size = 16
network = "small"
width = 4
epochs = 3
rewind = 1
milestones = [2]
batch = 32
validation = 0.1
samples = 100
seeds = [0]
levels = [0.4]
save = 2
"""
WRITTEN = ("table1.csv", "table2.csv", "figure2.csv", "figure3.csv", "results.md")

pytestmark = pytest.mark.usefixtures("importable")


def written(path: Path, text: str = TINY) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def command(settings: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.paper", "--settings", str(settings), "--out", str(out), *more]


def call(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run that nothing disturbed, and what it printed."""
    place = tmp_path_factory.mktemp("whole")
    done = call(command(written(place / "tiny.toml"), place / "run"))
    assert done.returncode == 0, done.stderr
    assert "seed 0: lp-40-rescaled" in done.stderr  # no terminal: a line for every training, and no bar
    return place / "run", done.stdout


def test_killed_at_any_moment_and_resumed_gives_the_same_result(whole, tmp_path):
    run, text = whole
    settings, out = written(tmp_path / "tiny.toml"), tmp_path / "run"
    first = subprocess.Popen(
        command(settings, out, "-q"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    # while the first pruned networks are trained, of eight; every step of one is tried in
    # test_a_training_killed_after_any_step
    while not list(out.glob("seed-0/m*-40*.pt")) and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    # returns when the process of the seed, which holds the pipe too, has ended with the killed one
    first.communicate()
    assert not (out / "results.md").exists()
    partial = call([sys.executable, "-m", "benchmarks.paper.table2", "--out", str(out)])
    assert partial.returncode == 0, partial.stderr
    assert "The run is not finished" in partial.stdout
    done = call(command(settings, out, "-q"))
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    for name in WRITTEN:
        assert (out / name).read_bytes() == (run / name).read_bytes()
    assert not list(out.glob("seed-0/*-40*.pt"))  # the checkpoints of finished trainings are gone


def test_rescaling_changes_neither_the_path_masks_nor_the_trainings_under_them(whole):
    """Masks and, since the trainings were carried out again, every bit of the weights at their end;
    magnitudes choose other masks."""
    run, text = whole
    for method in ("Φ-LP", "Φ-GP"):
        assert (
            f"- {method}: 1 of 1 masks are the same after the rescaling; 1 of 1 trainings under them, carried"
            " out again" in text
        )
        assert f"| {method}, before and after rescaling | 100.0 |" in text
    for method in ("MP", "MP, all layers"):
        assert f"- {method}: 0 of 1 masks are the same" in text
    found = {
        name: json.loads((run / "seed-0" / f"{name}.json").read_text())
        for name in ("lp-40", "lp-40-rescaled", "mp-40", "mp-40-rescaled")
    }
    assert found["lp-40"]["weights"] == found["lp-40-rescaled"]["weights"]
    assert found["lp-40"]["curve"] == found["lp-40-rescaled"]["curve"]
    assert found["mp-40"]["weights"] != found["mp-40-rescaled"]["weights"]
    costs = [json.loads((run / "seed-0" / f"costs{ending}.json").read_text()) for ending in ("", "-rescaled")]
    before, after = (np.array(item["points"]["log10_cost"]) for item in costs)
    assert np.abs(before - after).max() <= 1e-5  # they are written with five digits
    magnitudes = [np.array(item["points"]["log10_magnitude"]) for item in costs]
    assert (
        np.abs(magnitudes[0] - magnitudes[1]).max() > 0.1
    )  # so that these rank otherwise, while the costs stay


def test_masks_remove_the_smallest_magnitudes_of_the_trained_network(whole):
    from benchmarks.paper import folder

    seed = whole[0] / "seed-0"
    weights = torch.load(seed / "dense-weights.pt", weights_only=True)
    masks = {name: folder.removed(seed / f"{name}-40-mask.npz") for name in ("mp", "mg")}
    size = {name: weights[name].abs().numpy().ravel() for name in masks["mp"]}
    gone = {
        m: {name: np.unpackbits(bits, count=size[name].size).astype(bool) for name, bits in mask.items()}
        for m, mask in masks.items()
    }
    for name, values in size.items():
        assert abs(gone["mp"][name].sum() - 0.4 * values.size) <= 1
        assert values[gone["mp"][name]].max() <= values[~gone["mp"][name]].min()
    everything, removed = (np.concatenate([part[name] for name in size]) for part in (size, gone["mg"]))
    assert abs(removed.sum() - 0.4 * everything.size) <= 1
    assert everything[removed].max() <= everything[~removed].min()


def test_the_figures_and_tables_are_written_alone(whole, tmp_path):
    from benchmarks.paper import figure2, figure3, table1

    run, text = whole
    for part in (table1, figure2, figure3):
        assert part.write(run) in text
    for name in ("figure2.png", "figure3.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert (
        len((run / "figure2.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 + 8 * 2
    )  # dense, and eight trainings from epoch 1
    wrong = call([sys.executable, "-m", "benchmarks.paper.figure3", "--out", str(tmp_path)])
    assert wrong.returncode == 2
    assert "no run in this folder" in wrong.stderr


def test_a_training_killed_after_any_step_ends_with_the_same_bits(tmp_path):
    """The network draws random numbers, so that their states matter; checkpoints lie between most of the
    kills and in every epoch."""
    from benchmarks.paper import configuration, images, training

    settings = configuration.read(written(tmp_path / "tiny.toml"), save=3)
    data, on = images.load(settings, None), torch.device("cpu")
    masks = {"0.weight": np.random.default_rng(0).random((8, 1, 3, 3)) < 0.5}

    class Killed(BaseException):
        pass

    def trained(name: str, kills: int) -> dict:
        def tick(done: int, total: int) -> None:
            if done == kills:
                raise Killed

        torch.manual_seed(0)
        layers = (
            torch.nn.Conv2d(1, 8, 3, 4),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Flatten(),
        )
        network = torch.nn.Sequential(*layers, torch.nn.Linear(128, 10))
        training.train(
            network, data, settings, 5, tmp_path / name, training.Start(0, masks, dense=True), on, tick
        )
        assert not network[0].weight.detach()[~torch.from_numpy(masks["0.weight"])].any()
        return json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))

    steps = 3 * -(-len(data.train) // settings.batch)
    expected = trained("whole", 0)
    assert len(expected["curve"]) == 3
    for kills in range(1, steps + 1):
        with pytest.raises(Killed):
            trained(f"killed-{kills}", kills)
        assert trained(f"killed-{kills}", 0) == expected
    (tmp_path / "broken.pt").write_bytes(b"half of a file")
    with pytest.raises(configuration.SettingsError, match=r"broken\.pt: not a checkpoint"):
        trained("broken", 0)


def test_a_folder_belongs_to_one_setting(tmp_path):
    from benchmarks.paper import configuration, folder

    settings = configuration.read(written(tmp_path / "tiny.toml"))
    folder.claim(tmp_path / "run", settings)
    more = configuration.read(tmp_path / "tiny.toml", seeds=[0, 3], levels=[0.4, 0.5])
    folder.claim(tmp_path / "run", more)  # seeds and levels may be added
    assert folder.open_settings(tmp_path / "run") == more
    with pytest.raises(
        configuration.SettingsError, match="holds a run with rate = 0.1, not 0.2; give another --out"
    ):
        folder.claim(tmp_path / "run", configuration.read(tmp_path / "tiny.toml", rate=0.2))
    if sys.platform != "win32":
        with (
            folder.alone(tmp_path / "run"),
            pytest.raises(configuration.SettingsError, match="another command is training"),
            folder.alone(tmp_path / "run"),
        ):
            pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("epochs=x", "epochs = 'x' is not an integer"),
        ("levels=[1.5]", "each above 0 and below 1"),
        ("methods=['MP','LP']", "methods: some of MP, MP, all layers, Φ-LP, Φ-GP"),
        ("depth=3", "there is no setting 'depth'"),
        ("rewind=3", "rewind must be at least 0 and below 3 epochs"),
        ("curve=0.6", "0.6 is not one of the levels"),
        ("epochs", "'epochs' is not KEY=VALUE"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, given, message):
    from benchmarks.paper import configuration

    path = written(tmp_path / "tiny.toml")
    with pytest.raises(configuration.SettingsError, match=message.replace("(", r"\(")):
        configuration.read(path, **dict([configuration.assignment(given)]))


def test_progress_is_bars_on_a_terminal_and_lines_elsewhere(capsys, monkeypatch):
    from benchmarks.paper.progress import Display

    for terminal in (False, True):
        (
            monkeypatch.setenv("FORCE_COLOR", "1")
            if terminal
            else monkeypatch.delenv("FORCE_COLOR", raising=False)
        )
        with Display() as display:
            for done in (0, 5, 10):
                display.update(2, "dense", done, 10)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("10/10" in shown.err) == terminal
        assert shown.err.count("seed 2: dense") == 1 or terminal

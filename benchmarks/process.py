"""The whole program against a script that only runs both models: wall time and peak memory of the processes.

    python benchmarks/process.py [--models resnet18 resnet50 vgg16] [--rounds N] [--cache FOLDER]

`onnxpath metric A B --format json` (start, imports, reading and hashing both files, matching, all passes,
shares of all layers) against baseline.py (start, imports, onnx.load of both files, two sessions, one
inference each), and against the same without onnx. Processes alternate; the first round is not counted (it
fills the file cache).
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import measure

HERE = Path(__file__).resolve().parent
MODELS = ("resnet18", "resnet50", "vgg16")
PAIRS = ("monotone", "general", "opposed")
PROGRAM = ["-c", "from onnxpath.cli.main import main; main()"]


@dataclass(frozen=True)
class Usage:
    seconds: float
    bytes: int


def launch(arguments: list[str]) -> Usage:
    """Run this Python with these arguments as a process of its own, its modules compiled beforehand as those
    of an installed program."""
    command = [sys.executable, "-S", str(HERE / "launcher.py"), sys.executable, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout) if done.returncode == 0 else {"code": done.returncode}
    if found["code"] != 0:
        raise SystemExit(
            f"{' '.join(arguments[:2])} exited with {found['code']}: {done.stderr.strip()[-2000:]}"
        )
    return Usage(found["seconds"], found["bytes"])


def commands(a: str, b: str) -> dict[str, list[str]]:
    script = str(HERE / "baseline.py")
    return {
        "metric": [*PROGRAM, "metric", a, b, "--format", "json"],
        "baseline": [script, a, b],
        "without onnx": [script, "--without-onnx", a, b],
    }


def method(a: str, b: str) -> str:
    """How the program arrived at its result, in its own words."""
    done = subprocess.run(
        [sys.executable, *PROGRAM, "metric", a, b, "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["path_metric"]
    return f"{'exact' if found['exact'] else 'interval'}; {found['method']}"


def report(name: str, kind: str, a: str, b: str, rounds: int) -> str:
    """The section of one pair, as markdown."""
    usage: dict[str, list[Usage]] = {}
    todo = commands(a, b)
    names = list(todo)
    how = method(a, b)
    for k in range(rounds + 1):
        for key in names[k % len(names) :] + names[: k % len(names)]:
            found = launch(todo[key])
            if k > 0:
                usage.setdefault(key, []).append(found)
    seconds = {key: [u.seconds for u in values] for key, values in usage.items()}
    memory = {key: [float(u.bytes) for u in values] for key, values in usage.items()}
    rows = []
    for what, values in (("wall time", seconds), ("peak memory", memory)):
        rows.append(
            measure.Row(
                f"{what}: metric / baseline", measure.ratios(values["metric"], values["baseline"]), ("<=", 2)
            )
        )
        rows.append(
            measure.Row(
                f"{what}: metric / baseline without onnx",
                measure.ratios(values["metric"], values["without onnx"]),
            )
        )
    figures = "; ".join(
        f"{key} {median(seconds[key]):.2f} s, {median(memory[key]) / 1e6:.0f} MB" for key in names
    )
    return (
        f"### {name}, {kind} pair\n\n{how}. Medians:"
        f" {figures}.\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"
    )


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 5)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    chosen = parser.parse_args(options)
    import twins  # after the options: it imports torch

    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            measure.say(f"{name}: exporting")
            paths = twins.files(name, folder, tuple(chosen.pairs))
            for kind in chosen.pairs:
                measure.say(f"{name}: {kind} pair")
                print(report(name, kind, paths["original"], paths[kind], chosen.rounds), flush=True)


if __name__ == "__main__":
    main()

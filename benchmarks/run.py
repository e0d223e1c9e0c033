"""All benchmarks, and their tables in RESULTS.md.

    python benchmarks/run.py [--quick] [--cache FOLDER] [--output FILE]

Takes about half an hour and 5 GB of disk; --quick takes about two minutes and measures ResNet-18 and shallow
networks only, in few rounds. Nothing else should run on the machine.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import measure

HERE = Path(__file__).resolve().parent
PACKAGES = ("onnxpath", "onnx", "onnx-graphsurgeon", "onnxruntime-gpu", "onnxruntime", "numpy", "torch")
QUICK = {
    "speed": ["--models", "resnet18", "--rounds", "3"],
    "process": ["--models", "resnet18", "--rounds", "2"],
    "costs": ["--models", "resnet18", "--process", "resnet18", "--rounds", "2"],
    "channels": ["--models", "resnet18", "--rounds", "3"],
    "depth": ["--blocks", "25", "50", "100", "--rounds", "1"],
    "search": ["--models", "resnet18", "--rounds", "2"],
    "quantize": ["--models", "resnet18", "--rounds", "2"],
    "certify": ["--rounds", "2"],
    "gpu": ["--models", "resnet18", "--rounds", "2"],
}
TINY = {
    "speed": ["--models", "tiny", "--rounds", "1"],
    "process": ["--models", "tiny", "--pairs", "opposed", "--rounds", "1"],
    "costs": ["--models", "tiny", "--process", "tiny", "--rounds", "1"],
    "channels": ["--models", "tiny", "--rounds", "1"],
    "depth": ["--blocks", "2", "4", "--rounds", "1"],
    "search": ["--models", "tiny", "--rounds", "1"],
    "quantize": ["--models", "tiny", "--rounds", "1"],
    "certify": ["--models", "tiny", "--rounds", "1"],
    "gpu": ["--models", "tiny", "--rounds", "1", "--provider", "cpu", "--boxes", "2"],
}
TITLES = {
    "speed": (
        "Passes against plain inference and PyTorch",
        "Sessions exist and are warm; one ratio per round.",
    ),
    "process": (
        "The whole process",
        "`onnxpath metric A B --format json` against a script that runs both models once.",
    ),
    "costs": (
        "Φ-costs and pruning",
        "The pass against inference and PyTorch; the program against reading and writing the file.",
    ),
    "channels": (
        "Removing channels",
        "`onnxpath prune --pattern channels` and plain inference of what it writes.",
    ),
    "depth": ("Cost against depth", "Residual networks of two 3x3 convolutions a block; growth 1 is linear."),
    "quantize": (
        "Sweeping layers and widths",
        "The path-metric and the found error of every variant, against a difference pass for each.",
    ),
    "certify": (
        "Local certificates",
        "Certificates at effort 0, sessions created, per box against plain inference of one network.",
    ),
    "search": (
        "Searching for the largest difference",
        "Both networks of a pair in one graph, and the gradient of their difference.",
    ),
    "gpu": (
        "On a GPU",
        "Agreement with the CPU to the certificates, ratios against plain inference on the same GPU, memory.",
    ),
}


def section(script: str, options: list[str], cache: Path) -> str:
    """Run one benchmark in a process of its own; its tables under a heading."""
    measure.say(f"== {script}")
    command = [sys.executable, str(HERE / f"{script}.py"), "--cache", str(cache), *options]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    title, what = TITLES[script]
    return f"## {title}\n\n{what} See `benchmarks/{script}.py`.\n\n{found.strip()}\n"


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="ResNet-18 and shallow networks, few rounds")
    size.add_argument(
        "--tiny", action="store_true", help="networks too small to measure: does everything run?"
    )
    parser.add_argument(
        "--cache", type=Path, help="keep the exported models in this folder (default: a temporary one)"
    )
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    chosen = parser.parse_args(options)
    extra = QUICK if chosen.quick else TINY if chosen.tiny else {}
    with measure.folder(chosen.cache) as cache:
        sections = [section(script, extra.get(script, []), cache) for script in TITLES]
    kind = " (`--quick`)" if chosen.quick else " (`--tiny`)" if chosen.tiny else ""
    head = (
        f"# Benchmark results\n\nWritten by `python benchmarks/run.py`{kind}."
        f" {measure.machine(PACKAGES)}.\n\nRatios are taken within one round of interleaved measurements; the"
        " table has their minimum, median and maximum over all rounds.\n"
    )
    chosen.output.write_text("\n".join([head, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()

"""python -m benchmarks.paper [--settings NAME|FILE.toml] [--data DIR] [--out DIR] [--seeds N ...] [--set
KEY=VALUE ...]

Train every seed, then write the tables and figures into OUT (on stdout too). The same command goes on after a
kill, from the last checkpoint. `python -m benchmarks.paper.table1 --out OUT`, and so on, writes one of them
from what there is so far.
"""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.paper import configuration, figure2, figure3, folder, seeds, table1, table2
from benchmarks.paper.progress import Display


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description="The experiments of the paper: train, prune, rewind, retrain.",
    )
    parser.add_argument(
        "--settings", default="digits-small", help="digits-small, digits-resnet18, imagenet or a TOML file"
    )
    parser.add_argument(
        "--data", help="folder with train/CLASS and val/CLASS, for settings with data = 'folder'"
    )
    parser.add_argument("--out", type=Path, default=Path("paper-results"))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a setting, such as epochs=3",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="seeds trained at a time (default: by the number of processors; 1 for folders)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        changes = dict(map(configuration.assignment, chosen.set))
        settings = configuration.read(
            chosen.settings, **changes, **({"seeds": chosen.seeds} if chosen.seeds else {})
        )
        folder.claim(chosen.out, settings)
        with folder.alone(chosen.out), Display(chosen.quiet) as display:
            seeds.run(settings, chosen.data, chosen.out, seeds.jobs(settings, chosen.jobs), display.update)
        text = "\n".join(part.write(chosen.out) for part in (table1, table2, figure2, figure3))
        folder.text(chosen.out / "results.md", text)
    except configuration.SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

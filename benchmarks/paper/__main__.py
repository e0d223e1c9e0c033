"""python -m benchmarks.paper [--settings NAME|FILE.toml] [--data DIR] [--out DIR] [--seeds N ...] [--epochs N]

Run every seed and write the tables and figures into OUT. The same command goes on after a kill.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.paper import configuration, images, protocol, tables


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__.splitlines()[2])
    parser.add_argument("--settings", default="digits-small", help="digits-small, digits-resnet18, imagenet or a TOML file")
    parser.add_argument("--data", help="folder with train/CLASS and val/CLASS, for settings with data = 'folder'")
    parser.add_argument("--out", type=Path, default=Path("paper-results"))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--epochs", type=int)
    chosen = parser.parse_args()
    changes = {key: getattr(chosen, key) for key in ("seeds", "epochs") if getattr(chosen, key) is not None}
    try:
        settings = configuration.read(chosen.settings, **changes)
        chosen.out.mkdir(parents=True, exist_ok=True)
        record = chosen.out / "protocol.json"
        if record.exists() and json.loads(record.read_text(encoding="utf-8")) != settings.protocol():
            raise configuration.SettingsError(f"{chosen.out}: holds a run with other settings; give another --out")
        protocol.atomic(record, lambda p: p.write_text(json.dumps(settings.protocol()), encoding="utf-8"))
        data = images.load(settings, chosen.data)
        runs = [protocol.run(settings, data, chosen.out, seed, lambda text: print(text, file=sys.stderr)) for seed in settings.seeds]
    except configuration.SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(tables.write(settings, runs, chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

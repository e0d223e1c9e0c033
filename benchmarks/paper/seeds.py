"""All seeds of a run: one process for each, as many at a time as `jobs` says.

A process ends when the one that started it is gone, so that a kill leaves nothing behind that writes. What a
process has to say goes through a queue: (seed, what it is doing, steps done, steps in total), or (seed,
message) for an error.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.paper.configuration import Settings, SettingsError


def jobs(settings: Settings, asked: int | None) -> int:
    """How many seeds to train at a time: as asked; else one where a GPU or the reading of files is shared,
    all of them where that is at most two for a processor (three seeds on two processors would leave one idle
    for half of the time), and one for each otherwise.
    """
    if asked is not None:
        return max(1, asked)
    if settings.data == "folder":
        return 1
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, count // max(1, settings.threads))
    return len(settings.seeds) if len(settings.seeds) <= 2 * count else count


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(settings: Settings, data: str | None, out: Path, seed: int, said: Any) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and stops this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from benchmarks.paper import images, protocol
    from onnxpath.errors import OnnxPathError

    try:
        protocol.prepare(settings)
        protocol.run(
            settings, images.load(settings, data), out, seed, lambda *facts: said.put((seed, *facts))
        )
    except (SettingsError, OnnxPathError) as error:
        said.put((seed, str(error)))
        said.close()
        said.join_thread()
        os._exit(2)


def run(
    settings: Settings,
    data: str | None,
    out: Path,
    count: int,
    update: Callable[[int, str, int, int], object],
) -> None:
    """Train every seed that is not finished, `count` at a time. Raises SettingsError with the first error of
    a process; the others are then stopped."""
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    waiting, running = list(settings.seeds), {}

    def hear(timeout: float) -> None:
        try:
            while True:
                seed, *facts = said.get(timeout=timeout)
                if len(facts) == 1:
                    raise SettingsError(facts[0])
                update(seed, *facts)
        except queue.Empty:
            return

    try:
        while waiting or running:
            while waiting and len(running) < count:
                seed = waiting.pop(0)
                running[seed] = context.Process(target=_work, args=(settings, data, out, seed, said))
                running[seed].start()
            hear(0.2)
            for seed, process in list(running.items()):
                if not process.is_alive():
                    process.join()
                    del running[seed]
                    hear(0.1)
                    if process.exitcode:
                        raise SettingsError(
                            f"seed {seed}: its process ended with {process.exitcode}; the same command goes"
                            " on from there"
                        )
    finally:
        for process in running.values():
            process.terminate()
            process.join()

"""Run a command; print its wall time, its peak resident memory and its exit status as one JSON line.

    python -S launcher.py COMMAND...

A process of its own, because Linux counts the memory that the parent had when it forked towards the child's
peak: this one is small. The command's own output goes to stderr.
"""

import json
import os
import sys
from time import perf_counter

start = perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
seconds = perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(
    json.dumps(
        {"seconds": seconds, "bytes": usage.ru_maxrss * unit, "code": os.waitstatus_to_exitcode(status)}
    )
)

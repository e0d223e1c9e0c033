"""onnx-graphsurgeon logs to stdout, where `--format json` prints its document: it is kept silent here.

What it would say is either checked by this package or raised by it as an exception.
"""

from functools import cache


@cache
def quiet_graphsurgeon() -> None:
    from onnx_graphsurgeon.logger import G_LOGGER

    G_LOGGER.severity = G_LOGGER.CRITICAL

"""Arrays side by side in large blocks of memory.

The system hands out memory when it is first written, 4 KB at a time, and as 2 MB at once where NumPy asks it
to: for arrays of 4 MB and more. The weights of a network are smaller and many, and handing out their pages
takes about as long as reading them. A block is one array; those cut from it lie one after the other, and it
lives as long as any of them.
"""

import numpy as np

_BYTES = 1 << 25
# Where vector instructions load fastest.
_ALIGNED = 64


class Blocks:
    """Cuts arrays from blocks. A block that is not written to its end costs no memory there."""

    def __init__(self) -> None:
        self._block, self._used = np.empty(0, np.uint8), 0

    def empty(self, count: int, dtype: np.dtype) -> np.ndarray:
        """A vector of so many entries."""
        size = count * dtype.itemsize
        start = -(-self._used // _ALIGNED) * _ALIGNED
        if start + size > self._block.size:
            self._block, start = np.empty(max(size, _BYTES), np.uint8), 0
        self._used = start + size
        return self._block[start : self._used].view(dtype)

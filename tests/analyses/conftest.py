"""What waits for its fix in this folder."""

from pathlib import Path

import pytest
from oracle.known import mark

FIXED = "the learned bias of a node with fixed weights is not rescaled"
POSITION = "a rank-1 bias of a left MatMul is taken for a channel vector"
KNOWN = {
    r"test_intervals_of_both_precisions_overlap": "lower end after a real rescaling lacks its rounding error",
    r"test_a_name_beats_the_position_of_a_branch_without_one": "equal branches are paired greedily",
    r"test_rescaling_keeps_the_function\[interpolated, then bias\]": FIXED,
    r"test_alignment_\w+\[((True|False)-)?(average|interpolated), then bias\]": FIXED,
    r"test_rescaling_keeps_the_function\[left\]": POSITION,
    r"test_alignment_\w+\[((True|False)-)?left\]": POSITION,
    r"test_a_rescaled_copy_that_shares_its_arrays_is_not_the_same_network": "Parameter.scale is ignored where the arrays are shared",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items, Path(__file__).parent, KNOWN)

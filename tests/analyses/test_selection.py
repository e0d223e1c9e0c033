"""Masks: as many zeros as asked for, the smallest scores, and nothing else."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from onnxpath.analyses.prune.selection import kth_smallest, n_of_m, smallest, target


def tensors(rng: np.random.Generator, dtype: type, ties: bool) -> list[np.ndarray]:
    found = []
    for _ in range(int(rng.integers(1, 4))):
        shape = tuple(rng.integers(1, 9, int(rng.integers(1, 4))))
        array = np.exp(np.clip(rng.normal(0, 30, shape), -80, 80)) if not ties else rng.integers(0, 4, shape)
        found.append(array.astype(dtype).T)
    return found


@examples(38)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.float32, np.float64]), ties=st.booleans())
def test_kth_smallest(seed: int, dtype: type, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = tensors(rng, dtype, ties)
    ordered = np.sort(np.concatenate([score.reshape(-1) for score in scores]))
    k = int(rng.integers(1, ordered.size + 1))
    assert kth_smallest(scores, k) == ordered[k - 1]


@examples(38)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans(), dead=st.booleans())
def test_the_smallest_go_and_zeros_count(seed: int, ties: bool, dead: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = tensors(rng, np.float32, ties)
    values = [np.where(rng.random(score.shape) < 0.3, 0, 1) for score in scores]
    scores = [
        np.where(value == 0, np.float32(0), score if dead else score + np.float32(1e-20))
        for value, score in zip(values, scores, strict=True)
    ]
    size = sum(score.size for score in scores)
    k = target(size, float(rng.random()))
    masks = smallest(scores, values, k)
    zeros = sum(int((value == 0).sum()) for value in values)
    assert sum(int(mask.sum()) for mask in masks) == max(k, zeros)
    for value, mask in zip(values, masks, strict=True):
        assert mask[value == 0].all()
    kept, gone = (
        np.concatenate([s[m if side else ~m] for s, m in zip(scores, masks, strict=True)])
        for side in (False, True)
    )
    assert gone.size == 0 or kept.size == 0 or gone.max() <= kept.min()


@examples(15)
@given(seed=st.integers(0, 2**32 - 1), of=st.sampled_from([1, 2, 4, 8, 16]), axis=st.integers(0, 2))
def test_n_of_m_keeps_the_best_of_every_group(seed: int, of: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    keep = int(rng.integers(0, of)) if of > 1 else 0
    shape = [3, 2, 4]
    shape[axis] = of * int(rng.integers(1, 4))
    score = rng.integers(0, 6, shape).astype(np.float32)
    value = np.where(rng.random(shape) < 0.4, 0, 1)
    score[value == 0] = 0
    mask = n_of_m(score, value, axis, keep, of)
    assert mask.shape == score.shape
    groups = [
        np.moveaxis(array, axis, -1).reshape(-1, of) for array in (np.where(value == 0, -1, score), mask)
    ]
    for scores, gone in zip(*groups, strict=True):
        assert gone.sum() == of - keep
        assert not gone.any() or gone.all() or scores[gone].max() <= scores[~gone].min()


@pytest.mark.parametrize(
    ("size", "sparsity", "count"), [(10, 0.0, 0), (10, 0.24, 2), (1, 0.9, 1), (3, 0.999, 3)]
)
def test_target(size: int, sparsity: float, count: int) -> None:
    assert target(size, sparsity) == count
